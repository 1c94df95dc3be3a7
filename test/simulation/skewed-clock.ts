import type { Clock, Timer } from '../../src/lib/clock.js'

/** A hub's clock goes wrong by something of its own. */
export class SkewedClock implements Clock {
  readonly #clock: Clock
  readonly #skewMs: number

  constructor(clock: Clock, skewMs: number) {
    this.#clock = clock
    this.#skewMs = skewMs
  }

  now(): number {
    return this.#clock.now() + this.#skewMs
  }

  elapsed(): number {
    return this.#clock.elapsed()
  }

  after(ms: number, task: () => void): Timer {
    return this.#clock.after(ms, task)
  }

  defer(task: () => void): void {
    this.#clock.defer(task)
  }
}
