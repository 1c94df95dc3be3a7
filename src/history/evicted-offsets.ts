import type { Offset } from '../protocol/cursor.js'

/** Who comes back from further behind is told that something is missing, and not how much. */
const offsetsMax = 16_384
const farthest = 65_535

/** Which events have left a lane, the newest of them: in two bytes each, as a topic evicts as much as is published to it. */
export class EvictedOffsets {
  /** A circle of distances, each to the one that left before; the largest one means that much or more. */
  #distances = new Uint16Array(8)
  #last = 0
  #total = 0

  /** How many have left. */
  get total(): number {
    return this.#total
  }

  /** @param offset above all before */
  add(offset: Offset): void {
    const { length } = this.#distances
    if (this.#total === length && length < offsetsMax) {
      const grown = new Uint16Array(2 * length)
      grown.set(this.#distances)
      this.#distances = grown
    }
    this.#distances[this.#total % this.#distances.length] = Math.min(offset - this.#last, farthest)
    this.#last = offset
    this.#total += 1
  }

  /** @returns how many of those that left come after the offset; nothing when it is not known any more */
  after(offset: Offset): number | undefined {
    const { length } = this.#distances
    const known = Math.min(this.#total, length)
    let count = 0
    for (let at = this.#last; at > offset; count++) {
      if (count === known) return known === this.#total ? count : undefined
      const distance = this.#distances[(this.#total - 1 - count) % length] as number
      at -= distance
      // What left before may be nearer or further: only where it is far enough it is known.
      if (distance === farthest && at > offset && count + 1 < this.#total) return undefined
    }
    return count
  }
}
