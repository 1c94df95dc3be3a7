import type { Catalog } from '../catalog/catalog.js'
import { Entry } from '../history/entry.js'
import type { Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import { checkId } from '../protocol/check.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import { type Cursor, type Epoch, formatCursor, type Offset, parseCursor, start } from '../protocol/cursor.js'
import type { Limits } from '../protocol/limits.js'
import { storedEvent } from '../session/journal.js'
import type { Session } from '../session/session.js'
import type { OwnTopic } from '../session/topic.js'
import type { StoredEvent, StoredSession } from '../store/store.js'
import type { Capacity } from './capacity.js'
import type { Committing } from './committing.js'
import {
  expectKnown,
  type ForkSource,
  type ForkState,
  type ForkTo,
  forkOffset,
  forkSourceOf,
  forkStates,
  type Past,
  pastOf,
} from './fork-past.js'
import type { LogForks } from './log-forks.js'
import { storedEventsMax } from './read-stored.js'
import { retell } from './retell.js'

/** Forks that are made at the same time. */
export const forksAtOnce = 4

/** What is told again of a session within one turn. */
const toldBytes = 256 * 1024

export interface ForkOptions {
  /** A cursor of the session: the fork has everything up to there. Default: its end. */
  readonly at?: Cursor | undefined
  /** The id of the fork; one is made up by default. */
  readonly session?: string | undefined
  /**
   * `exact`, the default: refused where workers or slices cannot be known as of the cursor. `known`: the fork has what is known,
   * and says in `forkedFrom.without` what it may lack.
   */
  readonly state?: ForkState | undefined
}

/** What forks need of the sessions. */
export interface ForkHost {
  readonly committing: Committing | undefined
  readonly capacity: Capacity
  /** @throws ProtocolError `notFound` */
  started(id: string): Session
  /**
   * Keeps others from beginning a session with that id. @returns what ends it @throws ProtocolError `conflict` if there is one
   */
  reserve(id: string): () => void
  /** @throws ProtocolError `unavailable` if there are as many sessions as there may be */
  expectRoomForOne(): void
  /** @returns a session that nobody sees, and that counts for nothing */
  aside(id: string, epoch: Epoch): Session
  /** @returns a session for `hold` */
  make(id: string, epoch: Epoch): Session
  /** The session exists from now on, in memory. */
  hold(session: Session): void
  /** The session exists from now on, in the store. */
  stored(record: Past['record']): void
}

export interface ForksParts {
  readonly sessions: ForkHost
  /** Present if a log assigns the offsets. */
  readonly log: LogForks | undefined
  readonly catalog: Catalog
  readonly clock: Clock
  readonly random: Random
  readonly limits: Limits
}

/** Makes sessions that begin with the past of another one. */
export class Forks {
  readonly #parts: ForksParts
  #underWay = 0

  constructor(parts: ForksParts) {
    this.#parts = parts
  }

  /** @returns the id of the fork, once it is stored, or in the log @throws ProtocolError as `Hub.forkSession` does */
  async fork(from: string, { at, session, state = 'exact' }: ForkOptions): Promise<string> {
    const { random, limits, sessions, log } = this.#parts
    const id = checkId(session ?? random.id(), limits, 'session')
    checkId(from, limits, 'session')
    if (!forkStates.includes(state)) {
      throw new ProtocolError(
        'badFrame',
        `state: expected one of ${forkStates.join(', ')}, got ${quote(state)}`,
      )
    }
    const position = at === undefined ? undefined : parseCursor(at, 'at')
    if (this.#underWay >= forksAtOnce) {
      throw new ProtocolError('unavailable', `${forksAtOnce} forks are being made already; try again`)
    }
    const to = { id, epoch: random.id(12), now: this.#parts.clock.now() }
    this.#underWay++
    const release = log === undefined ? sessions.reserve(id) : undefined
    try {
      if (log !== undefined) await log.fork(from, position, state, to)
      else {
        const source = sessions.started(from)
        const last = forkOffset(source, position)
        if (sessions.committing === undefined) this.#inMemory(source, last, state, to)
        else await this.#inStore(source, last, state, to, sessions.committing)
      }
    } finally {
      release?.()
      this.#underWay--
    }
    return id
  }

  async #inStore(
    session: Session,
    last: Offset,
    state: ForkState,
    to: ForkTo,
    committing: Committing,
  ): Promise<void> {
    const { sessions, clock } = this.#parts
    const { journal, id: from, epoch } = session
    const { store } = committing
    if (journal === undefined || store.fork === undefined) {
      throw new ProtocolError('conflict', 'this hub has a store that cannot fork sessions')
    }
    committing.admit(journal)
    if (last < journal.trimmed) throw isGone(session, journal.trimmed)
    const isHead = last === session.offset
    const isKnown = isHead || (journal.trimmed === start && session.mode === 'full')
    const source = forkSourceOf(session, last, isKnown ? [] : ['workers'])
    expectKnown(source, state)
    const now = isHead ? pastOf(session, source, to) : undefined
    await committing.committed(journal)
    try {
      const past = now ?? pastOf(await this.#told(source, committing), source, to)
      await store.fork({ at: clock.now(), from, epoch, batch: past })
      sessions.stored(past.record)
    } catch (error) {
      throw committing.damaged.answerTo(error)
    }
  }

  /** @returns the session as its stored events tell it, up to the end of the fork */
  async #told(source: ForkSource, { store }: Committing): Promise<Session> {
    const { sessions, catalog } = this.#parts
    const session = begun(sessions.aside(source.id, source.epoch), source)
    for (let after = start; after < source.last; ) {
      const page = await store.read(source.id, after, { limit: storedEventsMax, bytes: toldBytes })
      for (const event of page.events) if (isPast(event, source)) retell(session, event, catalog)
      if (page.end) break
      after = page.last
    }
    return session
  }

  /** In one step, because everything of it is in memory. */
  #inMemory(session: Session, last: Offset, state: ForkState, to: ForkTo): void {
    const { sessions, catalog } = this.#parts
    const isHead = last === session.offset
    const isKnown = isHead || (session.evicted === 0 && session.mode === 'full')
    const source = forkSourceOf(session, last, isKnown ? [] : ['workers'])
    expectKnown(source, state)
    sessions.capacity.expectRoom()
    sessions.capacity.expectStateRoom(0, session.room.bytes)
    sessions.expectRoomForOne()
    const entries = entriesOf(session.topics(), source)
    let told = session
    if (!isHead) {
      told = begun(sessions.aside(source.id, source.epoch), source)
      for (const entry of entries.values()) retell(told, storedEvent(entry), catalog)
    }
    const past = pastOf(told, source, to)
    sessions.hold(forkInMemory(sessions.make(to.id, to.epoch), { session, past, entries }))
  }
}

function isGone({ id, epoch }: Session, trimmed: Offset): ProtocolError {
  return new ProtocolError(
    'conflict',
    `at: the events of session ${quote(id)} up to ${formatCursor(epoch, trimmed)} are not kept any more`,
  )
}

/** The session begins, with the workers that have state. */
function begun(session: Session, { startedAt, slices, workersStartedAt }: ForkSource): Session {
  session.start(startedAt)
  for (const { worker } of slices) {
    if (worker !== undefined)
      session.startWorker(session.worker(worker), workersStartedAt.get(worker) ?? startedAt)
  }
  return session
}

/** The end of the session that is forked is not of the fork's past. */
function isPast({ offset, passes }: StoredEvent, { last }: ForkSource): boolean {
  return offset <= last && passes !== 'all'
}

/** @returns new entries for the events of these topics, by their offsets in order: their encoded forms name the session */
function entriesOf(topics: readonly OwnTopic[], { last }: ForkSource): ReadonlyMap<Offset, Entry> {
  const found = new Map<Offset, Entry>()
  for (const { history } of topics) {
    for (const entry of retained(history)) {
      const { event, traits, bytes, force, everywhere } = entry
      if (entry.offset > last || everywhere || found.has(entry.offset)) continue
      found.set(entry.offset, new Entry(event, traits, bytes, { force }))
    }
  }
  return new Map([...found].sort(([one], [other]) => one - other))
}

function* retained({ critical, droppable }: OwnTopic['history']): Generator<Entry> {
  for (const lane of [critical, droppable]) {
    for (let index = 0; index < lane.length; index++) yield lane.at(index)
  }
}

function forkInMemory(
  fork: Session,
  {
    session,
    past,
    entries,
  }: { readonly session: Session; readonly past: Past; readonly entries: ReadonlyMap<Offset, Entry> },
): Session {
  const { record, last, workers = [], slices = [] } = past
  for (const { worker } of [{ worker: undefined }, ...workers]) {
    const from = worker === undefined ? session.topic : session.workers.get(worker)?.topic
    const { history } = worker === undefined ? fork.topic : fork.worker(worker).topic
    if (from === undefined) continue
    history.inherit(from.history, last)
  }
  const stored: StoredSession = {
    record,
    last,
    workers,
    slices: slices.flatMap(({ value, ...slice }) => (value === undefined ? [] : [{ ...slice, value }])),
    latest: [],
    ids: [],
    trimmed: start,
    stored: start,
    events: entries.size,
    bytes: 0,
    at: record.startedAt,
  }
  fork.restore(stored, [...entries.values()], [])
  return fork
}
