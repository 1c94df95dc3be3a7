import type { HistoryTotals } from '../history/history.js'
import type { Clock, Timer } from '../lib/clock.js'
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

/** What all sessions together weigh in memory, and who leaves when it is too much or time is up. */
export class Capacity {
  /** Of state. */
  readonly weight = new Weight()
  readonly #options: CapacityOptions
  /** When sessions ended that no store has, the first one first. */
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
    this.#ended.set(session, this.#options.clock.now() + this.#options.limits.endedRetentionMs)
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
    this.#timer = clock.after(Math.max(0, due - clock.now()), () => {
      this.#timer = undefined
      const now = clock.now()
      for (const [session, at] of this.#ended) {
        if (at > now) break
        forget(session)
      }
      this.#wait()
    })
  }

  /**
   * In this order: those that have ended, the first one first; those that the store has and nobody follows, the one
   * idle longest first; and of the others their history, which a reader then finds evicted.
   */
  #relieve(bytes: number): void {
    const { sessions, isKept, release, forget } = this.#options
    const isDone = () => this.bytes <= bytes
    const leaving = [...sessions()].sort(beforeInLeaving)
    for (const session of leaving) {
      if (isDone()) return
      if (isKept(session)) {
        if (!session.followed) release(session)
      } else if (session.status === 'ended' && session.journal === undefined) forget(session)
    }
    for (const session of leaving) {
      if (isDone()) return
      for (const history of session.histories()) history.clear()
    }
  }
}

function beforeInLeaving(one: Session, other: Session): number {
  return (one.endedAt ?? Infinity) - (other.endedAt ?? Infinity) || one.activeAt - other.activeAt
}
