import type { HistoryTotals } from '../history/history.js'
import type { Clock, Timer } from '../lib/clock.js'
import { levelOf } from '../lib/level.js'
import { Weight } from '../lib/weight.js'
import { ProtocolError } from '../protocol/codes.js'
import type { Limits } from '../protocol/limits.js'
import { type Session, workerBytes } from '../session/session.js'
import { StateRoom } from '../state/room.js'

export interface CapacityOptions {
  readonly limits: Limits
  readonly totals: Readonly<HistoryTotals>
  readonly clock: Clock
  readonly sessions: ReadonlyMap<string, Session>
  /** Sessions that the store has and that are not followed, the longest idle first. */
  readonly idle: () => Session[]
  /** Releases a session from memory that can be loaded again. */
  readonly release: (session: Session) => void
  /** Removes a session; its subscriptions end. */
  readonly forget: (session: Session) => void
}

/** When memory is full it is freed down to this part, so that this is not repeated for each event. */
const afterRelief = 31 / 32

/** The part of all memory above which a session's history is evicted first. */
const ownShare = 1 / 8

/** The part of all memory that ended sessions together may hold before they are removed for others. */
const endedShare = 1 / 4

/**
 * A session's history is evicted first only above this multiple of the median, because equal sessions should be treated alike.
 */
const heavyFactor = 4

/** The size of the sample for the median. */
const sampleMax = 1_001

/** The part of all memory above which sessions with more than their share of state are refused more. */
const stateShare = 1 / 2

/** The part of all memory of which each session may always have an equal share for its state. */
const ownStateShare = 1 / 8

/** The memory of all sessions together, and the choice of what leaves when it is full or a retention time has passed. */
export class Capacity {
  /** State, and other data that is kept as long as its session or worker. */
  readonly #state = new Weight()
  readonly #options: CapacityOptions
  /** The removal times of ended sessions without a store, in order, by the monotonic clock. */
  readonly #ended = new Map<Session, number>()
  #timer: Timer | undefined = undefined

  constructor(options: CapacityOptions) {
    this.#options = options
  }

  /** The size of history and state. */
  get bytes(): number {
    return this.#options.totals.bytes + this.#state.bytes
  }

  /** Whether there is so much more room for state. */
  hasStateRoom(more: number): boolean {
    return this.#state.bytes + more <= this.#options.limits.memoryBytesMax * stateShare
  }

  /**
   * @param more how much state comes in addition
   * @returns whether there is room for all of it, and for events, without freeing any: nothing leaves memory, nothing is refused
   */
  isRoomyFor(more: number): boolean {
    return this.bytes <= this.#options.limits.memoryBytesMax && this.hasStateRoom(more)
  }

  /** @returns room for the state of one more session */
  room(): StateRoom {
    return new StateRoom(this.#state, this.#expectStateRoom)
  }

  readonly #expectStateRoom = (held: number, more: number): void => this.expectStateRoom(held, more)

  /**
   * Makes room before publishing, if there is none.
   *
   * @throws ProtocolError `unavailable` when nothing more can leave, because followed sessions were loaded with their state
   */
  expectRoom(): void {
    const { memoryBytesMax } = this.#options.limits
    if (this.bytes <= memoryBytesMax) return
    this.#relieve(memoryBytesMax * afterRelief)
    if (this.bytes <= memoryBytesMax) return
    throw new ProtocolError(
      'unavailable',
      `the hub holds ${memoryBytesMax} bytes of state (memoryBytesMax); remove slices or sessions`,
    )
  }

  /**
   * @param held the session's part of the room for state
   * @param more how much it requests in addition
   * @throws ProtocolError `unavailable` when the room for state is used up, and the session would exceed its share
   */
  expectStateRoom(held: number, more: number): void {
    const { limits, sessions } = this.#options
    const most = limits.memoryBytesMax * stateShare
    if (more <= 0 || this.hasStateRoom(more)) return
    const share = Math.floor((limits.memoryBytesMax * ownStateShare) / Math.max(1, sessions.size))
    if (held + more <= share) return
    const isDone = () => this.#state.bytes + more <= most * afterRelief
    this.#forget(0, ({ room }) => !isDone() && room.bytes > share)
    this.#release(isDone)
    if (this.hasStateRoom(more)) return
    throw new ProtocolError(
      'unavailable',
      `the state of all sessions takes ${Math.floor(most)} bytes, and this one would have more than ${share} of them; remove slices or sessions`,
    )
  }

  /**
   * @param publisher the workers that are about to publish
   * @throws ProtocolError `unavailable` when some of them are new, and there is no room for them
   */
  expectRoomForWorkers(sessionId: string, publisher: readonly (string | undefined)[]): void {
    if (this.hasStateRoom(publisher.length * workerBytes)) return
    const session = this.#options.sessions.get(sessionId)
    const begun = (id: string | undefined) =>
      id === undefined || session?.workers.get(id)?.startedAt !== undefined
    const begins = new Set(publisher.filter((id) => !begun(id))).size
    this.expectStateRoom(session?.room.bytes ?? 0, begins * workerBytes)
  }

  /** The session has ended, and without a store it is removed after a while. */
  ended(session: Session): void {
    this.#ended.set(session, this.#options.clock.elapsed() + this.#options.limits.endedRetentionMs)
    if (this.#ended.size === 1) this.#wait()
  }

  /** The session has left memory. */
  left(session: Session): void {
    session.release()
    if (!this.#ended.delete(session) || this.#ended.size > 0) return
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #wait(): void {
    const [due] = this.#ended.values()
    if (due === undefined) return
    const { clock, forget } = this.#options
    this.#timer = clock.after(Math.max(0, due - clock.elapsed()), () => {
      this.#timer = undefined
      const now = clock.elapsed()
      for (const [session, at] of this.#ended) {
        if (at > now) break
        forget(session)
      }
      this.#wait()
    })
  }

  /**
   * Frees memory in this order: history of sessions that hold far more than others, the heaviest first; ended sessions, while
   * they hold more than their part; stored sessions that are not followed, the longest idle first; history of all sessions, the
   * heaviest first, and of none below an equal share. For readers the events are evicted. So a busy session does not empty the
   * history of others.
   */
  #relieve(bytes: number): void {
    const { memoryBytesMax } = this.#options.limits
    const isDone = () => this.bytes <= bytes
    this.#shrinkHeaviest(bytes, Math.max(memoryBytesMax * ownShare, this.#middle() * heavyFactor))
    if (isDone()) return
    let ended = 0
    for (const session of this.#ended.keys()) ended += session.historyBytes
    const most = memoryBytesMax * endedShare
    const share = most / this.#ended.size
    // First those that hold more than their share.
    for (const least of [share, 0]) {
      this.#forget(least, ({ historyBytes }) => {
        if (isDone() || ended <= most) return false
        ended -= historyBytes
        return true
      })
    }
    this.#release(isDone)
    this.#shrinkHeaviest(bytes, 0)
  }

  /** Removes ended sessions, the oldest first. @param least only sessions with at least this much history */
  #forget(least: number, goes: (session: Session) => boolean): void {
    for (const session of this.#ended.keys()) {
      if (session.historyBytes >= least && goes(session)) this.#options.forget(session)
    }
  }

  /** Releases sessions that can be loaded again, until there is enough room. */
  #release(isDone: () => boolean): void {
    if (isDone()) return
    const { idle, release } = this.#options
    for (const session of idle().sort(byEnd)) {
      if (isDone()) return
      release(session)
    }
  }

  /** @returns the median size of the histories, of a sample if there are many */
  #middle(): number {
    const { sessions } = this.#options
    const step = Math.ceil(sessions.size / sampleMax)
    const sizes: number[] = []
    let at = 0
    for (const session of sessions.values()) if (at++ % step === 0) sizes.push(session.historyBytes)
    sizes.sort((a, b) => a - b)
    return sizes[Math.floor((sizes.length - 1) / 2)] ?? 0
  }

  /** @param share how much each session keeps in any case */
  #shrinkHeaviest(bytes: number, share: number): void {
    if (this.bytes <= bytes) return
    const heavy: Session[] = []
    for (const session of this.#options.sessions.values())
      if (session.historyBytes > share) heavy.push(session)
    const weights = heavy.map(({ historyBytes }) => historyBytes)
    const level = Math.max(share, levelOf(weights, this.bytes - bytes))
    for (const [at, session] of heavy.entries()) {
      const excess = (weights[at] as number) - level
      if (excess <= 0) continue
      const histories = session.histories()
      const left = levelOf(
        histories.map((history) => history.bytes),
        excess,
      )
      for (const history of histories) history.shrinkTo(left)
    }
  }
}

function byEnd(one: Session, other: Session): number {
  return (one.endedAt ?? Infinity) - (other.endedAt ?? Infinity) || one.activeAt - other.activeAt
}
