/**
 * The delay of events. The difference between the clocks of the hub and the browser is unknown, so the delay is measured
 * relative to the fastest event, which cancels constant parts: the clock difference and the minimum transit time.
 */
export class Lag {
  #least = Number.POSITIVE_INFINITY
  /** The delay of the latest event in milliseconds; undefined before the first event. */
  ms: number | undefined

  /** @param time of publishing, by the hub's clock @param now time of arrival, by the browser's. Milliseconds */
  count(time: number, now: number): void {
    this.#least = Math.min(this.#least, now - time)
    this.ms = now - time - this.#least
  }
}
