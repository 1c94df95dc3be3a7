import type { Clock } from '../lib/clock.js'
import { ProtocolError } from '../protocol/codes.js'
import type { Filter } from '../session/filter.js'
import type { Topic } from '../session/topic.js'
import type { Feed } from './feed.js'

// As long as a crowd of clients takes to come back after a cut.
const replayKeptMs = 1_000

/** The feeds of a hub: numbers them, counts them, and keeps what they replay for a moment. */
export class Feeds {
  /** How many there are. */
  size = 0
  readonly #clock: Clock
  readonly #perTopicMax: number
  readonly #replays = new Set<Feed>()
  #number = 0

  constructor(clock: Clock, perTopicMax: number) {
    this.#clock = clock
    this.#perTopicMax = perTopicMax
  }

  /**
   * @returns the topic's feed of the filter, made if there is none.
   * @throws ProtocolError `conflict` when the topic is seen through too many filters already
   */
  of(topic: Topic, filter: Filter): Feed {
    const before = topic.feeds.size
    if (before >= this.#perTopicMax && !topic.feeds.has(filter.name)) {
      throw new ProtocolError(
        'conflict',
        `${topic.name} is followed through ${before} different filters already; use a filter that others use`,
      )
    }
    const feed = topic.feed(filter, () => ++this.#number)
    this.size += topic.feeds.size - before
    return feed
  }

  /** Keeps what a join replays for those who join about now; not for ever, for it may be a megabyte a feed. */
  keepReplay(feed: Feed): void {
    if (this.#replays.size === 0) {
      this.#clock.after(replayKeptMs, () => {
        for (const kept of this.#replays) kept.forgetReplay()
        this.#replays.clear()
      })
    }
    this.#replays.add(feed)
  }

  forget(feed: Feed): void {
    this.#replays.delete(feed)
    feed.topic.forget(feed)
    this.size--
  }
}
