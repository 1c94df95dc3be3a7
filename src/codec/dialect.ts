import type { JsonObject, JsonValue } from '../lib/json.js'
import type { HubEvent, Mode, NewEvent, Slices } from '../protocol/frames.js'
import { oneLine } from './one-line.js'
import type { DialectRuns } from './runs.js'

/**
 * The shape in which one family of clients expects events. Its functions are pure and are given the time. `stream` is for
 * readers, `publish` for producers, `records` for readers of the history.
 */
export interface Dialect {
  /** The value of `?dialect=`: letters, digits and `-`. The codec of its frames is `sse:<name>`. */
  readonly name: string
  readonly stream?: DialectStream
  /** Instead of `stream`, for clients that read one run at a time. */
  readonly runs?: DialectRuns
  /**
   * Reads one object of a producer.
   *
   * @throws ProtocolError `badFrame` with what was expected, and the place in the object
   */
  readonly publish?: (value: JsonValue) => DialectEvent
  /** Each block of an event stream is passed to `publish` as `{ event, data }`. */
  readonly namedBlocks?: true
  readonly records?: {
    /** The types of a page unless the request names others. */
    readonly types: readonly string[]
    /** @returns the entry of the page; undefined for an event without one */
    readonly record: (event: HubEvent) => JsonObject | undefined
  }
}

/** The meaning of one object of a producer: an event of the session or of a worker, or the session's end. */
export type DialectEvent =
  | { readonly kind: 'event'; readonly event: NewEvent; readonly worker?: string }
  | { readonly kind: 'end'; readonly outcome?: JsonValue }

/** The stream of a dialect's clients. */
export interface DialectStream {
  /** Routes of its own, in addition to the SSE routes of sessions and workers with `?dialect=`. */
  readonly routes: readonly DialectRoute[]
  /** The `id` of the blocks: the cursor, by which clients resume, or a count from 1 in each response. */
  readonly ids: 'cursor' | 'count'
  /** The answer for a session that was never started: the client waits, or gets a problem or an empty stream. */
  readonly unknown: 'wait' | 'refuse' | 'empty'
  /** @throws ProtocolError `badFrame` */
  follow(query: DialectQuery): Following
  /**
   * An event as blocks of the stream, without their `id`; called once for each event. Empty for an event that these clients do
   * not know. The event `complete`, which passes every filter, is the end.
   */
  block(event: HubEvent, session: string): string
  /** The snapshot at the beginning and after a gap, as blocks. Absent: no snapshot is sent. */
  snapshot?(slices: Slices, nowMs: number): string
  /** Sent at an interval, regardless of other data. */
  heartbeat?(nowMs: number): string
}

/** One route of a dialect: `GET` of a path, with `{session}` and `{worker}` in it or in the query. */
export interface DialectRoute {
  readonly path: string
  /** The topic that it streams; `session` is `default` if neither path nor query names one. */
  readonly topic: (session: string, worker: string | undefined) => string
}

/** The request of a client. */
export interface DialectQuery {
  /** The names of `?name=a,b`; undefined if it is absent or empty. */
  readonly list: (name: string) => readonly string[] | undefined
  /** Whether the catalog knows the type. */
  readonly isKnown: (type: string) => boolean
}

/** The subscription of a client, as in the frame `subscribe`; `mode` of the query takes precedence. */
export interface Following {
  readonly types?: readonly string[]
  readonly mode?: Mode
  readonly slices?: readonly string[]
  /** Types that a fresh join does not replay, regardless of the catalog, because these clients do not expect them. */
  readonly notReplayed?: readonly string[]
  /** All retained events come first, as if the client resumed from before them. */
  readonly fromStart?: boolean
  /** Sent first, each as a comment. */
  readonly comments?: readonly string[]
}

/** @param data written as JSON, which has no line breaks */
export function dataBlock(data: JsonValue | object, event?: string): string {
  const name = event === undefined ? '' : `event: ${event}\n`
  return `${name}data: ${oneLine(JSON.stringify(data))}\n\n`
}
