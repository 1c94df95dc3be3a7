import type { Clock, Timer } from '../lib/clock.js'
import type { JsonObject } from '../lib/json.js'
import type { Timeline } from '../session/timeline.js'
import type { Topic } from '../session/topic.js'
import type { Feeds } from './feeds.js'
import type { Link } from './link.js'

/** How often `$watchers` is updated. Milliseconds. */
const watchersEveryMs = 1_000

/** Maximum of subjects that are named; the others are counted. */
const subjectsMax = 100

export interface PresenceParts {
  readonly clock: Clock
  readonly feeds: Feeds
  /** Sets the slice `$watchers`, or removes it. @returns whether the topic has begun */
  readonly setWatchers: (topic: Topic, watchers: JsonObject | undefined) => boolean
}

interface Told {
  at: number
  timer: Timer | undefined
}

/** Counts the watchers of topics whose `$watchers` is followed, and of no others. */
export class Presence {
  readonly #parts: PresenceParts
  readonly #told = new Map<Timeline, Map<Topic, Told>>()

  constructor(parts: PresenceParts) {
    this.#parts = parts
  }

  /** A subscription to the topic has begun, ended or changed. */
  changed({ timeline }: Topic): void {
    const { feeds } = this.#parts
    const told = this.#told.get(timeline)
    if (feeds.asking === 0 && told === undefined) return
    const asked = (feeds.followed(timeline)?.topics ?? []).filter(({ asksWatchers }) => asksWatchers)
    for (const { topic } of asked) this.#tell(topic)
    for (const topic of told?.keys() ?? []) {
      if (!asked.some((one) => one.topic === topic)) this.#forget(topic)
    }
  }

  #tell(topic: Topic): void {
    let topics = this.#told.get(topic.timeline)
    if (topics === undefined) this.#told.set(topic.timeline, (topics = new Map()))
    const told = topics.get(topic) ?? { at: Number.NEGATIVE_INFINITY, timer: undefined }
    topics.set(topic, told)
    if (told.timer !== undefined) return
    const { clock, setWatchers } = this.#parts
    told.timer = clock.after(Math.max(0, told.at + watchersEveryMs - clock.elapsed()), () => {
      told.timer = undefined
      told.at = clock.elapsed()
      // A topic that has not begun has no state, so it is checked again.
      if (!setWatchers(topic, this.#count(topic))) this.#tell(topic)
    })
  }

  #forget(topic: Topic): void {
    const topics = this.#told.get(topic.timeline)
    topics?.get(topic)?.timer?.cancel()
    topics?.delete(topic)
    if (topics?.size === 0) this.#told.delete(topic.timeline)
    this.#parts.setWatchers(topic, undefined)
  }

  /** Connections that follow the topic, or all of its session, without agents that follow commands. */
  #count(topic: Topic): JsonObject {
    const links = new Set<Link>()
    const subjects = new Set<string>()
    for (const followed of this.#parts.feeds.followed(topic.timeline)?.topics ?? []) {
      if (followed.topic !== topic && !followed.topic.isWhole) continue
      for (const { filter, subscriptions } of followed.feeds.values()) {
        if (filter.names('command.cancel')) continue
        for (const { link, subject } of subscriptions) {
          links.add(link)
          if (subject !== undefined && subjects.size < subjectsMax) subjects.add(subject)
        }
      }
    }
    return { count: links.size, ...(subjects.size > 0 && { subjects: [...subjects].sort() }) }
  }
}
