/** A rate limit: an average per second, and a burst that is available after a quiet time. */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/** Tolerance for the rounding errors of adding fractions. */
const rounding = 1e-9

/** A token bucket: refilled by time, emptied by use. Reads no clock; `now` is in milliseconds from any origin. */
export class Bucket {
  readonly #rate: Rate
  #left: number
  #at: number

  constructor(rate: Rate, now: number) {
    this.#rate = rate
    this.#left = rate.burst
    this.#at = now
  }

  /**
   * Takes `cost`, if that much is available. A cost above the burst is never granted.
   *
   * @returns 0 if it was taken; otherwise nothing was taken, and after this many milliseconds there will be enough
   */
  take(cost: number, now: number): number {
    this.#refill(now)
    if (cost <= this.#left + rounding) {
      this.#left -= cost
      return 0
    }
    return Math.max(1, Math.ceil(((cost - this.#left - rounding) * 1_000) / this.#rate.perSecond))
  }

  /**
   * Takes `cost`, even if less is available, for input that has already arrived.
   *
   * @returns after how many milliseconds the debt is paid; 0 if there was enough
   */
  spend(cost: number, now: number): number {
    this.#refill(now)
    this.#left -= cost
    return Math.max(0, Math.ceil(((-this.#left - rounding) * 1_000) / this.#rate.perSecond))
  }

  /** @returns whether it is as a new bucket would be */
  isFull(now: number): boolean {
    this.#refill(now)
    return this.#left + rounding >= this.#rate.burst
  }

  #refill(now: number): void {
    // If the clock is set back, the bucket is neither filled nor emptied.
    const elapsedMs = Math.max(0, now - this.#at)
    this.#at = now
    this.#left = Math.min(this.#rate.burst, this.#left + (elapsedMs * this.#rate.perSecond) / 1_000)
  }
}

/** A bucket for each of many names; only a bounded number of them is remembered, the most recent ones. */
export class Buckets {
  readonly #rate: Rate
  readonly #namesMax: number
  /** In the order in which they were created, or last found to be in use. */
  readonly #byName = new Map<string, Bucket>()

  constructor(rate: Rate, namesMax: number) {
    this.#rate = rate
    this.#namesMax = namesMax
  }

  get size(): number {
    return this.#byName.size
  }

  /** As `Bucket.take`, of the name's bucket. */
  take(name: string, cost: number, now: number): number {
    return this.#of(name, now).take(cost, now)
  }

  /** As `Bucket.spend`, from the name's bucket. */
  spend(name: string, cost: number, now: number): number {
    return this.#of(name, now).spend(cost, now)
  }

  #of(name: string, now: number): Bucket {
    let bucket = this.#byName.get(name)
    if (bucket === undefined) {
      if (this.#byName.size >= this.#namesMax) this.#forgetOne(now)
      bucket = new Bucket(this.#rate, now)
      this.#byName.set(name, bucket)
    }
    return bucket
  }

  /**
   * Forgets the first bucket that is full, which loses nothing. If several in a row are not full, it forgets the oldest one.
   */
  #forgetOne(now: number): void {
    let looks = 8
    let first: string | undefined
    for (const [name, bucket] of this.#byName) {
      first ??= name
      if (bucket.isFull(now)) {
        this.#byName.delete(name)
        return
      }
      looks -= 1
      if (looks === 0) break
    }
    if (first !== undefined) this.#byName.delete(first)
  }
}
