import type { HistoryTotals } from '../history/history.js'
import type { Clock, Timer } from '../lib/clock.js'
import { levelOf } from '../lib/level.js'
import { Weight } from '../lib/weight.js'
import { ProtocolError } from '../protocol/codes.js'
import type { Limits } from '../protocol/limits.js'
import type { Session } from '../session/session.js'

export interface CapacityOptions {
  readonly limits: Limits
  readonly totals: Readonly<HistoryTotals>
  readonly clock: Clock
  readonly sessions: () => Iterable<Session>
  /** Whether the session can come back from the store. */
  readonly isKept: (session: Session) => boolean
  /** Takes a session out of memory that can come back. */
  readonly release: (session: Session) => void
  /** Removes a session for good; its subscriptions are told. */
  readonly forget: (session: Session) => void
}

/** How much of it memory is freed to once it is full, so that who leaves is not asked for each event. */
const afterRelief = 7 / 8

/** The part of all memory that one session may hold before its history goes first. */
const ownShare = 1 / 8

/** And how much more than the session in the middle it must hold: where all hold as much, nobody is to blame. */
const heavyFactor = 4

/** What all sessions together weigh in memory, and who leaves when it is too much or time is up. */
export class Capacity {
  /** Of state. */
  readonly weight = new Weight()
  readonly #options: CapacityOptions
  /** Until when sessions stay that ended and that no store has, the first one first, on the clock that never jumps. */
  readonly #ended = new Map<Session, number>()
  #timer: Timer | undefined = undefined

  constructor(options: CapacityOptions) {
    this.#options = options
  }

  /** What history and state weigh. */
  get bytes(): number {
    return this.#options.totals.bytes + this.weight.bytes
  }

  /**
   * Makes room if there is none.
   *
   * @throws ProtocolError `unavailable` when there is nothing left that could leave
   */
  expectRoom(): void {
    const { memoryBytesMax } = this.#options.limits
    if (this.bytes <= memoryBytesMax) return
    this.#relieve(memoryBytesMax * afterRelief)
    if (this.bytes <= memoryBytesMax) return
    throw new ProtocolError(
      'unavailable',
      `the hub holds ${memoryBytesMax} bytes of state already; remove slices or sessions`,
    )
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
   * In this order: history of those that hold more than their share, the heaviest first; sessions that have ended, the
   * first one first; those that the store has and nobody follows, the one idle longest first; and history of the others,
   * again the heaviest first. A reader finds what has gone evicted. So who publishes much empties nobody else's history.
   */
  #relieve(bytes: number): void {
    const { sessions, isKept, release, forget, limits } = this.#options
    const isDone = () => this.bytes <= bytes
    const all = [...sessions()]
    const sizes = all.map(historyBytes).sort((a, b) => a - b)
    const median = sizes[Math.floor((sizes.length - 1) / 2)] ?? 0
    this.#shrinkHeaviest(all, bytes, Math.max(limits.memoryBytesMax * ownShare, median * heavyFactor))
    for (const session of all.sort(beforeInLeaving)) {
      if (isDone()) return
      if (isKept(session)) {
        if (!session.followed) release(session)
      } else if (session.status === 'ended' && session.journal === undefined) forget(session)
    }
    this.#shrinkHeaviest([...sessions()], bytes, 0)
  }

  /** @param share what each keeps, however much is to be freed */
  #shrinkHeaviest(sessions: readonly Session[], bytes: number, share: number): void {
    if (this.bytes <= bytes) return
    const weights = sessions.map(historyBytes)
    const level = Math.max(share, levelOf(weights, this.bytes - bytes))
    for (const [at, session] of sessions.entries()) {
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

function historyBytes(session: Session): number {
  return session.histories().reduce((sum, one) => sum + one.bytes, 0)
}

function beforeInLeaving(one: Session, other: Session): number {
  return (one.endedAt ?? Infinity) - (other.endedAt ?? Infinity) || one.activeAt - other.activeAt
}
