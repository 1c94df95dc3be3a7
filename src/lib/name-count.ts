import { hashKey as factor } from './random.js'

/** Objects with more names are not compared: the parser takes as long for each of them. */
const sharedNamesMax = 100

/** Arrays and objects that take as long as one name. */
const containersPerName = 4

/**
 * Counts the names in a text before it is parsed. What takes time is not the bytes: a mebibyte of rows with the same names takes
 * `JSON.parse` 3 ms, and 20 as an object of 65,000 names, which take as long again to check, to compare and to write.
 *
 * Objects with the same names in the same order count once; 4 arrays or objects count as a name.
 */
export class NameCount {
  readonly #max: number
  readonly #shapes = new Set<number>()
  /** For each open array or object: a hash of the names so far, and their number. */
  readonly #hashes: number[] = []
  readonly #counts: number[] = []
  #names = 0
  #containers = 0

  constructor(max: number) {
    this.#max = max
  }

  /** An array or object begins. */
  open(): void {
    this.#hashes.push(0)
    this.#counts.push(0)
    this.#containers += 1
  }

  /** @param hash of a name of the innermost object, see `hashed` @returns whether it alone has too many names already */
  name(hash: number): boolean {
    const top = this.#hashes.length - 1
    this.#hashes[top] = hashed(this.#hashes[top] as number, hash)
    const count = (this.#counts[top] as number) + 1
    this.#counts[top] = count
    return count > this.#max && count > sharedNamesMax
  }

  /** The innermost array or object ends. @returns whether there are more names than allowed */
  close(): boolean {
    const hash = this.#hashes.pop()
    const count = this.#counts.pop()
    if (hash === undefined || count === undefined) return false
    if (count > sharedNamesMax) this.#names += count
    else if (count > 0 && !this.#shapes.has(hash)) {
      this.#shapes.add(hash)
      this.#names += count
    }
    return this.#names + this.#containers / containersPerName > this.#max
  }
}

/** @returns the hash of a sequence, from the hash of what precedes and the next item. Starts at 0. */
export function hashed(before: number, next: number): number {
  const sum = Math.imul(before ^ next, factor) + next
  return (sum ^ (sum >>> 15)) | 0
}

/** The message of a refusal. */
export function tooManyNames(max: number): string {
  return `more than ${max} different names (namesMax = ${max}); ${containersPerName} arrays or objects count as one`
}
