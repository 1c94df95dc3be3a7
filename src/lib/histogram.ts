/** The counts of a histogram. */
export interface HistogramReading {
  /** Upper bounds, ascending. */
  readonly bounds: readonly number[]
  /** The number of values in each bucket; the last bucket has the values above all bounds. */
  readonly counts: readonly number[]
  readonly sum: number
}

/** Counts values by their size. An `observe` is a short loop and allocates nothing. */
export class Histogram {
  readonly #bounds: readonly number[]
  readonly #counts: number[]
  #sum = 0

  /** @param bounds ascending; a value belongs to the first bound that is not below it */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  observe(value: number): void {
    let at = 0
    while (at < this.#bounds.length && value > (this.#bounds[at] as number)) at++
    this.#counts[at] = (this.#counts[at] as number) + 1
    this.#sum += value
  }

  /** Of all values. */
  get sum(): number {
    return this.#sum
  }

  read(): HistogramReading {
    return { bounds: this.#bounds, counts: [...this.#counts], sum: this.#sum }
  }
}
