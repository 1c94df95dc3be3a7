import type { Entry } from '../history/entry.js'
import type { Audience, Following } from '../session/audience.js'
import type { Timeline } from '../session/timeline.js'
import type { Topic } from '../session/topic.js'
import type { Feed } from './feed.js'

// Most sessions have nothing to flush most of the time: what is empty is shared, and never written to.
const nothing: never[] = []

/** The topics of one timeline that somebody follows, and what waits for them. */
export class Followed implements Following {
  readonly timeline: Timeline
  topics: readonly TopicFeeds[] = nothing
  #dirty: TopicFeeds[] = nothing
  #pending = 0
  /** Feeds of its topics that let a slice of the hub's own pass. */
  #watching = 0

  constructor(timeline: Timeline) {
    this.timeline = timeline
  }

  /** Events since the last flush, once for each topic. */
  get pending(): number {
    return this.#pending
  }

  /** Whether a flush has something to bring. */
  get unflushed(): boolean {
    return this.#pending > 0 || this.needsRefresh
  }

  /** Whether reserved slices are out of date, and followed. */
  get needsRefresh(): boolean {
    return this.#watching > 0 && this.timeline.needsRefresh
  }

  watching(more: 1 | -1): void {
    this.#watching += more
  }

  /** @param isFirst it is the first one of its topic since the last flush */
  pended(topic: TopicFeeds, isFirst: boolean): void {
    if (isFirst) {
      if (this.#dirty === nothing) this.#dirty = [topic]
      else this.#dirty.push(topic)
    }
    this.#pending++
  }

  /** @returns the topics with something to flush, once */
  take(): readonly TopicFeeds[] {
    const dirty = this.#dirty
    this.#dirty = nothing
    this.#pending = 0
    return dirty
  }
}

/** The feeds of one topic, and what was published to it since the last flush. */
export class TopicFeeds implements Audience {
  readonly topic: Topic
  readonly followed: Followed
  // Most sessions have one feed. With ten thousand of them nothing is in the processor's caches, and a map is three places.
  #only: Feed | undefined = undefined
  /** By the names of their filters; absent unless there are several. */
  #several: Map<string, Feed> | undefined = undefined
  #pending: Entry[] = nothing
  /** Feeds that let a slice of the hub's own pass. */
  #watching = 0
  /** Feeds that ask how many watch. */
  #asking = 0

  constructor(topic: Topic, followed: Followed) {
    this.topic = topic
    this.followed = followed
  }

  get watchesReserved(): boolean {
    return this.#watching > 0
  }

  /** Only a session and a worker are asked of. */
  get asksWatchers(): boolean {
    return this.#asking > 0 && !this.topic.isWhole
  }

  names(type: string): boolean {
    for (const { filter } of this.feeds) if (filter.names(type)) return true
    return false
  }

  /** Its only feed; undefined if there are several. */
  get only(): Feed | undefined {
    return this.#only
  }

  get size(): number {
    return this.#several?.size ?? (this.#only === undefined ? 0 : 1)
  }

  get feeds(): Iterable<Feed> {
    return this.#several?.values() ?? (this.#only === undefined ? nothing : [this.#only])
  }

  /** @returns the feed of the filter with that name */
  of(filter: string): Feed | undefined {
    if (this.#several !== undefined) return this.#several.get(filter)
    return this.#only?.filter.name === filter ? this.#only : undefined
  }

  add(feed: Feed): void {
    if (this.size === 0) this.#only = feed
    else {
      this.#several ??= new Map([...this.feeds].map((each) => [each.filter.name, each]))
      this.#several.set(feed.filter.name, feed)
      this.#only = undefined
    }
    if (feed.filter.watches) this.#watch(1)
    if (feed.filter.asksWatchers) this.#asking++
  }

  delete(feed: Feed): void {
    if (this.of(feed.filter.name) === undefined) return
    this.#only = undefined
    this.#several?.delete(feed.filter.name)
    if (this.#several?.size === 1) {
      for (const left of this.#several.values()) this.#only = left
      this.#several = undefined
    }
    if (feed.filter.watches) this.#watch(-1)
    if (feed.filter.asksWatchers) this.#asking--
  }

  #watch(more: 1 | -1): void {
    this.#watching += more
    this.followed.watching(more)
  }

  pend(entry: Entry): void {
    const isFirst = this.#pending === nothing
    if (isFirst) this.#pending = [entry]
    else this.#pending.push(entry)
    this.followed.pended(this, isFirst)
  }

  /** @returns what was published since the last flush, once */
  take(): readonly Entry[] {
    const pending = this.#pending
    this.#pending = nothing
    return pending
  }
}
