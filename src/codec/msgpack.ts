import { Packr } from 'msgpackr'
import type { JsonValue } from '../lib/json.js'
import type { ControlFrame } from '../protocol/frames.js'
import type { Batch, Codec } from './codec.js'
import type { Variants } from './variants.js'

/** Plain MessagePack, readable by any library: no records, no extensions, maps with string keys. */
const packr = new Packr({
  useRecords: false,
  variableMapSize: true,
  encodeUndefinedAsNil: true,
  mapsAsObjects: true,
  int64AsType: 'number',
  moreTypes: false,
})

const emptyArray = 0x90

/** @returns a value in plain MessagePack. */
export function pack(value: object): Uint8Array {
  return packr.pack(value)
}

/** Binary frames of subprotocol `runcast.v1.msgpack`. */
export class MsgpackCodec implements Codec {
  readonly name = 'msgpack'
  encodings = 0

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

    const chunk = Buffer.allocUnsafe(bytes)
    chunk.set(head, 0)
    let at = writeArrayHead(chunk, head.length - 1, events.length)
    for (let i = 0; i < events.length; i++) {
      const packed = (events[i] as Variants).packed as Uint8Array
      chunk.set(packed, at)
      at += packed.length
    }
    return chunk
  }

  /** @throws Error when the bytes are not exactly one MessagePack value */
  decode(bytes: Uint8Array): JsonValue {
    const value: JsonValue | undefined = packr.unpack(bytes)
    // The byte 0xc1 is in no MessagePack value; the library reads it as nothing.
    if (value === undefined) throw new Error('expected a MessagePack value')
    return value
  }

  /** Concatenated values, as in a body of `application/msgpack`. */
  decodeAll(bytes: Uint8Array): JsonValue[] {
    return (packr.unpackMultiple(bytes) ?? []) as JsonValue[]
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
