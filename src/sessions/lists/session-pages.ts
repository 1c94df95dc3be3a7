import type { JsonObject } from '../../lib/json.js'
import type { Session } from '../../session/session.js'
import { type SessionSummary, summarize } from '../../session/summary.js'
import type { Turns } from '../turns.js'
import type { Listed } from './attention.js'

export interface SessionPage {
  readonly sessions: readonly SessionSummary[]
  /** There are no more. */
  readonly end: boolean
}

/** The sources of a page. */
export interface SessionSources {
  /** Those in memory. */
  readonly held: ReadonlyMap<string, Session>
  /** @returns sessions of the store or the log, some of which may be in memory too, in parts */
  readonly others: () => AsyncIterable<readonly Listed[]>
  /** @returns the ids after this one in the store or the log, in their order, and whether there are no more */
  readonly kept: (
    after: string,
    limit: number,
  ) => Promise<{ readonly ids: readonly string[]; readonly end: boolean }>
  /** @returns a session of the store or the log, without loading it into memory */
  readonly inStore: (id: string) => Promise<SessionSummary | undefined>
  /** A session of the store, as `aboutSession`. */
  readonly aboutInStore: (id: string) => Promise<JsonObject | undefined>
}

export interface SessionPageQuery {
  /** The id before the page; empty for the first. */
  readonly after: string
  readonly limit: number
  /** The visible sessions; absent: all. */
  readonly seen: readonly string[] | undefined
}

/** Maximum of sessions in memory that are examined within one turn: about a millisecond. */
const looksPerTurn = 2_000

/**
 * Examines the sessions in memory over several turns. A session that begins or leaves meanwhile may be missing.
 *
 * @returns a page of the visible sessions, in memory or not, in the order of their ids
 */
export async function sessionPage(
  sources: SessionSources,
  query: SessionPageQuery,
  turns: Turns,
): Promise<SessionPage> {
  const { after, limit, seen } = query
  if (seen !== undefined) {
    return summaries(
      sources,
      seen.filter((id) => id > after),
      limit,
    )
  }
  const kept = await sources.kept(after, limit)
  let last = kept.end ? undefined : kept.ids.at(-1)
  let ids = new Set(kept.ids)
  let looks = 0
  for (const { id, status } of sources.held.values()) {
    looks += 1
    if (looks % looksPerTurn === 0) await turns.next()
    if (status === 'waiting' || id <= after || (last !== undefined && id > last)) continue
    ids.add(id)
    if (ids.size < 2 * limit + looksPerTurn) continue
    // Some may leave meanwhile, so twice as many as needed are kept.
    ids = new Set(sorted(ids).slice(0, 2 * limit))
    last = [...ids].at(-1)
  }
  const page = await summaries(sources, sorted(ids), limit)
  return { ...page, end: page.end && last === undefined }
}

function sorted(ids: Iterable<string>): string[] {
  return [...ids].sort((one, other) => (one < other ? -1 : 1))
}

/** @returns the existing sessions with these ids, up to the maximum */
export async function summaries(
  { held, inStore }: Pick<SessionSources, 'held' | 'inStore'>,
  ids: readonly string[],
  limit: number,
): Promise<SessionPage> {
  const sessions: SessionSummary[] = []
  for (const id of ids) {
    if (sessions.length === limit) return { sessions, end: false }
    const session = held.get(id)
    if (session === undefined) {
      const summary = await inStore(id)
      if (summary !== undefined) sessions.push(summary)
    } else if (session.status !== 'waiting') sessions.push(summarize(session))
  }
  return { sessions, end: true }
}
