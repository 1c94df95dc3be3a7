import type { Chunk } from '../codec/codec.js'
import type { Entry } from '../history/entry.js'
import type { Clock } from '../lib/clock.js'
import { Histogram } from '../lib/histogram.js'
import type { Offset } from '../protocol/cursor.js'
import type { Timeline } from '../session/timeline.js'
import type { Tracing } from '../session/tracing.js'
import { batchEnd, bytesOf, encodeBatch, type Span } from './batches.js'
import type { DeliveryCounts } from './counts.js'
import type { Feed } from './feed.js'
import type { Feeds } from './feeds.js'
import type { Link } from './link.js'
import type { BatchQueue, Membership } from './member.js'
import type { Members } from './members.js'
import type { Followed, TopicFeeds } from './topic-feeds.js'

// After this many offsets without a match a feed sends its position all the same, so that a later resume does not examine those
// events again.
const quietOffsetsMax = 256

// A flush above the last bound holds up everything else: heartbeats, requests, acknowledgements.
const flushMsBounds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250]
// The budget of events examined, names compared and bytes encoded, for all feeds in one turn: some 15 ms.
const flushWorkMax = 400_000

// Encoding this many bytes takes about as long as examining an event.
const bytesPerUnit = 128

// A feed with less work than this is always flushed.
const alwaysDone = 400

const flushEventsBounds = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000]

export interface FlushOptions {
  /** Ends the turn, and measures. */
  readonly clock: Clock
  readonly tracing: Tracing | undefined
  readonly feeds: Feeds
  readonly counts: DeliveryCounts
  /** Events that may wait for the end of the turn, in one session. */
  readonly pendingEventsMax: number
  /** Called after a flush, with what was flushed. */
  readonly after: (flushed: readonly Followed[]) => void
}

/** A connection with batches that wait for the end of the flush. */
export interface Queued {
  writeQueued(): void
}

/** Delivers events to the subscriptions in step: one flush per turn. */
export class Flush {
  /** The durations of flushes, and their numbers of events. */
  readonly ms = new Histogram(flushMsBounds)
  readonly events = new Histogram(flushEventsBounds)
  readonly #options: FlushOptions
  readonly #dirty = new Set<Followed>()
  #queued: Queued[] = []
  #scheduled = false
  #busy = false
  /** The rest of the budget in this turn, in the unit of `flushWorkMax`. */
  #workLeft = flushWorkMax

  constructor(options: FlushOptions) {
    this.#options = options
  }

  /** Whether a walk over feeds is in progress, during which no member may leave. */
  get busy(): boolean {
    return this.#busy
  }

  /** A session or list may have something to flush: at the end of the turn, or now when too much waits. */
  onDirty(timeline: Timeline): void {
    const { feeds, pendingEventsMax, clock } = this.#options
    const followed = feeds.followed(timeline)
    if (followed === undefined || !followed.unflushed) return
    if (followed.pending >= pendingEventsMax) return this.#flushNow(followed)
    this.#dirty.add(followed)
    if (this.#scheduled) return
    this.#scheduled = true
    clock.defer(() => {
      this.#scheduled = false
      this.flushAll()
    })
  }

  flushAll(): void {
    const dirty = [...this.#dirty]
    this.#dirty.clear()
    this.#flush(dirty)
  }

  /** Flushes a session or list before its turn, so that everything in step is at its offset. */
  flush(timeline: Timeline): void {
    const followed = this.#options.feeds.followed(timeline)
    if (followed?.unflushed === true) this.#flushNow(followed)
  }

  /** The connection has batches that wait for the end of the flush. */
  queue(connection: Queued): void {
    this.#queued.push(connection)
  }

  #flushNow(followed: Followed): void {
    this.#dirty.delete(followed)
    this.#flush([followed])
  }

  #flush(dirty: readonly Followed[]): void {
    const { clock, tracing, after } = this.#options
    const began = clock.elapsed()
    const span = tracing?.begin('flush')
    let events = 0
    this.#busy = true
    try {
      for (const followed of dirty) {
        const { timeline } = followed
        if (followed.needsRefresh) timeline.refresh(clock.now())
        events += this.#flushTopics(followed)
      }
      this.#writeQueued()
    } finally {
      this.#busy = false
    }
    after(dirty)
    this.events.observe(events)
    span?.end({ sessions: dirty.length, events })
    this.ms.observe(clock.elapsed() - began)
  }

  /** @returns how many events were flushed. */
  #flushTopics(followed: Followed): number {
    const { offset } = followed.timeline
    let events = 0
    const topics = followed.take()
    for (const topic of topics) {
      const entries = topic.take()
      const { only } = topic
      if (only !== undefined) this.#flushWithin(only, entries, { offset, once: topics.length === 1 })
      else
        for (const feed of this.#inOrder(topic, entries.length)) {
          this.#flushWithin(feed, entries, { offset, once: false })
        }
      // Workers' events also appear in `sessions/{s}/**`, so they are not counted twice.
      events = topic.topic.isWhole ? Math.max(events, entries.length) : events + entries.length
    }
    return events
  }

  /** Flushes a feed, or postpones it if this turn has no time for it. @param moment as in `#flushFeed` */
  #flushWithin(feed: Feed, entries: readonly Entry[], moment: { offset: Offset; once: boolean }): void {
    feed.forgetReplay()
    if (!feed.inStep) return
    const { filter } = feed
    if (this.#workLeft <= 0 && entries.length * (1 + filter.steps) > alwaysDone) return postpone(feed)
    const { compared } = filter
    try {
      this.#flushFeed(feed, entries, moment)
    } catch (error) {
      for (const member of feed.subscriptions) member.fail(error)
    }
    this.#spend(entries.length + filter.compared - compared)
  }

  /** If it may be too much for one turn, feeds with simple filters come first. */
  #inOrder({ feeds, size }: TopicFeeds, events: number): Iterable<Feed> {
    if (4 * size * events <= this.#workLeft) return feeds
    return [...feeds].sort((one, other) => one.filter.steps - other.filter.steps)
  }

  #spend(work: number): void {
    if (this.#workLeft === flushWorkMax) {
      this.#options.clock.defer(() => {
        this.#workLeft = flushWorkMax
      })
    }
    this.#workLeft -= work
  }

  /** @param moment `once`: no other feed gets the events */
  #flushFeed(
    feed: Feed,
    pending: readonly Entry[],
    { offset, once }: { offset: Offset; once: boolean },
  ): void {
    const entries = select(pending, feed)
    feed.markFlushed(offset)
    if (entries.length === 0) {
      if (feed.filter.silent || offset - feed.sent < quietOffsetsMax) return
    }
    let from = 0
    do {
      const to = batchEnd(entries, from)
      const part = to - from === entries.length ? entries : entries.slice(from, to)
      const last = to === entries.length ? offset : (entries[to - 1] as Entry).offset
      const span = { after: feed.sent, last }
      feed.markSent(last)
      const { only } = feed
      if (only !== undefined) this.#send(feed, only, part, span, once)
      else for (const members of feed.members.slice()) this.#send(feed, members, part, span, false)
      from = to
    } while (from < entries.length)
  }

  #send(feed: Feed, members: Members, events: readonly Entry[], span: Span, once: boolean): void {
    const chunk = encodeBatch(feed, members.codec, span, events, once)
    const bytes = bytesOf(chunk)
    this.#spend(bytes / bytesPerUnit)
    members.events += events.length
    members.bytes += bytes
    this.#write(members, chunk, events.length)
    const { queued } = members
    if (queued.length === 0) return
    const batch = { events: events.length, after: span.after }
    for (let i = queued.length - 2; i >= 0; i -= 2) {
      ;(queued[i] as BatchQueue).queue(queued[i + 1] as Membership, chunk, batch)
    }
  }

  /** Writes one chunk to all direct links: from the end, because a full one leaves, and the last one, which has it, takes its place. */
  #write({ direct }: Members, chunk: Chunk, events: number): void {
    if (direct.length === 0) return
    const { counts } = this.#options
    const links = direct.length / 2
    for (let i = direct.length - 2; i >= 0; i -= 2) {
      try {
        if (!(direct[i] as Link).write(chunk)) (direct[i + 1] as Membership).member.markFull()
      } catch (error) {
        ;(direct[i + 1] as Membership).member.fail(error)
      }
    }
    counts.delivered += links * events
    counts.deliveredBytes += links * bytesOf(chunk)
  }

  #writeQueued(): void {
    while (this.#queued.length > 0) {
      const queued = this.#queued
      this.#queued = []
      for (const connection of queued) connection.writeQueued()
    }
  }
}

/** The pending events are too much for one turn: the members of this feed get them from history. */
function postpone(feed: Feed): void {
  for (const members of feed.members.slice()) for (const member of members.list()) member.postpone()
}

/** @returns the events of the feed's filter; the same list if all match */
function select(pending: readonly Entry[], { filter }: Feed): readonly Entry[] {
  let passed: Entry[] | undefined
  for (let i = 0; i < pending.length; i++) {
    const entry = pending[i] as Entry
    if (filter.accepts(entry)) passed?.push(entry)
    else passed ??= pending.slice(0, i)
  }
  return passed ?? pending
}
