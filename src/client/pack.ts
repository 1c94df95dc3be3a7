import type { JsonValue } from '../lib/json.js'
import { isWellFormed } from '../lib/text.js'

const encoder = new TextEncoder()

/**
 * Encodes a JSON value as plain MessagePack. The client sends little, so this is not optimized.
 *
 * The encoder of a library would be larger than the whole client. For the same reason numbers and lengths have only two forms,
 * the shortest and the longest. Fields that are `undefined` are left out, as in JSON.
 *
 * @see https://github.com/msgpack/msgpack/blob/master/spec.md
 */
export function pack(value: JsonValue | object): Uint8Array<ArrayBuffer> {
  const bytes: number[] = []
  write(bytes, value as JsonValue)
  return Uint8Array.from(bytes)
}

function write(bytes: number[], value: JsonValue): void {
  if (typeof value === 'string') {
    const text = isWellFormed(value) ? encoder.encode(value) : wideBytes(value)
    writeLength(bytes, text.length, 0xa0, 32, 0xdb)
    for (const byte of text) bytes.push(byte)
  } else if (typeof value === 'number' && Number.isFinite(value)) {
    if (value >= 0 && value < 128 && Object.is(value, value | 0)) bytes.push(value)
    else {
      const float = new DataView(new ArrayBuffer(8))
      float.setFloat64(0, value)
      bytes.push(0xcb, ...new Uint8Array(float.buffer))
    }
  } else if (typeof value === 'boolean') {
    bytes.push(value ? 0xc3 : 0xc2)
  } else if (Array.isArray(value)) {
    writeLength(bytes, value.length, 0x90, 16, 0xdd)
    for (const item of value) write(bytes, item)
  } else if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined)
    writeLength(bytes, fields.length, 0x80, 16, 0xdf)
    for (const [name, field] of fields) {
      write(bytes, name)
      write(bytes, field)
    }
  } else {
    bytes.push(0xc0)
  }
}

/** UTF-8 has no lone surrogates. By its scheme one takes three bytes, which the hub joins with the other half. */
function wideBytes(text: string): number[] {
  return text.split(/(\p{Surrogate})/u).flatMap((part, index) => {
    if (index % 2 === 0) return [...encoder.encode(part)]
    const unit = part.charCodeAt(0)
    return [0xed, 0x80 | ((unit >> 6) & 0x3f), 0x80 | (unit & 0x3f)]
  })
}

/** Writes it into the first byte if it is less than `short`, otherwise into 32 bits after `long`. */
function writeLength(bytes: number[], length: number, first: number, short: number, long: number): void {
  if (length < short) bytes.push(first | length)
  else bytes.push(long, length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255)
}
