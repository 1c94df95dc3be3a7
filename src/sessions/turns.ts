import type { Clock } from '../lib/clock.js'

/** Turns of the event loop for deferrable work, which is done in slices: one slice per turn, over all callers. */
export class Turns {
  readonly #clock: Clock
  #last: Promise<void> = Promise.resolve()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @returns in a turn of its own, after earlier callers */
  next(): Promise<void> {
    this.#last = this.#last.then(() => new Promise((resolve) => this.#clock.defer(resolve)))
    return this.#last
  }
}
