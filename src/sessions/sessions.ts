// Longer than 350 lines: the sessions in memory, and all ways in and out of it, with a store or a log.

import { noTotals } from '../history/history.js'
import { withoutJumpsAhead } from '../lib/clock.js'
import type { JsonObject } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { Epoch, Offset } from '../protocol/cursor.js'
import { noCommandCounts } from '../session/commands.js'
import { expiryOf } from '../session/durable-stream.js'
import type { Filter } from '../session/filter.js'
import { aboutRecord, aboutSession } from '../session/reserved-slices.js'
import { Session } from '../session/session.js'
import type { SessionSetting } from '../session/session-setting.js'
import { type SessionSummary, summarize } from '../session/summary.js'
import { noPast } from '../session/timeline.js'
import { OwnTopic, type StateSetting, type Topic } from '../session/topic.js'
import type { Worker } from '../session/worker.js'
import { noCounts, type StateCounts } from '../state/topic-state.js'
import type { SessionRecord } from '../store/store.js'
import { Capacity } from './capacity.js'
import { IdleSessions } from './due/idle-sessions.js'
import { Listing } from './lists/listing.js'
import { SessionLists } from './lists/session-lists.js'
import { StoredSessions } from './lists/stored-sessions.js'
import { LogLists } from './log/log-lists.js'
import { LogSessions, type OpenOptions } from './log/log-sessions.js'
import { aside } from './log/read-logged.js'
import type { SessionsOptions } from './sessions-options.js'
import { Committing } from './stored/committing.js'
import { isDamaged } from './stored/damaged-sessions.js'
import { restoreSession } from './stored/restore.js'
import { Topics } from './topics.js'

/** A session to open in the log, and the position that it must reach. */
export interface Wanted extends OpenOptions {
  readonly id: string
}

/** The sessions of a hub, in memory or only in the store. */
export class Sessions {
  readonly committing: Committing | undefined
  /** The sessions that are followed in a log; absent if this hub assigns the offsets. */
  readonly followed: LogSessions | undefined
  /** What all hubs of the log say of their sessions. */
  readonly logLists: LogLists | undefined
  readonly capacity: Capacity
  readonly stateCounts: StateCounts = noCounts()
  readonly totals = noTotals()
  readonly commandCounts = noCommandCounts()
  readonly #options: SessionsOptions
  readonly #held = new Map<string, Session>()
  readonly #stored: StoredSessions
  readonly #idle: IdleSessions
  #waiting = 0
  #withheld = 0
  /** Of the topic `hub`. */
  readonly lists: SessionLists
  readonly listing: Listing
  readonly topics: Topics
  readonly #setting: SessionSetting
  #isSubmitting: (session: string) => boolean = () => false
  #isOwnBatch = false
  /** Ids of forks that are being made. */
  readonly #reserved = new Set<string>()
  /** Sessions that are being opened in the log, and how often. They stay until the end of the turn in which they are open. */
  readonly #opening = new Map<string, number>()

  constructor(options: SessionsOptions) {
    this.#options = options
    const { limits, clock, expose, random, onDirty } = options
    this.#stored = new StoredSessions(clock)
    this.#idle = new IdleSessions(limits.idleSessionsMax, (session) => {
      if (this.#isKept(session)) this.#rest(session)
    })
    this.committing = this.#committingOf(options)
    this.followed = options.log && this.#followedOf(options, options.log)
    this.capacity = new Capacity({
      limits,
      clock,
      totals: this.totals,
      sessions: this.#held,
      idle: () => this.#idle.sessions(),
      release: (session) => {
        if (this.#isKept(session)) this.#rest(session)
      },
      forget: (session) => this.forget(session),
    })
    const room = () => this.capacity.room()
    const state: StateSetting = { limits, counts: this.stateCounts, room, expose }
    this.#setting = {
      limits,
      state,
      totals: this.totals,
      commandCounts: this.commandCounts,
      notices: options.notices,
      steady: withoutJumpsAhead(clock),
      journal: this.committing?.journals,
      ...(options.log && {
        past: noPast,
        delivered: options.onDelivered,
        watchersChanged: (id: string) => {
          const session = this.#held.get(id)
          if (session !== undefined) options.onWatchers(session)
        },
      }),
      withheld: () => {
        this.#withheld++
      },
      listChanged: (session) => {
        this.lists.changed(session)
        if (this.#isOwnBatch) this.logLists?.changed(session)
      },
      listTouched: (session, now) => {
        this.lists.touched(now)
        if (this.#isOwnBatch) this.logLists?.changed(session)
      },
      commandDue: options.onCommandDue,
      streamDue: options.onStreamDue,
      stallDue: options.onStallDue,
    }
    const [sessions, stored] = [this.#held, this.#stored]
    const kept = () => this.committing?.store.size().sessions ?? this.logLists?.total ?? 0
    this.lists = new SessionLists({ sessions, stored, kept, state, random, clock, onDirty })
    const { committing } = this
    this.logLists =
      options.log &&
      new LogLists({
        log: options.log.log,
        clock,
        held: this.#held,
        begun: () => this.#stored.clear(),
        found: (id, about) => {
          if (about === undefined) this.#stored.delete(id)
          else this.#stored.add(id, about)
          this.lists.changed(id)
        },
        expires: (id, at) => options.onStreamDue(id, at),
        isFollowed: () => this.lists.areFollowed,
      })
    this.listing = new Listing({
      logLists: this.logLists,
      held: sessions,
      committing,
      log: options.log?.log,
      catalog: options.catalog,
      setting: this.#setting,
      limits,
      clock,
    })
    this.topics = new Topics(this, limits)
    if (this.committing !== undefined) {
      void StoredSessions.seek(this.committing.store, (records) => this.#found(records))
    }
  }

  /** The sessions in memory that were not started. */
  get waiting(): number {
    return this.#waiting
  }

  /** The number of sessions in memory. */
  get size(): number {
    return this.#held.size
  }

  /** The number of events that were withheld by their session's mode. */
  get withheld(): number {
    return this.#withheld
  }

  /** @returns the session if it is in memory. */
  held(id: string): Session | undefined {
    return this.#held.get(id)
  }

  /**
   * @returns the session, from memory or from the store
   * @throws ProtocolError `damaged` if the store cannot restore it completely
   */
  known(id: string): Session | undefined {
    const session = this.#held.get(id)
    if (session !== undefined || this.committing === undefined || this.committing.removals.leaves(id))
      return session
    try {
      return this.#restored(id, this.committing)
    } catch (error) {
      throw this.committing.damaged.answerTo(error)
    }
  }

  #restored(id: string, committing: Committing): Session | undefined {
    const { now } = committing.store
    const found = now?.load(id)
    if (now === undefined || found === undefined) return undefined
    const stored = committing.removals.continued(found)
    const { limits, catalog } = this.#options
    const restored = new Session(id, stored.record.epoch, this.#setting)
    const events = now.newest(id, { limit: limits.restoredEventsMax, bytes: limits.historyBytesMax })
    restoreSession(restored, stored, { events: events.events, catalog })
    this.#held.set(id, restored)
    this.#stored.delete(id)
    this.lists.changed(id)
    this.#mayRest(restored)
    return restored
  }

  /** @throws TypeError if a log assigns the offsets, because events must then be submitted */
  expectOwnOffsets(): void {
    if (this.followed !== undefined)
      throw new TypeError('a hub with a log has no synchronous writing: submit instead')
  }

  /** Loads sessions of the log into memory; they leave again if they are not used at the end of the turn. */
  async open(wanted: readonly Wanted[]): Promise<void> {
    const { followed } = this
    if (followed === undefined) return
    for (const { id } of wanted) {
      this.#opening.set(id, (this.#opening.get(id) ?? 0) + 1)
      this.#idle.delete(id)
    }
    try {
      await Promise.all(wanted.map(({ id, ...options }) => followed.open(id, options)))
    } finally {
      this.#options.clock.defer(() => this.#opened(wanted))
    }
  }

  #opened(wanted: readonly Wanted[]): void {
    for (const { id } of wanted) {
      const left = (this.#opening.get(id) ?? 0) - 1
      if (left > 0) this.#opening.set(id, left)
      else this.#opening.delete(id)
      const session = this.#held.get(id)
      if (session !== undefined) this.mayForget(session.topic)
    }
  }

  /** @returns the session, created as a placeholder if there is none; a session of a log only if it was opened */
  session(id: string): Session {
    const known = this.known(id)
    if (known !== undefined) return known
    if (this.followed !== undefined) {
      throw new ProtocolError('unavailable', `session ${quote(id)} was not opened in the log`)
    }
    const session = new Session(id, this.#options.random.id(12), this.#setting)
    this.#held.set(id, session)
    this.#waiting++
    return session
  }

  /**
   * @returns the session, started if it was not
   * @throws ProtocolError `conflict` if it has ended
   */
  running(id: string): Session {
    const session = this.session(id)
    if (session.status === 'ended') throw hasEnded(id)
    if (session.status === 'waiting') {
      this.expectRoomFor(session)
      this.#waiting--
      session.start(this.#options.clock.now())
    }
    return session
  }

  /** @throws ProtocolError `notFound` if it was never started */
  started(id: string): Session {
    const session = this.known(id)
    if (session === undefined || session.status === 'waiting') {
      throw new ProtocolError('notFound', `there is no session ${quote(id)}`)
    }
    return session
  }

  /** @throws ProtocolError `unavailable` if the session would start, and exceed the limit */
  expectRoomFor(session: Session): void {
    if (session.status !== 'waiting') return
    if (this.#reserved.has(session.id)) {
      this.mayForget(session.topic)
      throw new ProtocolError('conflict', `session ${quote(session.id)} is being made as a fork; try again`)
    }
    try {
      this.expectRoomForOne()
    } catch (error) {
      this.mayForget(session.topic)
      throw error
    }
  }

  /** @throws ProtocolError `unavailable` if one more session would exceed the limit */
  expectRoomForOne(): void {
    const { sessionsMax } = this.#options.limits
    if (this.#held.size - this.#waiting < sessionsMax) return
    throw new ProtocolError(
      'unavailable',
      `session limit reached (sessionsMax = ${sessionsMax}); remove some`,
    )
  }

  /** @returns the worker, for publishing to it */
  worker(session: Session, id: string): Worker {
    const { workersMax } = this.#options.limits
    if (
      session.workers.size - session.waitingWorkers >= workersMax &&
      session.workers.get(id)?.startedAt === undefined
    ) {
      throw new ProtocolError('conflict', `worker limit of a session reached (workersMax = ${workersMax})`)
    }
    return session.worker(id)
  }

  /**
   * A subscription has begun that may follow commands.
   *
   * @param after the subscription has not got the events up to here
   */
  deliver(topic: Topic, filter: Filter, after: Offset): void {
    const { timeline } = topic
    const session = this.#held.get(timeline.id)
    if (session === undefined || session !== timeline) return
    if (session.deliver(topic, filter, after, this.#options.clock.now())) this.#options.onDirty(session)
  }

  /** Sets the slice `$watchers`, or removes it. @returns whether the topic has begun: what has ended stays as it is */
  setWatchers(topic: Topic, watchers: JsonObject | undefined): boolean {
    const session = this.#held.get(topic.timeline.id)
    if (session === undefined || session !== topic.timeline || !(topic instanceof OwnTopic)) return true
    if (session.status === 'ended') return true
    if (session.status === 'waiting') return false
    session.setWatchers(topic, watchers, this.#options.clock.now())
    if (session.followed) this.#options.onDirty(session)
    return true
  }

  /** All sessions in memory, those that wait for their first event included. */
  inMemory(): Iterable<Session> {
    return this.#held.values()
  }

  /** The sessions in memory that were started. */
  summaries(): SessionSummary[] {
    return [...this.#held.values()].filter(({ status }) => status !== 'waiting').map(summarize)
  }

  /**
   * Removes a session from memory and the store, even if it is damaged there.
   *
   * @throws ProtocolError `notFound`
   */
  remove(id: string): Promise<void> {
    try {
      const session = this.started(id)
      // Its followers are notified when the log reports it, as at other hubs.
      if (this.followed !== undefined) return this.followed.remove(id, session.epoch)
      this.forget(session)
      return (session.journal && this.committing?.remove(session.journal)) ?? Promise.resolve()
    } catch (error) {
      if (!isDamaged(error)) throw error
      this.#stored.delete(id)
      this.lists.changed(id)
      return this.committing?.removals.removeStored(id) ?? Promise.resolve()
    }
  }

  /**
   * Whether this hub reports what happens now. Of the hubs of a log each applies it, and the one that has appended it
   * reports it.
   */
  get reports(): boolean {
    return this.followed === undefined || this.#isOwnBatch
  }

  /**
   * Keeps an id for a fork: nobody else can begin a session with it.
   *
   * @returns what ends it
   * @throws ProtocolError `conflict` if there is one already
   */
  reserve(id: string): () => void {
    const known = this.known(id)
    const isTaken = (known !== undefined && known.status !== 'waiting') || this.#reserved.has(id)
    if (isTaken || this.committing?.removals.leaves(id) === true) {
      throw new ProtocolError('conflict', `there is a session ${quote(id)} already`)
    }
    this.#reserved.add(id)
    return () => void this.#reserved.delete(id)
  }

  /** The setting of sessions that nobody sees, and that count for nothing. */
  get asideSetting(): SessionSetting {
    return aside(this.#setting)
  }

  /** @returns a session that nobody sees, and that counts for nothing */
  aside(id: string, epoch: Epoch): Session {
    return new Session(id, epoch, this.asideSetting)
  }

  /** @returns a session that `hold` takes */
  make(id: string, epoch: Epoch): Session {
    return new Session(id, epoch, this.#setting)
  }

  /** A fork is in memory from now on. Those who follow a session of its name come back to it. */
  hold(session: Session): void {
    this.#replace(session.id)
    this.#held.set(session.id, session)
    this.lists.changed(session.id)
  }

  /** A fork is in the store from now on. */
  stored(record: SessionRecord): void {
    this.#replace(record.session)
    this.#stored.add(record.session, aboutRecord(record))
    this.lists.changed(record.session)
  }

  #replace(id: string): void {
    const held = this.#held.get(id)
    if (held !== undefined) this.#stale(held)
  }

  /** Removes the session from memory; its subscriptions are notified at once. */
  forget(session: Session): void {
    this.#options.onRemoved(session)
    this.#left(session)
    this.lists.changed(session.id)
  }

  /** Releases a stored session from memory. */
  #rest(session: Session): void {
    this.#stored.add(session.id, aboutSession(session))
    this.#left(session)
  }

  /** A session without followers that is completely stored may leave memory. */
  #mayRest(session: Session): void {
    if (session.followed || session.status === 'waiting') return
    if (this.#isKept(session)) this.#idle.add(session)
  }

  /** Whether it can be loaded again after it has left memory. */
  #isKept({ id, journal }: Session): boolean {
    if (this.followed !== undefined) return !this.#isUnderWay(id)
    return journal !== undefined && this.committing?.busy(journal) === false
  }

  /** Whether it is about to be used, or changes of it are on their way to the log. */
  #isUnderWay(id: string): boolean {
    return this.#opening.has(id) || this.#isSubmitting(id)
  }

  /** Sets which sessions must stay, because changes of them are on their way to the log. */
  keepWhile(isSubmitting: (session: string) => boolean): void {
    this.#isSubmitting = isSubmitting
  }

  /** A session of the log begins with the entries that were applied to it. */
  #begin(session: Session, now: number): void {
    if (this.#held.get(session.id) === session) this.#waiting--
    session.start(now)
  }

  /** The local session does not match the log: it is opened anew when it is requested. */
  #stale(session: Session): void {
    this.#options.onStale(session)
    this.#left(session)
  }

  #followedOf(options: SessionsOptions, { log, hub }: NonNullable<SessionsOptions['log']>): LogSessions {
    const { clock, catalog, onDirty } = options
    return new LogSessions({
      log,
      hub,
      clock,
      catalog,
      make: (id, epoch) => new Session(id, epoch, this.#setting),
      hold: (session) => {
        this.#held.set(session.id, session)
        this.#stored.delete(session.id)
        if (session.status === 'waiting') this.#waiting++
        else this.lists.changed(session.id)
      },
      begin: (session, now) => this.#begin(session, now),
      leased: ({ id }, worker, ms) => options.onLease(id, worker, ms),
      ended: ({ id }) => options.onOver(id),
      redacted: options.redacted,
      onDirty: (session) => {
        if (session.followed) onDirty(session)
      },
      stale: (session) => this.#stale(session),
      held: options.onHeld,
      applying: (isOwn, apply) => {
        this.#isOwnBatch = isOwn
        try {
          return apply()
        } finally {
          this.#isOwnBatch = false
        }
      },
      removed: (session) => {
        options.onOver(session.id)
        this.forget(session)
      },
      opened: (session) => this.#seeTo(session),
    })
  }

  /** Every hub that has held a session of the log watches its commands and leases. */
  #seeTo(session: Session): void {
    if (session.watching !== undefined) this.#options.onWatchers(session)
    if (session.status === 'ended') return
    const { dueAt } = session.commands
    if (dueAt !== undefined) this.#options.onCommandDue(session.id, dueAt)
    for (const { worker, ms } of session.publishers.leases.all())
      this.#options.onLease(session.id, worker, ms)
  }

  /** The store has sessions of an earlier run of the hub. */
  #found(records: readonly SessionRecord[]): void {
    for (const record of records) {
      const { session, status, stream } = record
      const expiry = stream && expiryOf(stream)
      if (expiry !== undefined) this.#options.onStreamDue(session, expiry)
      if (status !== 'ended') {
        if (record.commandsDue !== undefined) this.#options.onCommandDue(session, record.commandsDue)
        for (const [name, ms] of Object.entries(record.leases ?? {})) {
          this.#options.onLease(session, name === '' ? undefined : name, ms)
        }
      }
      if (this.#held.has(session) || this.committing?.removals.leaves(session) === true) continue
      this.#stored.add(session, aboutRecord(record))
      this.lists.changed(session)
    }
  }

  #left(session: Session): void {
    if (this.#held.get(session.id) !== session) return
    this.#held.delete(session.id)
    this.#idle.delete(session.id)
    if (session.status === 'waiting') this.#waiting--
    this.followed?.leave(session)
    this.capacity.left(session)
  }

  /** Removes placeholders without followers; stored sessions may leave memory. */
  mayForget(topic: Topic): void {
    const name = topic.parsedName
    if (name.kind === 'hub') return this.lists.mayForget(topic)
    const session = this.#held.get(name.session)
    // It may have been removed, and another session with its id begun.
    if (session === undefined || session !== topic.timeline) return
    if (name.kind === 'worker') session.mayForget(name.worker)
    if (session.status === 'waiting' && !session.followed) {
      if (!this.#isUnderWay(session.id)) this.#left(session)
    } else this.#mayRest(session)
  }

  #committingOf({
    store,
    retention,
    onStore,
    onDamaged,
    tracing,
    clock,
    limits,
  }: SessionsOptions): Committing | undefined {
    if (store === undefined) return undefined
    if (store.now === undefined) {
      throw new TypeError('store: expected a store with Store.now, which loads sessions synchronously')
    }
    return new Committing({
      store,
      clock,
      uncommittedBytesMax: limits.uncommittedBytesMax,
      publishIdsMax: limits.publishIdsMax,
      ...(retention && { retention }),
      ...(onStore && { onStore }),
      ...(onDamaged && { onDamaged }),
      ...(tracing && { tracing }),
      waiting: (id) => this.#idle.delete(id),
      committed: (journal) => {
        const session = this.#held.get(journal.session)
        if (session?.journal === journal) this.#mayRest(session)
      },
      removed: (id) => this.#removed(id),
      trimmed: (id, trimmed) => this.#held.get(id)?.journal?.trimmedTo(trimmed),
      holds: (id) => {
        const session = this.#held.get(id)
        return session !== undefined && this.#isWanted(session)
      },
    })
  }

  /** Retention has removed the session from the store. */
  #removed(id: string): void {
    const session = this.#held.get(id)
    if (session === undefined) {
      if (this.#stored.delete(id)) this.lists.changed(id)
      return
    }
    const { journal } = session
    if (session.status !== 'ended' && this.#isWanted(session)) {
      // It was used again while it was being removed, so it continues without its past.
      journal?.trimmedTo(journal.kept)
      journal?.recordChanged()
      return
    }
    if (journal !== undefined) this.committing?.drop(journal)
    this.forget(session)
  }

  #isWanted({ followed, journal }: Session): boolean {
    return followed || (journal !== undefined && this.committing?.busy(journal) === true)
  }
}

export function hasEnded(id: string): ProtocolError {
  return new ProtocolError(
    'conflict',
    `session ${quote(id)} has ended; publish to a new one, or remove it first`,
  )
}
