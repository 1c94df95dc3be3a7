import type { About } from '../codec/codec.js'
import type { Hub } from '../hub/hub.js'
import type { GapNotice } from '../protocol/frames.js'
import type { StoredPart } from '../session/topic.js'
import { type StoredPage, storedEventsMax } from '../sessions/history-page.js'
import type { Connection } from './connection.js'
import type { Feed } from './feed.js'
import { snapshotFor } from './join.js'
import type { Replaying, Subscription } from './subscription.js'

// Steps of catching up within one turn: a bound on what one connection may take from the others at a time.
const stepsPerTurnMax = 16

/** Brings the subscriptions of one connection that are behind to where their feeds are, from history. */
export class CatchUp {
  readonly #connection: Connection
  readonly #hub: Hub
  /** Absent while all are in step, as they are most of the time. */
  #behind: Set<Subscription> | undefined = undefined
  /** Nothing is to begin now: it is under way, or several requests are being done as one. */
  #held = false
  /** It goes on in another turn. */
  #deferred = false

  constructor(connection: Connection, hub: Hub) {
    this.#connection = connection
    this.#hub = hub
  }

  /** Subscriptions that are not in step. */
  get size(): number {
    return this.#behind?.size ?? 0
  }

  add(subscription: Subscription): void {
    this.#behind ??= new Set()
    this.#behind.add(subscription)
  }

  delete(subscription: Subscription): void {
    this.#behind?.delete(subscription)
  }

  /** Runs what may put several subscriptions behind, and goes on once all of it is done. */
  after(requests: () => void): void {
    if (this.#held) return requests()
    this.#held = true
    try {
      requests()
    } finally {
      // Those that were done before one was refused go on.
      this.#held = false
      this.proceed()
    }
  }

  /** Goes on as far as the link and the turn allow. */
  proceed(): void {
    const { open, full, link } = this.#connection
    const behind = this.#behind
    if (!open || full || behind === undefined || behind.size === 0 || this.#held) return
    if (this.#hub.delivery.pace.isSpent) return this.#goOnLater()
    this.#held = true
    try {
      link.cork(() => this.#steps(behind))
    } catch (error) {
      this.#connection.fail(error)
    }
    this.#held = false
    if (behind.size === 0) this.#behind = undefined
    for (const subscription of behind) {
      if (this.#mayGoOn(subscription)) return this.#goOnLater()
    }
  }

  #goOnLater(): void {
    if (this.#deferred) return
    this.#deferred = true
    this.#hub.clock.defer(() => {
      this.#deferred = false
      this.proceed()
    })
  }

  /** As many steps as one turn allows. */
  #steps(behind: ReadonlySet<Subscription>): void {
    // Replays first: until they are done, a link over many topics has no position to go on from.
    const replaying = [...behind].filter((subscription) => subscription.replaying !== undefined)
    const { pace } = this.#hub.delivery
    let steps = stepsPerTurnMax
    for (const subscription of replaying.length > 0 ? new Set([...replaying, ...behind]) : behind) {
      while (this.#mayGoOn(subscription) && steps > 0 && !pace.isSpent) {
        steps--
        this.#paced(() => this.#step(subscription))
      }
    }
    this.#connection.sayPositions()
  }

  /** What is written counts for what all may write in this turn. */
  #paced(write: () => void): void {
    const before = this.#connection.bytes
    this.#hub.delivery.pace.spend(() => {
      write()
      return this.#connection.bytes - before
    })
  }

  #mayGoOn(subscription: Subscription): boolean {
    const { open, full } = this.#connection
    return open && !full && !subscription.fetching && this.#behind?.has(subscription) === true
  }

  /** One bounded step of a subscription that is behind. */
  #step(subscription: Subscription): void {
    const { feed, replaying } = subscription
    const { session } = feed.topic
    const { delivery } = this.#hub
    if (replaying !== undefined) return this.#replay(subscription, replaying)
    delivery.flush(session)
    if (!this.#tellLoss(subscription)) return
    if (feed.topic.isInStore(subscription.position, feed.filter)) return this.#readOn(subscription)
    const page = delivery.page(subscription)
    // A batch without events tells the client that its position has moved; `live` says the same.
    const moved = page.last > subscription.position && subscription.announced
    if (page.entries.length > 0 || moved) {
      const span = { after: subscription.position, last: page.last }
      const chunk = delivery.encode(feed, this.#connection.link.codec, span, page.entries)
      subscription.position = page.last
      this.#connection.writeEvents(chunk, page.entries.length)
    }
    subscription.position = page.last
    if (page.last === session.offset) this.#arrive(subscription)
  }

  /** One frame of a replay, or the store is asked for the next of it. */
  #replay(subscription: Subscription, replaying: Replaying): void {
    if (replaying.from === 'store') return this.#replayStored(subscription, replaying)
    const { page, next: from } = replaying
    if (from < page.entries.length) {
      const { feed } = subscription
      const { codec } = this.#connection.link
      const { chunk, to } = page.part(this.#hub.delivery, { feed, codec, from })
      replaying.next = to
      this.#connection.writeEvents(chunk, to - from)
    }
    if (replaying.next === page.entries.length) subscription.replaying = undefined
  }

  #replayStored(subscription: Subscription, replaying: Replaying & { from: 'store' }): void {
    const { replay, after, frames } = replaying
    const part = replay.stored as StoredPart
    if (frames === undefined) {
      const { codec } = this.#connection.link
      const read = this.#hub.storedReplays.frames(subscription.feed, codec, part, after)
      // An update may have begun what is left of it anew: then nobody looks at these.
      return this.#fetch(subscription, read, (next) => void (replaying.frames = next))
    }
    const frame = frames.list[replaying.next]
    if (frame !== undefined) {
      replaying.next++
      this.#connection.writeEvents(frame.chunk, frame.events)
    }
    if (replaying.next < frames.list.length) return
    if (frames.last < part.until) subscription.replayStored(replay, frames.last)
    else subscription.replayHeld(replay, frames.last)
  }

  /** Asks the store for what follows the position. */
  #readOn(subscription: Subscription): void {
    const { feed, position: after } = subscription
    const page = this.#hub.readStored(feed.topic, feed.filter, { after, limit: storedEventsMax })
    this.#fetch(subscription, page, (stored) => {
      if (subscription.feed === feed) this.#takeStored(subscription, stored)
    })
  }

  /** Waits for the store, and goes on when it has answered. */
  #fetch<Page>(subscription: Subscription, page: Promise<Page>, take: (page: Page) => void): void {
    subscription.fetching = true
    page
      .then((read) => {
        subscription.fetching = false
        // A page that nobody waits for any more is asked for again by whoever wants it.
        if (this.#mayGoOn(subscription)) {
          this.#connection.link.cork(() => {
            this.#paced(() => take(read))
            this.#connection.sayPositions()
          })
        }
        this.proceed()
      })
      .catch((error: unknown) => this.#connection.fail(error))
  }

  #takeStored(subscription: Subscription, { entries, last }: StoredPage): void {
    const { feed, position: after } = subscription
    const { delivery } = this.#hub
    const due = delivery.conflate(feed.topic.withUpdates({ entries, last }, after, feed.filter))
    subscription.position = last
    if (due.length === 0 && !subscription.announced) return
    const chunk = delivery.encode(feed, this.#connection.link.codec, { after, last }, due)
    this.#connection.writeEvents(chunk, due.length)
  }

  /** All that there was has been sent. */
  #arrive(subscription: Subscription): void {
    const { feed } = subscription
    if (!subscription.announced) {
      subscription.announced = true
      subscription.exact = false
      this.#connection.say(
        { type: 'live', sub: subscription.number, offset: subscription.position },
        aboutOf(feed),
      )
    }
    if (this.#connection.full || !this.#connection.open) return
    this.#behind?.delete(subscription)
    feed.join(subscription)
    if (feed.topic.session.status === 'ended') this.#connection.endIfDone()
  }

  /** @returns whether the subscription can go on; not when it missed a critical event. */
  #tellLoss(subscription: Subscription): boolean {
    const { feed, position, gapTold } = subscription
    const loss = feed.topic.lossAfter(position > gapTold ? position : gapTold, feed.filter)
    if (loss.critical > 0) {
      this.#connection.close(
        'lagging',
        `missed a critical event of ${feed.topic.name} after ${position}; resume from there`,
      )
      return false
    }
    const { forgotten } = feed.topic
    const forgot = feed.filter.stateful && forgotten > position && forgotten > subscription.snapshotAt
    if (loss.droppable > 0 || forgot) {
      if (loss.droppable > 0) subscription.gapTold = loss.droppable
      const dropped = feed.topic.dropped - subscription.droppedBefore
      if (dropped > 0) subscription.droppedBefore += dropped
      const gap: GapNotice = {
        reason: 'lagging',
        after: position,
        offset: forgot && forgotten > loss.droppable ? forgotten : loss.droppable,
        ...(dropped > 0 ? { dropped } : undefined),
      }
      this.#hub.tally.gap(gap)
      this.#connection.say(
        { type: 'gap', sub: subscription.number, ...gap, ...snapshotFor(subscription) },
        aboutOf(feed),
      )
    }
    return true
  }
}

export function aboutOf({ topic }: Feed): About {
  return { topic: topic.name, epoch: topic.session.epoch }
}
