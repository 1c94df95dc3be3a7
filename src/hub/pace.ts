import type { Clock } from '../lib/clock.js'

/** A thousand events of 500 bytes. What is live waits for no more than this takes to write, under a millisecond. */
export const catchUpBytesPerTurn = 512 * 1024

/**
 * What all connections together may be sent of history in one turn. A crowd that joins or comes back at once gets
 * it over several turns, and what is published meanwhile is delivered in between.
 */
export class Pace {
  readonly #clock: Clock
  #leftBytes = catchUpBytesPerTurn

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whoever wants to send more comes back in the next turn. */
  get isSpent(): boolean {
    return this.#leftBytes <= 0
  }

  /** The last one may exceed it, so that each frame leaves in one piece. */
  spend(bytes: number): void {
    if (bytes <= 0) return
    if (this.#leftBytes === catchUpBytesPerTurn) {
      this.#clock.defer(() => {
        this.#leftBytes = catchUpBytesPerTurn
      })
    }
    this.#leftBytes -= bytes
  }
}
