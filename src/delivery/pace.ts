import type { Clock } from '../lib/clock.js'

/** A thousand events of 500 bytes. */
export const catchUpBytesPerTurn = 512 * 1024

// Live events wait for no more than this, and the frame that exceeds it.
const catchUpMsPerTurn = 0.2

/**
 * The budget of history for all connections in one turn. Many clients that join or resume at once are served over several
 * turns, and live events are delivered in between.
 */
export class Pace {
  readonly #clock: Clock
  #leftBytes = catchUpBytesPerTurn
  #leftMs = catchUpMsPerTurn
  /** Something was written in this turn. */
  #isOn = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whether further data must wait for the next turn. */
  get isSpent(): boolean {
    return this.#leftBytes <= 0 || this.#leftMs <= 0
  }

  /**
   * Counts the written bytes, and the time. The last write may exceed the budget, so that each frame leaves in one piece.
   *
   * @param write returns the number of bytes
   */
  spend(write: () => number): void {
    if (!this.#isOn) {
      this.#isOn = true
      this.#clock.defer(() => {
        this.#isOn = false
        this.#leftBytes = catchUpBytesPerTurn
        this.#leftMs = catchUpMsPerTurn
      })
    }
    const began = this.#clock.elapsed()
    this.#leftBytes -= write()
    this.#leftMs -= this.#clock.elapsed() - began
  }
}
