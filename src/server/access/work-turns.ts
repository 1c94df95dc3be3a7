import type { Clock } from '../../lib/clock.js'

/**
 * Large pieces of work are done at most one in a turn of the event loop, after what is live has left. The senders take turns:
 * who sends a hundred waits for them alone.
 *
 * A piece may begin while the turn reads from sockets or when it ends, so the next one waits for the end of the turn after it.
 * Otherwise both would be done before the sockets are read again.
 */
export class WorkTurns {
  readonly #clock: Clock
  readonly #flush: () => void
  /** Whether this turn, or the one before it, has had its piece. */
  #isTaken = false
  readonly #waiting = new Map<string, (() => void)[]>()

  /** @param flush delivers what was published in this turn */
  constructor(clock: Clock, flush: () => void) {
    this.#clock = clock
    this.#flush = flush
  }

  /**
   * @param sender a token's holder, or an address
   * @returns undefined if the sender may begin at once
   */
  take(sender: string): Promise<void> | undefined {
    if (!this.#isTaken) {
      this.#begin()
      return undefined
    }
    return new Promise((go) => {
      const others = this.#waiting.get(sender)
      if (others === undefined) this.#waiting.set(sender, [go])
      else others.push(go)
    })
  }

  #begin(): void {
    this.#isTaken = true
    this.#flush()
    this.#clock.defer(() => this.#clock.defer(() => this.#turn()))
  }

  #turn(): void {
    this.#isTaken = false
    for (const [sender, pieces] of this.#waiting) {
      this.#begin()
      this.#waiting.delete(sender)
      const go = pieces.shift()
      if (pieces.length > 0) this.#waiting.set(sender, pieces)
      go?.()
      return
    }
  }
}
