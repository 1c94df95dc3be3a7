import type { JsonObject, JsonValue } from '../lib/json.js'
import type { HubEvent, Mode, NewEvent, Slices } from '../protocol/frames.js'
import { oneLine } from './one-line.js'
import type { DialectRuns } from './runs.js'

/**
 * The shape in which one family of clients expects events, and everything about it: pure, and told the time.
 * `stream` is for who reads, `publish` for who publishes in that shape, `record` for who reads history so.
 */
export interface Dialect {
  /** What `?dialect=` says: letters, digits and `-`. The codec of its frames is `sse:<name>`. */
  readonly name: string
  readonly stream?: DialectStream
  /** Instead of `stream`, for clients that think in runs. */
  readonly runs?: DialectRuns
  /**
   * Reads one object of a producer.
   *
   * @throws ProtocolError `badFrame` that says what was expected, with the place in the object
   */
  readonly publish?: (value: JsonValue) => DialectEvent
  /** Of an event stream each block is given to `publish` as `{ event, data }`. */
  readonly namedBlocks?: true
  readonly records?: {
    /** The types that a page has unless the request names others. */
    readonly types: readonly string[]
    /** @returns the entry of the page; nothing for an event that has none. */
    readonly record: (event: HubEvent) => JsonObject | undefined
  }
}

/** What one object of a producer means: an event of the session or of a worker, or the session's end. */
export type DialectEvent =
  | { readonly kind: 'event'; readonly event: NewEvent; readonly worker?: string }
  | { readonly kind: 'end'; readonly outcome?: JsonValue }

/** How the clients of a dialect are streamed to. */
export interface DialectStream {
  /** Routes of its own, beside the SSE routes of sessions and workers with `?dialect=`. */
  readonly routes: readonly DialectRoute[]
  /** What the blocks have as `id`: the cursor, by which clients resume, or a count from 1 in each response. */
  readonly ids: 'cursor' | 'count'
  /** What a client gets that follows a session which was never started: it waits, a problem, or an empty stream. */
  readonly unknown: 'wait' | 'refuse' | 'empty'
  /** @throws ProtocolError `badFrame` */
  follow(query: DialectQuery): Following
  /**
   * An event as blocks of the stream, without their `id`; asked once for each event. Nothing where these clients do not
   * know it. The event `complete` passes every filter, and is how the end is said.
   */
  block(event: HubEvent, session: string): string
  /** The slices that a client begins with, or begins again with, as blocks. Nothing unless given. */
  snapshot?(slices: Slices, nowMs: number): string
  /** Sent at an interval, whatever else is. */
  heartbeat?(nowMs: number): string
}

/** One route of a dialect: `GET` of a path, with `{session}` and `{worker}` in it or in the query. */
export interface DialectRoute {
  readonly path: string
  /** The topic that it streams; `session` is `default` where neither path nor query names one. */
  readonly topic: (session: string, worker: string | undefined) => string
}

/** What a client asks for. */
export interface DialectQuery {
  /** The names of `?name=a,b`; nothing when it is absent or empty. */
  readonly list: (name: string) => readonly string[] | undefined
  /** Whether the catalog knows the type. */
  readonly isKnown: (type: string) => boolean
}

/** What a client gets, as in the frame `subscribe`; `mode` of the query wins over this one. */
export interface Following {
  readonly types?: readonly string[]
  readonly mode?: Mode
  readonly slices?: readonly string[]
  /** Types that a fresh join does not replay, whatever the catalog says: these clients do not expect them. */
  readonly notReplayed?: readonly string[]
  /** Everything that is retained comes first, as if the client came back from before it. */
  readonly fromStart?: boolean
  /** Said first, each as a comment. */
  readonly comments?: readonly string[]
}

/** @param data what stands on its one line is JSON, which has no line breaks */
export function dataBlock(data: JsonValue | object, event?: string): string {
  const name = event === undefined ? '' : `event: ${event}\n`
  return `${name}data: ${oneLine(JSON.stringify(data))}\n\n`
}
