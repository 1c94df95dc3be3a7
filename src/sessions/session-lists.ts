import type { Delivery } from '../delivery/flush.js'
import type { JsonObject } from '../lib/json.js'
import type { Random } from '../lib/random.js'
import type { Permissions } from '../protocol/permissions.js'
import { aboutSession } from '../session/reserved-slices.js'
import { hubSession, Session, type SessionSetting } from '../session/session.js'
import { noCounts } from '../state/topic-state.js'
import { listedMax, type StoredSessions, startOf } from './stored-sessions.js'

export interface SessionListsOptions {
  /** All sessions that a list may show, and what memory has not of them. */
  readonly sessions: ReadonlyMap<string, Session>
  readonly stored: StoredSessions
  readonly setting: SessionSetting
  readonly random: Random
  readonly delivery: Delivery
}

interface List {
  readonly session: Session
  /** The sessions that may be seen; absent: all. */
  readonly ids: readonly string[] | undefined
}

/**
 * The topic `hub`, once for each set of sessions that somebody may see: its own offsets and epoch, its own feeds.
 * So what one may not see is neither compared nor encoded for it, and those who see the same share all of it.
 */
export class SessionLists {
  /** The list of all sessions. */
  readonly whole: Session
  readonly #options: SessionListsOptions
  readonly #lists = new Map<string, List>()

  constructor(options: SessionListsOptions) {
    this.#options = options
    this.whole = this.#made('', undefined)
  }

  /** @returns what owns the list that may be seen with these permissions */
  of({ sessions: ids }: Permissions): Session {
    if (ids === undefined) return this.whole
    const name = `=${ids.join(',')}`
    return this.#lists.get(name)?.session ?? this.#made(name, ids)
  }

  /** A list that nobody follows is forgotten; all of them but the whole one. */
  mayForget(session: Session): void {
    if (session === this.whole || session.followed) return
    for (const [name, list] of this.#lists) {
      if (list.session !== session) continue
      this.#lists.delete(name)
      session.release()
    }
  }

  /** Something that a list shows of this session has changed. */
  changed(id: string): void {
    for (const { session, ids } of this.#lists.values()) {
      if (ids?.includes(id) === false) continue
      session.stale = true
      if (session.watched) this.#options.delivery.schedule(session)
    }
  }

  /** @returns the slice `sessions`: by id, what changes seldom */
  slice(session: Session): JsonObject {
    const { sessions, stored } = this.#options
    const ids = [...this.#lists.values()].find((list) => list.session === session)?.ids
    const held = ids === undefined ? [...sessions.values()] : ids.flatMap((id) => sessions.get(id) ?? [])
    const started = held.filter(({ status }) => status !== 'waiting').slice(-listedMax)
    const rest = stored.entries(ids)
    const shown = started.map((one) => [one.id, aboutSession(one)] as const)
    if (rest.length === 0) return Object.fromEntries(shown)
    const all = [...rest, ...shown].toSorted((one, other) => startOf(one) - startOf(other))
    return Object.fromEntries(all.slice(-listedMax))
  }

  #made(name: string, ids: readonly string[] | undefined): Session {
    const { random, setting } = this.#options
    // It has one slice, which the hub bounds itself and nobody counts.
    const limits = {
      ...setting.state.limits,
      sliceBytesMax: Number.POSITIVE_INFINITY,
      stateBytesMax: Number.POSITIVE_INFINITY,
    }
    const session = new Session(hubSession, random.id(), {
      ...setting,
      state: { ...setting.state, limits, counts: noCounts() },
      isKept: false,
    })
    session.status = 'running'
    this.#lists.set(name, { session, ids })
    return session
  }
}
