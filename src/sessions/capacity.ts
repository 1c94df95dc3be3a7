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
  /** Those that can come back from the store, and that nobody follows, the one idle longest first. */
  readonly idle: () => Session[]
  /** Takes a session out of memory that can come back. */
  readonly release: (session: Session) => void
  /** Removes a session for good; its subscriptions are told. */
  readonly forget: (session: Session) => void
}

/** How much of it memory is freed to once it is full, so that who leaves is not asked for each event. */
const afterRelief = 31 / 32

/** The part of all memory that one session may hold before its history goes first. */
const ownShare = 1 / 8

/** The part of all memory that sessions which have ended may hold together before they go for the others. */
const endedShare = 1 / 4

/** How often one holds the history of the session in the middle before it pays first: where all hold as much, nobody is to blame. */
const heavyFactor = 4

/** So many sessions tell how much the one in the middle holds. */
const sampleMax = 1_001

/** The part of all memory that state may take before those who have more than their share of it are refused more. */
const stateShare = 1 / 2

/** The part of all memory of which each session may have an equal share for its state, however much others have. */
const ownStateShare = 1 / 8

/** What all sessions together weigh in memory, and who leaves when it is too much or time is up. */
export class Capacity {
  /** Of state, and of what else is kept of sessions and workers for as long as they are there. */
  readonly #state = new Weight()
  readonly #options: CapacityOptions
  /** Until when sessions stay that ended and that no store has, the first one first, on the clock that never jumps. */
  readonly #ended = new Map<Session, number>()
  #timer: Timer | undefined = undefined

  constructor(options: CapacityOptions) {
    this.#options = options
  }

  /** What history and state weigh. */
  get bytes(): number {
    return this.#options.totals.bytes + this.#state.bytes
  }

  /** Whether anybody may have so much more of the room for state. */
  hasStateRoom(more: number): boolean {
    return this.#state.bytes + more <= this.#options.limits.memoryBytesMax * stateShare
  }

  /** @returns room for the state of one more session */
  room(): StateRoom {
    return new StateRoom(this.#state, this.#expectStateRoom)
  }

  readonly #expectStateRoom = (held: number, more: number): void => this.expectStateRoom(held, more)

  /**
   * Makes room for what is about to be published, if there is none.
   *
   * @throws ProtocolError `unavailable` when nothing is left that could leave: sessions came back with their state that
   *   somebody follows
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
   * @param held what a session has of the room for state
   * @param more what it wants beside it
   * @throws ProtocolError `unavailable` when state takes its part of the memory, and the session would have more than its share
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

  /** The session has ended, and there is no store: it leaves after a while. */
  ended(session: Session): void {
    this.#ended.set(session, this.#options.clock.elapsed() + this.#options.limits.endedRetentionMs)
    if (this.#ended.size === 1) this.#wait()
  }

  /** The session is not in memory any more. */
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
   * In this order: history of those that hold far more than others, the heaviest first; sessions that have ended, while
   * these hold more than their part; those that the store has and nobody follows, the one idle longest first; and history
   * of all, again the heaviest first, and of none below an equal share. A reader finds what has gone evicted. So who
   * publishes much empties nobody else's history.
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
    // First those that hold more than their share of it.
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

  /** Forgets sessions that have ended, the first one first. @param least of history, what one holds that goes */
  #forget(least: number, goes: (session: Session) => boolean): void {
    for (const session of this.#ended.keys()) {
      if (session.historyBytes >= least && goes(session)) this.#options.forget(session)
    }
  }

  /** Lets sessions leave memory that can come back, until it is enough. */
  #release(isDone: () => boolean): void {
    if (isDone()) return
    const { idle, release } = this.#options
    for (const session of idle().sort(byEnd)) {
      if (isDone()) return
      release(session)
    }
  }

  /** @returns the history of the session in the middle; where there are many, of the one in the middle of some */
  #middle(): number {
    const { sessions } = this.#options
    const step = Math.ceil(sessions.size / sampleMax)
    const sizes: number[] = []
    let at = 0
    for (const session of sessions.values()) if (at++ % step === 0) sizes.push(session.historyBytes)
    sizes.sort((a, b) => a - b)
    return sizes[Math.floor((sizes.length - 1) / 2)] ?? 0
  }

  /** @param share what each keeps, however much is to be freed */
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
