import assert from 'node:assert/strict'
import { createParser } from 'eventsource-parser'
import type { Chunk, Codec } from '../../src/codec/codec.js'
import type { Connection } from '../../src/delivery/connection.js'
import type { Link } from '../../src/delivery/link.js'
import type { Hub } from '../../src/hub/hub.js'
import { type CloseCode, closeCodes, ProtocolError } from '../../src/protocol/codes.js'
import { parseCursor, readCombinedCursor } from '../../src/protocol/cursor.js'
import type { GapNotice, HubEvent, HubFrame, Slices, Unsubscribe, Update } from '../../src/protocol/frames.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { everything } from '../../src/protocol/permissions.js'
import { parseTopic } from '../../src/protocol/topic.js'
import { type Interest, reconcile, type SessionModel, type Told } from './model.js'
import { type StateCounts, StateModel, StateView, wantsSlice } from './state.js'

export type Kind = 'msgpack' | 'json' | 'sse' | 'sse many'
export const kinds: readonly Kind[] = ['msgpack', 'json', 'sse', 'sse many']

/** The client's side of one subscription: what it has, and what it checks of what comes. */
class View {
  readonly number: number
  interest: Interest
  feed = -1
  epoch = ''
  position = 0
  joinedEpoch = ''
  live = false
  /** The newest offset up to which a gap excuses what is missing. */
  excused = 0
  /** What was due on the fresh join; checked when `live` comes. */
  joining:
    | { due: Told[]; came: HubEvent[]; readonly replay: boolean | 'all'; isAnswered: boolean }
    | undefined
  /** What changed with `update`, until the client has read the answer. */
  changes: Interest[] = []
  /** Of these, how many each answer is to that the hub has written: those that wait for room are answered as one. */
  answers: number[] = []
  readonly state: StateView

  constructor(number: number, interest: Interest, counts: StateCounts) {
    this.number = number
    this.interest = interest
    this.state = new StateView(interest.topic, counts)
  }

  get stateful(): boolean {
    return this.interest.slices !== undefined && this.interest.mode !== 'silent'
  }
}

/** What the simulation knows: one model for each life of a session, by epoch. */
export interface Models {
  byEpoch(epoch: string): SessionModel
  /** The present life, or nothing when the session has not begun or was removed. */
  now(topic: string): SessionModel | undefined
}

/** A client on a simulated link, which checks all that it gets against the model. */
export class SimulatedClient {
  readonly kind: Kind
  readonly views = new Map<number, View>()
  stalled = false
  gaps = 0
  events = 0
  snapshots = 0
  updates = 0
  conflated = 0
  joined = 0
  closes: CloseCode[] = []
  /** What the hub wrote and the client has not read. */
  #inbox: Uint8Array[] = []
  #waiting = 0
  #full = false
  #connection: Connection | undefined
  #ended = false
  #cursor = ''
  #parser: ReturnType<typeof createParser> | undefined
  readonly #hub: Hub
  readonly #models: Models
  readonly #roomBytes: number

  constructor(hub: Hub, models: Models, kind: Kind, roomBytes: number) {
    this.#hub = hub
    this.#models = models
    this.kind = kind
    this.#roomBytes = roomBytes
  }

  get connected(): boolean {
    return this.#connection !== undefined
  }

  get idle(): boolean {
    // A link that the hub has ended is still to be seen as such.
    return this.#inbox.length === 0 && !this.#ended
  }

  /** Opens a link, and takes up what the client was following. */
  connect(): void {
    this.#inbox = []
    this.#waiting = 0
    this.#full = false
    this.#ended = false
    this.#parser = undefined
    const connection = this.#hub.connect(this.#link(), { endsWithSessions: this.kind === 'sse' })
    this.#connection = connection
    const cursors =
      this.kind === 'sse many' && this.#cursor !== '' ? readCombinedCursor(this.#cursor, 1_000) : undefined
    connection.together(() => {
      for (const view of this.views.values()) {
        const session = view.interest.topic.split('/')[1] as string
        const combined = cursors?.get(view.interest.topic) ?? cursors?.get(session)
        const own =
          view.epoch !== '' && view.joining === undefined ? `${view.epoch}:${view.position}` : undefined
        const many =
          view.joining === undefined && combined && combined.join === undefined
            ? `${combined.epoch}:${combined.offset}`
            : undefined
        const after = this.kind === 'sse many' ? many : own
        this.#subscribe(view, after, true)
      }
    })
  }

  subscribe(number: number, interest: Interest, replay: boolean | 'all'): void {
    const view = new View(number, interest, this)
    this.views.set(number, view)
    this.#subscribe(view, undefined, replay)
  }

  update(view: View, interest: Interest): void {
    const { mode, types = null, slices = null } = interest
    // The answer may be written at once.
    view.changes.push(interest)
    if (!this.#ask({ type: 'update', sub: view.number, mode, types, slices })) view.changes.pop()
  }

  unsubscribe(view: View): void {
    this.views.delete(view.number)
    this.#ask({ type: 'unsubscribe', sub: view.number })
  }

  /** @returns whether the hub took it; not when it has removed the subscription and the client has yet to read so. */
  #ask(frame: Update | Unsubscribe): boolean {
    try {
      this.#connection?.receive(frame)
      return true
    } catch (error) {
      assert(error instanceof ProtocolError && error.code === 'notFound')
      return false
    }
  }

  /** The link breaks: what was not read is lost. */
  cut(): void {
    const connection = this.#connection
    this.#connection = undefined
    this.#inbox = []
    connection?.closed()
  }

  /** Reads what has come, in chunks that may end anywhere, and lets the hub go on. */
  read(): void {
    if (this.stalled) return
    const inbox = this.#inbox
    this.#inbox = []
    this.#waiting = 0
    for (const bytes of inbox) this.#take(bytes)
    if (this.#ended) {
      this.#connection = undefined
      this.#ended = false
      return
    }
    if (!this.#full) return
    this.#full = false
    this.#connection?.drained()
  }

  /** Everything that is due must have come. */
  finish(): void {
    for (const view of this.views.values()) {
      const model = this.#models.now(view.interest.topic)
      if (model === undefined || view.interest.mode === 'silent') continue
      const newest = model.told.at(-1)?.event.offset ?? 0
      if (this.kind === 'sse many') this.#advance(view, [], newest)
      // A gap moves the position, and over SSE nothing that is sent says so: only the next event's id does.
      if (this.kind === 'sse') this.#advance(view, [], Math.max(view.position, view.excused))
      assert(view.live, `${this.kind} subscription of ${view.interest.topic} never went live`)
      const missing = model.due(view.interest, view.position, newest)
      assert.equal(
        missing.length,
        0,
        `${this.kind} at ${view.position} of ${view.interest.topic} misses the end`,
      )
      if (view.stateful) this.#finishState(view, model)
    }
  }

  #finishState({ interest: { topic, slices }, state }: View, model: SessionModel): void {
    state.finish(model.state, (slice) => wantsSlice(slices, slice))
    // A worker that nobody has started has nothing, and no worker has slices of the hub's.
    if (topic.includes('/workers/')) return assert.deepEqual(state.reserved, {})
    const reserved = Object.entries(this.#hub.state(topic).slices).filter(
      ([slice]) => slice.startsWith('$') && wantsSlice(slices, slice),
    )
    assert.deepEqual(state.reserved, Object.fromEntries(reserved))
  }

  #snapshot(view: View, slices: Slices): void {
    this.snapshots++
    assert(view.stateful, 'a snapshot was asked for')
    view.state.begin(slices, this.#modelOf(view)?.state ?? new StateModel())
  }

  #modelOf(view: View): SessionModel | undefined {
    return view.epoch === '' ? this.#models.now(view.interest.topic) : this.#models.byEpoch(view.epoch)
  }

  #subscribe(view: View, after: string | undefined, replay: boolean | 'all'): void {
    view.feed = -1
    view.live = false
    view.changes = []
    view.answers = []
    view.joining = undefined
    if (after === undefined) {
      view.joining = { due: [], came: [], replay, isAnswered: false }
      this.#begin(view)
    }
    const { topic, types, mode, slices } = view.interest
    this.#connection?.receive({
      type: 'subscribe',
      sub: view.number,
      topic,
      mode,
      ...(types && { types }),
      ...(slices && { slices }),
      ...(after === undefined ? { replay } : { after }),
    })
    // An SSE client learns the epoch from the first id; the check needs it before.
    if (!this.kind.startsWith('sse') || !this.connected) return
    view.joinedEpoch = this.#hub.topicToFollow(
      parseTopic(topic, 'topic', defaultLimits),
      everything,
    ).timeline.epoch
    if (after === undefined) view.epoch = view.joinedEpoch
  }

  /** A fresh join is one step: what is due is what is retained when the hub answers, which may be later than it was asked. */
  #begin(view: View): void {
    if (view.joining === undefined) return
    const model = this.#models.now(view.interest.topic)
    view.joining.due = model?.replay(view.changes.at(-1) ?? view.interest, view.joining.replay) ?? []
    if (this.kind.startsWith('sse')) view.position = model?.told.at(-1)?.event.offset ?? 0
  }

  /** Notes what the hub answers at the moment that it does, whenever the client may read it. */
  #answered(bytes: Uint8Array): void {
    if (this.kind === 'msgpack' || this.kind === 'json') {
      const frame = this.#hub.codecs[this.kind].decode(bytes) as unknown as HubFrame
      const view = frame.type === 'subscribed' ? this.views.get(frame.sub) : undefined
      if (view === undefined) return
      const before = view.answers.reduce((sum, count) => sum + count, 0)
      view.answers.push(view.changes.length - before)
      return this.#joined(view)
    }
    const name = this.kind === 'sse many' ? 'hub.subscribed' : 'state.initial'
    for (const [, data = ''] of new TextDecoder()
      .decode(bytes)
      .matchAll(new RegExp(`^event: ${name}\ndata: (.*)$`, 'gm'))) {
      const view = this.#viewOf((JSON.parse(data) as { topic: string }).topic)
      if (view !== undefined) this.#joined(view)
    }
  }

  /** A snapshot that comes later belongs to a gap. */
  #joined(view: View): void {
    if (view.joining?.isAnswered !== false) return
    this.#begin(view)
    view.joining.isAnswered = true
  }

  #link(): Link {
    const codec = this.#codec()
    const waiting = (): number => this.#waiting
    let open = true
    return {
      codec,
      get waiting() {
        return waiting()
      },
      write: (chunk: Chunk) => {
        assert(chunk instanceof Uint8Array)
        if (!open) return true
        this.#answered(chunk)
        this.#inbox.push(chunk)
        this.#waiting += chunk.length
        this.#full = this.#waiting > this.#roomBytes
        return !this.#full
      },
      cork: (writes) => writes(),
      end: () => {
        open = false
        this.#ended = true
      },
      close: (code) => {
        open = false
        this.#ended = true
        this.closes.push(code)
        assert.notEqual(closeCodes[code], undefined)
      },
    }
  }

  #codec(): Codec {
    const { codecs } = this.#hub
    switch (this.kind) {
      case 'msgpack':
        return codecs.msgpack
      case 'json':
        return codecs.json
      case 'sse':
        return codecs.sse('named', 'one')
      case 'sse many':
        return codecs.sse('named', 'many')
    }
  }

  #take(bytes: Uint8Array): void {
    if (this.kind === 'msgpack')
      return this.#frame(this.#hub.codecs.msgpack.decode(bytes) as unknown as HubFrame)
    if (this.kind === 'json') return this.#frame(this.#hub.codecs.json.decode(bytes) as unknown as HubFrame)
    // Id-only blocks dispatch no event, and the parser does not show them: they are read off the text.
    const text = new TextDecoder().decode(bytes)
    for (const block of text.split('\n\n').slice(0, -1)) {
      if (/^id: .*$/.test(block)) this.#idOnly(block.slice(4))
      else this.#block(`${block}\n\n`)
    }
  }

  #block(text: string): void {
    this.#parser ??= createParser({ onEvent: (event) => this.#sseEvent(event) })
    this.#parser.feed(text)
  }

  #sseEvent({
    event: name,
    data,
    id,
  }: {
    event?: string | undefined
    data: string
    id?: string | undefined
  }): void {
    const value = JSON.parse(data) as { topic: string } & HubEvent & GapNotice
    if (name === 'hub.open' || name === 'hub.subscribed') return
    if (name === 'hub.unsubscribed') {
      const view = this.#viewOf(value.topic)
      if (view) this.views.delete(view.number)
      return
    }
    const view = this.#viewOf(value.topic)
    if (view === undefined) return
    if (name === 'hub.gap') return this.#gap(view, value)
    if (name === 'state.initial')
      return this.#snapshot(view, (value as unknown as { data: { slices: Slices } }).data.slices)
    if (name === 'hub.live') return this.#live(view, value.offset)
    const { topic: _, ...event } = value
    // An id on it says how far the join has come: this client joins afresh instead.
    if (event.replay) {
      this.#replayed(view, [event])
      return
    }
    if (this.kind === 'sse many') {
      // A combined cursor may repeat what this topic had already.
      if (event.offset > view.position) this.#advance(view, [event], event.offset)
      return
    }
    const { epoch, offset } = parseCursor(id as string, 'id')
    assert.equal(offset, event.offset)
    assert.equal(epoch, view.epoch === '' ? epoch : view.epoch)
    view.epoch = epoch
    this.#advance(view, [event], offset)
  }

  #idOnly(cursor: string): void {
    if (this.kind === 'sse many') {
      this.#cursor = cursor
      return
    }
    const { epoch, offset } = parseCursor(cursor, 'id')
    for (const view of this.views.values()) {
      view.epoch = epoch
      if (offset > view.position && view.live) this.#advance(view, [], offset)
      view.position = Math.max(view.position, offset)
    }
  }

  #viewOf(topic: string): View | undefined {
    return [...this.views.values()].find((view) => view.interest.topic === topic)
  }

  #frame(frame: HubFrame): void {
    switch (frame.type) {
      case 'welcome':
      case 'pong':
        return
      case 'subscribed': {
        const view = this.views.get(frame.sub)
        if (view === undefined) return
        const change = view.changes.splice(0, view.answers.shift()).at(-1)
        if (change !== undefined) view.interest = change
        if (view.joining === undefined && frame.gap === undefined) {
          assert(frame.resumed)
          assert.equal(frame.epoch, view.epoch)
          assert(frame.offset >= view.position, 'an update or a resume never goes back')
          this.#settle(view, frame.offset, change !== undefined)
        }
        view.feed = frame.feed
        view.epoch = frame.epoch
        view.position = frame.offset
        if (frame.gap !== undefined) this.#gap(view, frame.gap)
        if (frame.slices !== undefined) this.#snapshot(view, frame.slices)
        else assert(!view.stateful || (frame.resumed && change === undefined), 'it begins with a snapshot')
        return
      }
      case 'events': {
        const views = [...this.views.values()].filter(({ feed }) => feed === frame.feed)
        for (const view of views) {
          if (frame.replay) this.#replayed(view, frame.events)
          else if ((frame.last as number) > view.position) {
            assert(
              (frame.after as number) <= view.position,
              `after ${frame.after} is above position ${view.position}`,
            )
            this.#advance(view, frame.events, frame.last as number)
          }
        }
        return
      }
      case 'live': {
        const view = this.views.get(frame.sub)
        if (view !== undefined) this.#live(view, frame.offset)
        return
      }
      case 'gap': {
        const view = this.views.get(frame.sub)
        if (view === undefined) return
        this.#gap(view, frame)
        if (frame.slices !== undefined) this.#snapshot(view, frame.slices)
        else assert(!view.stateful, 'a gap comes with a snapshot')
        return
      }
      case 'unsubscribed':
        if (frame.code !== 'asked') this.views.delete(frame.sub)
        return
      default:
        assert.fail(`got ${frame.type}`)
    }
  }

  /** What an `update` leaves behind: what the old filter was owed has come before the answer. */
  #settle(view: View, offset: number, updated: boolean): void {
    if (!updated) return
    view.position = offset
  }

  #replayed(view: View, events: readonly HubEvent[]): void {
    assert(
      events.every(({ type }) => type !== 'state.update'),
      'state is not replayed',
    )
    // Two subscriptions alike share a feed, and the one that joined before is not concerned.
    view.joining?.came.push(...events)
    this.events += events.length
  }

  #live(view: View, offset: number): void {
    if (view.joining !== undefined) {
      const { due, came } = view.joining
      reconcile(due, came, (told) =>
        assert.fail(`the join left out ${told.event.offset} (${told.event.type})`),
      )
      view.joining = undefined
      this.joined++
    }
    view.live = true
    this.#advance(view, [], offset)
  }

  #gap(view: View, { reason, offset, after }: GapNotice): void {
    this.gaps++
    if (reason === 'epoch') {
      if (this.kind.startsWith('sse')) {
        view.position = 0
        view.epoch = view.joinedEpoch
      }
      view.excused = offset
      return
    }
    assert(after <= view.position || this.kind.startsWith('sse'))
    view.excused = Math.max(view.excused, offset)
  }

  #advance(view: View, events: readonly HubEvent[], last: number): void {
    if (last <= view.position) {
      assert.equal(events.length, 0)
      return
    }
    const model = this.#modelOf(view)
    if (model !== undefined) {
      const due = model.due(view.interest, view.position, last)
      try {
        const published = events.filter(({ type }) => type !== 'state.update')
        reconcile(due, published, (told) => this.#excuse(view, model, told))
        for (const event of events) if (event.type === 'state.update') view.state.take(event, model.state)
      } catch (error) {
        const came = events.map(({ offset, type }) => `${offset} ${type}`).join(', ')
        throw new Error(`${String(error)} ${this.kind} ${JSON.stringify(view)} to ${last}: came ${came}`, {
          cause: error,
        })
      }
    }
    view.position = last
    this.events += events.length
  }

  /** Only what was evicted may be missing, and only after a gap that told of it, or with a newer one of its key. */
  #excuse({ excused, interest: { topic }, position }: View, model: SessionModel, told: Told): void {
    const { offset, type } = told.event
    const where = `${this.kind} at ${position} of ${topic}: ${offset} (${type})`
    assert(
      !model.isRetained(topic, told),
      `${where} is missing, though it is retained in ${[...told.retainedIn].join(', ')}`,
    )
    if (told.traits.replay === 'latest' && !model.isNewest(topic, told)) return
    assert(offset <= excused, `${where} is missing without a gap`)
  }
}
