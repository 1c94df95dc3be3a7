// Longer than 350 lines: the whole interface of a hub in process, one method after the other; the methods delegate.

import { type Catalog, createCatalog } from '../catalog/catalog.js'
import { Codecs } from '../codec/codecs.js'
import type { Dialect } from '../codec/dialect.js'
import type { Connection, ConnectionOptions } from '../delivery/connection.js'
import type { Delivery } from '../delivery/delivery.js'
import type { Link } from '../delivery/link.js'
import { checkedLocal, LocalLink, type LocalOptions, type LocalSubscription } from '../delivery/local.js'
import { type Clock, systemClock } from '../lib/clock.js'
import type { JsonObject, JsonValue } from '../lib/json.js'
import { type Random, systemRandom } from '../lib/random.js'
import type { SharedLog } from '../log/shared-log.js'
import { Masking } from '../mask/masking.js'
import { type Checked, checkEventList, checkFrame, checkId, checkSlices } from '../protocol/check.js'
import type { Offset } from '../protocol/cursor.js'
import type { Mode, NewEvent, PatchOperation, Subscribe } from '../protocol/frames.js'
import { limitsOf } from '../protocol/given-limits.js'
import type { Limits } from '../protocol/limits.js'
import { everything, type Permissions } from '../protocol/permissions.js'
import { type TopicName, topicNameOf } from '../protocol/topic.js'
import { Filter } from '../session/filter.js'
import type { Notice } from '../session/notice.js'
import type { StateOptions, StateResult, StateSnapshot } from '../session/precondition.js'
import type { Run } from '../session/progress.js'
import type { EndOptions } from '../session/session-setting.js'
import { type SessionSummary, summarize } from '../session/summary.js'
import type { Topic } from '../session/topic.js'
import { Tracing } from '../session/tracing.js'
import type { ForkOptions } from '../sessions/forks/forks.js'
import type { FoundPage } from '../sessions/lists/listing.js'
import type { SessionPage } from '../sessions/lists/session-pages.js'
import type { SessionQuery } from '../sessions/lists/session-search.js'
import type { Publisher, Publishing, PublishResult } from '../sessions/publishing.js'
import type { Change } from '../sessions/redact/redact-memory.js'
import { Redacting, type RedactOptions, type RedactResult } from '../sessions/redact/redacting.js'
import type { GivenSecret } from '../sessions/secrets.js'
import type { Sessions } from '../sessions/sessions.js'
import {
  type EntryPage,
  entriesOf,
  type HistoryPage,
  type HistoryQuery,
  pageOf,
  storedPageOf,
} from '../sessions/stored/history-page.js'
import { Turns } from '../sessions/turns.js'
import type { Outbox } from '../store/store.js'
import { DurableStreams } from './durable-streams.js'
import { checkHubOptions, type HubOptions } from './hub-options.js'
import { Notices, ofLog } from './notices.js'
import { catchUpTopic, openTopics, type WantedTopic } from './opening.js'
import { leasedTopicOf, ownTopicOf } from './own-topic.js'
import { type Parts, partsOf } from './parts.js'
import { SessionHandle } from './session-handle.js'
import { makerOf, type StateChange } from './state-change.js'
import { type HubStats, measure, type SessionMeasures, statsOf } from './stats.js'
import { Submissions } from './submissions.js'

/** @returns a hub; it does nothing until something is published, and does not keep the process alive */
export function createHub(options: HubOptions = {}): Hub {
  return new Hub(checkHubOptions(options))
}

/** Owns sessions and connections: accepts events, and delivers them to subscribers. */
export class Hub {
  readonly clock: Clock
  readonly random: Random
  readonly catalog: Catalog
  readonly limits: Limits
  readonly codecs: Codecs
  /** The kind of the store: `memory` without one, `own` if it has no name. */
  readonly storeKind: string
  /** Dialects of the user, for the server. */
  readonly dialects: readonly Dialect[]
  readonly #delivery: Delivery
  readonly #sessions: Sessions
  readonly #publishing: Publishing
  readonly #redacting: Redacting
  /** All parts; those that each event needs have a field of their own. */
  readonly #parts: Parts
  readonly #tracing: Tracing | undefined
  /** Absent where nothing is masked. */
  readonly #masking: Masking | undefined
  readonly #turns: Turns
  readonly #log: SharedLog | undefined
  #logFault: string | undefined = undefined
  readonly #notices = new Notices()
  readonly #submissions: Submissions
  /** Sessions that are durable streams. */
  readonly streams: DurableStreams

  constructor(options: HubOptions) {
    this.clock = options.clock ?? systemClock
    this.random = options.random ?? systemRandom
    this.limits = limitsOf(options.limits)
    this.catalog = createCatalog(options.catalog, this.limits)
    this.#tracing = options.tracer && new Tracing(options.tracer)
    this.codecs = new Codecs(this.clock, this.limits)
    this.storeKind =
      options.log?.kind ?? (options.store === undefined ? 'memory' : (options.store.kind ?? 'own'))
    this.dialects = options.dialects ?? []
    const { catalog, clock, limits, random } = this
    const { mode = 'shapes', patterns = [], key } = options.masking ?? {}
    this.#masking = mode === 'off' ? undefined : new Masking(mode, patterns, random, key)
    const common = {
      clock,
      random,
      catalog,
      limits,
      tracing: this.#tracing,
      notices: this.#notices.listeners,
      redacted: (change: Change) => this.#notices.redacted(change),
      masking: this.#masking,
      findStream: (session: string) => this.streams.find(session),
    }
    const parts = partsOf(common, options)
    this.#parts = parts
    this.#sessions = parts.sessions
    this.#delivery = parts.delivery
    this.#publishing = parts.publishing
    this.#turns = new Turns(clock)
    this.#redacting = new Redacting({
      sessions: parts.sessions,
      log: parts.logRedacting,
      catalog,
      clock,
      turns: this.#turns,
      masking: this.#masking,
      texts: parts.texts,
      hasNotices: () => this.#notices.listeners.size > 0,
      onChange: (change) => this.#notices.redacted(change),
      onDirty: (timeline) => parts.delivery.flush.onDirty(timeline),
    })
    this.#log = options.log
    options.log?.onFault?.((fault) => {
      this.#logFault = fault?.message
      options.onStore?.(fault?.message)
    })
    this.#submissions = new Submissions(this, {
      isStored: parts.sessions.committing !== undefined,
      leases: parts.leases,
      submitting: parts.submitting,
    })
    this.streams = new DurableStreams({
      clock,
      sessions: parts.sessions,
      publishing: parts.publishing,
      submitting: parts.submitting,
      catchUp: (topic) => this.catchUp(topic),
      committed: (session) => this.committed(session),
      remove: (session) => this.removeSession(session),
    })
  }

  /** Why nothing can be published now, because the store or the log fails; undefined otherwise. */
  get fault(): string | undefined {
    return this.#logFault ?? this.#sessions.committing?.fault?.message
  }

  /** The number of damaged sessions in the store; others are not affected. */
  get damagedSessions(): number {
    return this.#sessions.committing?.damaged.size ?? 0
  }

  // Publishing

  /** Whether events of a type are commands of watchers to the producer of a topic. */
  readonly isCommand = (type: string): boolean => this.catalog.traitsOf(type).command === 'request'

  /** A handle of the session with that id, which need not exist; its first publish creates it. */
  session(id: string): SessionHandle {
    checkId(id, this.limits, 'session')
    return new SessionHandle(this, id)
  }

  /**
   * Publishes to `sessions/{s}` or `sessions/{s}/workers/{w}`: all of the events, or none.
   *
   * @throws ProtocolError with the place in `events` when one is not valid, `conflict` when the session has ended
   */
  publish(topic: string | TopicName, events: readonly NewEvent[]): PublishResult {
    const { session, worker } = ownTopicOf(topic, 'publish.topic', this.limits)
    checkEventList(events, this.limits)
    return this.publishTo(session, worker, events)
  }

  /**
   * `publish`, for ids that have been checked.
   *
   * @param publisher the worker that publishes all of the events; or for each event its own, as in `events`
   * @param isPlain whether `isPlainJson` has found no secret in the JSON text of the events
   */
  publishTo(
    sessionId: string,
    publisher: Publisher,
    events: readonly NewEvent[],
    isPlain = false,
  ): PublishResult {
    if (this.#tracing === undefined) return this.#publishing.publish(sessionId, publisher, events, isPlain)
    const topic =
      typeof publisher === 'string' ? `sessions/${sessionId}/workers/${publisher}` : `sessions/${sessionId}`
    return this.#tracing.publish(topic, events, () =>
      this.#publishing.publish(sessionId, publisher, events, isPlain),
    )
  }

  /** Whether secrets are known only by their forms, so that `isPlainJson` makes publishing cheaper. */
  get seeksOnlyShapes(): boolean {
    return this.#masking?.seeksOnlyShapes === true
  }

  // Submitting: what is done through a log, or kept in a store, before it is answered

  /**
   * Publishes like `publish`. The only way to publish to a shared log.
   *
   * @param isPlain as in `publishTo`
   * @returns when the events are stored, or in the log
   * @throws ProtocolError as `publish`; `unavailable` if the outcome is unknown
   */
  submit(topic: string | TopicName, events: readonly NewEvent[], isPlain = false): Promise<PublishResult> {
    return this.#submissions.publish(topic, events, isPlain)
  }

  /** `submit`, for ids that have been checked; `publisher` as in `publishTo`. */
  submitTo(session: string, publisher: Publisher, events: readonly NewEvent[]): Promise<PublishResult> {
    return this.#submissions.publishTo(session, publisher, events)
  }

  /**
   * Changes a slice like `setState`, `patchState`, `mergeState` and `removeState`. @returns when it is stored, or in the log
   */
  submitState(
    topic: string | TopicName,
    slice: string,
    change: StateChange,
    options: StateOptions = {},
  ): Promise<StateResult> {
    return this.#submissions.state(topic, slice, change, options)
  }

  /** Like `createSession`. @returns when it is stored, or in the log */
  submitSession(id: string, changed: { mode?: Mode; metadata?: JsonObject } = {}): Promise<boolean> {
    return this.#submissions.session(id, changed)
  }

  /** `registerSecrets`. @returns once it is stored, or in the log */
  submitSecrets(id: string, values: readonly GivenSecret[]): Promise<void> {
    return this.#submissions.secrets(id, values)
  }

  /** Like `endSession`. @returns when it is stored, or in the log */
  submitEnd(id: string, outcome?: JsonValue, ending: Omit<EndOptions, 'outcome'> = {}): Promise<void> {
    return this.#submissions.end(id, outcome, ending)
  }

  /** Whether a log gives the offsets: then what is published has to be submitted, and what is asked for opened. */
  get isShared(): boolean {
    return this.#log !== undefined
  }

  /** Where the hubs of a log leave something for each other; absent without a log. */
  get notes(): Pick<SharedLog, 'put' | 'take'> | undefined {
    return this.#log
  }

  /**
   * Loads the session of a topic from the log into memory, before it is followed. It stays until the end of the turn, and as
   * long as it is followed.
   *
   * @param after the cursor to resume from
   * @returns undefined if there is nothing to wait for; rejects with `unavailable` when the log cannot be reached
   */
  open(topic: string | TopicName, after?: string): Promise<void> | undefined {
    return this.#sessions.followed && this.openAll([{ topic, after }])
  }

  /** `open`, of several at once. */
  openAll(topics: readonly WantedTopic[]): Promise<void> | undefined {
    return openTopics(this.#sessions, topics, this.limits)
  }

  /**
   * `open`, as far as the log is now: before something is read or looked for, so that it has all that was acknowledged
   * at any hub.
   */
  catchUp(topic: string | TopicName): Promise<void> | undefined {
    return catchUpTopic(this.#sessions, topic, this.limits)
  }

  // Leases

  /**
   * Promises that a session or worker reports again within `ms`; otherwise the hub publishes that it is lost. Each event of it,
   * and each call, renews the promise.
   *
   * @param ms 1,000 to 3,600,000 milliseconds; 0 gives the lease up
   * @param holder a connection that renews it while it is open, until `releaseLeases`
   * @throws ProtocolError `badFrame`, or `conflict` when the session has ended
   */
  lease(topic: string | TopicName, ms: number, holder?: object): void {
    const { session, worker } = leasedTopicOf(topic, ms, this.limits)
    this.#publishing.lease(session, worker, ms)
    if (ms === 0) this.#parts.leases.drop(session, worker)
    else this.#parts.leases.hold(session, worker, ms, holder)
  }

  /** `lease`. @returns once it is stored */
  submitLease(topic: string | TopicName, ms: number, holder?: object): Promise<void> {
    return this.#submissions.lease(topic, ms, holder)
  }

  /** The connection has closed: its leases expire from now on. */
  releaseLeases(holder: object): void {
    this.#parts.leases.released(holder)
  }

  // State

  /**
   * Sets a slice of `sessions/{s}` or `sessions/{s}/workers/{w}`. The value is held by reference and must not be mutated any
   * more; parts that it shares with the previous value cost nothing.
   *
   * @throws ProtocolError when the value is not valid, the session has ended, or `unless` is not met
   */
  setState(
    topic: string | TopicName,
    slice: string,
    value: JsonValue,
    options: StateOptions = {},
  ): StateResult {
    return this.changeState(topic, slice, { value }, options)
  }

  /**
   * Applies a patch (RFC 6902); `conflict` names the operation that does not apply, `notFound` means that there is no slice.
   */
  patchState(
    topic: string | TopicName,
    slice: string,
    patch: readonly PatchOperation[],
    options: StateOptions = {},
  ): StateResult {
    return this.changeState(topic, slice, { patch }, options)
  }

  /** Merges into a slice (RFC 7386), or creates it. */
  mergeState(
    topic: string | TopicName,
    slice: string,
    merge: JsonValue,
    options: StateOptions = {},
  ): StateResult {
    return this.changeState(topic, slice, { merge }, options)
  }

  removeState(topic: string | TopicName, slice: string, options: StateOptions = {}): StateResult {
    return this.changeState(topic, slice, { removed: true }, options)
  }

  /** Makes any of these changes. */
  changeState(
    topic: string | TopicName,
    slice: string,
    change: StateChange,
    options: StateOptions = {},
  ): StateResult {
    return this.#publishing.change(topic, slice, options, makerOf(slice, change))
  }

  /**
   * @param slices names, `prefix*` or `*`, as in a subscription
   * @throws ProtocolError `badFrame`, or `notFound` when the session or worker was never started
   */
  state(topicName: string | TopicName, slices: readonly string[] = ['*']): StateSnapshot {
    return this.selected(topicName, checkSlices(slices, this.limits, 'slices'))
  }

  /** @returns the value of a slice; undefined if there is none, or the session is not in memory */
  heldValue(topic: TopicName, slice: string): JsonValue | undefined {
    const { session, worker } = ownTopicOf(topic, 'topic', this.limits)
    const held = this.#sessions.held(session)
    const own = worker === undefined ? held?.topic : held?.workers.get(worker)?.topic
    return own?.state.get(slice)
  }

  /** `state`, of a dialect's choice of slices: each may have `!` before it. */
  selected(topicName: string | TopicName, slices: readonly string[]): StateSnapshot {
    const topic = this.#startedTopic(topicName)
    const filter = new Filter({ mode: 'full', slices })
    this.#delivery.bringUpToDate(topic, filter)
    const { epoch, offset } = topic.timeline
    return { epoch, offset, version: topic.stateOffset, slices: topic.snapshot(filter) }
  }

  /** @returns when everything that the session has published so far is stored; rejects with `unavailable` */
  committed(id: string): Promise<void> {
    const { committing } = this.#sessions
    const journal = this.#sessions.held(id)?.journal
    return committing === undefined || journal === undefined
      ? Promise.resolve()
      : committing.committed(journal)
  }

  // Sessions

  /**
   * @returns the number of a session's subscriptions, and its size in memory
   * @throws ProtocolError `notFound`
   */
  measure(id: string): SessionMeasures {
    const session = this.#sessions.started(id)
    return measure(session, this.#delivery.countSubscriptions(session))
  }

  /** @returns the summary of a session, or undefined if it was never started */
  find(id: string): SessionSummary | undefined {
    const session = this.#sessions.known(id)
    return session === undefined || session.status === 'waiting' ? undefined : summarize(session)
  }

  /** @returns the offset of the event that ended a session, after which nothing comes; undefined unless it was ended */
  endOf(id: string): Offset | undefined {
    return this.#sessions.known(id)?.completion?.offset
  }

  /**
   * @param worker the worker of the run; default: the session itself
   * @returns the newest run; undefined if no event has begun one
   */
  run(session: string, worker?: string): Run | undefined {
    const known = this.#sessions.known(session)
    return worker === undefined ? known?.progress.run : known?.workers.get(worker)?.progress.run
  }

  /** The sessions in memory. */
  sessions(): SessionSummary[] {
    return this.#sessions.summaries()
  }

  /**
   * A page of the sessions, in memory or not, in the order of their ids.
   *
   * @param after the id before the page; empty for the first
   * @param permissions decide which sessions are visible
   */
  listSessions(after: string, limit: number, permissions: Permissions = everything): Promise<SessionPage> {
    return this.#sessions.listing.page(after, limit, permissions, this.#turns)
  }

  /**
   * A page of the sessions of a query, in memory or not, in the requested order.
   *
   * @param permissions decide which sessions are visible
   * @throws ProtocolError `badFrame`
   */
  findSessions(query: SessionQuery, permissions: Permissions = everything): Promise<FoundPage> {
    return this.#sessions.listing.find(query, permissions, this.#turns)
  }

  /**
   * Creates a session, or changes the mode or metadata of one.
   *
   * @returns whether it is new
   */
  createSession(id: string, changed: { mode?: Mode; metadata?: JsonObject } = {}): boolean {
    checkId(id, this.limits, 'session')
    return this.#publishing.create(id, changed)
  }

  /**
   * Masks values wherever they are published to a session from now on, which begins with it. They are kept as keyed hashes
   * until the session ends.
   *
   * @throws ProtocolError `badFrame` when one has less than 8 or more than 4,096 characters, `conflict` where nothing is
   *   masked, or when the session has ended
   */
  registerSecrets(id: string, values: readonly GivenSecret[]): void {
    checkId(id, this.limits, 'session')
    this.#publishing.registerSecrets(id, values)
  }

  /**
   * Takes values, or what patterns match, out of what was published to a session: in memory, in the store, in slices and in what
   * the hub keeps of it. Cursors stay valid, and followers get `redacted` with the offsets of the changed events. One call looks
   * at some 20,000 stored events; if there are more, the result has `next`, the `after` of the next call.
   *
   * @returns once it is stored
   * @throws ProtocolError `badFrame`, `notFound`, or `conflict` with a store that cannot replace events
   */
  async redact(id: string, options: RedactOptions): Promise<RedactResult> {
    checkId(id, this.limits, 'session')
    return this.#redacting.redact(id, options)
  }

  /**
   * @param ending its result and reason; default: the worst result of its workers, or its own
   * @throws ProtocolError `badFrame`, `notFound`, or `conflict` when it has ended already
   */
  endSession(id: string, outcome?: JsonValue, ending: Omit<EndOptions, 'outcome'> = {}): void {
    checkId(id, this.limits, 'session')
    this.#dropTimes(id)
    this.#publishing.end(id, { ...ending, outcome })
  }

  /**
   * Makes a session that begins with the past of another one up to a cursor: its events at the same offsets, its workers and its
   * state as of that cursor. From there the two have nothing to do with each other. The fork runs, whether or not the other one
   * has ended. It does not have what was promised to its producers, or asked of them: leases, commands, and published ids.
   *
   * @returns the summary of the fork, once it is stored, or in the log; it names its origin in `forkedFrom`
   * @throws ProtocolError `notFound` without the session; `conflict` if the fork exists already, the cursor is of another epoch, or
   *   the session cannot be known as of the cursor; `badFrame` for a cursor ahead of the session; `unavailable`, `damaged`
   */
  async forkSession(id: string, options: ForkOptions = {}): Promise<SessionSummary> {
    const fork = await this.#parts.forks.fork(id, options)
    await this.catchUp({ kind: 'session', session: fork })
    return summarize(this.#sessions.started(fork))
  }

  /**
   * Removes a session and all its events; its subscriptions end at once.
   *
   * @returns when it is removed from the store too; rejects with `unavailable` when that fails
   * @throws ProtocolError `badFrame` or `notFound`
   */
  removeSession(id: string): Promise<void> {
    checkId(id, this.limits, 'session')
    const opening = this.catchUp({ kind: 'session', session: id })
    if (opening !== undefined) return opening.then(() => this.#sessions.remove(id))
    this.#dropTimes(id)
    return this.#sessions.remove(id)
  }

  #dropTimes(id: string): void {
    this.#parts.leases.dropAll(id)
    for (const times of this.#parts.times) times.dropAll(id)
  }

  /**
   * A page of the events in memory.
   *
   * @throws ProtocolError `notFound`, `badFrame`, or `conflict` for a cursor of another epoch
   */
  history(topicName: string | TopicName, query: HistoryQuery = {}): HistoryPage {
    return pageOf(this.#startedTopic(topicName), query, this.limits)
  }

  /** `history`, going on in the store where memory does not reach back to. */
  async readHistory(topicName: string | TopicName, query: HistoryQuery = {}): Promise<HistoryPage> {
    const opening = this.catchUp(topicName)
    if (opening !== undefined) await opening
    return storedPageOf(this.#startedTopic(topicName), query, {
      limits: this.limits,
      readStored: this.#parts.readStored,
      turns: this.#turns,
    })
  }

  /** `readHistory`, with what the hub knows of each event. */
  async readEntries(topicName: string | TopicName, query: HistoryQuery = {}): Promise<EntryPage> {
    const opening = this.catchUp(topicName)
    if (opening !== undefined) await opening
    return entriesOf(this.#startedTopic(topicName), query, {
      limits: this.limits,
      readStored: this.#parts.readStored,
      turns: this.#turns,
    })
  }

  #startedTopic(topicName: string | TopicName): Topic {
    return this.#sessions.topics.started(topicNameOf(topicName, 'topic', this.limits))
  }

  // Following

  /** Takes a link that has opened; its transport tells the connection when it drains and when it has gone. */
  connect(link: Link, options: ConnectionOptions = {}): Connection {
    return this.#delivery.connect(link, options)
  }

  /** Those that are open. */
  get connections(): Iterable<Connection> {
    return this.#delivery.connections.values()
  }

  /**
   * Follows a topic within the process. The events come in order, first what a join replays; the iteration ends
   * when the session does. One who reads slowly lags like any other connection.
   *
   * @throws ProtocolError `badFrame` for a topic or an option that `subscribe` on the wire does not take
   */
  subscribe(topic: string, options: LocalOptions = {}): LocalSubscription {
    const { onGap, ...wanted } = checkedLocal(options)
    const frame = checkFrame({ type: 'subscribe', sub: 0, topic, ...wanted }, this.limits)
    const link = new LocalLink(this.codecs.object)
    const connection = this.connect(link, { endsWithSessions: true })
    return link.follow(connection, frame as Checked<Subscribe>, onGap)
  }

  /**
   * Calls `listener` when a session or worker fails, ends, is lost or stuck or asks for a person, and when a command is sent to
   * a topic that nobody follows. It is called in the step that publishes the event, and must not throw.
   *
   * Of several hubs over a log the one that has appended the event calls, and of a command only if no hub has delivered
   * it for two seconds.
   *
   * @returns what ends it
   */
  onNotice(listener: (notice: Notice) => void): () => void {
    const { clock } = this
    return this.#notices.add(this.isShared ? ofLog(listener, { clock, sessions: this.#sessions }) : listener)
  }

  /**
   * Calls `listener` when a session is redacted, with what redacts a value. A listener that keeps notices redacts them with it.
   *
   * @returns what ends it
   */
  onRedaction(listener: (change: Change) => void): () => void {
    return this.#notices.onRedaction(listener)
  }

  /** What the store keeps for those who have to be told; absent where it keeps nothing of the kind. */
  get outbox(): Outbox | undefined {
    return this.#sessions.committing?.store.outbox
  }

  /** @returns once all that was submitted is in the log, or refused; nothing where nothing is under way */
  settled(): Promise<void> {
    return this.#submissions.settled()
  }

  /** Delivers what was published in this turn at once. */
  flush(): void {
    this.#delivery.flush.flushAll()
  }

  /** The number of events that were delivered to those who follow live. */
  get flushedEvents(): number {
    return this.#delivery.flush.events.sum
  }

  /** Tells every connection that the hub goes away. */
  close(): void {
    this.#parts.texts?.close()
    this.flush()
    for (const connection of this.connections) connection.close('shutdown', 'the hub is shutting down')
  }

  /** @returns once all that was published is stored, and the store is closed. Nothing may be published after it. */
  async closeStore(): Promise<void> {
    this.#parts.texts?.close()
    this.#parts.logTexts?.close()
    this.#parts.duties?.close()
    this.#parts.expiries.close()
    this.#parts.retention?.close()
    this.#parts.living?.close()
    await this.#submissions.settled()
    this.#sessions.logLists?.close()
    await this.#log?.close()
    await this.#sessions.committing?.close()
  }

  stats(): HubStats {
    return statsOf({
      sessions: this.#sessions,
      delivery: this.#delivery,
      codecs: this.codecs,
      publishing: this.#publishing,
      submitting: this.#parts.submitting,
      leases: this.#parts.leases,
      masking: this.#masking,
      redacting: this.#redacting,
      log: { stats: this.#log?.stats, failing: this.#logFault !== undefined },
    })
  }

  /**
   * @param permissions decide what the topic `hub` shows
   * @returns the topic, made as a placeholder when its session or worker does not exist yet
   */
  topicToFollow(name: TopicName, permissions: Permissions): Topic {
    return this.#sessions.topics.toFollow(name, permissions)
  }
}
