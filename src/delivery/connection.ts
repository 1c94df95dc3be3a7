import type { About, Chunk } from '../codec/codec.js'
import type { Hub } from '../hub/hub.js'
import { type CloseCode, ProtocolError } from '../protocol/codes.js'
import { type Offset, type Position, parseCursor } from '../protocol/cursor.js'
import type { ControlFrame, Subscribe, Unsubscribe, UnsubscribedCode, Update } from '../protocol/frames.js'
import { everything, type Permissions } from '../protocol/permissions.js'
import { parseTopic, type TopicName } from '../protocol/topic.js'
import { Filter } from '../session/filter.js'
import type { Topic } from '../session/topic.js'
import { aboutOf, CatchUp } from './catch-up.js'
import type { Feed } from './feed.js'
import { bytesOf } from './flush.js'
import { changed, join, snapshotFor } from './join.js'
import type { Link } from './link.js'
import { Subscription } from './subscription.js'

/** A batch that waits for the end of a flush, so that a connection gets all of its feeds in one write. */
interface Outgoing {
  readonly subscription: Subscription
  readonly chunk: Chunk
  readonly events: number
  readonly after: Offset
}

/** How a subscription begins. */
interface Beginning {
  readonly name: TopicName
  readonly filter: Filter
  /** The position to resume from. */
  readonly from: Position | undefined
  readonly replay: boolean | 'all'
}

export interface ConnectionOptions {
  /** Ends the link once every session that it follows has ended and all of it was delivered. */
  readonly endsWithSessions?: boolean
  /** Everything unless given. */
  readonly permissions?: Permissions
}

/** Why the hub ended a connection. */
export type Ending =
  | { readonly kind: 'closed'; readonly code: CloseCode; readonly reason: string }
  /** Everything that it followed had ended. */
  | { readonly kind: 'done' }

/** One open link, and what it follows. */
export class Connection {
  readonly id: string
  readonly link: Link
  readonly subscriptions = new Map<number, Subscription>()
  readonly #hub: Hub
  readonly #endsWithSessions: boolean
  readonly #catchUp: CatchUp
  #permissions: Permissions
  /** How many subscriptions each topic has; counted only where there are many. */
  #perTopic: Map<Topic, number> | undefined = undefined
  #outgoing: Outgoing[] = []
  #full = false
  #overflowBytes = 0
  #state: 'open' | 'closed' = 'open'
  #events = 0
  #bytes = 0
  #subscribed = 0
  #ending: Ending | undefined

  constructor(id: string, hub: Hub, link: Link, options: ConnectionOptions) {
    this.id = id
    this.#hub = hub
    this.link = link
    this.#endsWithSessions = options.endsWithSessions === true
    this.#permissions = options.permissions ?? everything
    this.#catchUp = new CatchUp(this, hub)
  }

  /** What the client may do now. */
  get permissions(): Permissions {
    return this.#permissions
  }

  get open(): boolean {
    return this.#state === 'open'
  }

  /** Whether the link has no room for more. */
  get full(): boolean {
    return this.#full
  }

  /** Subscriptions that it ever had. */
  get subscribed(): number {
    return this.#subscribed
  }

  /** Events that it was given; in full once it has been closed. */
  get events(): number {
    return this.#events
  }

  /** Bytes of the frames that these events were in. */
  get bytes(): number {
    return this.#bytes
  }

  /** Absent when the client, or whatever lies between, ended it. */
  get ending(): Ending | undefined {
    return this.#ending
  }

  /** Subscriptions that are not in step. */
  get lagging(): number {
    return this.#catchUp.size
  }

  /** The link that a flush may write to at once: where there is but one feed, and nothing to say after it. */
  get directLink(): Link | undefined {
    return this.subscriptions.size === 1 && this.link.codec.trailer === undefined ? this.link : undefined
  }

  /**
   * Does what a client asks for.
   *
   * @throws ProtocolError when it cannot; nothing has changed then
   */
  receive(frame: Subscribe | Update | Unsubscribe): void {
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
   * Lets the client do something else from now on. Subscriptions beyond it end; one to the topic `hub` begins anew
   * where other sessions may be seen.
   *
   * @param reason told to those that end
   */
  permit(permissions: Permissions, reason: string): void {
    this.#permissions = permissions
    if (!this.open) return
    const before = [...this.subscriptions.values()]
    this.together(() => {
      for (const subscription of before) {
        const { topic, filter } = subscription.feed
        const name = parseTopic(topic.name, 'topic')
        if (!permissions.mayRead(name)) this.unsubscribe(subscription, 'forbidden', reason)
        else if (name.kind === 'hub' && this.#hub.topicToFollow(name, permissions) !== topic) {
          this.#leave(subscription)
          this.#begin(subscription.number, { name, filter, from: undefined, replay: false })
        }
      }
    })
  }

  /**
   * Runs several `receive` as one: nothing is delivered until all of them are done. Over many topics a position
   * told in between would leave out those that are still to be subscribed to.
   */
  together(requests: () => void): void {
    this.#catchUp.after(requests)
  }

  /** Says a frame that is not an event. */
  say(frame: ControlFrame, about?: About): void {
    if (!this.open) return
    const chunk = this.link.codec.control(frame, about)
    if (chunk === undefined) return
    if (this.#full) this.#overflow(chunk)
    if (!this.link.write(chunk)) this.fill()
  }

  /** The transport can take more. */
  drained(): void {
    if (!this.open) return
    this.#full = false
    this.#overflowBytes = 0
    this.#catchUp.proceed()
  }

  /** The link has gone. */
  closed(): void {
    if (!this.open) return
    this.#state = 'closed'
    this.#hub.departed(this)
  }

  /** @param retryMs how long the client should wait before it comes back, where the hub has an opinion */
  close(code: CloseCode, reason: string, retryMs?: number): void {
    if (!this.open) return
    this.#ending = { kind: 'closed', code, reason }
    this.#hub.tally.close(code)
    this.link.close(code, reason, retryMs)
    this.closed()
  }

  /** Something went wrong in what is done for this connection: it ends, and the others live on. */
  fail(error: unknown): void {
    this.#hub.reportFault(error, this.id)
    try {
      this.close('internalError', 'the hub has recorded what went wrong')
    } catch (another) {
      this.#hub.reportFault(another, this.id)
      this.closed()
    }
  }

  /** Events were handed to its link. */
  count(events: number, bytes: number): void {
    this.#events += events
    this.#bytes += bytes
  }

  /** Takes a batch for the end of the flush. */
  queue(subscription: Subscription, chunk: Chunk, batch: { events: number; after: Offset }): void {
    if (this.#outgoing.length === 0) this.#hub.delivery.touched.push(this)
    const after = batch.after > subscription.position ? batch.after : subscription.position
    this.#outgoing.push({ subscription, chunk, events: batch.events, after })
  }

  /** Writes what was queued in one piece. */
  writeQueued(): void {
    const outgoing = this.#outgoing
    this.#outgoing = []
    if (!this.open) return
    try {
      // One chunk with nothing to say after it leaves in one piece by itself.
      if (outgoing.length === 1 && this.link.codec.trailer === undefined) {
        return this.#writeBatch(outgoing[0] as Outgoing)
      }
      this.link.cork(() => {
        for (const batch of outgoing) this.#writeBatch(batch)
        this.sayPositions()
      })
    } catch (error) {
      this.fail(error)
    }
  }

  #writeBatch({ subscription, chunk, events, after }: Outgoing): void {
    const bytes = bytesOf(chunk)
    if (this.#full) {
      // Not written: it will come from history, from where the feed was before this flush.
      if (subscription.position > after) subscription.position = after
      this.count(-events, -bytes)
      return
    }
    this.#hub.delivery.delivered += events
    this.#hub.delivery.deliveredBytes += bytes
    if (!this.link.write(chunk)) this.fill()
  }

  /** The link took the last chunk but has no room for more: its subscriptions leave their feeds. */
  fill(): void {
    if (this.#full) return
    this.#full = true
    for (const subscription of this.subscriptions.values()) {
      if (!subscription.inStep) continue
      const { feed } = subscription
      subscription.position = subscription.told
      subscription.droppedBefore = feed.topic.droppableTotal
      feed.leave(subscription)
      this.#catchUp.add(subscription)
    }
  }

  unsubscribe(subscription: Subscription, code: UnsubscribedCode, reason: string): void {
    const { topic } = subscription.feed
    this.#leave(subscription)
    const about = { topic: topic.name, epoch: topic.session.epoch }
    this.say({ type: 'unsubscribed', sub: subscription.number, code, reason }, about)
    if (code === 'removed') this.endIfDone()
  }

  /** Ends the link when it is to end with its sessions, and they have. */
  endIfDone(): void {
    if (!this.open || !this.#endsWithSessions) return
    for (const { inStep, feed } of this.subscriptions.values()) {
      if (!inStep || feed.topic.session.status !== 'ended') return
    }
    this.#ending = { kind: 'done' }
    this.link.end()
    this.closed()
  }

  /** Takes the connection's subscriptions out of their feeds; the link has gone. */
  leaveAll(): void {
    for (const subscription of this.subscriptions.values()) this.#leave(subscription)
  }

  #subscribe(frame: Subscribe): void {
    if (this.subscriptions.has(frame.sub)) {
      throw new ProtocolError(
        'conflict',
        `subscribe.sub: ${frame.sub} is in use; unsubscribe it or take another number`,
      )
    }
    const { subscriptionsMax } = this.#hub.limits
    if (this.subscriptions.size >= subscriptionsMax) {
      throw new ProtocolError(
        'conflict',
        `subscribe: a connection has at most ${subscriptionsMax} subscriptions`,
      )
    }
    const name = parseTopic(frame.topic, 'subscribe.topic')
    const { types, slices } = frame
    const mode = frame.mode ?? 'full'
    const filter = new Filter({ mode, ...(types && { types }), ...(slices && { slices }) })
    const from = frame.after === undefined ? undefined : parseCursor(frame.after, 'subscribe.after')

    this.#permissions.expectRead(name)
    this.#begin(frame.sub, { name, filter, from, replay: frame.replay ?? true })
  }

  #begin(sub: number, { name, filter, from, replay }: Beginning): void {
    const topic = this.#hub.topicToFollow(name, this.#permissions)
    this.#hub.settle(topic.session, filter)
    this.#expectRoomFor(topic)
    const feed = this.#newFeed(topic, filter)
    const subscription = new Subscription(sub, this, feed, topic.session.offset)
    feed.subscriptions.add(subscription)
    this.subscriptions.set(sub, subscription)
    if (this.subscriptions.size === 2) this.#relink()
    this.#subscribed++
    this.#perTopic?.set(topic, (this.#perTopic.get(topic) ?? 0) + 1)
    this.#catchUp.add(subscription)
    const subscribed = join(subscription, from, replay)
    if (subscribed.gap !== undefined) this.#hub.tally.gap(subscribed.gap)
    if (subscription.replaying !== undefined) this.#hub.feeds.keepReplay(feed)
    this.say(subscribed, aboutOf(feed))
    this.#catchUp.proceed()
  }

  #update(frame: Update): void {
    const subscription = this.#known(frame.sub)
    const before = subscription.feed.filter.expression
    const filter = new Filter(changed(before, frame))
    const { topic } = subscription.feed
    this.#hub.settle(topic.session, filter)
    const position = subscription.told
    if (filter.name !== subscription.feed.filter.name) {
      const feed = this.#newFeed(topic, filter)
      this.#leaveFeed(subscription)
      feed.subscriptions.add(subscription)
      subscription.feed = feed
      subscription.retainReplay((entry) => filter.accepts(entry))
    } else if (subscription.inStep) subscription.feed.leave(subscription)
    subscription.position = position
    subscription.announced = false
    this.#catchUp.add(subscription)
    const { number: sub, feed } = subscription
    this.say(
      {
        type: 'subscribed',
        sub,
        feed: feed.number,
        topic: topic.name,
        epoch: topic.session.epoch,
        offset: position,
        resumed: true,
        // What the filter let pass before may have been less, or nothing.
        ...snapshotFor(subscription),
      },
      aboutOf(feed),
    )
    this.#catchUp.proceed()
  }

  /**
   * @throws ProtocolError `conflict` when another subscription of the connection has the same feed: `events` could
   *   not say which of the two they are for
   */
  #newFeed(topic: Topic, filter: Filter): Feed {
    const feed = this.#hub.feeds.of(topic, filter)
    const mine =
      this.subscriptions.size < feed.subscriptions.size ? this.subscriptions.values() : feed.subscriptions
    for (const other of mine) {
      if (other.feed !== feed || other.connection !== this) continue
      throw new ProtocolError(
        'conflict',
        `sub ${other.number} follows ${topic.name} with the same filter already`,
      )
    }
    return feed
  }

  /** Writes a frame of so many events. */
  writeEvents(chunk: Chunk, events: number): void {
    const bytes = bytesOf(chunk)
    this.count(events, bytes)
    this.#hub.delivery.delivered += events
    this.#hub.delivery.deliveredBytes += bytes
    if (!this.link.write(chunk)) this.fill()
  }

  /** Answers to a client that asks but does not read are bounded as well. */
  #overflow(chunk: Chunk): void {
    this.#overflowBytes += chunk instanceof Uint8Array ? chunk.length : 1_024
    if (this.#overflowBytes > 4 * this.#hub.limits.frameBytesMax) {
      this.close('lagging', 'asked for more than it reads')
    }
  }

  /** Where the codec has a trailer, tells how far each session has been sent. */
  sayPositions(): void {
    const { codec } = this.link
    if (codec.trailer === undefined || !this.open) return
    const chunk = codec.trailer(this.#positions())
    if (chunk !== undefined && !this.link.write(chunk)) this.fill()
  }

  #relink(): void {
    for (const subscription of this.subscriptions.values()) {
      if (subscription.inStep) subscription.feed.relink(subscription)
    }
  }

  /** For each session the lowest position; one that is being replayed has none, so that it joins afresh. */
  #positions(): Map<string, Position> {
    const positions = new Map<string, Position>()
    const replaying = new Set<string>()
    for (const { feed, reached, replaying: busy } of this.subscriptions.values()) {
      const { id, epoch } = feed.topic.session
      const known = positions.get(id)
      if (known === undefined || known.offset > reached) positions.set(id, { epoch, offset: reached })
      if (busy !== undefined) replaying.add(id)
    }
    for (const id of replaying) positions.delete(id)
    return positions
  }

  #known(sub: number): Subscription {
    const subscription = this.subscriptions.get(sub)
    if (subscription === undefined) {
      throw new ProtocolError('notFound', `sub: there is no subscription ${sub} on this connection`)
    }
    return subscription
  }

  /** @throws ProtocolError `conflict`: each flush writes one frame for each of them */
  #expectRoomFor(topic: Topic): void {
    const { topicSubscriptionsMax } = this.#hub.limits
    if (this.subscriptions.size < topicSubscriptionsMax) return
    this.#perTopic ??= countByTopic(this.subscriptions.values())
    if ((this.#perTopic.get(topic) ?? 0) < topicSubscriptionsMax) return
    throw new ProtocolError(
      'conflict',
      `subscribe: a connection has at most ${topicSubscriptionsMax} subscriptions to one topic`,
    )
  }

  #leave(subscription: Subscription): void {
    const { topic } = subscription.feed
    this.#leaveFeed(subscription)
    this.subscriptions.delete(subscription.number)
    if (this.subscriptions.size === 1) this.#relink()
    const left = (this.#perTopic?.get(topic) ?? 0) - 1
    if (left > 0) this.#perTopic?.set(topic, left)
    else this.#perTopic?.delete(topic)
    this.#hub.mayForget(topic)
  }

  #leaveFeed(subscription: Subscription): void {
    const { feed } = subscription
    if (subscription.inStep) feed.leave(subscription)
    this.#catchUp.delete(subscription)
    feed.subscriptions.delete(subscription)
    if (feed.subscriptions.size === 0) this.#hub.feeds.forget(feed)
  }
}

function countByTopic(subscriptions: Iterable<Subscription>): Map<Topic, number> {
  const counts = new Map<Topic, number>()
  for (const { feed } of subscriptions) counts.set(feed.topic, (counts.get(feed.topic) ?? 0) + 1)
  return counts
}
