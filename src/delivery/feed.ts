import type { Codec } from '../codec/codec.js'
import type { Offset } from '../protocol/cursor.js'
import type { Filter } from '../session/filter.js'
import type { Topic } from '../session/topic.js'
import type { Link } from './link.js'
import { Replay } from './replay.js'
import type { Subscription } from './subscription.js'

/** The subscriptions in step with a feed whose connections speak one codec. */
export interface Members {
  readonly codec: Codec
  /** In no order; each knows its place in it. */
  readonly list: Subscription[]
  /**
   * For each of them the link that a flush may write to at once, if it may. Between two writes the kernel takes the
   * caches for itself; what a delivery has to look up must be little.
   */
  readonly links: (Link | undefined)[]
  /** What every member has been given since the first joined. */
  events: number
  bytes: number
}

/** A topic seen through one filter: matched, batched and encoded once, shared by its subscriptions. */
export class Feed {
  /** Names the feed in `events`; unique in the hub. */
  readonly number: number
  readonly topic: Topic
  readonly filter: Filter
  /** Subscriptions of the feed, in step or not; the feed goes with the last one. */
  readonly subscriptions = new Set<Subscription>()
  /** Subscriptions in step, by codec: they have got everything up to `flushed`. */
  readonly members: Members[] = []
  /** `last` of the newest batch that was sent: `after` of the next one. */
  sent: Offset
  /** Everything up to here has been matched; at or after `sent`. */
  flushed: Offset
  #replay: { readonly until: Offset; readonly all: boolean; readonly replay: Replay } | undefined

  constructor(number: number, topic: Topic, filter: Filter) {
    this.number = number
    this.topic = topic
    this.filter = filter
    this.sent = topic.session.offset
    this.flushed = topic.session.offset
  }

  get inStep(): boolean {
    return this.members.length > 0
  }

  /** The subscription has everything up to the session's offset, and nothing is pending. */
  join(subscription: Subscription): void {
    const { codec } = subscription.connection.link
    let members = this.members.find((candidate) => candidate.codec === codec)
    if (!this.inStep) {
      this.sent = this.topic.session.offset
      this.flushed = this.topic.session.offset
    }
    if (members === undefined) {
      members = { codec, list: [], links: [], events: 0, bytes: 0 }
      this.members.push(members)
    }
    subscription.place = members.list.push(subscription) - 1
    members.links.push(subscription.connection.directLink)
    subscription.eventsBefore = members.events
    subscription.bytesBefore = members.bytes
  }

  leave(subscription: Subscription): void {
    const at = this.#indexOf(subscription)
    const members = this.members[at] as Members
    const moved = members.list.pop() as Subscription
    const movedLink = members.links.pop()
    if (moved !== subscription) {
      members.list[subscription.place] = moved
      members.links[subscription.place] = movedLink
      moved.place = subscription.place
    }
    subscription.place = -1
    const { connection, eventsBefore, bytesBefore } = subscription
    connection.count(members.events - eventsBefore, members.bytes - bytesBefore)
    if (members.list.length === 0) this.members.splice(at, 1)
  }

  /** Its connection has got a second subscription, or has lost it. The subscription is in step. */
  relink(subscription: Subscription): void {
    const members = this.members[this.#indexOf(subscription)] as Members
    members.links[subscription.place] = subscription.connection.directLink
  }

  #indexOf({ connection }: Subscription): number {
    return this.members.findIndex(({ codec }) => codec === connection.link.codec)
  }

  /** @returns what a fresh join replays now; conflated once, and shared by all who join at the same offset. */
  replay(all: boolean): Replay {
    const until = this.topic.session.offset
    if (this.#replay?.until !== until || this.#replay.all !== all) {
      const { entries, stored } = this.topic.replay(this.filter, all)
      this.#replay = { until, all, replay: new Replay(entries, stored) }
    }
    return this.#replay.replay
  }

  /** @returns what every join gets even without a replay: the `complete` of a session that has ended. */
  last(): Replay {
    const { completion } = this.topic.session
    return new Replay(completion === undefined ? [] : [completion])
  }

  /** What was kept for joins has become useless, or old. */
  forgetReplay(): void {
    this.#replay = undefined
  }
}
