import type { Chunk } from '../codec/codec.js'
import { conflate } from '../history/conflate.js'
import type { Entry } from '../history/entry.js'
import { formatPosition, type Offset } from '../protocol/cursor.js'
import type { StoredPart } from '../session/replayed.js'
import { isDamaged, isUnavailable } from '../sessions/stored/damaged-sessions.js'
import { type StoredPage, storedEventsMax } from '../sessions/stored/read-stored.js'
import { batchEventsMax, catchUpEnd, encodeBatch } from './batches.js'
import { aboutOf, goOn, join, snapshotFor } from './join.js'
import { lagOf } from './lag.js'
import type { Outbox } from './outbox.js'
import { bringUpToDate, type Services } from './services.js'
import type { Beginning, Behind, Replaying, Sending, Subscription } from './subscription.js'

// Maximum of steps of one connection within one turn, so that others get their share.
const stepsPerTurnMax = 16

/** Brings the subscriptions of one connection that are behind up to their feeds, from history. */
export class CatchUp {
  readonly #outbox: Outbox
  readonly #services: Services
  /** Absent while all are in step, which is the usual case. */
  #behind: Set<Subscription> | undefined = undefined
  /** Nothing may begin now: it is running, or several requests are handled as one. */
  #held = false
  /** It continues in another turn. */
  #deferred = false

  constructor(outbox: Outbox, services: Services) {
    this.#outbox = outbox
    this.#services = services
  }

  /** Subscriptions that are not in step. */
  get size(): number {
    return this.#behind?.size ?? 0
  }

  /**
   * Answers a new subscription. One with a snapshot waits if there is no room for it: snapshots are paced like replays, and
   * only the request waits, not the data.
   *
   * @param given absent if it continues with another filter
   */
  answer(subscription: Subscription, given?: Beginning): void {
    this.add(subscription)
    // A subscription that was waiting still has to begin.
    const beginning = subscription.answered() ?? given
    if (!subscription.feed.filter.stateful) this.#answer(subscription, beginning)
    else if (this.#outbox.full || this.#services.pace.isSpent) subscription.await(beginning)
    else this.#paced(() => this.#answer(subscription, beginning))
    this.proceed()
  }

  #answer(subscription: Subscription, beginning: Beginning | undefined): void {
    const { feed } = subscription
    const subscribed = beginning === undefined ? goOn(subscription) : join(subscription, beginning)
    if (subscribed.gap !== undefined) this.#services.counts.gap(subscribed.gap)
    if (subscription.isReplaying) this.#services.feeds.keepReplay(feed)
    this.#outbox.say(subscribed, aboutOf(feed))
  }

  /** A subscription that waited for room gets the current state. */
  #join(subscription: Subscription): void {
    const { topic, filter } = subscription.feed
    bringUpToDate(this.#services, topic, filter)
    // Data for other subscriptions of the connection may have filled the link.
    if (this.#outbox.open && !this.#outbox.full) this.#answer(subscription, subscription.answered())
  }

  add(subscription: Subscription): void {
    this.#behind ??= new Set()
    this.#behind.add(subscription)
  }

  delete(subscription: Subscription): void {
    this.#behind?.delete(subscription)
  }

  /** Runs requests that may put several subscriptions behind, and proceeds when all of them are done. */
  after(requests: () => void): void {
    if (this.#held) return requests()
    this.#held = true
    try {
      requests()
    } finally {
      // Subscriptions of requests before a refused one proceed.
      this.#held = false
      this.proceed()
    }
  }

  /** Proceeds as far as the link and the turn allow. */
  proceed(): void {
    const { open, full, link } = this.#outbox
    const behind = this.#behind
    if (!open || full || behind === undefined || behind.size === 0 || this.#held) return
    if (this.#services.pace.isSpent) return this.goOnLater()
    this.#held = true
    try {
      link.cork(() => this.#steps(behind))
    } catch (error) {
      this.#outbox.fail(error)
    }
    this.#held = false
    if (behind.size === 0) this.#behind = undefined
    for (const subscription of behind) {
      if (this.#mayGoOn(subscription)) return this.goOnLater()
    }
  }

  /** Proceeds in another turn. */
  goOnLater(): void {
    if (this.#deferred) return
    this.#deferred = true
    this.#services.clock.defer(() => {
      this.#deferred = false
      this.proceed()
    })
  }

  /** As many steps as one turn allows. */
  #steps(behind: ReadonlySet<Subscription>): void {
    // Replays first, because until they are done a link over many topics has no position to resume from.
    const replaying = [...behind].filter(({ isReplaying }) => isReplaying)
    const { pace } = this.#services
    let steps = stepsPerTurnMax
    for (const subscription of replaying.length > 0 ? new Set([...replaying, ...behind]) : behind) {
      while (this.#mayGoOn(subscription) && steps > 0 && !pace.isSpent) {
        steps--
        this.#paced(() => this.#step(subscription))
        this.#outbox.sayProgress()
      }
    }
    this.#outbox.sayPositions()
  }

  /** Written data counts for the budget of all connections in this turn. */
  #paced(write: () => void): void {
    const before = this.#outbox.written
    this.#services.pace.spend(() => {
      write()
      return this.#outbox.written - before
    })
  }

  #mayGoOn(subscription: Subscription): boolean {
    return subscription.state.kind !== 'reading' && this.#waits(subscription)
  }

  /** Whether something may be written to a subscription that is behind. */
  #waits(subscription: Subscription): boolean {
    const { open, full } = this.#outbox
    return open && !full && this.#behind?.has(subscription) === true
  }

  /** One bounded step of a subscription that is behind. */
  #step(subscription: Subscription): void {
    const { state } = subscription
    switch (state.kind) {
      case 'inStep':
      case 'reading':
        return
      case 'joining':
        return this.#join(subscription)
      case 'snapshot':
        return this.#sendPart(subscription, state)
      case 'replaying':
        return this.#replay(subscription, state)
      case 'behind':
        return this.#goOn(subscription, state)
    }
  }

  #sendPart(subscription: Subscription, { parts }: Sending): void {
    const part = parts.next()
    if (parts.done) subscription.snapshotSent()
    const { resumption } = subscription
    this.#outbox.say(
      { type: 'part', sub: subscription.number, ...part },
      { ...aboutOf(subscription.feed), ...(resumption && { cursor: formatPosition(resumption) }) },
    )
  }

  /** @param chunk a part of a replay, shared by all clients except for their cursors */
  #writeReplay(subscription: Subscription, chunk: Chunk, events: number): void {
    const { codec } = this.#outbox.link
    const { timeline } = subscription.feed.topic
    const join = { epoch: timeline.epoch, offset: subscription.clientPosition }
    const own = chunk instanceof Uint8Array ? codec.withCursor?.(chunk, join) : undefined
    this.#outbox.writeEvents(own ?? chunk, events)
  }

  /** Sends one frame of a replay, or requests the next part from the store. */
  #replay(subscription: Subscription, state: Replaying): void {
    const { feed } = subscription
    const { codec } = this.#outbox.link
    switch (state.from) {
      case 'memory': {
        const { chunk, to } = state.page.part(feed, codec, state.next)
        subscription.proceed({ ...state, next: to })
        return this.#writeReplay(subscription, chunk, to - state.next)
      }
      case 'store': {
        const { replay, after, frames, next } = state
        if (frames === undefined) {
          const read = this.#services.storedReplays.frames(feed, codec, replay.stored as StoredPart, after)
          return this.#read(subscription, state, read, (page) =>
            subscription.proceed({ ...state, frames: page }),
          )
        }
        const frame = frames.list[next]
        subscription.proceed({ ...state, next: next + 1 })
        if (frame !== undefined) this.#writeReplay(subscription, frame.chunk, frame.events)
      }
    }
  }

  /** Sends a page of events after the position; at the end the subscription joins its feed. */
  #goOn(subscription: Subscription, state: Behind): void {
    const { feed } = subscription
    const { topic, filter } = feed
    this.#services.flush.flush(topic.timeline)
    // Data for other subscriptions may have filled the link, and a snapshot may have to follow.
    if (this.#outbox.full || !this.#tellLoss(subscription, state)) return
    // The snapshot of the gap comes first.
    if (subscription.state !== state) return
    const { position: after } = state
    if (topic.isInStore(after, filter)) {
      const page = this.#services.readStored(topic, filter, { after, limit: storedEventsMax })
      return this.#read(subscription, state, page, (stored) => this.#takeStored(subscription, state, stored))
    }
    const page = this.#page(subscription, state)
    this.#take(subscription, state, page)
    if (page.last === topic.timeline.offset) this.#arrive(subscription, state)
  }

  /** @returns the events after the position in history: conflated, and at most one frame */
  #page({ feed }: Subscription, { position, oneByOne }: Behind): { entries: readonly Entry[]; last: Offset } {
    const page = feed.topic.read(position, feed.filter, batchEventsMax)
    const entries = oneByOne ? page.entries : this.#conflated(page.entries)
    const to = catchUpEnd(entries, 0)
    if (to === entries.length) return { entries, last: page.last }
    return { entries: entries.slice(0, to), last: (entries[to - 1] as Entry).offset }
  }

  /** Reads from the store, and proceeds when it has answered. */
  #read<Page>(
    subscription: Subscription,
    nextState: Replaying | Behind,
    page: Promise<Page>,
    take: (page: Page) => void,
  ): void {
    subscription.read(nextState)
    page
      .then((read) => {
        // If nobody waits for the page any more, it is read again when needed.
        if (subscription.haveRead(nextState) && this.#waits(subscription)) {
          this.#outbox.link.cork(() => {
            this.#paced(() => take(read))
            this.#outbox.sayPositions()
          })
        }
        this.proceed()
      })
      .catch((error: unknown) => {
        if (isUnavailable(error)) return this.#outbox.close('lagging', error.message)
        if (!isDamaged(error)) return this.#outbox.fail(error)
        // Other subscriptions of the connection continue.
        if (subscription.haveRead(nextState) && this.#behind?.has(subscription))
          subscription.endDamaged(error.message)
        this.proceed()
      })
  }

  #takeStored(subscription: Subscription, state: Behind, page: StoredPage): void {
    const { topic, filter } = subscription.feed
    // Retention may have removed some events meanwhile.
    if (!this.#tellLoss(subscription, state) || subscription.state !== state) return
    const entries = this.#conflated(topic.withUpdates(page, state.position, filter))
    this.#take(subscription, state, { entries, last: page.last })
  }

  #take(
    subscription: Subscription,
    { position, clientPosition: after, liveSent }: Behind,
    { entries, last }: { readonly entries: readonly Entry[]; readonly last: Offset },
  ): void {
    // A batch without events only moves the client's position, which `live` or the next batch does too.
    if (entries.length === 0 && !(liveSent && last > position)) return subscription.advance(last, after)
    subscription.advance(last)
    let before = after
    for (let from = 0; ; ) {
      const to = catchUpEnd(entries, from)
      const isLast = to === entries.length
      const span = { after: before, last: isLast ? last : (entries[to - 1] as Entry).offset }
      this.#outbox.writeEvents(this.#chunk(subscription, span, entries.slice(from, to)), to - from)
      if (isLast) return
      before = span.last
      from = to
    }
  }

  /** Everything has been sent. */
  #arrive(subscription: Subscription, { liveSent }: Behind): void {
    const { feed } = subscription
    if (!liveSent) {
      const offset = subscription.clientPosition
      subscription.markLive()
      this.#outbox.say({ type: 'live', sub: subscription.number, offset }, aboutOf(feed))
    }
    if (this.#outbox.full || !this.#outbox.open) return
    this.#behind?.delete(subscription)
    subscription.join()
    if (feed.topic.timeline.status === 'ended') subscription.endIfDone()
  }

  /** @returns whether the subscription can continue; false if it missed a critical event */
  #tellLoss(subscription: Subscription, state: Behind): boolean {
    const { feed } = subscription
    const lag = lagOf(feed, state)
    if (lag.kind === 'none') return true
    if (lag.kind === 'critical') {
      this.#outbox.close(
        'lagging',
        `missed a critical event of ${feed.topic.name} after ${state.position}; resume from there`,
      )
      return false
    }
    const { gap, gapTold, droppedBefore } = lag
    subscription.tellGap(gapTold, droppedBefore)
    this.#services.counts.gap(gap)
    this.#outbox.say(
      { type: 'gap', sub: subscription.number, ...gap, ...snapshotFor(subscription) },
      aboutOf(feed),
    )
    return true
  }

  #chunk({ feed }: Subscription, span: { after: Offset; last: Offset }, events: readonly Entry[]): Chunk {
    return encodeBatch(feed, this.#outbox.link.codec, span, events)
  }

  /** `conflate`, counted. */
  #conflated(entries: readonly Entry[]): readonly Entry[] {
    const conflated = conflate(entries)
    this.#services.counts.conflated += entries.length - conflated.length
    return conflated
  }
}
