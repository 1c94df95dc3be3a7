import { isArray, type JsonValue } from '../lib/json.js'

// https://github.com/msgpack/msgpack/blob/master/spec.md

/** The most that a head or a number takes. Bytes. */
const headBytesMax = 9

/** A UTF-16 unit takes at most three bytes of UTF-8. */
const unitBytesMax = 3

/** A loop is faster than a call of the runtime up to about this many characters. */
const shortTextMax = 64

const float = new Float64Array(1)
const floatBytes = new Uint8Array(float.buffer)
const isLittleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

/**
 * Writes a value in plain MessagePack. A lone surrogate becomes U+FFFD. The simple equivalent is `Packr.pack` and a copy, with
 * the same bytes; this takes half as long for an event of 200 bytes, because nothing is copied, scanned for surrogates or
 * listed first (`npm run bench -- micro`).
 *
 * @returns the place after it; −1 if it does not fit, or is no JSON value. What was written up to there means nothing then
 */
export function writePlain(to: Buffer, at: number, value: JsonValue): number {
  if (at + headBytesMax > to.length) return -1
  switch (typeof value) {
    case 'string':
      return writeText(to, at, value)
    case 'number':
      return writeNumber(to, at, value)
    case 'boolean':
      to[at] = value ? 0xc3 : 0xc2
      return at + 1
    case 'object':
      if (value === null) {
        to[at] = 0xc0
        return at + 1
      }
      return isArray(value) ? writeArray(to, at, value) : writeObject(to, at, value)
    default:
      return -1
  }
}

function writeText(to: Buffer, at: number, text: string): number {
  const { length } = text
  if (at + headBytesMax + length * unitBytesMax > to.length) return -1
  if (length < shortTextMax) {
    const head = length < 0x20 ? 1 : 2
    let place = at + head
    let unit = 0
    for (let i = 0; i < length; i++) {
      unit = text.charCodeAt(i)
      if (unit >= 0x80) break
      to[place++] = unit
    }
    if (unit < 0x80) {
      if (head === 1) to[at] = 0xa0 | length
      else {
        to[at] = 0xd9
        to[at + 1] = length
      }
      return place
    }
  }
  // The bytes are counted by writing them where they belong if all characters are ASCII.
  const guessed = textHeadBytes(length)
  const bytes = to.write(text, at + guessed, length * unitBytesMax)
  const head = textHeadBytes(bytes)
  if (head !== guessed) to.copyWithin(at + head, at + guessed, at + guessed + bytes)
  if (head === 1) to[at] = 0xa0 | bytes
  else writeLength(to, at, bytes, { one: 0xd9, two: 0xda, four: 0xdb })
  return at + head + bytes
}

function textHeadBytes(bytes: number): number {
  return bytes < 0x20 ? 1 : bytes < 0x100 ? 2 : bytes < 0x1_0000 ? 3 : 5
}

function writeNumber(to: Buffer, at: number, value: number): number {
  if (value >>> 0 === value) {
    if (value < 0x80) {
      to[at] = value
      return at + 1
    }
    return writeLength(to, at, value, { one: 0xcc, two: 0xcd, four: 0xce })
  }
  if (value >> 0 === value) {
    if (value >= -0x20) {
      to[at] = value
      return at + 1
    }
    if (value >= -0x80) {
      to[at] = 0xd0
      return to.writeInt8(value, at + 1)
    }
    if (value >= -0x8000) {
      to[at] = 0xd1
      return to.writeInt16BE(value, at + 1)
    }
    to[at] = 0xd2
    return to.writeInt32BE(value, at + 1)
  }
  to[at] = 0xcb
  float[0] = value
  for (let i = 0; i < 8; i++) to[at + 1 + i] = floatBytes[isLittleEndian ? 7 - i : i] as number
  return at + 9
}

/** Writes an unsigned number of 32 bits after the byte that says how many bytes it takes. */
function writeLength(
  to: Buffer,
  at: number,
  value: number,
  { one, two, four }: { readonly one: number; readonly two: number; readonly four: number },
): number {
  if (value < 0x100) {
    to[at] = one
    to[at + 1] = value
    return at + 2
  }
  if (value < 0x1_0000) {
    to[at] = two
    to[at + 1] = value >>> 8
    to[at + 2] = value
    return at + 3
  }
  to[at] = four
  return to.writeUInt32BE(value, at + 1)
}

function writeArray(to: Buffer, at: number, items: readonly JsonValue[]): number {
  const { length } = items
  let place = at + 1
  if (length < 16) to[at] = 0x90 | length
  else if (length < 0x1_0000) {
    to[at] = 0xdc
    place = to.writeUInt16BE(length, at + 1)
  } else {
    to[at] = 0xdd
    place = to.writeUInt32BE(length, at + 1)
  }
  for (let i = 0; i < length; i++) {
    place = writePlain(to, place, items[i] as JsonValue)
    if (place < 0) return -1
  }
  return place
}

function writeObject(to: Buffer, at: number, object: { readonly [name: string]: JsonValue }): number {
  let place = at + 1
  let count = 0
  // A plain object inherits nothing enumerable. Listing the names first would make an array of them.
  for (const name in object) {
    count++
    place = writeText(to, place, name)
    if (place < 0) return -1
    place = writePlain(to, place, object[name] as JsonValue)
    if (place < 0) return -1
  }
  if (count < 16) {
    to[at] = 0x80 | count
    return place
  }
  const more = count < 0x1_0000 ? 2 : 4
  if (place + more > to.length) return -1
  to.copyWithin(at + 1 + more, at + 1, place)
  to[at] = more === 2 ? 0xde : 0xdf
  if (more === 2) to.writeUInt16BE(count, at + 1)
  else to.writeUInt32BE(count, at + 1)
  return place + more
}
