import type { Chunk, Codec } from '../codec/codec.js'
import { conflate } from '../history/conflate.js'
import type { Entry } from '../history/entry.js'
import type { Clock } from '../lib/clock.js'
import { Histogram } from '../lib/histogram.js'
import type { Offset } from '../protocol/cursor.js'
import type { Session } from '../session/session.js'
import type { Tracing } from '../session/tracing.js'
import type { Connection } from './connection.js'
import type { Feed, Members } from './feed.js'
import { Pace } from './pace.js'
import type { Subscription } from './subscription.js'

interface Span {
  readonly after: Offset
  readonly last: Offset
}

// One batch is one frame; the rest of a large flush follows in frames of its own.
const batchBytesMax = 256 * 1024
const batchEventsMax = 1_000

// Of a replay: parts so small that one takes little of a turn, and whoever leaves after the first has cost no more.
const replayEventsMax = 100
const replayBytesMax = 32 * 1024

// A feed that matched nothing for so many offsets tells its position all the same, so that a client that comes
// back later does not ask for what it was never meant to get.
const quietOffsetsMax = 256

// A turn that takes longer than the last one holds up everything else: heartbeats, requests, acknowledgements.
const flushMsBounds = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250]
const flushEventsBounds = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000]

/** Brings what was published to the subscriptions in step: one turn, one flush. */
export class Delivery {
  /** Events handed to links so far, and the bytes of their frames. */
  delivered = 0
  deliveredBytes = 0
  /** Events that became part of another before they were delivered. */
  conflated = 0
  /** How long flushes took, and how many events each brought. */
  readonly flushMs = new Histogram(flushMsBounds)
  readonly flushEvents = new Histogram(flushEventsBounds)
  /** Connections with batches that wait for the end of the flush. */
  touched: Connection[] = []
  /** Of those who catch up. */
  readonly pace: Pace
  /** Sessions with something to flush. */
  readonly #dirty = new Set<Session>()
  readonly #clock: Clock
  readonly #tracing: Tracing | undefined
  readonly #before: (session: Session) => void
  readonly #after: (sessions: readonly Session[]) => void
  #scheduled = false
  /** A flush is walking the feeds: nobody may leave them now. */
  busy = false

  /**
   * @param given the clock ends the turn, and measures
   * @param before brings a session's own slices up to date
   * @param after is told which sessions were flushed, once they have been
   */
  constructor(
    given: { readonly clock: Clock; readonly tracing: Tracing | undefined },
    before: (session: Session) => void,
    after: (sessions: readonly Session[]) => void,
  ) {
    this.#clock = given.clock
    this.pace = new Pace(given.clock)
    this.#tracing = given.tracing
    this.#before = before
    this.#after = after
  }

  /** The session has something to flush when the turn ends. */
  schedule(session: Session): void {
    this.#dirty.add(session)
    if (this.#scheduled) return
    this.#scheduled = true
    this.#clock.defer(() => {
      this.#scheduled = false
      this.flushAll()
    })
  }

  flushAll(): void {
    const sessions = [...this.#dirty]
    this.#dirty.clear()
    this.#flushSessions(sessions)
  }

  /** Flushes one session before its turn, so that everything in step is at its offset. */
  flush(session: Session): void {
    if (!session.unflushed) return
    this.#dirty.delete(session)
    this.#flushSessions([session])
  }

  /** @returns the next part of a replay that fits one frame. */
  part(entries: readonly Entry[], from: number): readonly Entry[] {
    const to = fit(entries, from, replayEventsMax, replayBytesMax)
    return from === 0 && to === entries.length ? entries : entries.slice(from, to)
  }

  /** @returns what follows a position in history: conflated, and no more than fits one frame. */
  page({ feed, position, exact }: Subscription): {
    readonly entries: readonly Entry[]
    readonly last: Offset
  } {
    const page = feed.topic.read(position, feed.filter, batchEventsMax)
    const entries = exact ? page.entries : this.conflate(page.entries)
    const to = fit(entries, 0)
    if (to === entries.length) return { entries, last: page.last }
    return { entries: entries.slice(0, to), last: (entries[to - 1] as Entry).place }
  }

  /** `conflate`, counted. */
  conflate(entries: readonly Entry[]): readonly Entry[] {
    const conflated = conflate(entries)
    this.conflated += entries.length - conflated.length
    return conflated
  }

  encode(feed: Feed, codec: Codec, span: Span | undefined, events: readonly Entry[]): Chunk {
    const { name: topic, session } = feed.topic
    return codec.batch({ feed: feed.number, topic, epoch: session.epoch, span, events })
  }

  #flushSessions(sessions: readonly Session[]): void {
    const began = this.#clock.elapsed()
    const span = this.#tracing?.begin('flush')
    let events = 0
    this.busy = true
    try {
      for (const session of sessions) {
        if (session.stale && session.watched) this.#before(session)
        events += this.#flushTopics(session)
      }
      this.#writeTouched()
    } finally {
      this.busy = false
    }
    this.#after(sessions)
    this.flushEvents.observe(events)
    span?.end({ sessions: sessions.length, events })
    this.flushMs.observe(this.#clock.elapsed() - began)
  }

  /** @returns how many events were flushed. */
  #flushTopics(session: Session): number {
    const topics = session.dirty
    let events = 0
    session.dirty = []
    session.pending = 0
    for (const topic of topics) {
      const entries = topic.pending
      topic.pending = []
      for (const feed of topic.feeds.values()) {
        feed.forgetReplay()
        if (!feed.inStep) continue
        try {
          this.#flushFeed(feed, entries, session.offset)
        } catch (error) {
          for (const { connection } of feed.subscriptions) connection.fail(error)
        }
      }
      // Those of workers appear in `sessions/{s}/**` again.
      events = topic === session.all ? Math.max(events, entries.length) : events + entries.length
    }
    return events
  }

  #flushFeed(feed: Feed, pending: readonly Entry[], offset: Offset): void {
    const entries = select(pending, feed)
    feed.flushed = offset
    if (entries.length === 0) {
      if (feed.filter.silent || offset - feed.sent < quietOffsetsMax) return
    }
    let from = 0
    do {
      const to = fit(entries, from)
      const part = to - from === entries.length ? entries : entries.slice(from, to)
      const last = to === entries.length ? offset : (entries[to - 1] as Entry).place
      const span = { after: feed.sent, last }
      feed.sent = last
      feed.flushed = last
      // By index from the end: a connection that is full leaves while the list is walked.
      for (let i = feed.members.length - 1; i >= 0; i--) {
        const members = feed.members[i] as Members
        this.#hand(members, this.encode(feed, members.codec, span, part), {
          events: part.length,
          after: span.after,
        })
      }
      from = to
    } while (from < entries.length)
  }

  /**
   * Hands one chunk to all members. The simple equivalent is `for (const { connection } of list)
   * connection.queue(subscription, chunk, batch)`; from the end, since a connection that is full leaves the list and the last one,
   * which has had its chunk, takes its place.
   */
  #hand(members: Members, chunk: Chunk, batch: { events: number; after: Offset }): void {
    const { list, links } = members
    const bytes = bytesOf(chunk)
    members.events += batch.events
    members.bytes += bytes
    let direct = 0
    for (let i = list.length - 1; i >= 0; i--) {
      const link = links[i]
      if (link === undefined) {
        const subscription = list[i] as Subscription
        subscription.connection.queue(subscription, chunk, batch)
        continue
      }
      direct++
      try {
        if (!link.write(chunk)) (list[i] as Subscription).connection.fill()
      } catch (error) {
        ;(list[i] as Subscription).connection.fail(error)
      }
    }
    this.delivered += direct * batch.events
    this.deliveredBytes += direct * bytes
  }

  #writeTouched(): void {
    while (this.touched.length > 0) {
      const touched = this.touched
      this.touched = []
      for (const connection of touched) connection.writeQueued()
    }
  }
}

/** @returns the bytes of a chunk; a frame that is handed over within the process has none */
export function bytesOf(chunk: Chunk): number {
  return chunk instanceof Uint8Array ? chunk.length : 0
}

/** @returns the events that the feed's filter lets pass; the same list when all do. */
function select(pending: readonly Entry[], { filter }: Feed): readonly Entry[] {
  let passed: Entry[] | undefined
  for (let i = 0; i < pending.length; i++) {
    const entry = pending[i] as Entry
    if (filter.accepts(entry)) passed?.push(entry)
    else passed ??= pending.slice(0, i)
  }
  return passed ?? pending
}

/** @returns the end of the longest run from `from` that fits one frame; at least one event. */
function fit(
  entries: readonly Entry[],
  from: number,
  eventsMax = batchEventsMax,
  bytesMax = batchBytesMax,
): number {
  let bytes = 0
  const most = Math.min(entries.length, from + eventsMax)
  for (let i = from; i < most; i++) {
    bytes += (entries[i] as Entry).bytes
    if (bytes > bytesMax && i > from) return i
  }
  return most
}
