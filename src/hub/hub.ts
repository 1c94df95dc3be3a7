import { type Catalog, createCatalog, type Extensions } from '../catalog/catalog.js'
import type { PublisherStatus } from '../catalog/traits.js'
import { Codecs } from '../codec/codecs.js'
import type { Entry } from '../history/entry.js'
import { type Clock, systemClock } from '../lib/clock.js'
import { explainFault, type JsonObject, type JsonValue, measure } from '../lib/json.js'
import { type Random, systemRandom } from '../lib/random.js'
import { checkSlice } from '../protocol/check.js'
import { type CloseCode, ProtocolError, quote } from '../protocol/codes.js'
import {
  type Cursor,
  type Epoch,
  formatCursor,
  type Offset,
  type Position,
  parseCursor,
  start,
} from '../protocol/cursor.js'
import type {
  Cause,
  GapReason,
  HubEvent,
  Mode,
  NewEvent,
  PatchOperation,
  Slices,
} from '../protocol/frames.js'
import { defaultLimits, type Limits } from '../protocol/limits.js'
import { idPattern, parseTopic, type TopicName, typePattern } from '../protocol/topic.js'
import { type Change, noCounts, type StateCounts } from '../state/topic-state.js'
import type { Retention, Store } from '../store/store.js'
import { Connection, type ConnectionOptions } from './connection.js'
import { Delivery } from './delivery.js'
import type { Feed } from './feed.js'
import { Filter } from './filter.js'
import { Keeping } from './keeping.js'
import type { Link } from './link.js'
import { LocalLink, type LocalOptions, type LocalSubscription } from './local.js'
import { listOf, slicesOf } from './own-slices.js'
import { entryOf, restoreSession } from './restore.js'
import {
  hubSession,
  type Intent,
  Session,
  type SessionSetting,
  type SessionStatus,
  type Worker,
} from './session.js'
import { SessionHandle } from './session-handle.js'
import type { Topic } from './topic.js'

export interface HubOptions {
  readonly clock?: Clock
  readonly random?: Random
  /** Event types beyond the built-in ones, or traits that differ from theirs. */
  readonly catalog?: Extensions
  /** Bounds that differ from `defaultLimits`. */
  readonly limits?: Partial<Limits>
  /** Where events survive a restart; without one, history is what memory holds. The hub closes it. */
  readonly store?: Store
  /** Whether subscriptions and requests may have a slice of a topic at all; all of them unless given. */
  readonly expose?: (slice: string, topic: string) => boolean
  /** What the store keeps; everything unless given. */
  readonly retention?: Retention
}

export interface PublishResult {
  /** Where the first and the last of the events stand, duplicates included. */
  readonly first: Offset
  readonly last: Offset
  /** Events that were published now. */
  readonly accepted: number
  /** Events whose id had been published before. */
  readonly duplicates: number
}

export interface StateOptions {
  /** What led to the change. */
  readonly cause?: Cause
  /** Only if the slice has not changed since, or with `exists`, only if there is one. */
  readonly unless?: { readonly changedSince: Position } | { readonly absent: true }
}

export interface StateResult {
  readonly epoch: Epoch
  /** Of the change; where there was nothing to change, of the slice's last one. */
  readonly offset: Offset
  readonly changed: boolean
}

export interface StateSnapshot {
  readonly epoch: Epoch
  /** The session's newest offset. */
  readonly offset: Offset
  /** The offset of the newest change of the topic's state: the same as long as nothing has changed. */
  readonly version: Offset
  readonly slices: Slices
}

export interface WorkerSummary {
  readonly id: string
  readonly status: PublisherStatus
  readonly startedAt: number
  readonly endedAt?: number
  readonly events: number
}

export interface SessionSummary {
  readonly id: string
  readonly status: Exclude<SessionStatus, 'waiting'>
  readonly epoch: Epoch
  /** The offset of the newest event. */
  readonly offset: Offset
  /** Milliseconds since 1970. */
  readonly startedAt: number
  readonly endedAt?: number
  readonly outcome?: JsonValue
  readonly mode: Mode
  readonly metadata: JsonObject
  readonly workers: readonly WorkerSummary[]
}

export interface HistoryQuery {
  readonly after?: Cursor
  /** Events of the page; 1 to 1,000, 100 unless given. */
  readonly limit?: number
  readonly types?: readonly string[]
}

export interface HistoryPage {
  readonly epoch: Epoch
  /** The oldest and newest offset on the page; 0 when it is empty. */
  readonly first: Offset
  readonly last: Offset
  readonly events: readonly HubEvent[]
  /** Where the next page begins; absent at the end. */
  readonly next?: Cursor
}

/** Figures since the hub was made, and what is open now. */
export interface HubStats {
  readonly published: number
  readonly duplicates: number
  readonly delivered: number
  readonly encodings: ReadonlyMap<string, number>
  readonly sessions: number
  readonly connections: number
  readonly subscriptions: number
  /** Subscriptions that are not in step. */
  readonly lagging: number
  readonly feeds: number
  readonly gaps: ReadonlyMap<GapReason, number>
  readonly closed: ReadonlyMap<CloseCode, number>
  /** Without the slices that the hub keeps itself. */
  readonly state: Readonly<StateCounts>
}

/** A part of what the store has of a topic. */
export interface StoredPage {
  readonly entries: readonly Entry[]
  /** Everything up to here was looked at. */
  readonly last: Offset
  /** The store had nothing more. */
  readonly end: boolean
}

const pageEventsMax = 1_000
// As long as a crowd of clients takes to come back after a cut.
const replayKeptMs = 1_000
const storedPageBytes = 256 * 1024
// Type names that passed the pattern, so that it is asked once each; bounded, for names are the producers'.
const knownTypesMax = 4_096

/** @returns a hub; it does nothing until something is published, and holds nothing open. */
export function createHub(options: HubOptions = {}): Hub {
  return new Hub(options)
}

/** Owns sessions and connections: takes what is published, and brings it to those who follow. */
export class Hub {
  readonly clock: Clock
  readonly random: Random
  readonly catalog: Catalog
  readonly limits: Limits
  readonly codecs = new Codecs()
  readonly delivery: Delivery
  readonly connections = new Set<Connection>()
  readonly #sessions = new Map<string, Session>()
  readonly #own: Session
  readonly #setting: SessionSetting
  readonly #stateCounts = noCounts()
  readonly #keeping: Keeping | undefined
  readonly #departed: Connection[] = []
  readonly #knownTypes = new Set<string>()
  readonly #gaps = new Map<GapReason, number>()
  readonly #closed = new Map<CloseCode, number>()
  #published = 0
  #duplicates = 0
  readonly #replays = new Set<Feed>()
  #feedNumber = 0
  #feeds = 0

  constructor(options: HubOptions) {
    this.clock = options.clock ?? systemClock
    this.random = options.random ?? systemRandom
    this.catalog = createCatalog(options.catalog)
    this.limits = { ...defaultLimits, ...options.limits }
    this.delivery = new Delivery(
      (task) => this.clock.defer(task),
      (session) => this.#refresh(session),
      (sessions) => this.#afterFlush(sessions),
    )
    this.#keeping = this.#keepingOf(options)
    this.#setting = {
      limits: this.limits,
      state: {
        limits: this.limits,
        counts: this.#stateCounts,
        expose: options.expose ?? (() => true),
      },
      isKept: this.#keeping !== undefined,
      listChanged: () => this.#listChanged(),
    }
    // The topic hub has one slice, which the hub bounds itself and nobody counts.
    const unbounded = {
      ...this.limits,
      sliceBytesMax: Number.POSITIVE_INFINITY,
      stateBytesMax: Number.POSITIVE_INFINITY,
    }
    this.#own = new Session(hubSession, this.random.id(), {
      ...this.#setting,
      state: { ...this.#setting.state, limits: unbounded, counts: noCounts() },
      isKept: false,
    })
    this.#own.status = 'running'
  }

  #keepingOf({ store, retention }: HubOptions): Keeping | undefined {
    if (store === undefined) return undefined
    const { unkeptBytesMax, idleSessionsMax } = this.limits
    return new Keeping({
      store,
      clock: this.clock,
      unkeptBytesMax,
      idleSessionsMax,
      ...(retention && { retention }),
      release: (session) => {
        if (this.#sessions.get(session.id) === session) this.#sessions.delete(session.id)
      },
      removed: (id) => {
        const session = this.#sessions.get(id)
        if (session === undefined || this.#keeping === undefined) return
        if (session.status !== 'ended' && (session.followed || this.#keeping.busy(session))) {
          // It was wanted again while it was being removed: it goes on, without its past.
          session.trimmed = session.kept
          this.#recordChanged(session)
          return
        }
        this.#keeping.drop(session)
        this.#forget(session)
      },
      trimmed: (id, trimmed) => {
        const session = this.#sessions.get(id)
        if (session !== undefined) session.trimmed = trimmed
      },
      holds: (id) => {
        const session = this.#sessions.get(id)
        return session !== undefined && (session.followed || this.#keeping?.busy(session) === true)
      },
    })
  }

  /** Why nothing can be published now: the store fails. Nothing when all is well. */
  get fault(): string | undefined {
    return this.#keeping?.fault?.message
  }

  // Publishing

  /** The session with that id, whether it exists or not; it is created by its first publish. */
  session(id: string): SessionHandle {
    checkId(id, 'session')
    return new SessionHandle(this, id)
  }

  /**
   * Publishes to `sessions/{s}` or `sessions/{s}/workers/{w}`: all of the events, or none.
   *
   * @throws ProtocolError with the place in `events` when one is not valid, `conflict` when the session has ended
   */
  publish(topic: string, events: readonly NewEvent[]): PublishResult {
    const name = parseTopic(topic, 'publish.topic')
    if (name.kind === 'hub')
      throw new ProtocolError('forbidden', 'publish.topic: only the hub publishes to hub')
    if (name.kind === 'all') {
      throw new ProtocolError(
        'badFrame',
        `publish.topic: expected a session or a worker, got ${quote(topic)}`,
      )
    }
    return this.publishTo(name.session, name.kind === 'worker' ? name.worker : undefined, events)
  }

  /** `publish`, for a topic whose ids have been checked. */
  publishTo(sessionId: string, workerId: string | undefined, events: readonly NewEvent[]): PublishResult {
    const sizes = this.#check(events)
    const session = this.#running(sessionId)
    this.#keeping?.admit(session)
    const before = session.unkept.bytes
    const worker = workerId === undefined ? undefined : this.#worker(session, workerId)
    const now = this.clock.now()
    let first = 0 as Offset
    let last = 0 as Offset
    let duplicates = 0
    for (let i = 0; i < events.length; i++) {
      const event = events[i] as NewEvent
      let offset = event.id === undefined ? undefined : session.offsetOf(event.id)
      if (offset === undefined) {
        const traits = this.catalog.traitsOf(event.type)
        offset = session.append(event, worker, { traits, bytes: sizes[i] as number, now })
        if (session.pending >= this.limits.pendingEventsMax) this.delivery.flush(session)
      } else duplicates++
      if (i === 0) first = offset
      if (offset > last) last = offset
    }
    if (session.unflushed) this.delivery.schedule(session)
    const accepted = events.length - duplicates
    if (accepted > 0) this.#keeping?.touch(session, session.unkept.bytes - before)
    this.#published += accepted
    this.#duplicates += duplicates
    return { first, last, accepted, duplicates }
  }

  // State

  /**
   * Sets a slice of `sessions/{s}` or `sessions/{s}/workers/{w}`. The value is held by reference and must not be
   * changed any more; what it shares with the one before costs nothing.
   *
   * @throws ProtocolError when the value is not valid, the session has ended, or `unless` says so
   */
  setState(topic: string, slice: string, value: JsonValue, options: StateOptions = {}): StateResult {
    return this.#change(topic, slice, options, (state, moment) => state.set(slice, value, moment))
  }

  /** Applies a patch (RFC 6902); `conflict` names the operation that does not apply, `notFound` means no slice. */
  patchState(
    topic: string,
    slice: string,
    patch: readonly PatchOperation[],
    options: StateOptions = {},
  ): StateResult {
    return this.#change(topic, slice, options, (state, moment) => state.patch(slice, patch, moment))
  }

  /** Merges into a slice (RFC 7386), or into nothing where there is none. */
  mergeState(topic: string, slice: string, merge: JsonValue, options: StateOptions = {}): StateResult {
    return this.#change(topic, slice, options, (state, moment) => state.merge(slice, merge, moment))
  }

  removeState(topic: string, slice: string, options: StateOptions = {}): StateResult {
    return this.#change(topic, slice, options, (state, moment) => state.remove(slice, moment))
  }

  /**
   * @param slices names, `prefix*` or `*`, as in a subscription
   * @throws ProtocolError `notFound` when the session or worker was never started
   */
  state(topicName: string, slices: readonly string[] = ['*']): StateSnapshot {
    const topic = this.#startedTopic(parseTopic(topicName, 'topic'))
    const filter = new Filter({ mode: 'full', slices })
    this.settle(topic.session, filter)
    const { epoch, offset } = topic.session
    return { epoch, offset, version: topic.stateOffset, slices: topic.snapshot(filter) }
  }

  #change(
    topicName: string,
    slice: string,
    { cause, unless }: StateOptions,
    make: Intent['make'],
  ): StateResult {
    const name = parseTopic(topicName, 'topic')
    if (name.kind === 'hub') throw new ProtocolError('forbidden', 'topic: only the hub sets the state of hub')
    if (name.kind === 'all') {
      throw new ProtocolError('badFrame', `topic: expected a session or a worker, got ${quote(topicName)}`)
    }
    checkSlice(slice, this.limits, 'slice')
    if (cause?.payload !== undefined) this.#measure(cause.payload, 'cause.payload')
    const session = this.#session(name.session)
    const worker = name.kind === 'worker' ? this.#worker(session, name.worker) : undefined
    const topic = worker?.topic ?? session.topic
    let change: Change | undefined
    try {
      if (session.status === 'ended') throw hasEnded(name.session)
      this.#keeping?.admit(session)
      if (unless !== undefined) checkUnless(topic, slice, unless)
      change = session.change({ topic, slice, now: this.clock.now(), cause, make })
    } finally {
      // A session or worker does not begin with what was refused, or changed nothing.
      if (change?.kind !== 'changed') this.mayForget(topic)
    }
    if (change.kind === 'unchanged') return { epoch: session.epoch, offset: change.offset, changed: false }
    const { entry } = change
    this.#running(name.session)
    if (worker !== undefined) session.start(worker, entry.event.time)
    if (session.unflushed) this.delivery.schedule(session)
    this.#keeping?.touch(session, entry.bytes)
    return { epoch: session.epoch, offset: entry.place, changed: true }
  }

  /** Brings everything in step up to the session's offset, and what the filter watches up to date. */
  settle(session: Session, filter: Filter): void {
    if (filter.watches) this.#refresh(session)
    this.delivery.flush(session)
  }

  #refresh(session: Session): void {
    if (!session.stale || session.status === 'waiting') return
    session.stale = false
    const now = this.clock.now()
    const slices =
      session === this.#own ? [['sessions', listOf(this.#sessions.values())] as const] : slicesOf(session)
    const { offset, topic } = session
    for (const [slice, value] of slices) {
      session.change({ topic, slice, now, make: (state, moment) => state.set(slice, value, moment) })
    }
    // The store has nothing to keep but that the offsets are taken.
    if (session.offset > offset) this.#keeping?.touch(session, 0)
  }

  #listChanged(): void {
    this.#own.stale = true
    if (this.#own.watched) this.delivery.schedule(this.#own)
  }

  /** @returns once everything that the session has published so far is stored; rejects with `unavailable`. */
  committed(id: string): Promise<void> {
    const session = this.#sessions.get(id)
    if (this.#keeping === undefined || session === undefined) return Promise.resolve()
    return this.#keeping.committed(session)
  }

  // Sessions

  /** @returns what is known of a session, or nothing when it was never started. */
  find(id: string): SessionSummary | undefined {
    const session = this.#known(id)
    return session === undefined || session.status === 'waiting' ? undefined : summarize(session)
  }

  sessions(): SessionSummary[] {
    const found: SessionSummary[] = []
    for (const session of this.#sessions.values())
      if (session.status !== 'waiting') found.push(summarize(session))
    return found
  }

  /**
   * A page of the sessions, in memory or not, in the order of their ids.
   *
   * @param after the id before the page; empty for the first
   */
  async listSessions(after: string, limit: number): Promise<{ sessions: SessionSummary[]; end: boolean }> {
    const stored = await this.#keeping?.store.sessions(after, limit)
    const last = stored === undefined || stored.end ? undefined : stored.sessions.at(-1)?.record.session
    const ids = new Set(stored?.sessions.map(({ record }) => record.session))
    for (const { id, status } of this.#sessions.values()) {
      if (status !== 'waiting' && id > after && (last === undefined || id <= last)) ids.add(id)
    }
    const sorted = [...ids].toSorted((one, other) => (one < other ? -1 : 1))
    const sessions: SessionSummary[] = []
    for (const id of sorted.slice(0, limit)) {
      const session = this.#sessions.get(id)
      const summary = session === undefined ? await this.#summaryInStore(id) : this.find(id)
      if (summary !== undefined) sessions.push(summary)
    }
    return { sessions, end: last === undefined && sorted.length <= limit }
  }

  /** Looks without bringing the session back into memory. */
  async #summaryInStore(id: string): Promise<SessionSummary | undefined> {
    const stored = await this.#keeping?.store.load(id)
    if (stored === undefined) return undefined
    const session = new Session(id, stored.record.epoch, this.#setting)
    session.restore(stored, [], [])
    return summarize(session)
  }

  /**
   * Creates a session, or changes the mode or metadata of one.
   *
   * @returns whether it is new
   */
  createSession(id: string, { mode, metadata }: { mode?: Mode; metadata?: JsonObject } = {}): boolean {
    checkId(id, 'session')
    const isNew = this.find(id) === undefined
    if (metadata !== undefined) this.#measure(metadata, 'metadata')
    const session = this.#running(id)
    this.#keeping?.admit(session)
    if (mode !== undefined) session.mode = mode
    if (metadata !== undefined) session.metadata = metadata
    this.#recordChanged(session)
    return isNew
  }

  /** @throws ProtocolError `notFound`, or `conflict` when it has ended already */
  endSession(id: string, outcome?: JsonValue): void {
    const session = this.#started(id)
    if (session.status === 'ended')
      throw new ProtocolError('conflict', `session ${quote(id)} has ended already`)
    this.#keeping?.admit(session)
    const data = outcome === undefined ? {} : { outcome }
    const bytes = this.#measure(data, 'outcome')
    if (outcome !== undefined) session.outcome = outcome
    const traits = this.catalog.traitsOf('complete')
    const now = this.clock.now()
    session.conclude(now)
    // Before the event that ends everything, so that those who watch learn it too.
    if (session.watched || session.topic.stateOffset > 0) this.#refresh(session)
    session.end({ type: 'complete', data }, { traits, bytes, now })
    this.#published++
    this.delivery.schedule(session)
    if (this.#keeping !== undefined) {
      this.#keeping.touch(session, bytes)
      return
    }
    this.clock.after(this.limits.endedRetentionMs, () => {
      if (this.#sessions.get(id) === session) this.#forget(session)
    })
  }

  /**
   * Forgets a session and all that was published to it; its subscriptions are told at once.
   *
   * @returns once it is gone from the store too; rejects with `unavailable` when that fails
   * @throws ProtocolError `notFound`
   */
  removeSession(id: string): Promise<void> {
    const session = this.#started(id)
    this.#forget(session)
    return this.#keeping?.remove(session) ?? Promise.resolve()
  }

  #forget(session: Session): void {
    const { id } = session
    this.delivery.flush(session)
    for (const topic of topicsOf(session)) {
      for (const feed of topic.feeds.values()) {
        for (const subscription of feed.subscriptions) {
          subscription.connection.unsubscribe(subscription, 'removed', `session ${id} was removed`)
        }
      }
    }
    this.#sessions.delete(id)
    this.#listChanged()
  }

  #recordChanged(session: Session): void {
    if (this.#keeping === undefined) return
    session.unkept.record = true
    this.#keeping.touch(session, 0)
  }

  /**
   * A page of retained events, oldest first.
   *
   * @throws ProtocolError `notFound`, `badFrame`, or `conflict` for a cursor of another epoch
   */
  history(topicName: string, { after, limit = 100, types }: HistoryQuery = {}): HistoryPage {
    if (!Number.isInteger(limit) || limit < 1 || limit > pageEventsMax) {
      throw new ProtocolError(
        'badFrame',
        `limit: expected an integer from 1 to ${pageEventsMax}, got ${quote(limit)}`,
      )
    }
    const topic = this.#startedTopic(parseTopic(topicName, 'topic'))
    const { epoch } = topic.session
    const position = after === undefined ? { epoch, offset: start } : parseCursor(after, 'after')
    if (position.epoch !== epoch) {
      throw new ProtocolError(
        'conflict',
        `after: the session's epoch is ${epoch}, got a cursor of ${position.epoch}`,
      )
    }
    const filter = new Filter({ mode: 'full', ...(types && { types }) })
    const page = topic.read(position.offset, filter, limit)
    const events = page.entries.map(({ event }) => event)
    const isLast = page.last >= topic.session.offset
    return {
      epoch,
      first: events.at(0)?.offset ?? start,
      last: events.at(-1)?.offset ?? start,
      events,
      ...(isLast ? undefined : { next: formatCursor(epoch, page.last) }),
    }
  }

  /** `history`, going on in the store where memory does not reach back to. */
  async readHistory(topicName: string, query: HistoryQuery = {}): Promise<HistoryPage> {
    // What is wrong with the query is said before anything is read.
    const page = this.history(topicName, query)
    const { after, limit = 100, types } = query
    const topic = this.#startedTopic(parseTopic(topicName, 'topic'))
    const filter = new Filter({ mode: 'full', ...(types && { types }) })
    const from = after === undefined ? start : parseCursor(after, 'after').offset
    if (!topic.isInStore(from, filter)) return page
    const events: HubEvent[] = []
    let last = from
    for (let end = false; !end && events.length < limit; ) {
      const part = await this.readStored(topic, filter, { after: last, limit: limit - events.length })
      events.push(...part.entries.map(({ event }) => event))
      last = part.last
      end = part.end || !topic.isInStore(last, filter)
    }
    const { epoch, offset } = topic.session
    return {
      epoch,
      first: events.at(0)?.offset ?? start,
      last: events.at(-1)?.offset ?? start,
      events,
      ...(last >= offset ? undefined : { next: formatCursor(epoch, last) }),
    }
  }

  /** @returns a page of a topic's events that are in the store, once there are any after `after`. */
  async readStored(
    topic: Topic,
    filter: Filter,
    { after, limit }: { readonly after: Offset; readonly limit: number },
  ): Promise<StoredPage> {
    const { session } = topic
    if (this.#keeping === undefined) return { entries: [], last: after, end: true }
    if (after >= session.kept) await this.#keeping.progress(session)
    const { kept } = session
    const entries: Entry[] = []
    const page = await this.#keeping.store.read(session.id, after, {
      limit,
      bytes: storedPageBytes,
      filter: (event) => {
        if (!topic.shows(event, this.catalog)) return false
        const entry = entryOf(event, this.catalog)
        if (!filter.accepts(entry)) return false
        entries.push(entry)
        return true
      },
    })
    if (page.trimmed > session.trimmed) session.trimmed = page.trimmed
    // Offsets up to `kept` that no event has were given out and left empty.
    const last = page.end && kept > page.last ? kept : page.last
    return { entries, last, end: page.end }
  }

  // Following

  /** Takes a link that has opened; its transport tells the connection when it drains and when it has gone. */
  connect(link: Link, options: ConnectionOptions = {}): Connection {
    const connection = new Connection(this.random.id(), this, link, options)
    this.connections.add(connection)
    const { heartbeatMs, frameBytesMax, subscriptionsMax, filterTypesMax } = this.limits
    const limits = { frameBytesMax, subscriptionsMax, filterTypesMax }
    connection.say({ type: 'welcome', connection: connection.id, version: 1, heartbeatMs, limits })
    return connection
  }

  /**
   * Follows a topic within the process. The events come in order, first what a join replays; the iteration ends
   * when the session does. One who reads slowly lags like any other connection.
   */
  subscribe(topic: string, options: LocalOptions = {}): LocalSubscription {
    const link = new LocalLink(this.codecs.object)
    const connection = this.connect(link, { endsWithSessions: true })
    return link.follow(connection, topic, options)
  }

  /** Tells every connection that the hub goes away. */
  close(): void {
    this.delivery.flushAll()
    for (const connection of this.connections) connection.close('shutdown', 'the hub is shutting down')
  }

  /** @returns once all that was published is stored, and the store is closed. Nothing may be published after it. */
  async closeStore(): Promise<void> {
    await this.#keeping?.close()
  }

  stats(): HubStats {
    let subscriptions = 0
    let lagging = 0
    for (const connection of this.connections) {
      subscriptions += connection.subscriptions.size
      lagging += connection.lagging
    }
    return {
      published: this.#published,
      duplicates: this.#duplicates,
      delivered: this.delivery.delivered,
      encodings: this.codecs.encodings(),
      sessions: this.#sessions.size,
      connections: this.connections.size,
      subscriptions,
      lagging,
      feeds: this.#feeds,
      gaps: this.#gaps,
      closed: this.#closed,
      state: { ...this.#stateCounts },
    }
  }

  // For connections

  /** @returns the topic, made as a placeholder when its session or worker does not exist yet. */
  topicToFollow(name: TopicName): Topic {
    switch (name.kind) {
      case 'hub':
        return this.#own.topic
      case 'session':
        return this.#session(name.session).topic
      case 'all':
        return this.#session(name.session).all as Topic
      case 'worker':
        return this.#worker(this.#session(name.session), name.worker).topic
    }
  }

  feed(topic: Topic, filter: Filter): Feed {
    const before = topic.feeds.size
    const feed = topic.feed(filter, () => ++this.#feedNumber)
    this.#feeds += topic.feeds.size - before
    return feed
  }

  /** Keeps what a join replays for those who join about now; not for ever, for it may be a megabyte a feed. */
  keepReplay(feed: Feed): void {
    if (this.#replays.size === 0) {
      this.clock.after(replayKeptMs, () => {
        for (const kept of this.#replays) kept.forgetReplay()
        this.#replays.clear()
      })
    }
    this.#replays.add(feed)
  }

  forgetFeed(feed: Feed): void {
    this.#replays.delete(feed)
    feed.topic.forget(feed)
    this.#feeds--
  }

  /** Placeholders go when nobody follows them. */
  mayForget({ session }: Topic): void {
    for (const [id, { startedAt, topic }] of session.workers) {
      if (startedAt === undefined && !topic.followed) session.workers.delete(id)
    }
    if (session.status === 'waiting' && !session.followed) this.#sessions.delete(session.id)
    else if (session !== this.#own) this.#keeping?.rest(session)
  }

  departed(connection: Connection): void {
    this.connections.delete(connection)
    if (this.delivery.busy) this.#departed.push(connection)
    else connection.leaveAll()
  }

  countGap(reason: GapReason): void {
    this.#gaps.set(reason, (this.#gaps.get(reason) ?? 0) + 1)
  }

  countClose(code: CloseCode): void {
    this.#closed.set(code, (this.#closed.get(code) ?? 0) + 1)
  }

  #afterFlush(sessions: readonly Session[]): void {
    for (const connection of this.#departed.splice(0)) connection.leaveAll()
    for (const session of sessions) {
      if (session.status !== 'ended') continue
      for (const topic of topicsOf(session)) {
        for (const feed of topic.feeds.values()) {
          for (const { connection } of feed.subscriptions) connection.endIfDone()
        }
      }
    }
  }

  /** @returns the sizes of the events, once all of them have been found valid. */
  #check(events: readonly NewEvent[]): number[] {
    const sizes: number[] = []
    for (let i = 0; i < events.length; i++) {
      const { type, data, key } = events[i] as NewEvent
      if (!this.#isType(type)) {
        const message = `type: expected 1–128 of A–Z a–z 0–9 . _ : -, got ${quote(type)}`
        throw new ProtocolError('badFrame', message, { pointer: `/${i}/type` })
      }
      sizes.push(this.#measure(data ?? null, 'data', `/${i}/data`) + type.length + (key?.length ?? 0) + 64)
    }
    return sizes
  }

  #measure(value: JsonValue, field: string, pointer = ''): number {
    const { depthMax, frameBytesMax } = this.limits
    const bytes = measure(value, depthMax)
    if (bytes > frameBytesMax) {
      throw new ProtocolError('frameTooLarge', `${field}: expected at most ${frameBytesMax} bytes`, {
        pointer,
      })
    }
    if (bytes >= 0) return bytes
    const fault = explainFault(value, depthMax)
    throw new ProtocolError('badFrame', `${field}: ${fault.problem}`, { pointer: pointer + fault.pointer })
  }

  #isType(type: string): boolean {
    if (this.#knownTypes.has(type)) return true
    if (typeof type !== 'string' || !typePattern.test(type)) return false
    if (this.#knownTypes.size < knownTypesMax) this.#knownTypes.add(type)
    return true
  }

  /** @returns the session, from memory or from the store. */
  #known(id: string): Session | undefined {
    const session = this.#sessions.get(id)
    if (session !== undefined || this.#keeping === undefined || this.#keeping.leaves(id)) return session
    const { now } = this.#keeping.store
    const stored = now?.load(id)
    if (now === undefined || stored === undefined) return undefined
    const restored = new Session(id, stored.record.epoch, this.#setting)
    const events = now.newest(id, {
      limit: this.limits.restoredEventsMax,
      bytes: this.limits.historyBytesMax,
    })
    restoreSession(restored, stored, { events: events.events, catalog: this.catalog })
    this.#sessions.set(id, restored)
    this.#keeping.rest(restored)
    return restored
  }

  #session(id: string): Session {
    let session = this.#known(id)
    if (session === undefined) {
      if (this.#sessions.size >= this.limits.sessionsMax) {
        throw new ProtocolError(
          'unavailable',
          `the hub holds ${this.limits.sessionsMax} sessions; remove some`,
        )
      }
      session = new Session(id, this.random.id(12), this.#setting)
      this.#sessions.set(id, session)
    }
    return session
  }

  /** @returns the session, started if it was not. */
  #running(id: string): Session {
    const session = this.#session(id)
    if (session.status === 'ended') {
      throw hasEnded(id)
    }
    if (session.status === 'waiting') {
      session.status = 'running'
      session.startedAt = this.clock.now()
      this.#listChanged()
      this.#recordChanged(session)
    }
    return session
  }

  #started(id: string): Session {
    const session = this.#known(id)
    if (session === undefined || session.status === 'waiting') {
      throw new ProtocolError('notFound', `there is no session ${quote(id)}`)
    }
    return session
  }

  #startedTopic(name: TopicName): Topic {
    if (name.kind === 'hub') return this.#own.topic
    const session = this.#started(name.session)
    if (name.kind === 'session') return session.topic
    if (name.kind === 'all') return session.all as Topic
    const worker = session.workers.get(name.worker)
    if (worker?.startedAt === undefined) {
      throw new ProtocolError(
        'notFound',
        `session ${quote(name.session)} has no worker ${quote(name.worker)}`,
      )
    }
    return worker.topic
  }

  #worker(session: Session, id: string): Worker {
    const { workersMax } = this.limits
    if (session.workers.size >= workersMax && !session.workers.has(id)) {
      throw new ProtocolError('conflict', `a session has at most ${workersMax} workers`)
    }
    return session.worker(id)
  }
}

function hasEnded(id: string): ProtocolError {
  return new ProtocolError(
    'conflict',
    `session ${quote(id)} has ended; publish to a new one, or remove it first`,
  )
}

/** @throws ProtocolError `preconditionFailed`: nothing may change */
function checkUnless(
  { state, session }: Topic,
  slice: string,
  unless: NonNullable<StateOptions['unless']>,
): void {
  if ('absent' in unless) {
    if (state.get(slice) !== undefined) return
    throw new ProtocolError('preconditionFailed', `there is no slice ${slice}`)
  }
  const { epoch, offset } = unless.changedSince
  const changedAt = state.changedAt(slice)
  if (epoch === session.epoch && changedAt <= offset) return
  throw new ProtocolError(
    'preconditionFailed',
    `slice ${slice} has changed at ${session.epoch}:${changedAt}, after ${epoch}:${offset}`,
  )
}

function checkId(id: string, field: string): void {
  if (typeof id !== 'string' || !idPattern.test(id)) {
    throw new ProtocolError('badFrame', `${field}: expected 1–128 of A–Z a–z 0–9 . _ ~ -, got ${quote(id)}`)
  }
}

function topicsOf(session: Session): Topic[] {
  const topics = [session.topic, ...[...session.workers.values()].map(({ topic }) => topic)]
  return session.all === undefined ? topics : [...topics, session.all]
}

function summarize(session: Session): SessionSummary {
  const workers: WorkerSummary[] = []
  for (const { id, status, startedAt, endedAt, events } of session.workers.values()) {
    if (startedAt === undefined) continue
    workers.push({ id, status, startedAt, ...(endedAt !== undefined && { endedAt }), events })
  }
  return {
    id: session.id,
    status: session.status as SessionSummary['status'],
    epoch: session.epoch,
    offset: session.offset,
    startedAt: session.startedAt as number,
    ...(session.endedAt === undefined ? undefined : { endedAt: session.endedAt }),
    ...(session.outcome === undefined ? undefined : { outcome: session.outcome }),
    mode: session.mode,
    metadata: session.metadata,
    workers,
  }
}
