import type { Clock } from '../../lib/clock.js'

// Each may join, which takes 0.1 to 0.2 ms. Live events wait for no more than this.
const entrantsPerTurn = 2

/**
 * Requests for streams pass through this queue, and so do refusals of streams and WebSockets. Of many that arrive at once, a
 * few pass in each turn, in order, and events are delivered in between. Each is an open link, so their number is bounded.
 */
export class EntryQueue {
  readonly #clock: Clock
  /** The number in this turn. */
  #entrants = 0
  readonly #waiting = new Set<() => void>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @returns undefined if the request may pass at once */
  pass(): Promise<void> | undefined {
    if (this.#entrants === 0) this.#afterTurn()
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
    if (this.#entrants > 0) this.#afterTurn()
  }

  /** At the end of the next turn: these may pass while this turn reads from sockets, and others at its end. */
  #afterTurn(): void {
    this.#clock.defer(() => this.#clock.defer(() => this.#turn()))
  }
}
