import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import type { JsonObject, JsonValue } from '../lib/json.js'
import type { TextBounds } from '../lib/json-text.js'
import { NameCount, tooManyNames } from '../lib/name-count.js'
import { ProtocolError } from '../protocol/codes.js'

/** @returns what is made at the first call */
function once<Value>(make: () => Value): () => Value {
  let made: Value | undefined
  return () => (made ??= make())
}

/** The type of a field: a scalar, or a message with its fields. */
type Kind = 'text' | 'hex' | 'base64' | 'nanos' | 'int' | 'double' | 'bool' | (() => Message)

interface Field {
  readonly name: string
  readonly kind: Kind
  readonly repeated?: true
}

type Message = Readonly<Record<number, Field>>

// The fields of opentelemetry-proto 1.x that are read. Field numbers never change. Other fields are skipped.

const anyValue = once(
  (): Message => ({
    1: { name: 'stringValue', kind: 'text' },
    2: { name: 'boolValue', kind: 'bool' },
    3: { name: 'intValue', kind: 'int' },
    4: { name: 'doubleValue', kind: 'double' },
    5: { name: 'arrayValue', kind: once(() => ({ 1: { name: 'values', kind: anyValue, repeated: true } })) },
    6: { name: 'kvlistValue', kind: once(() => ({ 1: { name: 'values', kind: keyValue, repeated: true } })) },
    7: { name: 'bytesValue', kind: 'base64' },
  }),
)
const keyValue = once(
  (): Message => ({ 1: { name: 'key', kind: 'text' }, 2: { name: 'value', kind: anyValue } }),
)
const attributes: Field = { name: 'attributes', kind: keyValue, repeated: true }
const resource: Field = { name: 'resource', kind: () => ({ 1: attributes }) }
const scope: Field = { name: 'scope', kind: () => ({ 1: { name: 'name', kind: 'text' }, 3: attributes }) }

const spanEvent = once(
  (): Message => ({
    1: { name: 'timeUnixNano', kind: 'nanos' },
    2: { name: 'name', kind: 'text' },
    3: attributes,
  }),
)
const status = once(
  (): Message => ({ 2: { name: 'message', kind: 'text' }, 3: { name: 'code', kind: 'int' } }),
)
const span = once(
  (): Message => ({
    1: { name: 'traceId', kind: 'hex' },
    2: { name: 'spanId', kind: 'hex' },
    4: { name: 'parentSpanId', kind: 'hex' },
    5: { name: 'name', kind: 'text' },
    7: { name: 'startTimeUnixNano', kind: 'nanos' },
    8: { name: 'endTimeUnixNano', kind: 'nanos' },
    9: attributes,
    11: { name: 'events', kind: spanEvent, repeated: true },
    15: { name: 'status', kind: status },
  }),
)
const logRecord = once(
  (): Message => ({
    1: { name: 'timeUnixNano', kind: 'nanos' },
    2: { name: 'severityNumber', kind: 'int' },
    5: { name: 'body', kind: anyValue },
    6: attributes,
    9: { name: 'traceId', kind: 'hex' },
    10: { name: 'spanId', kind: 'hex' },
    11: { name: 'observedTimeUnixNano', kind: 'nanos' },
    12: { name: 'eventName', kind: 'text' },
  }),
)

const traces: Message = {
  1: {
    name: 'resourceSpans',
    repeated: true,
    kind: () => ({
      1: resource,
      2: {
        name: 'scopeSpans',
        repeated: true,
        kind: () => ({ 1: scope, 2: { name: 'spans', kind: span, repeated: true } }),
      },
    }),
  },
}
const logs: Message = {
  1: {
    name: 'resourceLogs',
    repeated: true,
    kind: () => ({
      1: resource,
      2: {
        name: 'scopeLogs',
        repeated: true,
        kind: () => ({ 1: scope, 2: { name: 'logRecords', kind: logRecord, repeated: true } }),
      },
    }),
  },
}

/**
 * Reads an `ExportTraceServiceRequest` or `ExportLogsServiceRequest` in protobuf.
 *
 * @param bounds of the values: each message counts as an object
 * @returns the request as in the JSON encoding of OTLP
 * @throws ProtocolError `badFrame`
 */
export function readOtlp(bytes: Uint8Array, what: 'traces' | 'logs', bounds: TextBounds): JsonObject {
  try {
    const reader = new MessageReader(bytes, bounds.namesMax)
    return reader.message(bytes.length, what === 'traces' ? traces : logs, bounds.depthMax)
  } catch (error) {
    if (error instanceof ProtocolError) throw error
    const reason = error instanceof Error ? error.message : 'unreadable'
    throw new ProtocolError('badFrame', `body: expected protobuf of OTLP: ${reason}`)
  }
}

/** @returns a partial success: the number of `rejected_spans` or `rejected_log_records`, and the reason */
export function partialSuccess(rejected: number, reason: string): Uint8Array {
  const writer = new BinaryWriter()
  if (rejected === 0) return writer.finish()
  return writer
    .uint32((1 << 3) | WireType.LengthDelimited)
    .fork()
    .uint32((1 << 3) | WireType.Varint)
    .int64(rejected)
    .uint32((2 << 3) | WireType.LengthDelimited)
    .string(reason)
    .join()
    .finish()
}

class MessageReader {
  readonly #reader: BinaryReader
  readonly #names: NameCount
  readonly #namesMax: number

  constructor(bytes: Uint8Array, namesMax: number) {
    this.#reader = new BinaryReader(bytes)
    this.#names = new NameCount(namesMax)
    this.#namesMax = namesMax
  }

  message(end: number, fields: Message, depthMax: number): JsonObject {
    if (depthMax === 0)
      throw new ProtocolError('badFrame', 'body: expected values that are less deeply nested')
    this.#names.open()
    if (this.#names.close()) throw new ProtocolError('badFrame', `body: ${tooManyNames(this.#namesMax)}`)
    const reader = this.#reader
    const found: Record<string, JsonValue> = {}
    while (reader.pos < end) {
      const [number, wireType] = reader.tag()
      const field = fields[number]
      if (field === undefined) {
        reader.skip(wireType, number)
        continue
      }
      const value = this.#field(wireType, field, depthMax)
      if (field.repeated === undefined) found[field.name] = value
      else {
        const list = found[field.name]
        if (Array.isArray(list)) list.push(value)
        else found[field.name] = [value]
      }
    }
    if (reader.pos > end) throw new RangeError('a message ends after the one that it is in')
    return found
  }

  #field(wireType: WireType, { name, kind }: Field, depthMax: number): JsonValue {
    const reader = this.#reader
    const expected = wireTypeOf(kind)
    if (wireType !== expected) throw new Error(`${name}: wire type ${wireType} instead of ${expected}`)
    if (typeof kind === 'function') {
      const length = reader.uint32()
      const end = reader.pos + length
      if (end > reader.len) throw new RangeError('premature EOF')
      return this.message(end, kind(), depthMax - 1)
    }
    switch (kind) {
      case 'text':
        return reader.string()
      case 'hex':
        return Buffer.from(reader.bytes()).toString('hex')
      case 'base64':
        return Buffer.from(reader.bytes()).toString('base64')
      case 'nanos':
        return String(reader.fixed64())
      case 'int':
        return Number(reader.int64())
      case 'double':
        return reader.double()
      case 'bool':
        return reader.bool()
    }
  }
}

function wireTypeOf(kind: Kind): WireType {
  if (kind === 'nanos' || kind === 'double') return WireType.Bit64
  return kind === 'int' || kind === 'bool' ? WireType.Varint : WireType.LengthDelimited
}
