import { createHmac } from 'node:crypto'
import { wellFormed } from '../lib/text.js'
import type { Found, Seeker } from './found.js'

/** The stored form of a registered secret value, without its text. */
export interface KeptValue {
  readonly kind: string
  /** Characters. */
  readonly length: number
  /** The fingerprint of its first eight characters, under the key. */
  readonly print: number
  /** HMAC-SHA-256 of the value, in base64. */
  readonly hash: string
  /** The hash of the value that it is another spelling of. */
  readonly name: string
}

/** A registered secret value. */
export interface SecretValue {
  /** The name in its marks: a–z, 0–9 and `-`. */
  readonly kind: string
  readonly value: string
}

/** Minimum length; shorter values occur in ordinary words. Characters. */
export const valueLengthMin = 8
/** Characters. */
export const valueLengthMax = 4_096
/** Maximum of values per session. */
export const valuesMax = 1_000

/** Recognizes exact values by a rolling fingerprint of eight characters and a keyed hash, in one pass over a text. */
export class Values implements Seeker {
  readonly #key: string
  readonly #multiplier: number
  /** `#multiplier` to the power of seven: the weight of the character that leaves the window. */
  readonly #leaving: number
  readonly #byPrint = new Map<number, KeptValue[]>()
  readonly #hashes = new Set<string>()
  readonly #names = new Set<string>()
  /** The existing fingerprints, by some of their bits. This check alone excludes most positions of a text. */
  readonly #sieve = new Uint8Array(4_096)
  #lengthMax = 0

  constructor(key: string) {
    this.#key = key
    const seed = createHmac('sha256', key).update('fingerprint').digest()
    this.#multiplier = (seed.readUInt32LE(0) | 5) >>> 0
    let power = 1
    for (let place = 1; place < valueLengthMin; place++) power = Math.imul(power, this.#multiplier)
    this.#leaving = power
  }

  /** The number of values; spellings of one count once. */
  get size(): number {
    return this.#names.size
  }

  *kept(): Generator<KeptValue> {
    for (const values of this.#byPrint.values()) yield* values
  }

  /**
   * @param value 8–4096 characters
   * @returns the hashes that recognize it and its spellings in JSON, URLs and base64
   */
  hashed({ kind, value }: SecretValue): KeptValue[] {
    const name = this.#hash(value)
    return [...spellingsOf(value)].map((spelling) => ({
      kind,
      length: spelling.length,
      print: this.#printOf(spelling),
      hash: this.#hash(spelling),
      name,
    }))
  }

  add(value: KeptValue): void {
    if (this.#hashes.has(value.hash)) return
    this.#hashes.add(value.hash)
    this.#names.add(value.name)
    const others = this.#byPrint.get(value.print) ?? []
    // The longest first, because one value may be the beginning of another.
    this.#byPrint.set(
      value.print,
      [...others, value].sort((a, b) => b.length - a.length),
    )
    this.#sieve[sieveOf(value.print)] = 1
    this.#lengthMax = Math.max(this.#lengthMax, value.length)
  }

  find(text: string): readonly Found[] {
    const found: Found[] = []
    if (this.#lengthMax === 0 || text.length < valueLengthMin) return found
    let print = this.#printOf(text)
    const last = text.length - valueLengthMin
    for (let at = 0; ; ) {
      if (this.#sieve[sieveOf(print)] === 1) {
        const value = this.#valueAt(text, at, print)
        if (value !== undefined) {
          found.push({ from: at, to: at + value.length, kind: value.kind, name: value.name })
          at += value.length
          if (at > last) return found
          print = this.#printOf(text, at)
          continue
        }
      }
      if (at === last) return found
      const left = Math.imul(text.charCodeAt(at), this.#leaving)
      print = (Math.imul(print - left, this.#multiplier) + text.charCodeAt(at + valueLengthMin)) | 0
      at++
    }
  }

  openFrom(text: string): number {
    return this.#lengthMax === 0 ? text.length : Math.max(0, text.length - this.#lengthMax + 1)
  }

  #valueAt(text: string, at: number, print: number): KeptValue | undefined {
    return this.#byPrint
      .get(print)
      ?.find(
        ({ length, hash }) => at + length <= text.length && this.#hash(text.slice(at, at + length)) === hash,
      )
  }

  #printOf(text: string, from = 0): number {
    let print = 0
    for (let at = from; at < from + valueLengthMin; at++)
      print = (Math.imul(print, this.#multiplier) + text.charCodeAt(at)) | 0
    return print
  }

  #hash(text: string): string {
    return createHmac('sha256', this.#key).update(text).digest('base64')
  }
}

function sieveOf(print: number): number {
  return (print ^ (print >>> 12)) & 4_095
}

/** @returns the spellings of a value: unchanged, in JSON, in a URL, in base64 */
export function spellingsOf(value: string): ReadonlySet<string> {
  const base64 = Buffer.from(value, 'utf8').toString('base64')
  return new Set([
    value,
    JSON.stringify(value).slice(1, -1),
    encodeURIComponent(wellFormed(value)),
    base64,
    base64.replace(/=+$/, ''),
  ])
}
