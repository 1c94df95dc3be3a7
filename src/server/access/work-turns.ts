import type { Clock } from '../../lib/clock.js'

/** What has to go on while large pieces of work are done. */
interface Live {
  /** Delivers what was published in this turn. */
  flush(): void
  /** The number of events that were delivered to those who follow live. */
  readonly flushedEvents: number
}

/** How long after its last event live delivery counts as going on. */
const liveMs = 100
/** A shorter piece is followed by the next one without a rest. */
const restMsMin = 1

/**
 * Large pieces of work are done at most one in a turn of the event loop, after what is live has left. The senders take turns:
 * who sends a hundred waits for them alone.
 *
 * A piece may begin while the turn reads from sockets or when it ends, so the next one waits for the end of the turn after it.
 * Otherwise both would be done before the sockets are read again. As long as events are delivered, the next piece waits as long
 * as the last one took, so that this work takes at most half of the time.
 */
export class WorkTurns {
  readonly #clock: Clock
  readonly #live: Live
  #flushedEvents = 0
  /** When events were delivered last. */
  #liveAt = Number.NEGATIVE_INFINITY
  /** Whether this turn, or the one before it, has had its piece. */
  #isTaken = false
  readonly #waiting = new Map<string, (() => void)[]>()

  constructor(clock: Clock, live: Live) {
    this.#clock = clock
    this.#live = live
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
    this.#live.flush()
    const began = this.#clock.elapsed()
    this.#clock.defer(() => this.#rest(began))
  }

  #rest(began: number): void {
    const next = () => this.#clock.defer(() => this.#turn())
    const now = this.#clock.elapsed()
    const { flushedEvents } = this.#live
    if (flushedEvents !== this.#flushedEvents) this.#liveAt = now
    this.#flushedEvents = flushedEvents
    const took = now - began
    if (took >= restMsMin && now - this.#liveAt < liveMs) this.#clock.after(Math.ceil(took), next)
    else next()
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
