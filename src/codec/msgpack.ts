import { Packr, RESET_BUFFER_MODE, REUSE_BUFFER_MODE } from 'msgpackr'
import { isArray, type JsonValue } from '../lib/json.js'
import { levelsAround, type TextBounds } from '../lib/json-text.js'
import type { ControlFrame } from '../protocol/frames.js'
import type { Batch, Codec } from './codec.js'
import { checkPlain } from './plain-msgpack.js'
import { readPlain } from './read-msgpack.js'
import type { Variants } from './variants.js'
import { wideText } from './wide-text.js'
import { writePlain } from './write-msgpack.js'

/** Plain MessagePack, readable by any library: no records, no extensions, maps with string keys. */
const packr = new Packr({
  useRecords: false,
  variableMapSize: true,
  encodeUndefinedAsNil: true,
  mapsAsObjects: true,
  int64AsType: 'number',
  moreTypes: false,
  // A field `toJSON` is an ordinary field, because values are JSON already.
  useToJSON: false,
})

// Frames are cut from slabs of this size. Three frames of ten events use up Node's own pool of 8 KiB, and allocating it again
// took a fifth of the time with few subscribers (`npm run bench -- fanout --only ws-10-10-200`).
const slabBytes = 64 * 1024

// Longer frames have memory of their own.
const sharedBytesMax = slabBytes / 4

const emptyArray = 0x90

// The texts of a live batch's head, between its numbers. The head is written by hand, because packing it took as long as
// packing a small event (`npm run bench -- sessions`).
const text = (...texts: string[]): Buffer => Buffer.concat(texts.map((one) => Buffer.from(packr.pack(one))))
const opening = Buffer.concat([Buffer.from([0x85]), text('type', 'events', 'feed')])
const [beforeAfter, beforeLast, beforeEvents] = [text('after'), text('last'), text('events')]
const liveTextBytes = opening.length + beforeAfter.length + beforeLast.length + beforeEvents.length
// The most that the feed, the two positions and the number of events take.
const batchNumbersBytes = 4 * 5

/** @returns a value in plain MessagePack. */
export function pack(value: object): Uint8Array {
  const bytes = packr.pack(value)
  const packed = hasSurrogate(bytes, 0, bytes.length) ? packr.pack(wellFormed(value as JsonValue)) : bytes
  if (packed.length > ownBytesMax) packr.useBuffer(Buffer.allocUnsafeSlow(libraryBytes))
  return packed
}

// The library cuts packed values from buffers of this size. After a longer value it would make all further buffers that long,
// and one small retained event would keep megabytes in memory.
const libraryBytes = 8 * 1024
const ownBytesMax = libraryBytes / 2

/** The library's own buffer, with the place of the packed value in it. It is valid until the next value is packed. */
type InPlace = Buffer & { readonly start: number; readonly end: number }

function packInPlace(value: object): InPlace {
  const mode = REUSE_BUFFER_MODE | RESET_BUFFER_MODE
  // The types of the library do not describe the result of this mode.
  const bytes = packr.pack(value, mode) as InPlace
  if (!hasSurrogate(bytes, bytes.start, bytes.end)) return bytes
  return packr.pack(wellFormed(value as JsonValue), mode) as InPlace
}

/**
 * A producer that splits a text within a character sends a lone surrogate, which JSON can express and UTF-8 cannot. The library
 * writes it as three bytes, `ed a0…bf xx`, which readers refuse.
 */
function hasSurrogate(bytes: Buffer, start: number, end: number): boolean {
  for (let at = bytes.indexOf(0xed, start); at !== -1 && at < end; at = bytes.indexOf(0xed, at + 1)) {
    const next = bytes[at + 1] ?? 0
    if (next >= 0xa0 && next <= 0xbf) return true
  }
  return false
}

/** @returns the value with U+FFFD for each lone surrogate, as UTF-8 requires */
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
  readonly #bounds: TextBounds

  /** @param bounds of a frame */
  constructor({ depthMax, namesMax }: TextBounds) {
    this.#bounds = { depthMax: depthMax + levelsAround, namesMax }
  }

  control(frame: ControlFrame): Uint8Array {
    return pack(frame)
  }

  batch({ feed, span, events, once }: Batch): Uint8Array {
    if (once === true && span !== undefined && span.last <= unsignedMax)
      return this.#onceOnly(feed, span, events)
    const packed = span === undefined || span.last > unsignedMax ? packedHead(feed, span) : undefined
    let bytes = (packed?.length ?? liveHeadBytes(feed, span as Span)) + arrayHeadBytes(events.length)
    for (let i = 0; i < events.length; i++) bytes += this.#event(events[i] as Variants).length

    const chunk = this.#room(bytes)
    let at = packed === undefined ? writeLiveHead(chunk, 0, feed, span as Span) : writeBytes(chunk, 0, packed)
    at = writeArrayHead(chunk, at, events.length)
    for (let i = 0; i < events.length; i++) {
      const packed = (events[i] as Variants).packed as Uint8Array
      chunk.set(packed, at)
      at += packed.length
    }
    return chunk
  }

  /** @throws Error when the bytes are not exactly one value of plain MessagePack */
  decode(bytes: Uint8Array): JsonValue {
    const { values, isOdd } = checkPlain(bytes, this.#bounds)
    if (values !== 1) throw new Error(`expected one value, got ${values}`)
    return (isOdd ? readPlain(bytes, halves)[0] : packr.unpack(bytes)) as JsonValue
  }

  /**
   * Concatenated values, as in a body of `application/msgpack`.
   *
   * @throws Error when they are not plain MessagePack
   */
  decodeAll(bytes: Uint8Array): JsonValue[] {
    if (checkPlain(bytes, this.#bounds).isOdd) return readPlain(bytes, halves) as JsonValue[]
    return (packr.unpackMultiple(bytes) ?? []) as JsonValue[]
  }

  /** The simple equivalent is `Buffer.allocUnsafe(bytes)`: see `slabBytes`. */
  #room(bytes: number): Buffer {
    if (bytes > sharedBytesMax) return Buffer.allocUnsafeSlow(bytes)
    if (this.#used + bytes > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(slabBytes)
      this.#used = 0
    }
    const from = this.#used
    this.#used += bytes
    return this.#slab.subarray(from, this.#used)
  }

  /** Makes the same bytes without a buffer for each event. */
  #onceOnly(feed: number, span: Span, events: readonly Variants[]): Uint8Array {
    this.encodings += events.length
    return this.#written(feed, span, events) ?? this.#packed(feed, span, events)
  }

  /** @returns the batch, written where it stays; undefined if it takes a quarter of a slab or more */
  #written(feed: number, span: Span, events: readonly Variants[]): Uint8Array | undefined {
    // Most fit into what is left of a slab, so that is tried before it is given up.
    return (
      this.#writeBatch(feed, span, events) ??
      (this.#hasRoom ? undefined : this.#writeAnew(feed, span, events))
    )
  }

  get #hasRoom(): boolean {
    return this.#slab.length - this.#used >= sharedBytesMax
  }

  #writeAnew(feed: number, span: Span, events: readonly Variants[]): Uint8Array | undefined {
    this.#slab = Buffer.allocUnsafeSlow(slabBytes)
    this.#used = 0
    return this.#writeBatch(feed, span, events)
  }

  /** @returns the batch in the slab; undefined if it does not fit */
  #writeBatch(feed: number, span: Span, events: readonly Variants[]): Uint8Array | undefined {
    const slab = this.#slab
    const from = this.#used
    if (from + liveTextBytes + batchNumbersBytes > slab.length) return undefined
    let at = writeArrayHead(slab, writeLiveHead(slab, from, feed, span), events.length)
    for (let i = 0; i < events.length; i++) {
      at = writePlain(slab, at, (events[i] as Variants).event as unknown as JsonValue)
      if (at < 0 || at - from > sharedBytesMax) return undefined
    }
    this.#used = at
    return slab.subarray(from, at)
  }

  /** Makes the same bytes of a longer batch. */
  #packed(feed: number, span: Span, events: readonly Variants[]): Uint8Array {
    const packed = packInPlace(events.map(({ event }) => event))
    const { start, end } = packed
    const chunk = this.#room(liveHeadBytes(feed, span) + end - start)
    packed.copy(chunk, writeLiveHead(chunk, 0, feed, span), start, end)
    if (end - start > slabBytes) packr.useBuffer(Buffer.allocUnsafeSlow(libraryBytes))
    return chunk
  }

  #event(variants: Variants): Uint8Array {
    if (variants.packed === undefined) {
      this.encodings++
      variants.packed = pack(variants.event)
    }
    return variants.packed
  }
}

type Span = NonNullable<Batch['span']>

/** @returns the bytes of a batch before its array of events */
function packedHead(feed: number, span: Span | undefined): Uint8Array {
  const head = pack({ type: 'events', feed, ...(span ?? { replay: true }), events: [] })
  if (head[head.length - 1] !== emptyArray) throw new Error('expected the head of a batch to end with []')
  return head.subarray(0, -1)
}

function liveHeadBytes(feed: number, { after, last }: Span): number {
  return liveTextBytes + unsignedBytes(feed) + unsignedBytes(after) + unsignedBytes(last)
}

/** The simple equivalent is `packedHead`. */
function writeLiveHead(to: Buffer, from: number, feed: number, { after, last }: Span): number {
  let at = writeUnsigned(to, writeBytes(to, from, opening), feed)
  at = writeUnsigned(to, writeBytes(to, at, beforeAfter), after)
  at = writeUnsigned(to, writeBytes(to, at, beforeLast), last)
  return writeBytes(to, at, beforeEvents)
}

function writeBytes(to: Buffer, at: number, bytes: Uint8Array): number {
  to.set(bytes, at)
  return at + bytes.length
}

// https://github.com/msgpack/msgpack/blob/master/spec.md#int-format-family
const unsignedMax = 0xffff_ffff

function unsignedBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x100 ? 2 : value < 0x1_0000 ? 3 : 5
}

function writeUnsigned(to: Buffer, at: number, value: number): number {
  if (value < 0x80) return to.writeUInt8(value, at)
  if (value < 0x100) return to.writeUInt8(value, to.writeUInt8(0xcc, at))
  if (value < 0x1_0000) return to.writeUInt16BE(value, to.writeUInt8(0xcd, at))
  return to.writeUInt32BE(value, to.writeUInt8(0xce, at))
}

/** Keeps lone surrogates; the scan has found nothing else that is invalid. */
function halves(bytes: Uint8Array, from: number, to: number): string {
  return wideText(bytes.subarray(from, to)) ?? ''
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
