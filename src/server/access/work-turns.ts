import type { Clock } from '../../lib/clock.js'

/**
 * Large pieces of work are done one in a turn of the event loop, so that what is live waits for one of them at most. The
 * senders take turns: who sends a hundred waits for them alone.
 */
export class WorkTurns {
  readonly #clock: Clock
  /** Whether this turn has had its piece. */
  #isTaken = false
  readonly #waiting = new Map<string, (() => void)[]>()

  constructor(clock: Clock) {
    this.#clock = clock
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
    this.#clock.defer(() => this.#turn())
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
