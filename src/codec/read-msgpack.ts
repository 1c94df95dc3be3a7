import { prototypeName } from '../lib/json.js'

/** Reads the text between two places. */
export type ReadText = (bytes: Uint8Array, from: number, to: number) => string

/**
 * Reads the values of plain MessagePack unchanged: a field `__proto__` is an ordinary field, an integer beyond 2^53 − 1 is a
 * BigInt. The hub uses it only for bytes with such fields, integers or lone surrogates, which its library would change
 * silently. The client uses it for everything, because the library would be a third of its size.
 *
 * @throws Error when the bytes end within a value, or are not plain
 * @see https://github.com/msgpack/msgpack/blob/master/spec.md
 */
export function readPlain(bytes: Uint8Array, readText: ReadText): unknown[] {
  const reader = new Reader(bytes, readText)
  const values: unknown[] = []
  while (!reader.isDone) values.push(reader.value())
  return values
}

class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #readText: ReadText
  #at = 0

  constructor(bytes: Uint8Array, readText: ReadText) {
    this.#bytes = bytes
    this.#readText = readText
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get isDone(): boolean {
    return this.#at >= this.#bytes.length
  }

  /** Recursive; the scan has bounded the depth. */
  value(): unknown {
    const head = this.#view.getUint8(this.#take(1))
    if (head <= 0x7f) return head
    if (head >= 0xe0) return head - 0x100
    if (head <= 0x8f) return this.#map(head & 0x0f)
    if (head <= 0x9f) return this.#list(head & 0x0f)
    if (head <= 0xbf) return this.#text(head & 0x1f)
    switch (head) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xca:
        return this.#view.getFloat32(this.#take(4))
      case 0xcb:
        return this.#view.getFloat64(this.#take(8))
      case 0xd0:
        return this.#view.getInt8(this.#take(1))
      case 0xd1:
        return this.#view.getInt16(this.#take(2))
      case 0xd2:
        return this.#view.getInt32(this.#take(4))
      case 0xd3:
        return numberOf(this.#view.getBigInt64(this.#take(8)))
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#length(head - 0xcc)
      case 0xcf:
        return numberOf(this.#view.getBigUint64(this.#take(8)))
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#length(head - 0xd9))
      case 0xdc:
      case 0xdd:
        return this.#list(this.#length(head - 0xdb))
      case 0xde:
      case 0xdf:
        return this.#map(this.#length(head - 0xdd))
      default:
        throw new RangeError(`expected a value of JSON, got 0x${head.toString(16)}`)
    }
  }

  /** @param size 0, 1 or 2: one, two or four bytes */
  #length(size: number): number {
    if (size === 0) return this.#view.getUint8(this.#take(1))
    return size === 1 ? this.#view.getUint16(this.#take(2)) : this.#view.getUint32(this.#take(4))
  }

  #text(length: number): string {
    const at = this.#take(length)
    return this.#readText(this.#bytes, at, at + length)
  }

  #list(length: number): unknown[] {
    const list: unknown[] = []
    for (let left = length; left > 0; left -= 1) list.push(this.value())
    return list
  }

  #map(length: number): object {
    const map: Record<string, unknown> = {}
    for (let left = length; left > 0; left -= 1) {
      const name = this.value() as string
      const value = this.value()
      if (name !== prototypeName) map[name] = value
      else Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true })
    }
    return map
  }

  /** @returns where the next `length` bytes begin */
  #take(length: number): number {
    const at = this.#at
    this.#at += length
    if (this.#at > this.#bytes.length) throw new RangeError('expected more bytes')
    return at
  }
}

function numberOf(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}
