// Longer than 350 lines: the requests of a client, one method each, and their effects on subscriptions.

import type { About } from '../codec/codec.js'
import type { Given } from '../protocol/check.js'
import { type CloseCode, ProtocolError } from '../protocol/codes.js'
import { type Position, parseCursor, start } from '../protocol/cursor.js'
import type { ControlFrame, Subscribe, Unsubscribe, UnsubscribedCode, Update } from '../protocol/frames.js'
import { everything, type Permissions } from '../protocol/permissions.js'
import { type TopicName, topicNameOf } from '../protocol/topic.js'
import { Filter } from '../session/filter.js'
import { windowOf } from '../session/replayed.js'
import type { Topic } from '../session/topic.js'
import { CatchUp } from './catch-up.js'
import type { Feed } from './feed.js'
import { aboutOf, changed } from './join.js'
import type { Link } from './link.js'
import type { BatchQueue } from './member.js'
import { type Ending, Outbox, type Sender } from './outbox.js'
import { positionsOf } from './positions.js'
import { bringUpToDate, type Services } from './services.js'
import { type Beginning, type Subscriber, Subscription } from './subscription.js'

/** A subscription that is to begin. */
interface Newcomer extends Beginning {
  readonly name: TopicName
  readonly filter: Filter
}

export interface ConnectionOptions {
  /** Ends the link when every session that it follows has ended and everything was delivered. */
  readonly endsWithSessions?: boolean
  /** Types that its fresh joins do not replay, regardless of their traits. */
  readonly notReplayed?: readonly string[]
  /** Default: everything. */
  readonly permissions?: Permissions
  /** The holder of the token, shown in `$watchers`. */
  readonly subject?: string | undefined
}

/** One open link, and its subscriptions. */
export class Connection implements Subscriber, Sender {
  readonly id: string
  readonly #subscriptions = new Map<number, Subscription>()
  readonly #services: Services
  readonly #endsWithSessions: boolean
  readonly #notReplayed: readonly string[] | undefined
  readonly #outbox: Outbox
  readonly #catchUp: CatchUp
  #permissions: Permissions
  #subject: string | undefined
  /** The number of subscriptions per topic; counted only if there are many. */
  #perTopic: Map<Topic, number> | undefined = undefined
  #subscribed = 0

  constructor(id: string, services: Services, link: Link, options: ConnectionOptions) {
    this.id = id
    this.#services = services
    this.#endsWithSessions = options.endsWithSessions === true
    this.#notReplayed = options.notReplayed
    this.#permissions = options.permissions ?? everything
    this.#subject = options.subject
    this.#outbox = new Outbox(link, this, services)
    this.#catchUp = new CatchUp(this.#outbox, services)
  }

  get link(): Link {
    return this.#outbox.link
  }

  /** The client's current permissions. */
  get permissions(): Permissions {
    return this.#permissions
  }

  /** The holder of its token. */
  get subject(): string | undefined {
    return this.#subject
  }

  get open(): boolean {
    return this.#outbox.open
  }

  /** Whether the link has no room for more. */
  get full(): boolean {
    return this.#outbox.full
  }

  /** The number of its subscriptions. */
  get size(): number {
    return this.#subscriptions.size
  }

  /** What it follows, each topic once. */
  topics(): TopicName[] {
    const topics = new Set([...this.#subscriptions.values()].map(({ feed }) => feed.topic))
    return [...topics].map(({ parsedName }) => parsedName)
  }

  /** The number of subscriptions since it opened. */
  get subscribed(): number {
    return this.#subscribed
  }

  /** The number of events sent to it; exact after it has been closed. */
  get events(): number {
    return this.#outbox.events
  }

  /** Bytes of the frames that these events were in. */
  get bytes(): number {
    return this.#outbox.bytes
  }

  /** Absent if the client or the network ended it. */
  get ending(): Ending | undefined {
    return this.#outbox.ending
  }

  /** Subscriptions that are not in step. */
  get lagging(): number {
    return this.#catchUp.size
  }

  get directLink(): Link | undefined {
    const { link } = this.#outbox
    return this.#subscriptions.size === 1 && link.codec.trailer === undefined ? link : undefined
  }

  /**
   * Handles a request of the client.
   *
   * @throws ProtocolError when it cannot; nothing has changed then
   */
  receive(frame: Given<Subscribe> | Update | Unsubscribe): void {
    if (!this.open) return
    switch (frame.type) {
      case 'subscribe':
        return this.#subscribe(frame)
      case 'update':
        return this.#update(frame)
      case 'unsubscribe':
        return this.unsubscribe(this.#known(frame.sub), 'asked', 'asked for')
    }
  }

  /**
   * Replaces the client's permissions. Subscriptions that they do not permit end; one to the topic `hub` begins again if other
   * sessions are visible.
   *
   * @param reason sent to subscriptions that end
   * @param subject the new holder
   */
  permit(permissions: Permissions, reason: string, subject?: string): void {
    this.#permissions = permissions
    this.#subject = subject
    if (!this.open) return
    const before = [...this.#subscriptions.values()]
    this.together(() => {
      for (const subscription of before) {
        const { topic, filter } = subscription.feed
        const name = topic.parsedName
        if (!permissions.mayRead(name)) this.unsubscribe(subscription, 'forbidden', reason)
        else if (name.kind === 'hub' && this.#services.topicToFollow(name, permissions) !== topic) {
          this.#leave(subscription)
          this.#begin(subscription.number, { name, filter, from: undefined, replay: false })
        } else this.#services.presence.changed(topic)
      }
    })
  }

  /**
   * Runs several `receive` as one: nothing is delivered until all of them are done. Otherwise, over many topics, a position
   * sent in between would lack those that are not subscribed yet.
   */
  together(requests: () => void): void {
    this.#catchUp.after(requests)
  }

  /** Sends a frame that is not an event. */
  say(frame: ControlFrame, about?: About): void {
    this.#outbox.say(frame, about)
  }

  /** The transport can accept more. */
  drained(): void {
    if (this.#outbox.drained()) this.#catchUp.proceed()
  }

  /** The link has closed. */
  closed(): void {
    this.#outbox.closed()
  }

  /** @param retryMs how long the client should wait before it reconnects; absent: the client decides */
  close(code: CloseCode, reason: string, retryMs?: number): void {
    this.#outbox.close(code, reason, retryMs)
  }

  /** An error in the work for this connection ends it; others are not affected. */
  fail(error: unknown): void {
    this.#outbox.fail(error)
  }

  count(events: number, bytes: number): void {
    this.#outbox.count(events, bytes)
  }

  get queue(): BatchQueue {
    return this.#outbox
  }

  markFull(): void {
    this.#outbox.markFull()
  }

  postpone(subscription: Subscription): void {
    subscription.fallBehind()
    this.#catchUp.add(subscription)
    this.#catchUp.goOnLater()
  }

  leaveFeeds(): void {
    for (const subscription of this.#subscriptions.values()) {
      if (!subscription.inStep) continue
      subscription.fallBehind()
      this.#catchUp.add(subscription)
    }
  }

  unsubscribe(subscription: Subscription, code: UnsubscribedCode, reason: string): void {
    // Telling of another one may have closed the connection.
    if (this.#subscriptions.get(subscription.number) !== subscription) return
    this.#leave(subscription)
    this.say({ type: 'unsubscribed', sub: subscription.number, code, reason }, aboutOf(subscription.feed))
    if (code === 'removed' || code === 'damaged') this.endIfDone()
  }

  comeBack(reason: string): void {
    this.close('lagging', reason)
  }

  endIfDone(): void {
    if (!this.open || !this.#endsWithSessions) return
    for (const { inStep, feed } of this.#subscriptions.values()) {
      if (!inStep || feed.topic.timeline.status !== 'ended') return
    }
    this.#outbox.end()
  }

  leaveAll(): void {
    for (const subscription of this.#subscriptions.values()) this.#leave(subscription)
  }

  positions(): ReadonlyMap<string, Position> {
    return positionsOf([...this.#subscriptions.values()])
  }

  #subscribe(frame: Given<Subscribe>): void {
    if (this.#subscriptions.has(frame.sub)) {
      throw new ProtocolError(
        'conflict',
        `subscribe.sub: ${frame.sub} is in use; unsubscribe it, or use another number`,
      )
    }
    const { subscriptionsMax } = this.#services.limits
    if (this.#subscriptions.size >= subscriptionsMax) {
      throw new ProtocolError(
        'conflict',
        `subscribe: a connection has at most ${subscriptionsMax} subscriptions`,
      )
    }
    const name = topicNameOf(frame.topic, 'subscribe.topic', this.#services.limits)
    const { types, slices } = frame
    const mode = frame.mode ?? 'full'
    const notReplayed = this.#notReplayed
    const filter = new Filter({
      mode,
      ...(types && { types }),
      ...(slices && { slices }),
      ...(notReplayed && { notReplayed }),
    })
    const from = frame.after === undefined ? undefined : parseCursor(frame.after, 'subscribe.after')

    this.#permissions.expectRead(name)
    const window = windowOf(frame)
    this.#begin(frame.sub, { name, filter, from, replay: frame.replay ?? true, ...(window && { window }) })
  }

  #begin(sub: number, { name, filter, ...beginning }: Newcomer): void {
    const topic = this.#services.topicToFollow(name, this.#permissions)
    bringUpToDate(this.#services, topic, filter)
    this.#expectRoomFor(topic)
    const feed = this.#newFeed(topic, filter)
    const subscription = new Subscription(sub, this, feed)
    this.#subscriptions.set(sub, subscription)
    if (this.#subscriptions.size === 2) this.#relink()
    this.#subscribed++
    this.#perTopic?.set(topic, (this.#perTopic.get(topic) ?? 0) + 1)
    this.#catchUp.answer(subscription, beginning)
    const { from, replay, window } = beginning
    const isWhole = from === undefined || from.epoch !== topic.timeline.epoch
    if (!isWhole) this.#services.deliver(topic, filter, from.offset)
    else if (replay !== false || window !== undefined) this.#services.deliver(topic, filter, start)
    this.#services.presence.changed(topic)
  }

  #update(frame: Update): void {
    const subscription = this.#known(frame.sub)
    const before = subscription.feed
    const filter = new Filter(changed(before.filter.expression, frame))
    const { topic } = before
    bringUpToDate(this.#services, topic, filter)
    subscription.follow(filter.name === before.filter.name ? before : this.#newFeed(topic, filter))
    if (before.subscriptions.size === 0) this.#services.feeds.forget(before)
    this.#catchUp.answer(subscription)
    this.#services.presence.changed(topic)
  }

  /**
   * @throws ProtocolError `conflict` when another subscription of the connection has the same feed, because `events` name only
   *   the feed
   */
  #newFeed(topic: Topic, filter: Filter): Feed {
    const feed = this.#services.feeds.of(topic, filter)
    const fewer =
      this.#subscriptions.size < feed.subscriptions.size ? this.#subscriptions.values() : feed.subscriptions
    for (const { number } of fewer) {
      const mine = this.#subscriptions.get(number)
      if (mine?.feed !== feed) continue
      throw new ProtocolError('conflict', `sub ${number} already follows ${topic.name} with the same filter`)
    }
    return feed
  }

  #relink(): void {
    for (const subscription of this.#subscriptions.values()) subscription.relink()
  }

  #known(sub: number): Subscription {
    const subscription = this.#subscriptions.get(sub)
    if (subscription === undefined) {
      throw new ProtocolError('notFound', `sub: this connection has no subscription ${sub}`)
    }
    return subscription
  }

  /** @throws ProtocolError `conflict` when the topic has too many, because each flush writes one frame for each of them */
  #expectRoomFor(topic: Topic): void {
    const { topicSubscriptionsMax } = this.#services.limits
    if (this.#subscriptions.size < topicSubscriptionsMax) return
    this.#perTopic ??= countByTopic(this.#subscriptions.values())
    if ((this.#perTopic.get(topic) ?? 0) < topicSubscriptionsMax) return
    throw new ProtocolError(
      'conflict',
      `subscribe: a connection has at most ${topicSubscriptionsMax} subscriptions to one topic`,
    )
  }

  #leave(subscription: Subscription): void {
    const { feed } = subscription
    subscription.leave()
    this.#catchUp.delete(subscription)
    if (feed.subscriptions.size === 0) this.#services.feeds.forget(feed)
    this.#subscriptions.delete(subscription.number)
    if (this.#subscriptions.size === 1) this.#relink()
    const left = (this.#perTopic?.get(feed.topic) ?? 0) - 1
    if (left > 0) this.#perTopic?.set(feed.topic, left)
    else this.#perTopic?.delete(feed.topic)
    this.#services.presence.changed(feed.topic)
    this.#services.mayForget(feed.topic)
  }
}

function countByTopic(subscriptions: Iterable<Subscription>): Map<Topic, number> {
  const counts = new Map<Topic, number>()
  for (const { feed } of subscriptions) counts.set(feed.topic, (counts.get(feed.topic) ?? 0) + 1)
  return counts
}
