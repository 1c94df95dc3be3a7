import type { Clock } from '../lib/clock.js'

/** A thousand events of 500 bytes. */
export const catchUpBytesPerTurn = 512 * 1024

// What is live waits for no more than this, and the frame that exceeds it.
const catchUpMsPerTurn = 0.2

/**
 * What all connections together may be sent of history in one turn. A crowd that joins or comes back at once gets
 * it over several turns, and what is published meanwhile is delivered in between.
 */
export class Pace {
  readonly #clock: Clock
  #leftBytes = catchUpBytesPerTurn
  #leftMs = catchUpMsPerTurn
  /** Somebody has written something in this turn. */
  #isOn = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whoever wants to send more comes back in the next turn. */
  get isSpent(): boolean {
    return this.#leftBytes <= 0 || this.#leftMs <= 0
  }

  /**
   * Counts what is written, and the time it takes. The last one may exceed them, so that each frame leaves in one piece.
   *
   * @param write answers how many bytes it wrote
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
