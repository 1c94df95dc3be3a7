import type { JsonObject, JsonValue } from '../lib/json.js'
import { type Cursor, type Epoch, formatCursor, type Offset } from '../protocol/cursor.js'
import type { Cause, HubEvent, Mode } from '../protocol/frames.js'
import { type Caller, call } from './http-calls.js'
import type { RequestOptions, StateReceipt } from './requests.js'
import { ascii } from './sse-requests.js'
import type { JsonInput } from './typed.js'

/** Which of the retained events. */
export interface HistoryQuery<Types extends readonly string[] | undefined = readonly string[] | undefined> {
  /** Only events after the one cursor and before the other. */
  readonly after?: Cursor
  readonly before?: Cursor
  /** `asc`, the default: the oldest first. */
  readonly order?: 'asc' | 'desc'
  /** How many events the hub is asked for at a time, 1 to 1,000. Default 1,000. */
  readonly limit?: number
  readonly types?: Types
  /** Only events of these workers. */
  readonly workers?: readonly string[]
  readonly level?: readonly ('summary' | 'delta' | 'control')[]
  /** Only events that report a failure. */
  readonly errors?: boolean
  /** Only events that contain this text; between slashes a regular expression, as `/timeout after \d+/i`. */
  readonly q?: string
}

/** Which sessions, and in which order. */
export interface SessionsQuery {
  readonly after?: string
  /** How many the hub is asked for at a time. */
  readonly limit?: number
  /** `id` is the default; `attention`: failed and asking ones first; `started`, `active`: the newest first. */
  readonly order?: 'id' | 'attention' | 'started' | 'active'
  readonly status?: readonly string[]
  readonly result?: readonly Result[]
  /** Only those with open needs. */
  readonly needs?: boolean
  /** All of these, each `name=value` or as the producer set it. */
  readonly labels?: readonly string[]
  /** A text in the id, title, labels or reason, or a regular expression between slashes. */
  readonly q?: string
}

/** How a session ended; the result is the worst of its workers' unless given. */
export interface EndOptions {
  readonly result?: Exclude<Result, 'lost'>
  readonly reason?: string
  readonly outcome?: JsonInput
}

export type Result = 'succeeded' | 'failed' | 'cancelled' | 'lost'

/** What a session or worker asks of a person. */
export interface Need {
  readonly kind: string
  readonly key: string
  readonly [field: string]: JsonValue
}

interface Progress {
  readonly startedAt: number
  readonly endedAt?: number
  readonly result?: Result
  readonly reason?: string
  readonly needs?: readonly Need[]
  readonly needsMore?: number
  readonly lastAt?: number
  readonly usage?: JsonObject
}

/** A worker, as `GET /api/sessions` lists it. Times: milliseconds since 1970. */
export interface WorkerSummary extends Progress {
  readonly id: string
  readonly status: string
  readonly events: number
  readonly parent?: string
}

/** A session, as `GET /api/sessions` lists it. Times: milliseconds since 1970. */
export interface SessionSummary extends Progress {
  readonly id: string
  readonly status: string
  readonly epoch: Epoch
  /** Of its newest event. */
  readonly offset: Offset
  readonly outcome?: JsonValue
  readonly mode: Mode
  readonly metadata: JsonObject
  /** Where its past is from, if it is a fork. */
  readonly forkedFrom?: {
    readonly session: string
    readonly at: Cursor
    readonly without?: readonly ('workers' | 'slices')[]
  }
  readonly workers: readonly WorkerSummary[]
}

/** Slices of a topic, and the position that they are of. */
export interface StateSnapshot {
  /** A cursor: `subscribe({ after })` brings what came later. */
  readonly position: Cursor
  readonly slices: JsonObject
}

const pageDefault = 1_000

/** Reads slices once. */
export async function readState(
  caller: Caller,
  topic: string,
  slices: readonly string[] | undefined,
  options: RequestOptions | undefined,
): Promise<StateSnapshot> {
  const query = { slices: slices?.join() }
  const path = `api/${topic}/state`
  const answer = await call(caller, { method: 'GET', path, query }, options)
  const { epoch, offset } = answer as unknown as { readonly epoch: Epoch; readonly offset: Offset }
  return { position: formatCursor(epoch, offset), slices: answer.slices as JsonObject }
}

/** Removes a slice. */
export async function removeSlice(
  caller: Caller,
  topic: string,
  slice: string,
  cause: Cause | undefined,
  options: RequestOptions | undefined,
): Promise<StateReceipt> {
  const path = `api/${topic}/state/${encodeURIComponent(slice)}`
  const headers = cause && { headers: { 'x-cause': ascii(JSON.stringify(cause)) } }
  const answer = await call(caller, { method: 'DELETE', path, ...headers }, options)
  return answer as unknown as StateReceipt
}

/** Ends a session. */
export async function endSession(
  caller: Caller,
  topic: string,
  ending: EndOptions,
  options: RequestOptions | undefined,
): Promise<void> {
  const body = ending as JsonObject
  await call(caller, { method: 'POST', path: `api/${topic}/end`, body, doneCode: 'conflict' }, options)
}

/** From where a session is forked, and how. */
export interface ForkOptions {
  /** A cursor of the session: the fork has everything up to there. Default: its end. */
  readonly at?: Cursor
  /** The id of the fork; the hub makes one up by default. */
  readonly session?: string
  /** `exact`, the default: refused where the workers or slices as of the cursor are not known; `known`: what is known. */
  readonly state?: 'exact' | 'known'
}

/** Makes a session with the past of another one. */
export async function forkSession(
  caller: Caller,
  topic: string,
  fork: ForkOptions,
  options: RequestOptions | undefined,
): Promise<SessionSummary> {
  const path = `api/${topic}/fork`
  const body = fork as JsonObject
  const { session } = fork
  const again = session !== undefined && ({ doneCode: 'conflict' } as const)
  const made = (await call(
    caller,
    { method: 'POST', path, body, ...again },
    options,
  )) as unknown as SessionSummary
  if (made.id !== undefined || session === undefined) return made
  const found = await call(caller, { method: 'GET', path: `api/sessions/${session}` }, options)
  const { forkedFrom } = found as unknown as SessionSummary
  if (`sessions/${forkedFrom?.session}` === topic) return found as unknown as SessionSummary
  throw new caller.RequestError('conflict', `there is a session ${session} already`)
}

/** Reads the retained events page by page. */
export async function* readHistory(
  caller: Caller,
  topic: string,
  query: HistoryQuery,
  options: RequestOptions | undefined,
): AsyncGenerator<HubEvent, undefined> {
  const { after, before, order, limit = pageDefault, types, workers, level, errors, q } = query
  const all = topic.endsWith('/**')
  const asked = {
    ...(order && { order }),
    limit: String(limit),
    ...(types && { types: types.join() }),
    ...(workers && { workers: workers.join() }),
    ...(level && { level: level.join() }),
    ...(errors && { errors: '1' }),
    ...(q !== undefined && { q }),
    ...(all && { all: '1' }),
  }
  const path = `api/${all ? topic.slice(0, -3) : topic}/history`
  let [from, to]: readonly (string | undefined)[] = [after, before]
  for (;;) {
    const page = await call(
      caller,
      { method: 'GET', path, query: { ...asked, after: from, before: to } },
      options,
    )
    yield* page.events as unknown as HubEvent[]
    if (typeof page.next !== 'string') return undefined
    if (order === 'desc') to = page.next
    else from = page.next
  }
}

/** Reads the list of sessions page by page. */
export async function* readSessions(
  caller: Caller,
  query: SessionsQuery,
  options: RequestOptions | undefined,
): AsyncGenerator<SessionSummary, undefined> {
  const { limit, order, status, result, needs, labels, q } = query
  const asked = {
    ...(limit !== undefined && { limit: String(limit) }),
    ...(order && { order }),
    ...(status && { status: status.join() }),
    ...(result && { result: result.join() }),
    ...(needs && { needs: '1' }),
    ...(labels && { label: labels }),
    ...(q !== undefined && { q }),
  }
  let after = query.after
  for (;;) {
    const page = await call(
      caller,
      { method: 'GET', path: 'api/sessions', query: { ...asked, after } },
      options,
    )
    yield* page.sessions as unknown as SessionSummary[]
    if (typeof page.next !== 'string') return undefined
    after = page.next
  }
}
