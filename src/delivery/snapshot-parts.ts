import type { JsonValue } from '../lib/json.js'
import type { JoinText } from '../protocol/cursor.js'
import type { Part, Slices } from '../protocol/frames.js'

/**
 * UTF-16 units of one part. As JSON or MessagePack they are at most three times as many bytes, and with what is around
 * them no more than the 64 KiB that every client takes; a link that lives for two seconds carries some of them.
 */
const partUnits = 16 * 1024

/** Where a snapshot goes on that was cut: the slices before this one have come, and of this one so many units. */
export interface SnapshotPlace {
  readonly slice: string
  readonly units: number
}

/** How many parts a value takes; values do not change, and a thousand clients may join at once. */
const counted = new WeakMap<object, number>()

/** A snapshot that leaves in parts, the slices in the order of their names. A slice becomes text when its turn comes. */
export class SnapshotParts {
  /** How many there are. */
  readonly count: number
  readonly #slices: Slices
  readonly #names: readonly string[]
  #at = 0
  /** Of the slice at hand. */
  #text: string | undefined
  #units = 0
  #sent: SnapshotPlace | undefined

  constructor(slices: Slices, from?: SnapshotPlace) {
    this.#slices = slices
    this.#names = Object.keys(slices)
      .filter((name) => from === undefined || name >= from.slice)
      .sort()
    this.#sent = from
    if (from !== undefined && this.#names[0] === from.slice) {
      const text = this.#textOf(from.slice)
      // A text that has been sent whole is not this one.
      this.#units = Math.min(from.units, text.length)
      if (this.#units === text.length) this.#nextSlice()
    }
    this.count = this.#countFrom(this.#at, this.#units)
  }

  get done(): boolean {
    return this.#at >= this.#names.length
  }

  /** @returns what has been sent, as a cursor says it; nothing where nothing has */
  progress(kind: 's' | 'g'): JoinText | undefined {
    return this.#sent && `${kind}${this.#sent.units}.${this.#sent.slice}`
  }

  /** @returns the next part; there must be one */
  next(): Omit<Part, 'type' | 'sub'> {
    const slice = this.#names[this.#at] as string
    this.#text ??= this.#textOf(slice)
    const text = this.#text
    const from = this.#units
    const to = cut(text, from)
    this.#units = to
    this.#sent = { slice, units: to }
    const last = to === text.length
    if (last) this.#nextSlice()
    return {
      slice,
      index: Math.ceil(from / partUnits),
      text: text.slice(from, to),
      ...(last && { last }),
    }
  }

  #nextSlice(): void {
    this.#at++
    this.#text = undefined
    this.#units = 0
  }

  #textOf(name: string): string {
    return JSON.stringify(this.#slices[name])
  }

  #countFrom(at: number, units: number): number {
    let count = 0
    for (let i = at; i < this.#names.length; i++) {
      const name = this.#names[i] as string
      count +=
        i === at && units > 0 ? cutsOf(this.#textOf(name), units) : partsOf(this.#slices[name] as JsonValue)
    }
    return count
  }
}

/** @returns where the part that begins at `from` ends: between whole characters */
function cut(text: string, from: number): number {
  const to = from + partUnits
  if (to >= text.length) return text.length
  const unit = text.charCodeAt(to - 1)
  const isHalf = unit >= 0xd800 && unit <= 0xdbff
  return isHalf ? to - 1 : to
}

function cutsOf(text: string, from: number): number {
  let count = 0
  for (let at = from; at < text.length; at = cut(text, at)) count++
  return count
}

function partsOf(value: JsonValue): number {
  if (typeof value !== 'object' || value === null) return cutsOf(JSON.stringify(value), 0)
  let count = counted.get(value)
  if (count === undefined) counted.set(value, (count = cutsOf(JSON.stringify(value), 0)))
  return count
}
