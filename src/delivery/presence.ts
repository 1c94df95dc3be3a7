import type { Clock, Timer } from '../lib/clock.js'
import type { JsonObject } from '../lib/json.js'
import type { Timeline } from '../session/timeline.js'
import type { Topic } from '../session/topic.js'
import { subjectsMax, watchersOf } from '../session/watching.js'
import type { Feeds } from './feeds.js'
import type { Link } from './link.js'

/** How often `$watchers` is updated. Milliseconds. */
export const watchersEveryMs = 1_000

export interface PresenceParts {
  readonly clock: Clock
  readonly feeds: Feeds
  /** Sets the slice `$watchers`, or removes it. @returns whether the topic has begun */
  readonly setWatchers: (topic: Topic, watchers: JsonObject | undefined) => boolean
}

interface Update {
  /** When the slice was last set, by the monotonic clock. Milliseconds. */
  at: number
  timer: Timer | undefined
}

/** Counts the watchers of topics whose `$watchers` is followed, and of no others. */
export class Presence {
  readonly #parts: PresenceParts
  readonly #updates = new Map<Timeline, Map<Topic, Update>>()

  constructor(parts: PresenceParts) {
    this.#parts = parts
  }

  /** A subscription to the topic has begun, ended or changed. */
  changed({ timeline }: Topic): void {
    const { feeds } = this.#parts
    const known = this.#updates.get(timeline)
    if (feeds.asking === 0 && known === undefined) return
    const counted = (feeds.followed(timeline)?.topics ?? []).filter(({ asksWatchers }) => asksWatchers)
    for (const { topic } of counted) this.#schedule(topic)
    for (const topic of known?.keys() ?? []) {
      if (!counted.some((one) => one.topic === topic)) this.#remove(topic)
    }
  }

  #schedule(topic: Topic): void {
    let topics = this.#updates.get(topic.timeline)
    if (topics === undefined) this.#updates.set(topic.timeline, (topics = new Map()))
    const update = topics.get(topic) ?? { at: Number.NEGATIVE_INFINITY, timer: undefined }
    topics.set(topic, update)
    if (update.timer !== undefined) return
    const { clock, setWatchers } = this.#parts
    update.timer = clock.after(Math.max(0, update.at + watchersEveryMs - clock.elapsed()), () => {
      update.timer = undefined
      update.at = clock.elapsed()
      // A topic that has not begun has no state, so it is checked again.
      const { count, subjects } = countWatchers(this.#parts.feeds, topic)
      if (!setWatchers(topic, watchersOf(count, subjects))) this.#schedule(topic)
    })
  }

  #remove(topic: Topic): void {
    const topics = this.#updates.get(topic.timeline)
    topics?.get(topic)?.timer?.cancel()
    topics?.delete(topic)
    if (topics?.size === 0) this.#updates.delete(topic.timeline)
    this.#parts.setWatchers(topic, undefined)
  }
}

/** @returns the connections that follow the topic, or all of its session, without agents that follow commands */
export function countWatchers(
  feeds: Feeds,
  topic: Topic | undefined,
): { readonly count: number; readonly subjects: ReadonlySet<string> } {
  const links = new Set<Link>()
  const subjects = new Set<string>()
  for (const followed of (topic && feeds.followed(topic.timeline)?.topics) ?? []) {
    if (followed.topic !== topic && !followed.topic.isWhole) continue
    for (const { filter, subscriptions } of followed.feeds) {
      if (filter.names('command.cancel')) continue
      for (const { link, subject } of subscriptions) {
        links.add(link)
        if (subject !== undefined && subjects.size < subjectsMax) subjects.add(subject)
      }
    }
  }
  return { count: links.size, subjects }
}
