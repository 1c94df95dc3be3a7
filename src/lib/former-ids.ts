import { hashOf } from './hash.js'

/** The first ids that leave a session's window are all remembered, because a repetition begins at the session's beginning. */
const firstMax = 100
/** Of the others every one, every second, every fourth and so on is remembered, so that there are no more than this. */
const sampleMax = 2_000

/**
 * Ids that have left the window of published ids. The hub no longer knows their offsets, but does not treat them as new. A
 * producer that repeats more events than the window holds begins with such ids. If they were treated as new, each would push
 * the next id to be repeated out of the window, and all events would be published twice.
 *
 * The memory is bounded for any number of ids. A list that repeats as many consecutive ids as lie between two of the sample
 * contains one of the sample.
 */
export class FormerIds {
  readonly #first = new Set<number>()
  /** Hash → the number of ids that had left before, not counting the first ones. */
  readonly #sample = new Map<number, number>()
  #left = 0
  #every = 1

  /** Of how many it knows. */
  get size(): number {
    return this.#first.size + this.#sample.size
  }

  has(name: string): boolean {
    const hash = hashOf(name)
    return this.#first.has(hash) || this.#sample.has(hash)
  }

  /** @returns whether the result of `stored` has changed, apart from the number of ids that have left */
  add(name: string): boolean {
    if (this.#first.size < firstMax) {
      this.#first.add(hashOf(name))
      return true
    }
    const number = this.#left++
    if (number % this.#every !== 0) return false
    this.#sample.set(hashOf(name), number)
    this.#thin()
    return true
  }

  /** @returns the input of `restore`: the number of ids that have left, and hashes */
  stored(): number[] {
    return [this.#left, ...this.#first, ...this.#sample.keys()]
  }

  restore([left = 0, ...hashes]: readonly number[]): void {
    for (const hash of hashes.slice(0, firstMax)) this.#first.add(hash)
    this.#left = left
    while (left / this.#every > sampleMax) this.#every *= 2
    for (const [index, hash] of hashes.slice(firstMax).entries()) this.#sample.set(hash, index * this.#every)
    this.#thin()
  }

  #thin(): void {
    while (this.#sample.size > sampleMax) {
      this.#every *= 2
      for (const [hash, number] of this.#sample) if (number % this.#every !== 0) this.#sample.delete(hash)
    }
  }
}
