import type { JsonValue } from '../lib/json.js'
import type { JoinText } from '../protocol/cursor.js'
import type { Part, Slices } from '../protocol/frames.js'

/**
 * UTF-16 units of one part. As JSON or MessagePack they are at most three times as many bytes, and with what is around
 * them no more than the 64 KiB that every client accepts; even a link that lasts two seconds carries some of them.
 */
const partUnits = 16 * 1024

/** The position at which a cut snapshot continues: all slices before this one were sent, and this many units of it. */
export interface SnapshotPlace {
  readonly slice: string
  readonly units: number
}

/** The number of parts per value; values do not change, and a thousand clients may join at once. */
const counted = new WeakMap<object, number>()

/** A snapshot that leaves in parts, the slices in the order of their names. A slice becomes text when its turn comes. */
export class SnapshotParts {
  /** The number of parts. */
  readonly count: number
  readonly #slices: Slices
  readonly #names: readonly string[]
  #at = 0
  /** The text of the current slice. */
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
      // A text that was sent completely is not the current one.
      this.#units = Math.min(from.units, text.length)
      if (this.#units === text.length) this.#nextSlice()
    }
    this.count = this.#countFrom(this.#at, this.#units)
  }

  get done(): boolean {
    return this.#at >= this.#names.length
  }

  /** @returns the sent part, as in a cursor; nothing if none was sent */
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
