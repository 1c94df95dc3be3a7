/**
 * How late events come. The clocks of the hub and the browser differ by nobody knows how much, so it is told against
 * the event that came soonest: what is constant, the difference of the clocks and the way itself, falls out.
 */
export class Lag {
  #least = Number.POSITIVE_INFINITY
  /** Of the latest event, in milliseconds; nothing before the first one. */
  ms: number | undefined

  /** @param time when the event was made, @param now when it came: in milliseconds, by whatever clocks */
  count(time: number, now: number): void {
    this.#least = Math.min(this.#least, now - time)
    this.ms = now - time - this.#least
  }
}
