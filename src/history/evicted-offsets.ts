import type { Offset } from '../protocol/cursor.js'

/** A client that resumes from further back learns that events are missing, but not how many. */
const offsetsMax = 16_384
const farthest = 65_535

/** The newest offsets that have left a lane, in two bytes each, because a busy topic evicts as many events as it gets. */
export class EvictedOffsets {
  /** A ring buffer of distances, each to the previous offset; the largest value means this distance or more. */
  #distances = new Uint16Array(8)
  #last = 0
  #total = 0

  /** How many events have left. */
  get total(): number {
    return this.#total
  }

  /** @param offset above all earlier ones */
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

  /** @returns a copy without the offsets above the given one */
  upTo(offset: Offset): EvictedOffsets {
    const copy = new EvictedOffsets()
    copy.#distances = this.#distances.slice()
    copy.#last = this.#last
    copy.#total = this.#total
    const above = this.after(offset) ?? 0
    for (let count = 0; count < above; count++) {
      copy.#total -= 1
      copy.#last -= this.#distances[copy.#total % this.#distances.length] as number
    }
    return copy
  }

  /** @returns how many of the offsets are above the given one; undefined if that is no longer known */
  after(offset: Offset): number | undefined {
    const { length } = this.#distances
    const known = Math.min(this.#total, length)
    let count = 0
    for (let at = this.#last; at > offset; count++) {
      if (count === known) return known === this.#total ? count : undefined
      const distance = this.#distances[(this.#total - 1 - count) % length] as number
      at -= distance
      // The real distance may be larger, so the previous offset is known only if even this one is far enough.
      if (distance === farthest && at > offset && count + 1 < this.#total) return undefined
    }
    return count
  }
}
