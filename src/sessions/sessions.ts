import type { Catalog } from '../catalog/catalog.js'
import type { Delivery } from '../delivery/flush.js'
import { noTotals } from '../history/history.js'
import type { Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { Limits } from '../protocol/limits.js'
import type { Permissions } from '../protocol/permissions.js'
import type { TopicName } from '../protocol/topic.js'
import { aboutSession, slicesOf } from '../session/reserved-slices.js'
import { hubSession, Session, type SessionSetting, type Worker } from '../session/session.js'
import { type SessionSummary, summarize } from '../session/summary.js'
import type { StateSetting, Topic } from '../session/topic.js'
import type { Tracing } from '../session/tracing.js'
import { noCounts, type StateCounts } from '../state/topic-state.js'
import type { Retention, SessionRecord, Store } from '../store/store.js'
import { Capacity } from './capacity.js'
import { Committing } from './committing.js'
import { restoreSession } from './restore.js'
import { SessionLists } from './session-lists.js'
import { StoredSessions } from './stored-sessions.js'

export interface SessionsOptions {
  readonly clock: Clock
  readonly random: Random
  readonly catalog: Catalog
  readonly limits: Limits
  readonly delivery: Delivery
  readonly store: Store | undefined
  readonly retention: Retention | undefined
  readonly onStore: ((fault: string | undefined) => void) | undefined
  readonly tracing: Tracing | undefined
  readonly expose: StateSetting['expose']
}

export interface SessionPage {
  readonly sessions: readonly SessionSummary[]
  /** There are no more. */
  readonly end: boolean
}

/** The sessions of a hub: those in memory, and through the store those that are not. */
export class Sessions {
  readonly committing: Committing | undefined
  readonly capacity: Capacity
  readonly stateCounts: StateCounts = noCounts()
  readonly totals = noTotals()
  /** Events that no one gets, because their session's mode does not carry them. */
  withheld = 0
  readonly #options: SessionsOptions
  readonly #held = new Map<string, Session>()
  readonly #stored = new StoredSessions()
  /** Those in memory that were not started. */
  #waiting = 0
  /** Of the topic `hub`. */
  readonly #lists: SessionLists
  readonly #setting: SessionSetting

  constructor(options: SessionsOptions) {
    this.#options = options
    this.committing = this.#committingOf(options)
    const { limits, clock, expose, random, delivery } = options
    this.capacity = new Capacity({
      limits,
      clock,
      totals: this.totals,
      sessions: () => this.#held.values(),
      isKept: (session) => this.committing?.busy(session) === false && session.status !== 'waiting',
      release: (session) => {
        this.committing?.released(session)
        this.#rest(session)
      },
      forget: (session) => this.forget(session),
    })
    const { weight } = this.capacity
    this.#setting = {
      limits,
      state: { limits, counts: this.stateCounts, weight, expose },
      totals: this.totals,
      isKept: this.committing !== undefined,
      withheld: () => {
        this.withheld++
      },
      listChanged: (session) => this.#lists.changed(session),
    }
    const [sessions, stored] = [this.#held, this.#stored]
    this.#lists = new SessionLists({ sessions, stored, setting: this.#setting, random, delivery })
    if (this.committing !== undefined) {
      void StoredSessions.seek(this.committing.store, (records) => this.#found(records))
    }
  }

  /** How many are in memory. */
  get size(): number {
    return this.#held.size
  }

  /** @returns the session if it is in memory. */
  held(id: string): Session | undefined {
    return this.#held.get(id)
  }

  /** @returns the session, from memory or from the store. */
  known(id: string): Session | undefined {
    const session = this.#held.get(id)
    if (session !== undefined || this.committing === undefined || this.committing.leaves(id)) return session
    const { now } = this.committing.store
    const stored = now?.load(id)
    if (now === undefined || stored === undefined) return undefined
    const { limits, catalog } = this.#options
    const restored = new Session(id, stored.record.epoch, this.#setting)
    const events = now.newest(id, { limit: limits.restoredEventsMax, bytes: limits.historyBytesMax })
    restoreSession(restored, stored, { events: events.events, catalog })
    this.#held.set(id, restored)
    this.#stored.delete(id)
    this.#lists.changed(id)
    this.committing.rest(restored)
    return restored
  }

  /** @returns the session, made as a placeholder when there is none. */
  session(id: string): Session {
    const known = this.known(id)
    if (known !== undefined) return known
    const session = new Session(id, this.#options.random.id(12), this.#setting)
    this.#held.set(id, session)
    this.#waiting++
    return session
  }

  /** As `session`, for somebody who follows: those who do cannot keep others from publishing. */
  #toFollow(id: string): Session {
    const { sessionsMax } = this.#options.limits
    if (this.#waiting >= sessionsMax && !this.#held.has(id)) {
      throw new ProtocolError('unavailable', `${sessionsMax} sessions are followed that have not begun`)
    }
    return this.session(id)
  }

  /**
   * @returns the session, started if it was not
   * @throws ProtocolError `conflict` when it has ended
   */
  running(id: string): Session {
    const session = this.session(id)
    if (session.status === 'ended') throw hasEnded(id)
    if (session.status === 'waiting') {
      this.expectRoomFor(session)
      session.status = 'running'
      this.#waiting--
      session.startedAt = this.#options.clock.now()
      this.#lists.changed(id)
      this.recordChanged(session)
    }
    return session
  }

  /** @throws ProtocolError `notFound` when it was never started */
  started(id: string): Session {
    const session = this.known(id)
    if (session === undefined || session.status === 'waiting') {
      throw new ProtocolError('notFound', `there is no session ${quote(id)}`)
    }
    return session
  }

  /** @throws ProtocolError `unavailable` when the session would start, and is one too many */
  expectRoomFor(session: Session): void {
    const { sessionsMax } = this.#options.limits
    if (session.status !== 'waiting' || this.#held.size - this.#waiting < sessionsMax) return
    this.mayForget(session.topic)
    throw new ProtocolError('unavailable', `the hub holds ${sessionsMax} sessions; remove some`)
  }

  /** @returns the worker, for somebody who publishes to it. */
  worker(session: Session, id: string): Worker {
    const { workersMax } = this.#options.limits
    if (
      session.workers.size - session.waiting >= workersMax &&
      session.workers.get(id)?.startedAt === undefined
    ) {
      throw new ProtocolError('conflict', `a session has at most ${workersMax} workers`)
    }
    return session.worker(id)
  }

  /** @returns the worker, for somebody who follows it: those who do cannot keep others from publishing. */
  #workerToFollow(session: Session, id: string): Worker {
    const { workersMax } = this.#options.limits
    if (session.waiting >= workersMax && !session.workers.has(id)) {
      throw new ProtocolError('conflict', `${workersMax} workers are followed that have not begun`)
    }
    return session.worker(id)
  }

  /** @throws ProtocolError `notFound` when its session or worker was never started */
  startedTopic(name: TopicName): Topic {
    if (name.kind === 'hub') return this.#lists.whole.topic
    const session = this.started(name.session)
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

  /**
   * @param permissions decide what the topic `hub` shows
   * @returns the topic, made as a placeholder when its session or worker does not exist yet
   */
  topicToFollow(name: TopicName, permissions: Permissions): Topic {
    switch (name.kind) {
      case 'hub':
        return this.#lists.of(permissions).topic
      case 'session':
        return this.#toFollow(name.session).topic
      case 'all':
        return this.#toFollow(name.session).all as Topic
      case 'worker':
        return this.#workerToFollow(this.#toFollow(name.session), name.worker).topic
    }
  }

  /** Those in memory that were started. */
  summaries(): SessionSummary[] {
    return [...this.#held.values()].filter(({ status }) => status !== 'waiting').map(summarize)
  }

  /**
   * A page of the sessions that may be seen, in memory or not, in the order of their ids.
   *
   * @param after the id before the page; empty for the first
   */
  async list(after: string, limit: number, { sessions: seen }: Permissions): Promise<SessionPage> {
    if (seen !== undefined) {
      const next = seen.filter((id) => id > after)
      return this.#listNamed(next, limit)
    }
    const stored = await this.committing?.store.sessions(after, limit)
    const last = stored === undefined || stored.end ? undefined : stored.sessions.at(-1)?.record.session
    const ids = new Set(stored?.sessions.map(({ record }) => record.session))
    for (const { id, status } of this.#held.values()) {
      if (status !== 'waiting' && id > after && (last === undefined || id <= last)) ids.add(id)
    }
    const sorted = [...ids].toSorted((one, other) => (one < other ? -1 : 1))
    const page = await this.#listNamed(sorted, limit)
    return { ...page, end: page.end && last === undefined }
  }

  async #listNamed(ids: readonly string[], limit: number): Promise<SessionPage> {
    const sessions: SessionSummary[] = []
    for (const id of ids) {
      if (sessions.length === limit) return { sessions, end: false }
      const session = this.#held.get(id)
      if (session === undefined) {
        const summary = await this.#summaryInStore(id)
        if (summary !== undefined) sessions.push(summary)
      } else if (session.status !== 'waiting') sessions.push(summarize(session))
    }
    return { sessions, end: true }
  }

  /** Looks without bringing the session back into memory. */
  async #summaryInStore(id: string): Promise<SessionSummary | undefined> {
    const stored = await this.committing?.store.load(id)
    if (stored === undefined) return undefined
    const session = new Session(id, stored.record.epoch, this.#setting)
    session.restore(stored, [], [])
    return summarize(session)
  }

  /** What the store knows of the session itself is no longer right. */
  recordChanged(session: Session): void {
    if (this.committing === undefined) return
    session.uncommitted.record = true
    this.committing.touch(session, 0)
  }

  /** Forgets what memory has of the session; its subscriptions are told at once. */
  forget(session: Session): void {
    const { id } = session
    this.#options.delivery.flush(session)
    for (const topic of topicsOf(session)) {
      for (const feed of topic.feeds.values()) {
        for (const subscription of feed.subscriptions) {
          subscription.connection.unsubscribe(subscription, 'removed', `session ${id} was removed`)
        }
      }
    }
    this.#left(session)
    this.#lists.changed(id)
  }

  /** It leaves memory, and the store has it. */
  #rest(session: Session): void {
    this.#stored.add(session.id, aboutSession(session))
    this.#left(session)
  }

  /** The store has sessions of an earlier life. */
  #found(records: readonly SessionRecord[]): void {
    for (const { session, status, startedAt, endedAt } of records) {
      if (this.#held.has(session) || this.committing?.leaves(session) === true) continue
      this.#stored.add(session, { status, startedAt, ...(endedAt !== undefined && { endedAt }) })
      this.#lists.changed(session)
    }
  }

  #left(session: Session): void {
    if (this.#held.get(session.id) !== session) return
    this.#held.delete(session.id)
    if (session.status === 'waiting') this.#waiting--
    this.capacity.left(session)
  }

  /** Placeholders go when nobody follows them. */
  mayForget({ session, worker }: Topic): void {
    if (worker !== undefined) session.mayForget(worker)
    if (session.status === 'waiting' && !session.followed) this.#left(session)
    else if (session.id === hubSession) this.#lists.mayForget(session)
    else this.committing?.rest(session)
  }

  /** Brings the slices that the hub keeps in a session's topic, or its list of sessions, up to date. */
  refresh(session: Session): void {
    if (!session.stale || session.status === 'waiting') return
    session.stale = false
    const now = this.#options.clock.now()
    const slices =
      session.id === hubSession ? [['sessions', this.#lists.slice(session)] as const] : slicesOf(session)
    const { offset, topic } = session
    for (const [slice, value] of slices) {
      session.change({ topic, slice, now, make: (state, moment) => state.set(slice, value, moment) })
    }
    // The store has nothing to keep but that the offsets are taken; of the hub's own topic not even that.
    if (session.offset > offset && session.id !== hubSession) this.committing?.touch(session, 0)
  }

  #committingOf({
    store,
    retention,
    onStore,
    tracing,
    clock,
    limits,
  }: SessionsOptions): Committing | undefined {
    if (store === undefined) return undefined
    if (store.now === undefined) {
      throw new TypeError('store: a hub needs one that loads sessions at once (Store.now), and this has none')
    }
    const { unkeptBytesMax, idleSessionsMax } = limits
    return new Committing({
      store,
      clock,
      unkeptBytesMax,
      idleSessionsMax,
      ...(retention && { retention }),
      ...(onStore && { onStore }),
      ...(tracing && { tracing }),
      release: (session) => this.#rest(session),
      removed: (id) => this.#removed(id),
      trimmed: (id, trimmed) => {
        const session = this.#held.get(id)
        if (session !== undefined) session.trimmed = trimmed
      },
      holds: (id) => {
        const session = this.#held.get(id)
        return session !== undefined && this.#isWanted(session)
      },
    })
  }

  /** Retention has taken the session out of the store. */
  #removed(id: string): void {
    const session = this.#held.get(id)
    if (session === undefined) {
      if (this.#stored.delete(id)) this.#lists.changed(id)
      return
    }
    if (session.status !== 'ended' && this.#isWanted(session)) {
      // It was wanted again while it was being removed: it goes on, without its past.
      session.trimmed = session.kept
      this.recordChanged(session)
      return
    }
    this.committing?.drop(session)
    this.forget(session)
  }

  #isWanted(session: Session): boolean {
    return session.followed || this.committing?.busy(session) === true
  }
}

export function hasEnded(id: string): ProtocolError {
  return new ProtocolError(
    'conflict',
    `session ${quote(id)} has ended; publish to a new one, or remove it first`,
  )
}

/** All of the session's topics, `sessions/{s}/**` last. */
export function topicsOf(session: Session): Topic[] {
  return session.all === undefined ? session.topics() : [...session.topics(), session.all]
}
