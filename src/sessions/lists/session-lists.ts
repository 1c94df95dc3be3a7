import type { Clock } from '../../lib/clock.js'
import type { JsonObject } from '../../lib/json.js'
import type { Random } from '../../lib/random.js'
import type { Permissions } from '../../protocol/permissions.js'
import { aboutSession } from '../../session/reserved-slices.js'
import type { Session } from '../../session/session.js'
import type { Timeline } from '../../session/timeline.js'
import type { StateSetting, Topic } from '../../session/topic.js'
import { byAttention } from './attention.js'
import { HubList } from './hub-list.js'
import { listedMax, type StoredSessions } from './stored-sessions.js'

const touchedEveryMs = 5_000

export interface SessionListsOptions {
  /** All sessions that a list may show, including those that are not in memory. */
  readonly sessions: ReadonlyMap<string, Session>
  readonly stored: StoredSessions
  /** The number of sessions in the store. */
  readonly kept: () => number
  readonly state: StateSetting
  readonly random: Random
  readonly clock: Clock
  /** Called when a list has something to deliver. */
  readonly onDirty: (list: Timeline) => void
}

/**
 * The topic `hub`, once for each set of visible sessions, with its own offsets, epoch and feeds.
 * So hidden sessions are neither compared nor encoded, and clients with the same visible sessions share everything.
 */
export class SessionLists {
  /** The list of all sessions. */
  readonly whole: HubList
  readonly #options: SessionListsOptions
  #touchedAt = 0
  readonly #lists = new Map<string, HubList>()

  constructor(options: SessionListsOptions) {
    this.#options = options
    this.whole = this.#made('', undefined)
  }

  /** @returns the list that may be seen with these permissions */
  of({ sessions: ids }: Permissions): HubList {
    if (ids === undefined) return this.whole
    const name = nameOf(ids)
    return this.#lists.get(name) ?? this.#made(name, ids)
  }

  /** Whether somebody follows a list. */
  get areFollowed(): boolean {
    return [...this.#lists.values()].some(({ topic }) => topic.followed)
  }

  /** Forgets a list without followers, except the list of all sessions. */
  mayForget(topic: Topic): void {
    if (topic === this.whole.topic || topic.followed) return
    for (const [name, list] of this.#lists) {
      if (list.topic !== topic) continue
      this.#lists.delete(name)
      list.topic.release()
    }
  }

  /** The session's entry in the lists has changed. */
  changed(id: string): void {
    for (const list of this.#lists.values()) {
      if (list.ids?.includes(id) === false) continue
      list.changed()
      if (list.needsRefresh) this.#options.onDirty(list)
    }
  }

  /** The session has given a sign of life. The lists show it within a few seconds, and update it no more often. */
  touched(now: number): void {
    if (Math.abs(now - this.#touchedAt) < touchedEveryMs) return
    this.#touchedAt = now
    for (const list of this.#lists.values()) {
      list.changed()
      if (list.needsRefresh) this.#options.onDirty(list)
    }
  }

  /** @returns the slice `sessions`: by id, the fields that change seldom; `more` counts the omitted sessions */
  #slice(ids: readonly string[] | undefined): JsonObject {
    const { sessions, stored, kept } = this.#options
    const held = ids === undefined ? [...sessions.values()] : ids.flatMap((id) => sessions.get(id) ?? [])
    const started = held.filter(({ status }) => status !== 'waiting')
    const shown = started.map((one) => [one.id, aboutSession(one)] as const)
    const all = [...stored.entries(ids), ...shown]
    const total = ids === undefined && stored.isPartial ? Math.max(all.length, kept()) : all.length
    const more = total - listedMax
    if (more <= 0) return Object.fromEntries(all)
    const first = byAttention(all, this.#options.clock.now()).slice(0, listedMax)
    return { more, ...Object.fromEntries(first) }
  }

  #made(name: string, ids: readonly string[] | undefined): HubList {
    const { random, state } = this.#options
    const list = new HubList(random.id(), ids, { state, slice: (seen) => this.#slice(seen) })
    this.#lists.set(name, list)
    return list
  }
}

function nameOf(ids: readonly string[]): string {
  return `=${ids.join(',')}`
}
