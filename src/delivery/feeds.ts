import type { Clock } from '../lib/clock.js'
import { ProtocolError } from '../protocol/codes.js'
import type { Filter } from '../session/filter.js'
import type { Timeline } from '../session/timeline.js'
import type { Topic } from '../session/topic.js'
import { Feed } from './feed.js'
import { Followed, TopicFeeds } from './topic-feeds.js'

// About as long as many clients take to reconnect after an interruption.
const replayKeptMs = 1_000

/** The feeds of a hub: finds, numbers and counts them, and keeps their replays for a moment. */
export class Feeds {
  readonly #clock: Clock
  readonly #perTopicMax: number
  /** Filters by name, with the number of their feeds; ten thousand sessions usually share one filter. */
  readonly #filters = new Map<string, { readonly filter: Filter; feeds: number }>()
  readonly #replays = new Set<Feed>()
  #number = 0
  #size = 0
  #asking = 0

  constructor(clock: Clock, perTopicMax: number) {
    this.#clock = clock
    this.#perTopicMax = perTopicMax
  }

  /** The number of feeds that follow `$watchers`. */
  get asking(): number {
    return this.#asking
  }

  /** The number of feeds. */
  get size(): number {
    return this.#size
  }

  /** @returns the followers of a session or list; undefined if there are none */
  followed(timeline: Timeline): Followed | undefined {
    // Nobody else sets it.
    return timeline.following as Followed | undefined
  }

  /**
   * @returns the topic's feed of the filter, created if there is none
   * @throws ProtocolError `conflict` when the topic already has too many filters
   */
  of(topic: Topic, filter: Filter): Feed {
    const held = feedsOf(topic)
    const known = held?.of(filter.name)
    if (known !== undefined) return known
    const before = held?.size ?? 0
    if (before >= this.#perTopicMax) {
      throw new ProtocolError(
        'conflict',
        `${topic.name} has ${before} different filters already (topicFeedsMax); use a filter that is in use`,
      )
    }
    const feed = new Feed(++this.#number, topic, this.#shared(filter))
    ;(held ?? this.#follow(topic)).add(feed)
    this.#size++
    if (feed.filter.asksWatchers) this.#asking++
    return feed
  }

  /** @returns the filter of that name that other feeds have */
  #shared(filter: Filter): Filter {
    const shared = this.#filters.get(filter.name) ?? { filter, feeds: 0 }
    shared.feeds++
    this.#filters.set(filter.name, shared)
    return shared.filter
  }

  /** Keeps a replay for further joins for a moment; not longer, because it may be a megabyte per feed. */
  keepReplay(feed: Feed): void {
    if (this.#replays.size === 0) {
      this.#clock.after(replayKeptMs, () => {
        for (const kept of this.#replays) kept.forgetReplay()
        this.#replays.clear()
      })
    }
    this.#replays.add(feed)
  }

  /** The feed has lost its last subscription. */
  forget(feed: Feed): void {
    const { topic, filter } = feed
    this.#replays.delete(feed)
    const shared = this.#filters.get(filter.name)
    if (shared !== undefined && --shared.feeds === 0) this.#filters.delete(filter.name)
    this.#size--
    if (feed.filter.asksWatchers) this.#asking--
    const held = feedsOf(topic)
    held?.delete(feed)
    if (held?.size === 0) this.#unfollow(held)
  }

  #follow(topic: Topic): TopicFeeds {
    const { timeline } = topic
    let followed = this.followed(timeline)
    if (followed === undefined) timeline.setFollowing((followed = new Followed(timeline)))
    const made = new TopicFeeds(topic, followed)
    // Without spare room, see `feed.ts`.
    followed.topics = followed.topics.concat([made])
    topic.setAudience(made)
    return made
  }

  #unfollow(left: TopicFeeds): void {
    const { topic, followed } = left
    topic.setAudience(undefined)
    followed.topics = followed.topics.filter((each) => each !== left)
    if (followed.topics.length === 0) followed.timeline.setFollowing(undefined)
  }
}

/** @returns the feeds of a topic; undefined if it is not followed */
function feedsOf(topic: Topic): TopicFeeds | undefined {
  // Nobody else sets it.
  return topic.audience as TopicFeeds | undefined
}
