import type { Catalog } from '../catalog/catalog.js'
import type { Entry } from '../history/entry.js'
import { type History, type Loss, nothingLost } from '../history/history.js'
import { lossAfter, type Page, readAfter, readReplay } from '../history/read.js'
import type { Offset } from '../protocol/cursor.js'
import type { StoredEvent } from '../store/store.js'
import { Feed } from './feed.js'
import type { Filter } from './filter.js'
import type { Session } from './session.js'

/** A named view of a session's events: the session's own, one worker's, or all of them. */
export class Topic {
  readonly name: string
  readonly session: Session
  /** The topic's own history; absent for `sessions/{s}/**`, which reads those of the other topics. */
  readonly history: History | undefined
  /** Absent for the session's own topic and for `sessions/{s}/**`. */
  readonly worker: string | undefined
  readonly feeds = new Map<string, Feed>()
  /** What was published since the last flush; only kept while there are feeds in step. */
  pending: Entry[] = []

  constructor(name: string, session: Session, history: History | undefined, worker?: string) {
    this.worker = worker
    this.name = name
    this.session = session
    this.history = history
  }

  /** @returns whether anybody would get an event if it were published now. */
  get followed(): boolean {
    return this.feeds.size > 0
  }

  /** @returns the feed of the filter, made if there is none; `numberOf` gives a new feed its number. */
  feed(filter: Filter, numberOf: () => number): Feed {
    let feed = this.feeds.get(filter.name)
    if (feed === undefined) {
      feed = new Feed(numberOf(), this, filter)
      this.feeds.set(filter.name, feed)
    }
    return feed
  }

  forget(feed: Feed): void {
    this.feeds.delete(feed.filter.name)
  }

  /** Droppable events evicted so far; for `sessions/{s}/**` nobody knows. */
  get dropped(): number {
    return this.history?.dropped ?? Number.NEGATIVE_INFINITY
  }

  /** Droppable events published so far. */
  get droppableTotal(): number {
    return this.history === undefined ? 0 : this.history.dropped + this.history.droppable.length
  }

  read(after: Offset, filter: Filter, eventsMax: number): Page {
    return readAfter(this.#histories(), after, filter, { until: this.session.offset, eventsMax })
  }

  replay(filter: Filter, all: boolean): Entry[] {
    return readReplay(this.#histories(), filter, { until: this.session.offset, all })
  }

  /** @returns what a subscription with this filter can no longer get of what follows `after`. */
  lossAfter(after: Offset, filter: Filter): Loss {
    const loss = lossAfter(this.#histories(), after, filter)
    const { isKept, trimmed } = this.session
    if (!isKept) return loss
    if (after >= trimmed) return nothingLost
    // Nobody knows any more what was trimmed: whatever it was, it is told.
    return { critical: loss.critical > trimmed ? trimmed : loss.critical, droppable: trimmed }
  }

  /** @returns whether what follows `after` has to be read from the store first. */
  isInStore(after: Offset, filter: Filter): boolean {
    const { isKept, floor } = this.session
    if (!isKept) return false
    if (after < floor) return true
    const { critical, droppable } = lossAfter(this.#histories(), after, filter)
    return critical > 0 || droppable > 0
  }

  /** @returns whether the event appears in this topic. */
  shows({ worker, type, passes }: StoredEvent, catalog: Catalog): boolean {
    if (this.history === undefined || passes === 'all') return true
    if (this.worker !== undefined) return worker === this.worker
    return worker === undefined || catalog.traitsOf(type).rollup
  }

  #histories(): readonly History[] {
    return this.history === undefined ? this.session.histories() : [this.history]
  }
}
