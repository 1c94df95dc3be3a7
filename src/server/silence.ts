import type { Clock, Timer } from '../lib/clock.js'

/**
 * Calls back when nothing has been heard for a while, and again for each further while.
 *
 * `broken` only notes the time; the timer looks when it fires whether it has to wait on. So a busy connection
 * costs no timers, and an idle one costs one in each `ms`.
 */
export class Silence {
  readonly #clock: Clock
  readonly #ms: number
  readonly #lasted: (times: number) => void
  #since: number
  #times = 0
  #timer: Timer

  /** @param lasted told after each `ms` of one silence: the first time 1, then 2 */
  constructor(clock: Clock, ms: number, lasted: (times: number) => void) {
    this.#clock = clock
    this.#ms = ms
    this.#lasted = lasted
    this.#since = clock.now()
    this.#timer = this.#look(ms)
  }

  /** Something was heard. */
  broken(): void {
    this.#since = this.#clock.now()
    this.#times = 0
  }

  end(): void {
    this.#timer.cancel()
  }

  #look(afterMs: number): Timer {
    return this.#clock.after(afterMs, () => {
      const silentMs = this.#clock.now() - this.#since
      const lasted = silentMs >= this.#ms
      // Armed before telling, so that whoever is told may end it. When the clock has gone back, it begins anew.
      this.#timer = this.#look(lasted || silentMs < 0 ? this.#ms : this.#ms - silentMs)
      if (!lasted) return
      this.#times += 1
      this.#lasted(this.#times)
    })
  }
}
