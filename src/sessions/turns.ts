import type { Clock } from '../lib/clock.js'

/** Turns of the event loop for work that can wait, done a slice at a time: one slice in a turn, whoever asks. */
export class Turns {
  readonly #clock: Clock
  #last: Promise<void> = Promise.resolve()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @returns in a turn of its own, after those who have asked before */
  next(): Promise<void> {
    this.#last = this.#last.then(() => new Promise((resolve) => this.#clock.defer(resolve)))
    return this.#last
  }
}
