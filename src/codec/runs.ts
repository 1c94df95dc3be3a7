import type { JsonObject, JsonValue } from '../lib/json.js'
import type { HubEvent, NewEvent, Slices } from '../protocol/frames.js'

/**
 * How the clients of a dialect are told of runs: each response tells one run of an agent, from where it began to where
 * it ended. What a block says depends on what came before, so the run is a fold: pure, and done once for all clients
 * that are equally far.
 *
 * A run begins with an event whose traits say `status: 'running'`, and ends with the next one of the same session or
 * worker that ends it, with the session, or when a lease runs out. A session that never says so is one run.
 */
export interface DialectRuns<State = unknown> {
  readonly routes: readonly RunRoute[]
  /** What the blocks have as `id`: the cursor, by which clients resume, or nothing. */
  readonly ids: 'cursor' | 'none'
  /**
   * What a client gets while no run is active: 204; a problem where there is no session, and else the newest run again;
   * or the next run.
   */
  readonly idle: 'none' | 'newest' | 'next'
  /** The slices that are followed; none unless given. */
  readonly slices?: readonly string[]
  /** Which kinds of clients are told otherwise than others, as `?v=` may say; one kind unless given. */
  variant?(asked: RunQuery): string
  /** @returns what is known before the first event of a run */
  begin(variant: string): State
  /** What an event says, to clients who were told all that precedes it. It must not change the state. */
  tell(state: State, event: HubEvent, facts: RunFacts): Told<State>
  /**
   * What a client begins with that joins in mid-run, instead of what was told of it before. Without it the run is told
   * again from its beginning. The fold then goes over all of the session, for what is to be said of earlier runs.
   */
  prelude?(state: State, about: { readonly slices: Slices; readonly session: string }): string
  /**
   * The last words of a response that ends before its run: the hub closes, the client was too slow, the session was
   * removed. Unless given, the link is cut: a clean end would look as if the run had finished.
   */
  broken?(state: State, reason: string): string
  /** Where a client goes on that counts what it was told in numbers of its own: it has all blocks up to this one. */
  after?(asked: RunQuery): number | undefined
  /** The offset after which the run began that is asked for; it is waited for. */
  since?(asked: RunQuery): number | undefined
  /** What the response says beside its own headers. */
  headers?(asked: RunQuery): Readonly<Record<string, string>>
  /** What a refused request is answered with, as these clients read it. */
  refusal?(code: string, message: string): JsonObject
  /** What a posted body asks the agent for: it is published, where no run is active and the token allows it. */
  request?(asked: RunQuery): NewEvent | undefined
}

/** One route of a dialect that tells runs. */
export interface RunRoute {
  readonly method?: 'GET' | 'POST'
  /** With `{session}` in it, unless the body names the session. `{worker}` may be in it or in the query. */
  readonly path: string
  readonly topic?: (session: string, worker: string | undefined) => string
  /** The id of the session, out of a body; for paths without `{session}`. */
  readonly sessionIn?: (body: JsonValue) => string | undefined
  /** Answers with a document instead of a stream, where it returns one. */
  readonly document?: RunDocument
}

/** A whole answer of what is known of a run. */
export interface RunDocument<State = unknown> {
  /** Whether this is asked for; always unless given. */
  asked?(asked: RunQuery): boolean
  /** @param state after the newest event of the run */
  body(state: State, run: RunSummary, asked: RunQuery): JsonObject
}

/** What is known of the newest run of a session. */
export interface RunSummary {
  readonly session: string
  readonly status: 'waiting' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'lost'
  readonly reason?: string
  readonly startedAt: number
  /** What the run is asked for by people, unanswered. */
  readonly needs: number
}

/** What a client asks for. */
export interface RunQuery {
  /** Of the path, as it came: it may be more than the id of a session can be. */
  readonly path: string
  readonly session: string
  readonly query: URLSearchParams
  readonly header: (name: string) => string | undefined
  /** Of the path. */
  readonly param: (name: string) => string
  readonly body?: JsonValue
}

/** What the hub knows of an event of a run. */
export interface RunFacts {
  readonly session: string
  /** It is of the session or worker that the run is of, not of another one that shows in the topic. */
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
  /** Nothing where the event says nothing to these clients. */
  readonly blocks: readonly Block[]
}

/** One block of an event stream, with the empty line at its end. */
export interface Block {
  readonly text: string
  /** The client's own number of it, where clients count. */
  readonly number?: number
}
