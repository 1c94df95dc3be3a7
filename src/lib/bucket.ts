/** How much may come: so much a second on average, and so much at once after a quiet time. */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/** What adding fractions up may lose. */
const rounding = 1e-9

/** A token bucket: refilled by time, emptied by use. Reads no clock; `now` is in milliseconds, since whenever. */
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
   * Takes `cost`, if there is as much. What costs more than the burst is never let through.
   *
   * @returns 0 when it was taken; else after how many milliseconds there will be enough. Nothing was taken then.
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
   * Takes `cost`, also where there is less: what has come has come.
   *
   * @returns after how many milliseconds that is made up for; 0 where there was enough
   */
  spend(cost: number, now: number): number {
    this.#refill(now)
    this.#left -= cost
    return Math.max(0, Math.ceil(((-this.#left - rounding) * 1_000) / this.#rate.perSecond))
  }

  /** @returns whether nothing would be different if it were made anew */
  isFull(now: number): boolean {
    this.#refill(now)
    return this.#left + rounding >= this.#rate.burst
  }

  #refill(now: number): void {
    // A clock that was set back gives nothing, and takes nothing.
    const elapsedMs = Math.max(0, now - this.#at)
    this.#at = now
    this.#left = Math.min(this.#rate.burst, this.#left + (elapsedMs * this.#rate.perSecond) / 1_000)
  }
}

/** A bucket for each of many names, of which only so many are remembered: those that came last. */
export class Buckets {
  readonly #rate: Rate
  readonly #namesMax: number
  /** In the order in which they were made, or found to be still in use. */
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

  /** Forgets the first one that is full: nothing is lost. Where a few in a row are not, the first of them all. */
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
