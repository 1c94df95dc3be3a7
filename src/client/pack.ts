import type { JsonValue } from '../lib/json.js'

const encoder = new TextEncoder()

/**
 * Encodes a JSON value as plain MessagePack: what the client sends, which is little.
 *
 * The decoder is `msgpackr/unpack`; its encoder alone would weigh more than the whole client. Fields that are
 * `undefined` are left out, as JSON does.
 *
 * @see https://github.com/msgpack/msgpack/blob/master/spec.md
 */
export function pack(value: JsonValue | object): Uint8Array<ArrayBuffer> {
  const packer = new Packer()
  packer.value(value as JsonValue)
  return packer.bytes()
}

class Packer {
  #buffer = new Uint8Array(256)
  #view = new DataView(this.#buffer.buffer)
  #length = 0

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.slice(0, this.#length)
  }

  value(value: JsonValue): void {
    if (value === null || value === undefined) this.#byte(0xc0)
    else if (typeof value === 'boolean') this.#byte(value ? 0xc3 : 0xc2)
    else if (typeof value === 'number') this.#number(value)
    else if (typeof value === 'string') this.#string(value)
    else if (Array.isArray(value)) {
      this.#head(value.length, 0x90, 16, 0xdc)
      for (const item of value) this.value(item)
    } else {
      const fields = Object.entries(value).filter(([, field]) => field !== undefined)
      this.#head(fields.length, 0x80, 16, 0xde)
      for (const [name, field] of fields) {
        this.#string(name)
        this.value(field)
      }
    }
  }

  #number(value: number): void {
    if (!Number.isFinite(value)) this.#byte(0xc0)
    else if (Number.isInteger(value) && value >= -32 && value < 128 && !Object.is(value, -0)) {
      this.#byte(value & 0xff)
    } else if (value === value >>> 0 && !Object.is(value, -0)) {
      this.#byte(0xce)
      const at = this.#take(4)
      this.#view.setUint32(at, value)
    } else {
      this.#byte(0xcb)
      const at = this.#take(8)
      this.#view.setFloat64(at, value)
    }
  }

  #string(text: string): void {
    const bytes = encoder.encode(text)
    this.#head(bytes.length, 0xa0, 32, 0xda)
    const at = this.#take(bytes.length)
    this.#buffer.set(bytes, at)
  }

  /** A length: within the first byte when it is less than `short`, else in 16 bits, or 32 with the next mark. */
  #head(length: number, mark: number, short: number, longMark: number): void {
    if (length < short) this.#byte(mark | length)
    else if (length < 0x10000) {
      this.#byte(longMark)
      const at = this.#take(2)
      this.#view.setUint16(at, length)
    } else {
      this.#byte(longMark + 1)
      const at = this.#take(4)
      this.#view.setUint32(at, length)
    }
  }

  #byte(byte: number): void {
    const at = this.#take(1)
    this.#buffer[at] = byte
  }

  /** @returns where `bytes` more bytes may be written. Take first: it may replace the buffer and the view. */
  #take(bytes: number): number {
    const at = this.#length
    this.#length += bytes
    if (this.#length > this.#buffer.length) {
      const larger = new Uint8Array(2 * this.#length)
      larger.set(this.#buffer)
      this.#buffer = larger
      this.#view = new DataView(larger.buffer)
    }
    return at
  }
}
