import type { Catalog } from '../../catalog/catalog.js'
import { Entry } from '../../history/entry.js'
import type { Clock } from '../../lib/clock.js'
import type { Random } from '../../lib/random.js'
import { checkChoice, checkFields, checkId } from '../../protocol/check.js'
import { ProtocolError, quote } from '../../protocol/codes.js'
import {
  type Cursor,
  type Epoch,
  formatCursor,
  type Offset,
  parseCursor,
  start,
} from '../../protocol/cursor.js'
import type { Limits } from '../../protocol/limits.js'
import { storedEvent } from '../../session/journal.js'
import type { Session } from '../../session/session.js'
import type { OwnTopic } from '../../session/topic.js'
import type { StoredEvent, StoredSession } from '../../store/store.js'
import type { Capacity } from '../capacity.js'
import { retell } from '../log/retell.js'
import type { Committing } from '../stored/committing.js'
import { storedEventsMax } from '../stored/read-stored.js'
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

/** Maximum of forks that are made at the same time. */
export const forksAtOnce = 4

/** How much of a session's events is replayed in one turn. Bytes. */
const replayedBytes = 256 * 1024

export interface ForkOptions {
  /** A cursor of the session: the fork gets everything up to it, the event at the cursor included. Default: the end. */
  readonly at?: Cursor | undefined
  /** The id of the fork. Default: a random id. */
  readonly session?: string | undefined
  /**
   * `exact`, the default: the fork is refused if workers or slices are not known as of the cursor. `known`: the fork gets what
   * is known, and `forkedFrom.without` names what it may lack.
   */
  readonly state?: ForkState | undefined
}

/** The part of `Sessions` that forks need. */
export interface ForkHost {
  readonly committing: Committing | undefined
  readonly capacity: Capacity
  /** @throws ProtocolError `notFound` */
  started(id: string): Session
  /**
   * Reserves an id, so that nobody else begins a session with it.
   *
   * @returns a function that releases the id
   * @throws ProtocolError `conflict` if there is a session with this id
   */
  reserve(id: string): () => void
  /** @throws ProtocolError `unavailable` if the limit of sessions is reached */
  expectRoomForOne(): void
  /** @returns a temporary session, which is not listed and not counted */
  aside(id: string, epoch: Epoch): Session
  /** @returns a new session, to pass to `hold` */
  make(id: string, epoch: Epoch): Session
  /** Adds a session to those in memory. */
  hold(session: Session): void
  /** Notes that a session exists in the store. */
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

/** Creates forks: sessions that begin with the past of another session. */
export class Forks {
  readonly #parts: ForksParts
  #underWay = 0

  constructor(parts: ForksParts) {
    this.#parts = parts
  }

  /** @returns the id of the fork, once the store or the log has it @throws ProtocolError as `Hub.forkSession` does */
  async fork(from: string, options: ForkOptions): Promise<string> {
    checkFields(options, ['at', 'session', 'state'], 'options')
    const { at, session, state = 'exact' } = options
    const { random, limits, sessions, log } = this.#parts
    const id = checkId(session ?? random.id(), limits, 'session')
    checkId(from, limits, 'session')
    checkChoice(state, forkStates, 'state')
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
      const past = now ?? pastOf(await this.#replayed(source, committing), source, to)
      await store.fork({ at: clock.now(), from, epoch, batch: past })
      sessions.stored(past.record)
    } catch (error) {
      throw committing.damaged.answerTo(error)
    }
  }

  /** @returns the session as of the end of the fork's past, computed from its stored events */
  async #replayed(source: ForkSource, { store }: Committing): Promise<Session> {
    const { sessions, catalog } = this.#parts
    const session = begun(sessions.aside(source.id, source.epoch), source)
    for (let after = start; after < source.last; ) {
      const page = await store.read(source.id, after, { limit: storedEventsMax, bytes: replayedBytes })
      for (const event of page.events) if (isPast(event, source)) retell(session, event, catalog)
      if (page.end) break
      after = page.last
    }
    return session
  }

  /** Forks in one turn, because all data is in memory. */
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
    let asOfLast = session
    if (!isHead) {
      asOfLast = begun(sessions.aside(source.id, source.epoch), source)
      for (const entry of entries.values()) retell(asOfLast, storedEvent(entry), catalog)
    }
    const past = pastOf(asOfLast, source, to)
    sessions.hold(forkInMemory(sessions.make(to.id, to.epoch), { session, past, entries }))
  }
}

function isGone({ id, epoch }: Session, trimmed: Offset): ProtocolError {
  return new ProtocolError(
    'conflict',
    `at: the events of session ${quote(id)} up to ${formatCursor(epoch, trimmed)} are not kept any more`,
  )
}

/** Starts the session, and the workers that have state. */
function begun(session: Session, { startedAt, slices, workersStartedAt }: ForkSource): Session {
  session.start(startedAt)
  for (const { worker } of slices) {
    if (worker !== undefined)
      session.startWorker(session.worker(worker), workersStartedAt.get(worker) ?? startedAt)
  }
  return session
}

/** Whether an event belongs to the fork's past. The end of the source session does not. */
function isPast({ offset, passes }: StoredEvent, { last }: ForkSource): boolean {
  return offset <= last && passes !== 'all'
}

/** @returns new entries for the events of these topics, in order of offsets: encoded forms name the session */
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
