/** The number of seconds that a rate covers. */
export const rateSeconds = 120

/** Events by second, over the last two minutes. */
export class Rate {
  readonly #counts = new Uint32Array(rateSeconds)
  #second = 0

  /** @param now in milliseconds */
  count(now: number, events = 1): void {
    this.#moveTo(Math.floor(now / 1000))
    const at = this.#second % rateSeconds
    this.#counts[at] = (this.#counts[at] ?? 0) + events
  }

  /** @returns events a second, over the last three whole seconds */
  perSecond(now: number): number {
    this.#moveTo(Math.floor(now / 1000))
    let sum = 0
    for (let back = 1; back <= 3; back += 1) sum += this.#at(this.#second - back)
    return sum / 3
  }

  /** @returns the counts of the last whole seconds, oldest first */
  series(now: number): number[] {
    this.#moveTo(Math.floor(now / 1000))
    return Array.from({ length: rateSeconds - 1 }, (_, at) => this.#at(this.#second - rateSeconds + 1 + at))
  }

  #at(second: number): number {
    return this.#counts[((second % rateSeconds) + rateSeconds) % rateSeconds] ?? 0
  }

  #moveTo(second: number): void {
    if (second <= this.#second) return
    if (second - this.#second >= rateSeconds) this.#counts.fill(0)
    else for (let at = this.#second + 1; at <= second; at += 1) this.#counts[at % rateSeconds] = 0
    this.#second = second
  }
}
