// Longer than 350 lines: one link over SSE and POST, from the first request to the last retry; its steps share one state.

import { EventStreamReader } from '../lib/event-stream.js'
import type { JsonObject } from '../lib/json.js'
import { closeCodes, type RequestCode } from '../protocol/codes.js'
import { type Offset, type Position, readCombinedCursor } from '../protocol/cursor.js'
import type {
  Authorize,
  ClientFrame,
  Failed,
  GapNotice,
  HubEvent,
  HubFrame,
  Part,
  Published,
  Subscribe,
  Subscribed,
  Unsubscribe,
  Update,
  Updated,
} from '../protocol/frames.js'
import type { Dialling, Link, LinkEvents } from './link.js'
import type { Request } from './requests.js'
import type { ClientClock } from './surroundings.js'

/** A response is silent for `keepaliveMs`, 15 s unless the hub was told otherwise; then a comment comes. */
const silenceMsMax = 45_000
/** A response does not tell them; its requests are refused when they go beyond. */
const unknownLimits = {
  frameBytesMax: Number.POSITIVE_INFINITY,
  subscriptionsMax: Number.POSITIVE_INFINITY,
  filterTypesMax: Number.POSITIVE_INFINITY,
}
/** Frames in one request, so that a great many subscriptions stay below the hub's limit of bytes. */
const framesMax = 500
/** Of an address, so that it passes through proxies: many take no more than 8 KB. */
const queryLengthMax = 6_000
/** How long a small request may take. A browser has six links to an origin over HTTP/1.1, which others may hold. */
const changeMsMax = 10_000
/** How long one that publishes may take: its body may be large, and the hub answers once it has been stored. */
const requestMsMax = 30_000

type Change = Subscribe | Update | Unsubscribe | Authorize

/** What a link is given of its surroundings. */
interface Given {
  readonly fetch: typeof globalThis.fetch
  readonly clock: ClientClock
}

/**
 * A link of SSE responses and POST requests, where WebSockets do not get through. It speaks the same frames as a
 * WebSocket, so nobody else needs to know.
 *
 * Events on a response name their topic, not their subscription. So a response has one subscription to each topic;
 * the second one to a topic opens a response of its own.
 */
export class SseLink implements Link {
  readonly transport = 'sse'
  readonly #given: Given
  readonly #base: string
  readonly #events: LinkEvents
  readonly #abort = new AbortController()
  readonly #streams = new Set<Stream>()
  #token: string | undefined
  #state: 'opening' | 'open' | 'closed' = 'opening'
  /** Requests go one after the other, so that what is published stays in order. */
  #requests: Promise<void> = Promise.resolve()

  constructor(given: Given, { base, token, greeting }: Dialling, events: LinkEvents) {
    this.#given = given
    this.#base = base
    this.#token = token
    this.#events = events
    for (const frame of greeting?.() ?? []) this.#streamFor(frame.topic).follow(frame)
    if (this.#streams.size === 0) this.#streams.add(new Stream(this))
    for (const stream of this.#streams) stream.open()
  }

  send(frames: readonly ClientFrame[]): void {
    if (this.#state !== 'open') return
    for (const frame of frames) {
      switch (frame.type) {
        case 'subscribe': {
          const stream = this.#streamFor(frame.topic)
          stream.follow(frame)
          stream.open()
          break
        }
        case 'update':
        case 'unsubscribe':
          for (const stream of this.#streams) if (stream.has(frame.sub)) stream.change(frame)
          break
        case 'publish':
        case 'set':
        case 'patch':
        case 'merge':
          this.#requests = this.#requests.then(() => this.#ask(frame))
          break
        case 'authorize':
          this.#token = frame.token
          for (const stream of this.#streams) stream.renew(frame)
          this.emit({ type: 'authorized' })
          break
        case 'lease':
          // A response cannot hold one: nobody asks for it here.
          break
        case 'ping':
          // A response that is open speaks for itself.
          if (this.#streams.size === 0) this.#requests = this.#requests.then(() => this.#knock())
      }
    }
  }

  close(): void {
    this.#state = 'closed'
    this.#abort.abort()
  }

  // For the streams

  emit(frame: HubFrame): void {
    if (this.#state !== 'closed') this.#events.frame(frame)
  }

  heard(): void {
    if (this.#state !== 'closed') this.#events.heard()
  }

  opened(connection: string): void {
    if (this.#state !== 'opening') return
    this.#state = 'open'
    this.emit({ type: 'welcome', connection, version: 1, heartbeatMs: silenceMsMax, limits: unknownLimits })
  }

  /** The stream is over, because all that it followed is. */
  over(stream: Stream): void {
    this.#streams.delete(stream)
  }

  fail(code: number, reason: string): void {
    if (this.#state === 'closed') return
    this.close()
    this.#events.closed(code, reason)
  }

  /** @returns the response; nothing when there is none, and the link has been closed for it. */
  async fetch(path: string, init: RequestInit, msMax: number): Promise<Response | undefined> {
    // Not called as a method: a browser's `fetch` refuses to be one of anything but the window.
    const { fetch, clock } = this.#given
    const timer = clock.after(msMax, () => {
      this.fail(
        1006,
        `no answer to a request within ${msMax / 1_000} s; other tabs may hold all links to the hub`,
      )
    })
    try {
      const response = await fetch(new URL(path, this.#base), {
        ...init,
        signal: this.#abort.signal,
        headers: {
          ...(init.headers as Record<string, string>),
          ...(this.#token !== undefined && { authorization: `Bearer ${this.#token}` }),
        },
      })
      // A hub or proxy that cannot answer now: as if the link had been cut, so that all is tried again.
      if (response.status <= 500) return response
      this.fail(1006, `HTTP ${response.status}`)
    } catch (error) {
      this.fail(1006, String(error))
    } finally {
      timer.cancel()
    }
    return undefined
  }

  /** @returns a response that can take the topic, made if there is none */
  #streamFor(topic: string): Stream {
    let stream = [...this.#streams].find((one) => one.takes(topic))
    if (stream === undefined) this.#streams.add((stream = new Stream(this)))
    return stream
  }

  /** Never rejects: those that follow must be sent all the same. */
  async #ask(request: Request): Promise<void> {
    if (this.#state === 'closed') return
    const { ref, topic } = request
    let made: ReturnType<typeof requestOf>
    try {
      made = requestOf(request)
    } catch (error) {
      return this.emit({
        type: 'error',
        ...(ref !== undefined && { ref }),
        code: 'badFrame',
        message: String(error),
      })
    }
    const response = await this.fetch(...made, requestMsMax)
    if (response === undefined) return
    const answer = await readJson(response)
    if (answer === undefined) return this.fail(1006, 'an answer that cannot be read')
    const mark = ref === undefined ? {} : { ref }
    if (response.ok && request.type === 'publish') {
      this.emit({ ...(answer as unknown as Published), ...mark, type: 'published' })
    } else if (response.ok) {
      this.emit({ ...(answer as unknown as Updated), ...mark, type: 'updated' })
    } else {
      this.emit({ ...failure(answer, `${topic}: HTTP ${response.status}`), ...mark })
    }
  }

  /** Nothing is followed, so nothing comes by itself: asks whether the hub is there. */
  async #knock(): Promise<void> {
    const response = await this.fetch('healthz', {}, changeMsMax)
    if (response?.ok) this.emit({ type: 'pong' })
  }
}

/** What the link knows of one subscription. */
interface Followed {
  readonly topic: string
  epoch: string
  /** Up to here its events have come. */
  offset: number
  /** Held back until the snapshot that belongs to it has come. */
  subscribed: Subscribed | undefined
  live: boolean
  /** Its session has ended, as far as can be seen: the end of the response is no accident. */
  ended: boolean
}

/** One response, and the requests that change what it carries. */
class Stream {
  readonly #link: SseLink
  readonly #reader = new EventStreamReader(({ event, data }) => this.#block(event, data))
  readonly #subs = new Map<number, Followed>()
  readonly #byTopic = new Map<string, number>()
  /** Frames that the hub has not been sent yet: not before it has said how the connection is called. */
  #outbox: Change[] = []
  #connection: string | undefined
  #opened = false
  #posting = false
  #cursor: string | undefined
  #batch: { readonly sub: number; readonly replay: boolean; readonly events: HubEvent[] } | undefined

  constructor(link: SseLink) {
    this.#link = link
  }

  /** Opens the response, unless it has been. What its address has room for is asked for with it, the rest afterwards. */
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
    const followed = { topic, epoch: '', offset: 0, subscribed: undefined, live: false, ended: false }
    this.#subs.set(sub, followed)
    this.change(frame)
  }

  /** First of all that waits: what is sent with another token begins with it. */
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
      // Frames are done in order up to the first that is refused.
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
    if (status === 401) return this.#link.fail(closeCodes.unauthorized, 'a valid token is needed')
    if (status === 403) return this.#link.fail(closeCodes.forbidden, 'the token does not permit this')
    if (status !== 200 || body === null) return this.#link.fail(1006, `HTTP ${status}`)
    try {
      const reader = body.getReader()
      for (;;) {
        const { done, value } = await reader.read()
        if (done) break
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

  /** What cannot be read is passed over: the position moves past it, and it does not come again. */
  #block(name: string, text: string): void {
    const data = readBlock(name, text)
    if (data === undefined) return
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
      if (followed !== undefined) this.#said(name, data, followed)
    } else if (name === 'state.initial') {
      const followed = this.#subs.get(this.#byTopic.get(data.topic as string) ?? -1)
      const { slices } = data.data as { readonly slices: JsonObject }
      if (followed?.subscribed !== undefined) this.#join({ ...followed.subscribed, slices }, followed)
    } else {
      this.#event(data)
    }
  }

  #said(name: string, data: JsonObject, followed: Followed): void {
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
        // Nothing was due any more: when the response ends now, it is because the session had ended before.
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

  /** Hands on the events of one subscription that came in a row. */
  #flush(): void {
    const batch = this.#batch
    this.#batch = undefined
    const followed = batch && this.#subs.get(batch.sub)
    const last = batch?.events.at(-1)
    if (batch === undefined || followed === undefined || last === undefined) return
    const { sub: feed, replay, events } = batch
    if (replay) return this.#link.emit({ type: 'events', feed, replay, events })
    const after = followed.offset as Offset
    followed.ended = last.type === 'complete'
    followed.offset = Math.max(after, last.offset)
    this.#link.emit({ type: 'events', feed, after, last: followed.offset as Offset, events })
  }

  /** The end of a flush says how far all is: events that did not match have moved the positions too. */
  #follow(cursor: string | undefined): void {
    if (cursor === undefined || cursor === this.#cursor) return
    this.#cursor = cursor
    const positions = readCombinedCursor(cursor, Number.POSITIVE_INFINITY) ?? new Map()
    for (const [sub, followed] of this.#subs) {
      const { topic, epoch, live, offset } = followed
      const position: Position | undefined = positions.get(topic.split('/')[1] ?? '')
      if (!live || position === undefined || position.epoch !== epoch || position.offset <= offset) continue
      followed.offset = position.offset
      const [after, last] = [offset as Offset, position.offset]
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

/** @returns the data of a block, nothing when it is not what the name promises */
function readBlock(name: string, text: string): JsonObject | undefined {
  let data: JsonObject
  try {
    data = JSON.parse(text) as JsonObject
  } catch {
    return undefined
  }
  if (typeof data !== 'object' || data === null) return undefined
  const has = (field: string, type: 'string' | 'number' | 'object') => typeof data[field] === type
  switch (name) {
    case 'hub.open':
      return has('connection', 'string') ? data : undefined
    case 'hub.close':
      return has('code', 'number') ? data : undefined
    case 'hub.subscribed':
      return has('epoch', 'string') && has('offset', 'number') ? data : undefined
    case 'hub.gap':
    case 'hub.live':
      return has('offset', 'number') ? data : undefined
    case 'state.part':
      return has('slice', 'string') && has('text', 'string') ? data : undefined
    case 'state.initial':
      return has('data', 'object') && typeof (data.data as JsonObject | null)?.slices === 'object'
        ? data
        : undefined
    default:
      return name.startsWith('hub.') || (has('offset', 'number') && has('type', 'string')) ? data : undefined
  }
}

function requestOf(request: Request): [path: string, init: RequestInit] {
  const { topic } = request
  if (request.type === 'publish') {
    return [`api/${topic}/events`, withBody('POST', 'application/json', request.events)]
  }
  const path = `api/${topic}/state/${encodeURIComponent(request.slice)}`
  const cause = request.cause && { 'x-cause': ascii(JSON.stringify(request.cause)) }
  switch (request.type) {
    case 'set':
      return [path, withBody('PUT', 'application/json', request.value, cause)]
    case 'patch':
      return [path, withBody('PATCH', 'application/json-patch+json', request.patch, cause)]
    case 'merge':
      return [path, withBody('PATCH', 'application/merge-patch+json', request.merge, cause)]
  }
}

function withBody(
  method: string,
  type: string,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): RequestInit {
  return { method, headers: { ...headers, 'content-type': type }, body: JSON.stringify(value) }
}

/** JSON that may stand in a header: what is not ASCII is escaped. */
function ascii(json: string): string {
  return json.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

async function readJson(response: Response): Promise<JsonObject | undefined> {
  try {
    return (await response.json()) as JsonObject
  } catch {
    // The caller knows what to make of an answer without a body.
    return undefined
  }
}

/** @returns the refusal that a problem document (RFC 9457) tells of. */
function failure({ type, detail }: JsonObject, otherwise: string): Failed {
  const code = typeof type === 'string' && type.startsWith('urn:runcast:') ? type.slice(12) : 'internalError'
  return {
    type: 'error',
    code: code as RequestCode,
    message: typeof detail === 'string' ? detail : otherwise,
  }
}
