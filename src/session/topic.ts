import type { Catalog } from '../catalog/catalog.js'
import { Feed } from '../delivery/feed.js'
import type { Accepts, Entry } from '../history/entry.js'
import { type History, type Loss, nothingLost } from '../history/history.js'
import { lossAfter, type Page, readAfter, replayable } from '../history/read.js'
import type { JsonValue } from '../lib/json.js'
import type { Weight } from '../lib/weight.js'
import { type Offset, start } from '../protocol/cursor.js'
import type { Slices } from '../protocol/frames.js'
import { type StateCounts, type StateLimits, TopicState } from '../state/topic-state.js'
import type { StoredEvent } from '../store/store.js'
import type { Filter } from './filter.js'
import type { Session } from './session.js'

/** What the topics of a hub have in common to keep state. */
export interface StateSetting {
  readonly limits: StateLimits
  readonly counts: StateCounts
  readonly weight: Weight
  /** Whether subscriptions may have the slice at all. */
  readonly expose: (slice: string, topic: string) => boolean
}

export interface TopicOptions {
  /** The topic's own history; absent for `sessions/{s}/**`, which reads those of the other topics. */
  readonly history?: History
  /** The worker whose topic it is. */
  readonly worker?: string
  readonly setting: StateSetting
}

/** A named view of a session's events: the session's own, one worker's, or all of them. */
export class Topic {
  readonly name: string
  readonly session: Session
  readonly history: History | undefined
  /** Absent for the session's own topic and for `sessions/{s}/**`. */
  readonly worker: string | undefined
  readonly feeds = new Map<string, Feed>()
  /** What was published since the last flush; only kept while there are feeds in step. */
  pending: Entry[] = []
  /** Feeds that let a slice of the hub's own pass. */
  watchers = 0
  readonly #setting: StateSetting
  #state: TopicState | undefined

  constructor(name: string, session: Session, { history, worker, setting }: TopicOptions) {
    this.name = name
    this.session = session
    this.history = history
    this.worker = worker
    this.#setting = setting
  }

  /** The topic's slices; `sessions/{s}/**` has none of its own. Most topics never have any, and no place for them. */
  get state(): TopicState {
    const { limits, counts, weight } = this.#setting
    this.#state ??= new TopicState(limits, counts, this.worker, weight)
    return this.#state
  }

  /** The topic leaves memory: what it holds no longer counts. */
  release(): void {
    this.history?.release()
    this.#state?.release()
  }

  exposes(slice: string): boolean {
    return this.#setting.expose(slice, this.name)
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
      this.session.feeds++
      if (filter.watches) this.watchers++
    }
    return feed
  }

  forget(feed: Feed): void {
    if (!this.feeds.delete(feed.filter.name)) return
    this.session.feeds--
    if (feed.filter.watches) this.watchers--
  }

  /** Droppable events evicted so far; for `sessions/{s}/**` nobody knows. */
  get dropped(): number {
    return this.history?.dropped ?? Number.NEGATIVE_INFINITY
  }

  /** Droppable events published so far. */
  get droppableTotal(): number {
    return this.history === undefined ? 0 : this.history.dropped + this.history.droppable.length
  }

  /** Events from history and, for each slice that has changed, one update with what it is now. */
  read(after: Offset, filter: Filter, eventsMax: number): Page {
    const page = readAfter(this.#histories(), after, filter, { until: this.session.offset, eventsMax })
    return { entries: this.withUpdates(page, after, filter), last: page.last }
  }

  /** @returns the events of a page that begins after `after`, and the updates that belong between them. */
  withUpdates(
    { entries, last }: Pick<Page, 'last'> & { readonly entries: readonly Entry[] },
    after: Offset,
    filter: Filter,
  ): readonly Entry[] {
    const updates = this.#updatesAfter(after, filter).filter(({ place }) => place <= last)
    return updates.length === 0 ? entries : [...entries, ...updates].sort((a, b) => a.place - b.place)
  }

  /**
   * @returns the current values of what the filter lets pass. In `sessions/{s}/**` a worker's slices are named
   *   `workers/{w}/{slice}`.
   */
  snapshot(filter: Filter): Slices {
    const slices: Record<string, JsonValue> = {}
    for (const { state, exposes, worker } of this.#states()) {
      const found = state.snapshot((slice) => filter.wantsSlice(slice) && exposes(slice))
      const prefix = this.worker === worker ? '' : `workers/${worker}/`
      for (const [slice, value] of Object.entries(found)) slices[prefix + slice] = value
    }
    return slices
  }

  /** The offset of the newest change of state. */
  get stateOffset(): Offset {
    return this.#states().reduce(
      (newest, { state }) => (state.offset > newest ? state.offset : newest),
      start,
    )
  }

  /** @returns what a fresh join replays; where memory does not reach back to, the store has the middle of it. */
  replay(filter: Filter, all: boolean): Replayed {
    const { trimmed, offset: until } = this.session
    const accepts = replayable(this.#histories(), filter, all)
    const eventsMax = Number.POSITIVE_INFINITY
    const { entries } = readAfter(this.#histories(), start, accepts, { until, eventsMax })
    const held = this.#heldAfter(accepts)
    if (held === start) return { entries }
    return {
      entries: entries.filter(({ place }) => place > held),
      stored: {
        // What retention has left to memory alone: pinned events, mostly.
        before: entries.filter(({ place }) => place <= trimmed),
        after: trimmed,
        until: held,
        joined: until,
        accepts,
        scope: all ? 'all' : 'traits',
      },
    }
  }

  /** @returns the offset after which memory has all that the filter wants; 0 when the store has no more than that. */
  #heldAfter(filter: Accepts): Offset {
    const { isKept, floor, trimmed } = this.session
    if (!isKept) return start
    const { critical, droppable } = lossAfter(this.#histories(), trimmed, filter)
    const held = Math.max(floor, critical, droppable) as Offset
    return held > trimmed ? held : start
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

  /** Of slices that were removed up to here nothing is known: who comes from before needs a snapshot. */
  get forgotten(): Offset {
    const { restoredAt } = this.session
    return this.#states().reduce(
      (newest, { state }) => (state.forgotten > newest ? state.forgotten : newest),
      restoredAt,
    )
  }

  #updatesAfter(after: Offset, filter: Filter): Entry[] {
    if (!filter.stateful) return []
    return this.#states().flatMap(({ state, exposes }) =>
      state.since(after, (slice) => filter.wantsSlice(slice) && exposes(slice)),
    )
  }

  /** The topics that have state, the topic itself or those that `sessions/{s}/**` shows. */
  #states(): readonly Stateful[] {
    const topics = this.history === undefined ? this.session.topics() : [this]
    const stateful: Stateful[] = []
    for (const topic of topics) {
      const state = topic.#state
      if (state === undefined) continue
      stateful.push({ state, worker: topic.worker, exposes: (slice) => topic.exposes(slice) })
    }
    return stateful
  }

  #histories(): readonly History[] {
    return this.history === undefined ? this.session.histories() : [this.history]
  }
}

/** What a fresh join gets, in the order of its parts. */
export interface Replayed {
  readonly stored?: StoredPart
  readonly entries: readonly Entry[]
}

/** The beginning of a replay that memory does not hold. */
export interface StoredPart {
  readonly before: readonly Entry[]
  /** In the store: what is accepted after this offset, up to `until`. */
  readonly after: Offset
  readonly until: Offset
  /** What follows this offset is not replayed: it comes live. */
  readonly joined: Offset
  readonly accepts: Accepts
  /** All that is retained; what is replayed by its traits; or what is left of either once a filter was changed. */
  readonly scope: 'all' | 'traits' | 'rest'
}

interface Stateful {
  readonly state: TopicState
  readonly worker: string | undefined
  exposes(this: void, slice: string): boolean
}
