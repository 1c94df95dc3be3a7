import type { JsonObject } from '../lib/json.js'
import type { HubWatchers } from '../log/entries.js'

/** Maximum of hubs whose watchers of a topic are counted. */
const hubsMax = 100
/** Maximum of subjects that are named; the others are counted. */
export const subjectsMax = 100

/** The watchers of one topic, hub by hub. */
export interface TopicWatchers {
  readonly worker?: string | undefined
  readonly hubs: readonly HubWatchers[]
}

/** @returns the value of `$watchers` */
export function watchersOf(count: number, subjects: ReadonlySet<string>): JsonObject {
  return { count, ...(subjects.size > 0 && { subjects: [...subjects].sort().slice(0, subjectsMax) }) }
}

/** The watchers of a session's topics at the hubs of a log; of a topic only while somebody asks at any of them. */
export class Watching {
  /** By worker, and by hub. */
  readonly #topics = new Map<string | undefined, Map<string, HubWatchers>>()

  get isEmpty(): boolean {
    return this.#topics.size === 0
  }

  /** The workers whose topics are counted; undefined is the session. */
  get topics(): readonly (string | undefined)[] {
    return [...this.#topics.keys()]
  }

  /** All hubs that were counted. */
  get hubs(): ReadonlySet<string> {
    return new Set([...this.#topics.values()].flatMap((hubs) => [...hubs.keys()]))
  }

  of(worker: string | undefined, hub: string): HubWatchers | undefined {
    return this.#topics.get(worker)?.get(hub)
  }

  /** Whether somebody at another hub asks. */
  isAsked(worker: string | undefined, hub: string): boolean {
    return [...(this.#topics.get(worker)?.values() ?? [])].some((one) => one.asks && one.hub !== hub)
  }

  /** A hub has counted anew. @returns whether that is a change */
  set(worker: string | undefined, watchers: HubWatchers): boolean {
    const hubs = this.#topics.get(worker) ?? new Map<string, HubWatchers>()
    const before = hubs.get(watchers.hub)
    if (watchers.count === 0 && !watchers.asks) {
      if (!hubs.delete(watchers.hub)) return false
    } else {
      if (areSame(before, watchers) || (before === undefined && hubs.size >= hubsMax)) return false
      hubs.set(watchers.hub, watchers)
    }
    // Where nobody asks nothing is counted.
    if ([...hubs.values()].some(({ asks }) => asks)) this.#topics.set(worker, hubs)
    else this.#topics.delete(worker)
    return true
  }

  /** @returns the value of `$watchers`; undefined if nobody asks */
  value(worker: string | undefined): JsonObject | undefined {
    const hubs = this.#topics.get(worker)
    if (hubs === undefined) return undefined
    let count = 0
    const subjects = new Set<string>()
    for (const one of hubs.values()) {
      count += one.count
      for (const subject of one.subjects ?? []) subjects.add(subject)
    }
    return watchersOf(count, subjects)
  }

  kept(): readonly TopicWatchers[] {
    return [...this.#topics].map(([worker, hubs]) => ({ worker, hubs: [...hubs.values()] }))
  }

  restore(kept: readonly TopicWatchers[]): void {
    for (const { worker, hubs } of kept) {
      this.#topics.set(worker, new Map(hubs.map((one) => [one.hub, one])))
    }
  }
}

export function areSame(one: HubWatchers | undefined, other: HubWatchers): boolean {
  return (
    one?.count === other.count &&
    one.asks === other.asks &&
    String(one.subjects ?? []) === String(other.subjects ?? [])
  )
}
