import type { Timer } from '../lib/clock.js'
import { EventStreamReader } from '../lib/event-stream.js'
import type { JsonObject } from '../lib/json.js'
import { closeCodes } from '../protocol/codes.js'
import { type Offset, type Position, readCombinedCursor } from '../protocol/cursor.js'
import type {
  Authorize,
  Failed,
  GapNotice,
  HubEvent,
  HubFrame,
  Part,
  Subscribe,
  Subscribed,
  Unsubscribe,
  Update,
} from '../protocol/frames.js'
import type { LinkFrame } from './link.js'
import { readBlock } from './sse-block.js'
import { failure, readJson, withBody } from './sse-requests.js'
import type { ClientClock } from './surroundings.js'

/** Maximum of frames in one request, so that many subscriptions stay below the hub's limit of bytes. */
const framesMax = 500
/** Maximum length of a query, because many proxies accept only URLs of up to 8 KB. */
const queryLengthMax = 6_000
/** The timeout of a small request. A browser has six links to an origin over HTTP/1.1, which may all be in use. */
export const changeMsMax = 10_000
/** A response is silent for at most `keepaliveMs`, 15 s by default; then the hub sends a comment. */
export const silenceMsMax = 45_000
type Change = Subscribe | Update | Unsubscribe | Authorize

/** The link of a response. */
export interface StreamOwner {
  readonly clock: ClientClock
  emit(frame: LinkFrame): void
  /** Data arrived, so the hub is alive. */
  heard(): void
  opened(connection: string): void
  /** The stream is over, because all its subscriptions are. */
  over(stream: Stream): void
  fail(code: number, reason: string): void
  /** The hub has refused the token, with this problem document (RFC 9457). */
  refused(problem: JsonObject | undefined): void
  /** @returns the response; undefined if there is none, in which case the link has been closed */
  fetch(path: string, init: RequestInit, msMax: number): Promise<Response | undefined>
}

/** The link's record of one subscription. */
interface Followed {
  readonly topic: string
  epoch: string
  /** Its events up to here have been received. */
  offset: number
  /** Held back until its snapshot has been received. */
  subscribed: Subscribed | undefined
  live: boolean
  /** Unreadable data has arrived since, possibly an event of this subscription. */
  isUnread: boolean
  /** Its session has apparently ended, so the end of the response is expected. */
  ended: boolean
}

/** One response, and the requests that change its subscriptions. */
export class Stream {
  readonly #link: StreamOwner
  readonly #reader = new EventStreamReader(({ event, data }) => this.#block(event, data))
  readonly #subs = new Map<number, Followed>()
  readonly #byTopic = new Map<string, number>()
  /** Frames that wait until the hub has sent the id of the connection. */
  #outbox: Change[] = []
  #connection: string | undefined
  #opened = false
  #posting = false
  #cursor: string | undefined
  #heardAt = 0
  #silence: Timer | undefined
  #batch: { readonly sub: number; readonly replay: boolean; readonly events: HubEvent[] } | undefined

  constructor(link: StreamOwner) {
    this.#link = link
  }

  /** Opens the response, unless it is open. The URL contains as many subscriptions as fit; the others are sent afterwards. */
  open(): void {
    if (this.#opened) return
    this.#opened = true
    let query = ''
    for (;;) {
      const [frame] = this.#outbox
      const more = frame && `&subscribe=${encodeURIComponent(JSON.stringify(frame))}`
      if (more === undefined || query.length + more.length > queryLengthMax) break
      query += more
      this.#outbox.shift()
    }
    void this.#read(`?parts=1${query}`)
  }

  has(sub: number): boolean {
    return this.#subs.has(sub)
  }

  takes(topic: string): boolean {
    return !this.#byTopic.has(topic)
  }

  follow(frame: Subscribe): void {
    const { topic, sub } = frame
    this.#byTopic.set(topic, sub)
    const followed = {
      topic,
      epoch: '',
      offset: 0,
      subscribed: undefined,
      live: false,
      isUnread: false,
      ended: false,
    }
    this.#subs.set(sub, followed)
    this.change(frame)
  }

  /** Puts the frame first, because a request with another token must begin with it. */
  renew(frame: Authorize): void {
    this.#outbox.unshift(frame)
    this.#send()
  }

  change(frame: Change): void {
    this.#outbox.push(frame)
    this.#send()
  }

  #send(): void {
    if (!this.#posting && this.#connection !== undefined) void this.#post(this.#connection)
  }

  async #post(connection: string): Promise<void> {
    this.#posting = true
    while (this.#outbox.length > 0) {
      const frames = this.#outbox.splice(0, framesMax)
      const request = withBody('POST', 'application/json', frames)
      const response = await this.#link.fetch(`api/stream/${connection}`, request, changeMsMax)
      if (response === undefined) return
      const answer = await readJson(response)
      if (response.ok) continue
      // Frames are executed in order up to the first that is refused.
      const applied = answer?.applied
      const refused = typeof applied === 'number' ? frames[applied] : undefined
      if (refused === undefined) return this.#link.fail(1006, `the stream is gone: HTTP ${response.status}`)
      this.#outbox.unshift(...frames.slice((applied as number) + 1))
      const failed = failure(answer ?? {}, `HTTP ${response.status}`)
      if (refused.type === 'authorize') this.#link.emit(failed)
      else {
        this.#forget(refused.sub)
        this.#link.emit({ ...failed, sub: refused.sub })
      }
    }
    this.#posting = false
  }

  async #read(query: string): Promise<void> {
    const init = { headers: { accept: 'text/event-stream' } }
    const response = await this.#link.fetch(`api/stream${query}`, init, changeMsMax)
    if (response === undefined) return
    const { status, body } = response
    if (status === 401) return this.#link.refused(await readJson(response))
    if (status === 403) return this.#link.fail(closeCodes.forbidden, 'the token does not permit this')
    if (status !== 200 || body === null) return this.#link.fail(1006, `HTTP ${status}`)
    this.#heardAt = this.#link.clock.elapsed()
    this.#listen(silenceMsMax)
    try {
      const reader = body.getReader()
      for (;;) {
        const { done, value } = await reader.read()
        if (done) break
        this.#heardAt = this.#link.clock.elapsed()
        this.#link.heard()
        this.#reader.push(value)
        this.#flush()
        this.#follow(this.#reader.lastId)
      }
    } catch (error) {
      return this.#link.fail(1006, String(error))
    }
    const over = [...this.#subs.values()].every(({ ended }) => ended)
    if (over && this.#connection !== undefined) this.#link.over(this)
    else this.#link.fail(1006, 'the response ended')
  }

  /** Answers to requests and other responses show that the hub is there, not that this response has not been cut off. */
  #listen(ms: number): void {
    const { clock } = this.#link
    this.#silence = clock.after(ms, () => {
      const silentMs = clock.elapsed() - this.#heardAt
      if (silentMs < silenceMsMax) return this.#listen(silenceMsMax - silentMs)
      this.#link.fail(closeCodes.heartbeatMissed, 'a response fell silent')
    })
  }

  /** Nothing more is expected of it. */
  stop(): void {
    this.#silence?.cancel()
  }

  /** Skips unreadable data: the position moves past it, so that it is not sent again. */
  #block(name: string, text: string): void {
    const data = readBlock(name, text)
    if (data === undefined) return this.#unread(name)
    if (name === 'hub.open') {
      this.#connection = data.connection as string
      this.#link.opened(this.#connection)
      if (this.#outbox.length > 0) void this.#post(this.#connection)
    } else if (name === 'hub.close') {
      this.#flush()
      const { code, retryMs } = data
      if (typeof retryMs === 'number') this.#link.emit({ type: 'closing', code: code as number, retryMs })
      this.#link.fail(code as number, data.reason as string)
    } else if (name.startsWith('hub.') || name === 'state.part') {
      this.#flush()
      const followed = this.#subs.get(data.sub as number)
      if (followed !== undefined) this.#hubEvent(name, data, followed)
    } else if (name === 'state.initial') {
      const followed = this.#subs.get(this.#byTopic.get(data.topic as string) ?? -1)
      const { slices } = data.data as { readonly slices: JsonObject }
      if (followed?.subscribed !== undefined) this.#join({ ...followed.subscribed, slices }, followed)
    } else {
      this.#event(data)
    }
  }

  #unread(name: string): void {
    this.#flush()
    for (const followed of this.#subs.values()) followed.isUnread = true
    this.#link.emit({ type: 'unread', reason: `an event that cannot be read: ${name}` })
  }

  #hubEvent(name: string, data: JsonObject, followed: Followed): void {
    switch (name) {
      case 'hub.subscribed': {
        const { state, ...frame } = data as unknown as Subscribed & { readonly state?: true }
        const subscribed: Subscribed = { ...frame, type: 'subscribed', feed: frame.sub }
        // The snapshot follows in one piece.
        if (state) followed.subscribed = subscribed
        else this.#join(subscribed, followed)
        return
      }
      case 'hub.gap': {
        const {
          topic: _,
          sub,
          ...gap
        } = data as unknown as GapNotice & { readonly topic: string; readonly sub: number }
        if (followed.subscribed !== undefined) followed.subscribed = { ...followed.subscribed, gap }
        else this.#link.emit({ type: 'gap', sub, ...gap })
        return
      }
      case 'hub.live': {
        const { sub, offset } = data as unknown as { readonly sub: number; readonly offset: Offset }
        // Nothing was due any more, so if the response ends now, the session had already ended.
        followed.ended ||= !followed.live && followed.offset === offset
        followed.live = true
        followed.offset = Math.max(followed.offset, offset)
        return this.#link.emit({ type: 'live', sub, offset })
      }
      case 'state.part':
        return this.#link.emit({ ...(data as unknown as Part), type: 'part' })
      case 'hub.error':
        this.#forget(data.sub as number)
        return this.#link.emit({ ...(data as unknown as Failed), type: 'error' })
      case 'hub.unsubscribed':
        this.#forget(data.sub as number)
        return this.#link.emit({ ...(data as unknown as HubFrame), type: 'unsubscribed' } as HubFrame)
    }
  }

  #join(frame: Subscribed, followed: Followed): void {
    followed.subscribed = undefined
    followed.epoch = frame.epoch
    followed.offset = frame.offset
    this.#link.emit(frame)
  }

  #event(data: JsonObject): void {
    const { topic, replay, ...event } = data as unknown as HubEvent & {
      readonly topic: string
      readonly replay?: true
    }
    const sub = this.#byTopic.get(topic)
    if (sub === undefined) return
    if (this.#batch?.sub !== sub || this.#batch.replay !== (replay === true)) {
      this.#flush()
      this.#batch = { sub, replay: replay === true, events: [] }
    }
    this.#batch.events.push(event)
  }

  /** Passes on consecutive events of one subscription. */
  #flush(): void {
    const batch = this.#batch
    this.#batch = undefined
    const followed = batch && this.#subs.get(batch.sub)
    const last = batch?.events.at(-1)
    if (batch === undefined || followed === undefined || last === undefined) return
    const { sub: feed, replay, events } = batch
    if (replay) return this.#link.emit({ type: 'events', feed, replay, events })
    const first = batch.events[0]?.offset ?? last.offset
    const after = Math.max(followed.offset, followed.isUnread ? first - 1 : 0) as Offset
    followed.isUnread = false
    followed.ended = last.type === 'complete'
    followed.offset = Math.max(after, last.offset)
    this.#link.emit({ type: 'events', feed, after, last: followed.offset as Offset, events })
  }

  /** The end of a flush has all positions, which events that did not match have moved too. */
  #follow(cursor: string | undefined): void {
    if (cursor === undefined || cursor === this.#cursor) return
    this.#cursor = cursor
    const positions = readCombinedCursor(cursor, Number.POSITIVE_INFINITY) ?? new Map()
    for (const [sub, followed] of this.#subs) {
      const { topic, epoch, live, offset } = followed
      const position: Position | undefined = positions.get(topic) ?? positions.get(topic.split('/')[1] ?? '')
      if (!live || position === undefined || position.epoch !== epoch || position.offset <= offset) continue
      followed.offset = position.offset
      const last = position.offset
      const after = followed.isUnread ? last : (offset as Offset)
      followed.isUnread = false
      this.#link.emit({ type: 'events', feed: sub, after, last, events: [] })
    }
  }

  #forget(sub: number): void {
    const followed = this.#subs.get(sub)
    if (followed === undefined) return
    this.#subs.delete(sub)
    this.#byTopic.delete(followed.topic)
  }
}
