import type { Catalog } from '../../catalog/catalog.js'
import type { Clock } from '../../lib/clock.js'
import type { SharedLog } from '../../log/shared-log.js'
import { checkPageItems } from '../../protocol/check.js'
import type { Limits } from '../../protocol/limits.js'
import type { Permissions } from '../../protocol/permissions.js'
import { aboutRecord, aboutSession } from '../../session/reserved-slices.js'
import { Session } from '../../session/session.js'
import type { SessionSetting } from '../../session/session-setting.js'
import { type SessionSummary, summarize } from '../../session/summary.js'
import type { StoredSession } from '../../store/store.js'
import type { LogLists } from '../log/log-lists.js'
import { answerOf } from '../log/log-sessions.js'
import { readLogged } from '../log/read-logged.js'
import type { Committing } from '../stored/committing.js'
import { isDamaged } from '../stored/damaged-sessions.js'
import type { Turns } from '../turns.js'
import { type SessionPage, type SessionSources, sessionPage, summaries } from './session-pages.js'
import { checkQuery, findSessions, type SessionQuery, storedSessions } from './session-search.js'

/** Maximum of sessions of a page where a log has them: each that is not in memory is read whole. */
const loggedPage = 100

/** The sessions of a query, and the beginning of the next page. */
export interface FoundPage {
  readonly sessions: readonly SessionSummary[]
  readonly next?: string
}

interface ListingParts {
  readonly held: ReadonlyMap<string, Session>
  readonly committing: Committing | undefined
  /** What several hubs share; there is no store then. */
  readonly log: SharedLog | undefined
  readonly logLists: LogLists | undefined
  readonly catalog: Catalog
  readonly setting: SessionSetting
  readonly limits: Limits
  readonly clock: Clock
}

/** Lists the sessions of a hub, in memory or not, page by page, without loading them. */
export class Listing {
  readonly #parts: ListingParts
  readonly #sources: SessionSources

  constructor(parts: ListingParts) {
    this.#parts = parts
    this.#sources = {
      held: parts.held,
      others: () => parts.logLists?.all() ?? storedSessions(parts.committing?.store),
      kept: (after, limit) => this.#kept(after, limit),
      inStore: (id) => (parts.log ? this.#summaryInLog(id, parts.log) : this.#summaryInStore(id)),
      aboutInStore: async (id) => {
        if (parts.log !== undefined) {
          const session = await this.#readLogged(id, parts.log)
          return session && aboutSession(session)
        }
        const stored = await this.#loaded(id)
        return stored && aboutRecord(stored.record)
      },
    }
  }

  /**
   * A page of the visible sessions, in the order of their ids; with a log those of all hubs, and at most 100.
   *
   * @param after the id before the page; empty for the first
   * @throws ProtocolError `badFrame`, or `unavailable` when the log cannot be asked
   */
  page(after: string, limit: number, { sessions: seen }: Permissions, turns: Turns): Promise<SessionPage> {
    checkPageItems(limit, this.#parts.limits, 'limit')
    const most = this.#parts.log === undefined ? limit : Math.min(limit, loggedPage)
    return sessionPage(this.#sources, { after, limit: most, seen }, turns)
  }

  /**
   * A page of the visible sessions of a query; with a log those of all hubs, as far as they have said what became of them.
   *
   * @throws ProtocolError `badFrame`, or `unavailable` when the log cannot be asked
   */
  async find(query: SessionQuery, { sessions: seen }: Permissions, turns: Turns): Promise<FoundPage> {
    const { limits, clock } = this.#parts
    checkQuery(query, limits)
    const limit = this.#parts.log === undefined ? query.limit : Math.min(query.limit, loggedPage)
    const bounded = { ...query, limit }
    const finding = findSessions(this.#sources, bounded, { seen, limits, turns, now: clock.now() })
    const { ids, next } = await answerOf(finding)
    const { sessions } = await summaries(this.#sources, ids, ids.length)
    return { sessions, ...(next !== undefined && { next }) }
  }

  async #kept(
    after: string,
    limit: number,
  ): Promise<{ readonly ids: readonly string[]; readonly end: boolean }> {
    const { log, committing } = this.#parts
    if (log !== undefined) {
      const ids = await answerOf(log.sessions(after, limit))
      return { ids, end: ids.length < limit }
    }
    const page = await committing?.store.sessions(after, limit)
    return { ids: page?.sessions.map(({ record }) => record.session) ?? [], end: page?.end ?? true }
  }

  async #summaryInLog(id: string, log: SharedLog): Promise<SessionSummary | undefined> {
    const session = await this.#readLogged(id, log)
    return session && summarize(session)
  }

  async #readLogged(id: string, log: SharedLog): Promise<Session | undefined> {
    const { catalog, setting } = this.#parts
    const session = await answerOf(readLogged({ log, catalog, setting }, id))
    return session.status === 'waiting' ? undefined : session
  }

  async #summaryInStore(id: string): Promise<SessionSummary | undefined> {
    const stored = await this.#loaded(id)
    if (stored === undefined) return undefined
    const session = new Session(id, stored.record.epoch, this.#parts.setting)
    session.restore(stored, [], [])
    const summary = summarize(session)
    session.release()
    return summary
  }

  async #loaded(id: string): Promise<StoredSession | undefined> {
    const { committing } = this.#parts
    return committing?.store.load(id).catch((error: unknown): undefined => {
      // Other sessions in the list are not affected.
      if (!isDamaged(committing.damaged.answerTo(error))) throw committing.damaged.answerTo(error)
    })
  }
}
