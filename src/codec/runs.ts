import type { JsonObject, JsonValue } from '../lib/json.js'
import type { HubEvent, NewEvent, Slices } from '../protocol/frames.js'

/**
 * A dialect whose responses each tell one run of an agent, from its beginning to its end. The content of a block depends on
 * earlier events, so the run is a fold: pure, and computed once for all clients at the same point.
 *
 * A run begins with an event whose traits say `status: 'running'`. It ends with the next event of the same session or worker
 * that ends it, with the session, or when a lease expires. A session without such a beginning is one run.
 */
export interface DialectRuns<State = unknown> {
  readonly routes: readonly RunRoute[]
  /** The `id` of the blocks: the cursor, by which clients resume, or none. */
  readonly ids: 'cursor' | 'none'
  /** Events are never joined: clients tell by the ids of blocks which of a run that is told again they have. */
  readonly oneByOne?: true
  /**
   * The answer while no run is active: 204; or the newest run again, and a problem if the session does not exist; or the next
   * run.
   */
  readonly idle: 'none' | 'newest' | 'next'
  /** The slices that are followed; none unless given. */
  readonly slices?: readonly string[]
  /** Kinds of clients that are told differently, for instance by `?v=`; absent: one kind. */
  variant?(query: RunQuery): string
  /** @returns the state before the first event of a run */
  begin(variant: string): State
  /** The blocks of an event for clients that have been told all earlier ones. It must not change the state. */
  tell(state: State, event: HubEvent, facts: RunFacts): Told<State>
  /**
   * The beginning for a client that joins in mid-run, instead of the earlier blocks. Without it the run is told again from its
   * beginning. With it the fold covers the whole session, so that it knows earlier runs.
   */
  prelude?(state: State, about: { readonly slices: Slices; readonly session: string }): string
  /**
   * The last blocks of a response that ends before its run: the hub stops, the client was too slow, the session was removed.
   * Without it the link is cut, because a clean end would look as if the run had finished.
   */
  broken?(state: State, reason: string): string
  /** For clients that count blocks with their own numbers: the last block that the client has received. */
  after?(query: RunQuery): number | undefined
  /** The requested run begins after this offset; the response waits for it. */
  since?(query: RunQuery): number | undefined
  /** Additional headers of the response. */
  headers?(query: RunQuery): Readonly<Record<string, string>>
  /** The body of a refusal, in the form that these clients read. */
  refusal?(code: string, message: string): JsonObject
  /** The event for the agent in a posted body. It is published if no run is active and the token permits it. */
  request?(query: RunQuery): NewEvent | undefined
}

/** One route of a dialect that tells runs. */
export interface RunRoute {
  readonly method?: 'GET' | 'POST'
  /** With `{session}` in it, unless the body names the session. `{worker}` may be in it or in the query. */
  readonly path: string
  readonly topic?: (session: string, worker: string | undefined) => string
  /** The id of the session in a body; for paths without `{session}`. */
  readonly sessionIn?: (body: JsonValue) => string | undefined
  /** Answers with a document instead of a stream. */
  readonly document?: RunDocument
}

/** An answer that contains the whole run. */
export interface RunDocument<State = unknown> {
  /** Whether the request asks for the document; absent: always. */
  isWanted?(query: RunQuery): boolean
  /** @param state after the newest event of the run */
  body(state: State, run: RunSummary, query: RunQuery): JsonObject
}

/** A summary of the newest run of a session. */
export interface RunSummary {
  readonly session: string
  readonly status: 'waiting' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'lost'
  readonly reason?: string
  readonly startedAt: number
  /** The number of unanswered questions to people. */
  readonly needs: number
}

/** The request of a client. */
export interface RunQuery {
  /** The session's name in the path, unchanged; it may be longer than an id. */
  readonly path: string
  readonly session: string
  readonly query: URLSearchParams
  readonly header: (name: string) => string | undefined
  /** A parameter of the path. */
  readonly param: (name: string) => string
  readonly body?: JsonValue
}

/** Facts about an event of a run. */
export interface RunFacts {
  readonly session: string
  /** It was published by the session or worker of the run, not by another one that appears in the topic. */
  readonly own: boolean
  /** The run begins with it. */
  readonly opens: boolean
  /** The run ends with it. */
  readonly ending?: RunEnding
}

export interface RunEnding {
  readonly result: 'succeeded' | 'failed' | 'cancelled' | 'lost'
  readonly reason?: string
}

export interface Told<State> {
  readonly state: State
  /** Empty if these clients do not know the event. */
  readonly blocks: readonly Block[]
}

/** One block of an event stream, with the empty line at its end. */
export interface Block {
  readonly text: string
  /** Its number, for clients that count blocks. */
  readonly number?: number
}
