import { sessionBus as section } from '../catalog/session-bus.js'
import { type Dialect, type DialectEvent, dataBlock } from '../codec/dialect.js'
import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { HubEvent } from '../protocol/frames.js'
import { objectOf, textField } from './fields.js'

/** The field of `data` that keeps the fields beside it in this dialect, such as `node_id`. */
const beside = '$bus'

const workerPrefix = 'worker:'

/** Types that clients do not expect in a replay; the catalog replays more than when these clients were written. */
const notReplayed = ['tool_call_started', 'tool_call_completed', 'execution_completed', 'execution_failed']

/** The types for clients that request none: those of the first release. */
const defaultTypes = Object.keys(section).filter(
  (type) => type !== 'llm_reasoning_delta' && type !== 'credentials_provided',
)

/**
 * The session bus of an agent framework: `data: { type, stream_id, data, timestamp, … }`, without `event:`.
 *
 * A session's stream has the events of its topic, without those of only one worker; a worker's route has all of its events.
 */
export const sessionBus: Dialect = {
  name: 'session-bus',
  stream: {
    routes: [],
    ids: 'cursor',
    unknown: 'refuse',
    follow({ list, isKnown }) {
      const asked = list('types') ?? []
      const known = asked.filter((name) => isKnown(name) || /^!|\*$/.test(name))
      const comments = asked
        .filter((name) => !known.includes(name))
        .map((name) => `unknown type ${quote(name)} is left out`)
      return { types: known.length > 0 ? known : defaultTypes, notReplayed, comments }
    },
    block: (event, session) => (event.type === 'complete' ? '' : dataBlock(busEvent(event, session))),
  },
  publish: read,
}

function busEvent({ type, time, worker, data }: HubEvent, session: string): JsonObject {
  const fields = isObject(data) ? { ...data } : undefined
  const kept = fields?.[beside]
  delete fields?.[beside]
  return {
    type,
    stream_id: worker === undefined ? session : `${workerPrefix}${worker}`,
    ...(isObject(kept) ? kept : {}),
    data: fields ?? data,
    timestamp: isoTime(time),
  }
}

/** ISO 8601 as all versions of Python write and read it. */
function isoTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '+00:00')
}

function read(value: JsonValue): DialectEvent {
  const object = objectOf(value, 'an object { type, stream_id?, data?, timestamp?, … }')
  const { type: _, data = {}, timestamp, stream_id: stream, ...others } = object
  const type = textField(object, 'type')
  const worker = typeof stream === 'string' && stream.startsWith(workerPrefix) ? stream.slice(7) : undefined
  const rest = worker === undefined && stream !== undefined ? { stream_id: stream, ...others } : others
  const time = timestamp === undefined || timestamp === null ? undefined : timeOf(timestamp)
  return {
    kind: 'event',
    event: {
      type,
      data: Object.keys(rest).length === 0 ? data : withBeside(data, rest),
      ...(time !== undefined && { time }),
    },
    ...(worker !== undefined && { worker }),
  }
}

function withBeside(data: JsonValue, rest: JsonObject): JsonObject {
  if (isObject(data)) return { ...data, [beside]: rest }
  throw new ProtocolError('badFrame', `event.data: expected an object, got ${quote(data)}`, {
    pointer: '/data',
  })
}

/** @returns milliseconds since 1970 from ISO 8601 or seconds. A time without a zone is UTC. */
function timeOf(timestamp: JsonValue): number {
  if (typeof timestamp === 'number' && timestamp >= 0) return timestamp < 1e11 ? timestamp * 1000 : timestamp
  const text = typeof timestamp === 'string' ? timestamp : ''
  const time = Date.parse(/T[\d:.,]+$/.test(text) ? `${text}Z` : text)
  if (!Number.isNaN(time) && time >= 0) return time
  throw new ProtocolError('badFrame', `event.timestamp: expected ISO 8601, got ${quote(timestamp)}`, {
    pointer: '/timestamp',
  })
}
