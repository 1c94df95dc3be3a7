import type { Clock, Timer } from '../../lib/clock.js'

/** Called when a time has come. @returns the next time, milliseconds since 1970; undefined for none */
export type Due = (session: string, worker: string | undefined) => number | undefined

interface Waiting {
  readonly at: number
  readonly timer: Timer
}

/**
 * The longest duration of a timer before the time is checked again: `setTimeout` accepts at most 2³¹ − 1 ms, and the clock may
 * be set.
 */
const timerMsMax = 24 * 60 * 60 * 1_000

/** Due times of sessions and workers, with one timer for each. */
export class DueTimes {
  readonly #clock: Clock
  readonly #due: Due
  /** By session, then by worker; empty for the session's own. */
  readonly #waiting = new Map<string, Map<string, Waiting>>()

  constructor(clock: Clock, due: Due) {
    this.#clock = clock
    this.#due = due
  }

  /** The number of sessions for which it waits. */
  get size(): number {
    return this.#waiting.size
  }

  has(session: string): boolean {
    return this.#waiting.has(session)
  }

  /** Waits until then, unless it waits for something sooner. @param at milliseconds since 1970 */
  wait(session: string, worker: string | undefined, at: number): void {
    const name = worker ?? ''
    let times = this.#waiting.get(session)
    const known = times?.get(name)
    if (known !== undefined && known.at <= at) return
    known?.timer.cancel()
    if (times === undefined) this.#waiting.set(session, (times = new Map()))
    const ms = Math.min(timerMsMax, Math.max(0, at - this.#clock.now()))
    times.set(name, { at, timer: this.#clock.after(ms, () => this.#come(session, worker)) })
  }

  /** The session has ended or was removed. */
  dropAll(session: string): void {
    for (const { timer } of this.#waiting.get(session)?.values() ?? []) timer.cancel()
    this.#waiting.delete(session)
  }

  clear(): void {
    for (const session of this.#waiting.keys()) this.dropAll(session)
  }

  #come(session: string, worker: string | undefined): void {
    const times = this.#waiting.get(session)
    times?.delete(worker ?? '')
    if (times?.size === 0) this.#waiting.delete(session)
    const next = this.#due(session, worker)
    if (next !== undefined) this.wait(session, worker, next)
  }
}
