import type { JsonObject, JsonValue } from '../lib/json.js'
import { ProtocolError } from '../protocol/codes.js'
import { listOf, objectOf, textOf, wordOf } from './fields.js'

/** A span or log record with its attributes as plain values, together with those of its resource. */
export interface OtlpItem {
  readonly kind: 'span' | 'log'
  readonly name: string
  /** Hexadecimal; empty for a log record without one. */
  readonly traceId: string
  readonly spanId: string
  /** Empty for the root of a trace. */
  readonly parentSpanId: string
  /** Milliseconds since 1970; 0 if it has none. */
  readonly startedAt: number
  readonly endedAt: number
  readonly attributes: JsonObject
  readonly body: JsonValue
  /** The events of a span, by name. */
  readonly events: readonly { readonly name: string; readonly attributes: JsonObject }[]
  /** The error message; absent without an error. */
  readonly error: string | undefined
}

/** The maximum nesting of values in attributes and bodies; deeper values are left out. */
const valueDepthMax = 32

/** Maximum of spans and log records in a request, and of attributes of their resources that are copied to them. */
const itemsMax = 5_000
const sharedAttributesMax = 250_000

/**
 * @param value an `ExportTraceServiceRequest` or `ExportLogsServiceRequest`, in the JSON encoding of OTLP
 * @returns its spans and log records in the order in which they ended
 * @throws ProtocolError `badFrame` if there are too many
 */
export function otlpItems(value: JsonObject): OtlpItem[] {
  const items: OtlpItem[] = []
  let copied = 0
  const add = (item: OtlpItem, shared: number): void => {
    items.push(item)
    copied += shared
    if (items.length > itemsMax) throw tooMany(`${itemsMax} spans or log records in a request`)
    if (copied > sharedAttributesMax) {
      throw tooMany(
        `${sharedAttributesMax} attributes of resources, each counted for every span of its resource`,
      )
    }
  }
  const { resourceSpans, resourceLogs } = value
  for (const group of [...listOf(resourceSpans), ...listOf(resourceLogs)].map(objectOf)) {
    const shared = attributesOf(objectOf(group['resource'])['attributes'])
    const size = Object.keys(shared).length
    for (const scope of [...listOf(group['scopeSpans']), ...listOf(group['scopeLogs'])].map(objectOf)) {
      for (const span of listOf(scope['spans'])) add(spanOf(objectOf(span), shared), size)
      for (const log of listOf(scope['logRecords'])) add(logOf(objectOf(log), shared), size)
    }
  }
  return items.sort((one, other) => one.endedAt - other.endedAt)
}

function tooMany(atMost: string): ProtocolError {
  return new ProtocolError('badFrame', `body: expected at most ${atMost}; send several requests`)
}

/** @returns the sender's name of the session; nothing if it has none */
export function otlpSession({ attributes }: OtlpItem): string | undefined {
  return textOf(attributes['session.id']) ?? textOf(attributes['gen_ai.conversation.id'])
}

function spanOf(span: JsonObject, shared: JsonObject): OtlpItem {
  const attributes = { ...shared, ...attributesOf(span['attributes']) }
  const { code, message } = objectOf(span['status'])
  const failed = code === 2 || code === 'STATUS_CODE_ERROR'
  return {
    kind: 'span',
    name: wordOf(span['name']),
    traceId: wordOf(span['traceId']),
    spanId: wordOf(span['spanId']),
    parentSpanId: wordOf(span['parentSpanId']),
    startedAt: msOf(span['startTimeUnixNano']),
    endedAt: msOf(span['endTimeUnixNano']),
    attributes,
    body: null,
    events: listOf(span['events']).map((one) => {
      const event = objectOf(one)
      return { name: wordOf(event['name']), attributes: attributesOf(event['attributes']) }
    }),
    error: failed ? (textOf(message) ?? textOf(attributes['error.type']) ?? 'error') : undefined,
  }
}

function logOf(log: JsonObject, shared: JsonObject): OtlpItem {
  const attributes = { ...shared, ...attributesOf(log['attributes']) }
  const at = msOf(log['timeUnixNano']) || msOf(log['observedTimeUnixNano'])
  const body = plain(log['body'], valueDepthMax)
  const name = textOf(log['eventName']) ?? textOf(attributes['event.name']) ?? textOf(body) ?? ''
  return {
    kind: 'log',
    name,
    traceId: wordOf(log['traceId']),
    spanId: wordOf(log['spanId']),
    parentSpanId: '',
    startedAt: at,
    endedAt: at,
    attributes,
    body,
    events: [],
    error: undefined,
  }
}

function attributesOf(list: JsonValue | undefined): JsonObject {
  return fromPairs(list, valueDepthMax)
}

function fromPairs(list: JsonValue | undefined, depthMax: number): JsonObject {
  return Object.fromEntries(
    listOf(list).map((pair) => {
      const { key, value } = objectOf(pair)
      return [wordOf(key), plain(value, depthMax)]
    }),
  )
}

/** @returns the plain value of an `AnyValue` */
function plain(value: JsonValue | undefined, depthMax: number): JsonValue {
  const { stringValue, intValue, doubleValue, boolValue, bytesValue, arrayValue, kvlistValue } =
    objectOf(value)
  if (depthMax === 0) return null
  if (intValue !== undefined) return Number(intValue)
  if (arrayValue !== undefined) {
    return listOf(objectOf(arrayValue)['values']).map((one) => plain(one, depthMax - 1))
  }
  if (kvlistValue !== undefined) return fromPairs(objectOf(kvlistValue)['values'], depthMax - 1)
  return stringValue ?? doubleValue ?? boolValue ?? bytesValue ?? null
}

function msOf(nanos: JsonValue | undefined): number {
  const ms = Math.floor(Number(nanos ?? 0) / 1e6)
  return Number.isFinite(ms) && ms > 0 ? ms : 0
}
