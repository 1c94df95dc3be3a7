import { hashOf } from './hash.js'

/** The first ids that leave a session's window are all remembered: who repeats a session repeats its beginning. */
const firstMax = 100
/** Of the others every one, every second, every fourth and so on is, so that they are no more than this. */
const sampleMax = 2_000

/**
 * What has left the window of published ids: the hub does not know its offset any more, but does not take it for new
 * either. A producer that repeats more than the window holds begins with what has left it. Taken for new, it would push
 * out of the window what is to be repeated next, and all would be published twice.
 *
 * Bounded whatever the number of ids. A list that repeats as many in a row as lie between two of the sample has one of them.
 */
export class FormerIds {
  readonly #first = new Set<number>()
  /** Hash → how many had left before, the first ones not counted. */
  readonly #sample = new Map<number, number>()
  #left = 0
  #every = 1

  has(name: string): boolean {
    const hash = hashOf(name)
    return this.#first.has(hash) || this.#sample.has(hash)
  }

  /** @returns whether what `stored` says is another now, but for the number of those that left */
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

  /** @returns what `restore` takes: how many have left, and hashes */
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
