import type { Entry } from '../history/entry.js'
import type { Audience } from '../session/audience.js'
import type { Timeline } from '../session/timeline.js'
import type { Topic } from '../session/topic.js'
import type { Feed } from './feed.js'

/** The topics of one timeline that somebody follows, and what waits for them. */
export class Followed {
  readonly timeline: Timeline
  readonly topics: TopicFeeds[] = []
  #dirty: TopicFeeds[] = []
  #pending = 0

  constructor(timeline: Timeline) {
    this.timeline = timeline
  }

  /** Events since the last flush, once for each topic. */
  get pending(): number {
    return this.#pending
  }

  /** Whether a flush has something to bring. */
  get unflushed(): boolean {
    return this.#pending > 0 || this.timeline.needsRefresh
  }

  /** @param isFirst it is the first one of its topic since the last flush */
  pended(topic: TopicFeeds, isFirst: boolean): void {
    if (isFirst) this.#dirty.push(topic)
    this.#pending++
  }

  /** @returns the topics with something to flush, once */
  take(): readonly TopicFeeds[] {
    const dirty = this.#dirty
    this.#dirty = []
    this.#pending = 0
    return dirty
  }
}

/** The feeds of one topic, and what was published to it since the last flush. */
export class TopicFeeds implements Audience {
  readonly topic: Topic
  readonly followed: Followed
  /** By the names of their filters. */
  readonly feeds = new Map<string, Feed>()
  #pending: Entry[] = []
  /** Feeds that let a slice of the hub's own pass. */
  #watching = 0

  constructor(topic: Topic, followed: Followed) {
    this.topic = topic
    this.followed = followed
  }

  get watchesReserved(): boolean {
    return this.#watching > 0
  }

  add(feed: Feed): void {
    this.feeds.set(feed.filter.name, feed)
    if (feed.filter.watches) this.#watching++
  }

  delete(feed: Feed): void {
    if (this.feeds.delete(feed.filter.name) && feed.filter.watches) this.#watching--
  }

  pend(entry: Entry): void {
    this.followed.pended(this, this.#pending.push(entry) === 1)
  }

  /** @returns what was published since the last flush, once */
  take(): readonly Entry[] {
    const pending = this.#pending
    this.#pending = []
    return pending
  }
}
