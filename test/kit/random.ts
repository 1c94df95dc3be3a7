import type { Random } from '../../src/lib/random.js'

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-'

/** Chance that repeats itself: the same seed gives the same numbers and ids. Not for secrets. */
export class SeededRandom implements Random {
  /** The state of mulberry32 (public domain, Tommy Ettinger), 32 bits. */
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }

  id(size = 21): string {
    let id = ''
    for (let length = 0; length < size; length += 1) id += alphabet[this.integer(0, alphabet.length - 1)]
    return id
  }

  /** @returns an integer from `least` to `most`, both included. */
  integer(least: number, most: number): number {
    return least + Math.floor(this.fraction() * (most - least + 1))
  }

  /** @returns whether a thing of probability `odds` happens. */
  chance(odds: number): boolean {
    return this.fraction() < odds
  }

  /** @returns one of the items; there must be one. */
  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.integer(0, items.length - 1)]
    if (item === undefined) throw new RangeError('pick: expected at least one item')
    return item
  }

  /** @returns a generator of its own, so that one part's draws do not shift another's. */
  fork(): SeededRandom {
    return new SeededRandom(Math.floor(this.fraction() * 4_294_967_296))
  }
}
