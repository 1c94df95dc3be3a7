import type { Clock } from '../../lib/clock.js'

// Each may join, at a tenth of a millisecond or two. What is live waits for no more than these.
const entrantsPerTurn = 2

/**
 * Whoever opens a stream passes here, and so does who is turned away, also with a WebSocket. Of those who come all at
 * once a few pass in each turn, in their order, and what is published meanwhile is delivered in between. Each is an
 * open link, of which there is a bounded number.
 */
export class EntryQueue {
  readonly #clock: Clock
  /** In this turn. */
  #entrants = 0
  readonly #waiting = new Set<() => void>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @returns nothing to whoever may pass at once */
  pass(): Promise<void> | undefined {
    if (this.#entrants === 0) this.#clock.defer(() => this.#turn())
    if (this.#entrants < entrantsPerTurn) {
      this.#entrants++
      return undefined
    }
    return new Promise((resolve) => void this.#waiting.add(resolve))
  }

  #turn(): void {
    this.#entrants = 0
    for (const pass of this.#waiting) {
      if (this.#entrants === entrantsPerTurn) break
      this.#waiting.delete(pass)
      this.#entrants++
      pass()
    }
    if (this.#entrants > 0) this.#clock.defer(() => this.#turn())
  }
}
