import { Packr } from 'msgpackr'
import { isArray, type JsonValue } from '../lib/json.js'
import { levelsAround } from '../lib/json-text.js'
import type { ControlFrame } from '../protocol/frames.js'
import type { Batch, Codec } from './codec.js'
import { checkPlain } from './plain-msgpack.js'
import { readPlain } from './read-msgpack.js'
import type { Variants } from './variants.js'

/** Plain MessagePack, readable by any library: no records, no extensions, maps with string keys. */
const packr = new Packr({
  useRecords: false,
  variableMapSize: true,
  encodeUndefinedAsNil: true,
  mapsAsObjects: true,
  int64AsType: 'number',
  moreTypes: false,
  // A field `toJSON` is a field: values are JSON already.
  useToJSON: false,
})

// Frames are cut from pieces of this size: node's own pool of 8 KiB is used up by three frames of ten events, and
// making it anew took a fifth of the time with few subscribers (`npm run bench -- fanout --only ws-10-10-200`).
const slabBytes = 64 * 1024

const emptyArray = 0x90

/** @returns a value in plain MessagePack. */
export function pack(value: object): Uint8Array {
  const bytes = packr.pack(value)
  return hasSurrogate(bytes) ? packr.pack(wellFormed(value as JsonValue)) : bytes
}

/**
 * A producer that cuts a text within a character sends half a surrogate pair, which JSON can say and UTF-8 cannot. The
 * library writes it as three bytes, `ed a0…bf xx`, that readers refuse.
 */
function hasSurrogate(bytes: Buffer): boolean {
  for (let at = bytes.indexOf(0xed); at !== -1; at = bytes.indexOf(0xed, at + 1)) {
    const next = bytes[at + 1] ?? 0
    if (next >= 0xa0 && next <= 0xbf) return true
  }
  return false
}

/** @returns the value with U+FFFD for each half of a pair, as in any UTF-8. */
function wellFormed(value: JsonValue): JsonValue {
  if (typeof value === 'string') return wellFormedText(value)
  if (typeof value !== 'object' || value === null) return value
  if (isArray(value)) return value.map(wellFormed)
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [wellFormedText(name), wellFormed(item)]),
  )
}

function wellFormedText(text: string): string {
  return text.replace(/\p{Surrogate}/gu, '\uFFFD')
}

/** Binary frames of subprotocol `runcast.v1.msgpack`. */
export class MsgpackCodec implements Codec {
  readonly name = 'msgpack'
  encodings = 0
  readonly namesFeeds = true
  #slab = Buffer.allocUnsafeSlow(0)
  #used = 0
  readonly #depthMax: number

  /** @param depthMax levels of the data within a frame */
  constructor(depthMax: number) {
    this.#depthMax = depthMax + levelsAround
  }

  control(frame: ControlFrame): Uint8Array {
    return pack(frame)
  }

  batch({ feed, span, events }: Batch): Uint8Array {
    const head =
      span === undefined
        ? pack({ type: 'events', feed, replay: true, events: [] })
        : pack({ type: 'events', feed, after: span.after, last: span.last, events: [] })
    if (head[head.length - 1] !== emptyArray) throw new Error('expected the head of a batch to end with []')
    let bytes = head.length - 1 + arrayHeadBytes(events.length)
    for (let i = 0; i < events.length; i++) bytes += this.#event(events[i] as Variants).length

    const chunk = this.#room(bytes)
    chunk.set(head, 0)
    let at = writeArrayHead(chunk, head.length - 1, events.length)
    for (let i = 0; i < events.length; i++) {
      const packed = (events[i] as Variants).packed as Uint8Array
      chunk.set(packed, at)
      at += packed.length
    }
    return chunk
  }

  /** @throws Error when the bytes are not exactly one value of plain MessagePack */
  decode(bytes: Uint8Array): JsonValue {
    const { values, isOdd } = checkPlain(bytes, this.#depthMax)
    if (values !== 1) throw new Error(`expected one value, got ${values}`)
    return (isOdd ? readPlain(bytes)[0] : packr.unpack(bytes)) as JsonValue
  }

  /**
   * Concatenated values, as in a body of `application/msgpack`.
   *
   * @throws Error when they are not plain MessagePack
   */
  decodeAll(bytes: Uint8Array): JsonValue[] {
    if (checkPlain(bytes, this.#depthMax).isOdd) return readPlain(bytes) as JsonValue[]
    return (packr.unpackMultiple(bytes) ?? []) as JsonValue[]
  }

  /** The simple equivalent is `Buffer.allocUnsafe(bytes)`: see `slabBytes`. */
  #room(bytes: number): Buffer {
    if (bytes > slabBytes / 4) return Buffer.allocUnsafeSlow(bytes)
    if (this.#used + bytes > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(slabBytes)
      this.#used = 0
    }
    const from = this.#used
    this.#used += bytes
    return this.#slab.subarray(from, this.#used)
  }

  #event(variants: Variants): Uint8Array {
    if (variants.packed === undefined) {
      this.encodings++
      variants.packed = pack(variants.event)
    }
    return variants.packed
  }
}

// https://github.com/msgpack/msgpack/blob/master/spec.md#array-format-family
function arrayHeadBytes(length: number): number {
  return length < 16 ? 1 : length < 65_536 ? 3 : 5
}

function writeArrayHead(chunk: Buffer, at: number, length: number): number {
  if (length < 16) return chunk.writeUInt8(emptyArray | length, at)
  if (length < 65_536) return chunk.writeUInt16BE(length, chunk.writeUInt8(0xdc, at))
  return chunk.writeUInt32BE(length, chunk.writeUInt8(0xdd, at))
}
