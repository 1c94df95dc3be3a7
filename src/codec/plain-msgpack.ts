import { isUtf8 } from 'node:buffer'
import { prototypeName } from '../lib/json.js'
import type { TextBounds } from '../lib/json-text.js'
import { hashed, NameCount, tooManyNames } from '../lib/name-count.js'
import { wideText } from './wide-text.js'

/** The result of a scan. */
export interface Scanned {
  /** The number of values. */
  readonly values: number
  /**
   * The bytes contain something that the library would change silently: a field `__proto__`, an integer beyond 2^53 − 1, or a
   * lone surrogate. `readPlain` reads it unchanged, so that the same check applies as for other codecs.
   */
  readonly isOdd: boolean
}

/**
 * Checks that bytes are plain MessagePack before a library creates values: nil, booleans, numbers, texts, arrays, and maps with
 * texts as names. Extensions are refused, because they include references, with which a few bytes become an infinite value. A
 * length that exceeds the remaining bytes is refused, because the library would allocate memory for it.
 *
 * One pass without recursion, about 1 ns a byte. Several values may follow each other.
 *
 * @param bounds `depthMax`: arrays and maps within each other
 * @throws Error that says what is wrong, and at which byte
 * @see https://github.com/msgpack/msgpack/blob/master/spec.md
 */
export function checkPlain(bytes: Uint8Array, bounds: TextBounds): Scanned {
  return new Scan(bytes, bounds).run()
}

/** The bytes of a name and its value at least. */
const nameBytesMin = 2

class Scan {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  /** For each open array or map, the number of remaining items; names and values of a map count one each. */
  readonly #left: number[] = []
  readonly #isMap: boolean[] = []
  readonly #depthMax: number
  readonly #namesMax: number
  /** Absent if the bytes are too few for too many names. */
  readonly #names: NameCount | undefined
  #at = 0
  #isOdd = false

  constructor(bytes: Uint8Array, { depthMax, namesMax }: TextBounds) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#depthMax = depthMax
    this.#namesMax = namesMax
    this.#names = bytes.length > nameBytesMin * namesMax ? new NameCount(namesMax) : undefined
  }

  run(): Scanned {
    let values = 0
    while (this.#at < this.#bytes.length) {
      this.#item(false)
      while (this.#left.length > 0) {
        const top = this.#left.length - 1
        const left = this.#left[top] as number
        if (left === 0) {
          this.#left.pop()
          this.#isMap.pop()
          if (this.#names?.close() === true) this.#fail(this.#at, tooManyNames(this.#namesMax))
          continue
        }
        this.#left[top] = left - 1
        this.#item(this.#isMap[top] === true && left % 2 === 0)
      }
      values += 1
    }
    return { values, isOdd: this.#isOdd }
  }

  /** @param isName whether the item is a map's name, which must be a text */
  #item(isName: boolean): void {
    const start = this.#at
    const head = this.#take(1)
    if (head >= 0xa0 && head <= 0xbf) return this.#text(head & 0x1f, isName)
    if (head === 0xd9) return this.#text(this.#take(1), isName)
    if (head === 0xda) return this.#text(this.#take(2), isName)
    if (head === 0xdb) return this.#text(this.#take(4), isName)
    if (isName) this.#fail(start, 'expected a text as the name of a field')
    if (head <= 0x7f || head >= 0xe0) return
    if (head <= 0x8f) return this.#open(start, 2 * (head & 0x0f), true)
    if (head <= 0x9f) return this.#open(start, head & 0x0f, false)
    switch (head) {
      case 0xc0:
      case 0xc2:
      case 0xc3:
        return
      case 0xcc:
      case 0xd0:
        return this.#skip(1)
      case 0xcd:
      case 0xd1:
        return this.#skip(2)
      case 0xca:
      case 0xce:
      case 0xd2:
        return this.#skip(4)
      case 0xcb:
        return this.#skip(8)
      case 0xcf:
      case 0xd3:
        return this.#integer(head === 0xd3)
      case 0xdc:
        return this.#open(start, this.#take(2), false)
      case 0xdd:
        return this.#open(start, this.#take(4), false)
      case 0xde:
        return this.#open(start, 2 * this.#take(2), true)
      case 0xdf:
        return this.#open(start, 2 * this.#take(4), true)
      case 0xc1:
        return this.#fail(start, 'the byte 0xc1 is in no value')
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#fail(start, 'binary data is no JSON value; send a text')
      default:
        return this.#fail(start, 'extension types are not read here')
    }
  }

  #open(start: number, items: number, isMap: boolean): void {
    if (items > this.#bytes.length - this.#at) this.#fail(start, `expected ${items} items, got fewer bytes`)
    if (this.#left.length >= this.#depthMax)
      this.#fail(start, `nested more than ${this.#depthMax} levels deep`)
    this.#names?.open()
    this.#left.push(items)
    this.#isMap.push(isMap)
  }

  #text(length: number, isName: boolean): void {
    const start = this.#at
    this.#skip(length)
    if (isName) this.#names?.name(this.#hashOf(start))
    if (isName && length === prototypeName.length) this.#isOdd ||= this.#isPrototypeName(start)
    for (let at = start; at < this.#at; at += 1) {
      if ((this.#bytes[at] as number) < 0x80) continue
      const rest = this.#bytes.subarray(at, this.#at)
      if (isUtf8(rest)) return
      if (wideText(rest) === undefined) this.#fail(start, 'expected UTF-8')
      this.#isOdd = true
      return
    }
  }

  #hashOf(start: number): number {
    let hash = this.#at - start
    for (let at = start; at < this.#at; at += 1) hash = hashed(hash, this.#bytes[at] as number)
    return hash
  }

  #isPrototypeName(start: number): boolean {
    for (let at = 0; at < prototypeName.length; at += 1) {
      if (this.#bytes[start + at] !== prototypeName.charCodeAt(at)) return false
    }
    return true
  }

  #integer(isSigned: boolean): void {
    const at = this.#at
    this.#skip(8)
    // The sum may be rounded, but a number outside the safe range never becomes one within it.
    const high = isSigned ? this.#view.getInt32(at) : this.#view.getUint32(at)
    const value = high * 2 ** 32 + this.#view.getUint32(at + 4)
    this.#isOdd ||= !Number.isSafeInteger(value)
  }

  /** @returns the next `length` bytes, as an unsigned integer */
  #take(length: 1 | 2 | 4): number {
    const at = this.#at
    this.#skip(length)
    if (length === 1) return this.#view.getUint8(at)
    return length === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at)
  }

  #skip(length: number): void {
    if (length > this.#bytes.length - this.#at) this.#fail(this.#bytes.length, 'the value is not complete')
    this.#at += length
  }

  #fail(at: number, reason: string): never {
    throw new Error(`byte ${at}: ${reason}`)
  }
}
