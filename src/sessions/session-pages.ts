import type { JsonObject } from '../lib/json.js'
import type { Session } from '../session/session.js'
import { type SessionSummary, summarize } from '../session/summary.js'
import { lastOf, type Store } from '../store/store.js'

export interface SessionPage {
  readonly sessions: readonly SessionSummary[]
  /** There are no more. */
  readonly end: boolean
}

/** Where the sessions of a page may be. */
export interface SessionSources {
  /** Those in memory. */
  readonly held: ReadonlyMap<string, Session>
  readonly store: Store | undefined
  /** @returns what the store has of a session, without bringing it into memory */
  readonly inStore: (id: string) => Promise<SessionSummary | undefined>
  /** The same, as `aboutSession`. */
  readonly aboutInStore: (id: string) => Promise<JsonObject | undefined>
}

export interface SessionPageQuery {
  /** The id before the page; empty for the first. */
  readonly after: string
  readonly limit: number
  /** Those that may be seen; absent: all. */
  readonly seen: readonly string[] | undefined
}

/** @returns a page of the sessions that may be seen, in memory or not, in the order of their ids */
export async function sessionPage(sources: SessionSources, query: SessionPageQuery): Promise<SessionPage> {
  const { after, limit, seen } = query
  if (seen !== undefined) {
    return summaries(
      sources,
      seen.filter((id) => id > after),
      limit,
    )
  }
  const stored = await sources.store?.sessions(after, limit)
  const last = stored === undefined || stored.end ? undefined : lastOf(stored)
  const ids = new Set(stored?.sessions.map(({ record }) => record.session))
  for (const { id, status } of sources.held.values()) {
    if (status !== 'waiting' && id > after && (last === undefined || id <= last)) ids.add(id)
  }
  const sorted = [...ids].toSorted((one, other) => (one < other ? -1 : 1))
  const page = await summaries(sources, sorted, limit)
  return { ...page, end: page.end && last === undefined }
}

/** @returns of the sessions with these ids those that there are, at most so many */
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
