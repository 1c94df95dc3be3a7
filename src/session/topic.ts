// Longer than 350 lines: the kinds of topics, side by side.

import type { Catalog } from '../catalog/catalog.js'
import type { Accepts, Entry } from '../history/entry.js'
import { type Loss, nothingLost } from '../history/evictions.js'
import type { History } from '../history/history.js'
import { lossAfter, type Page, readAfter, readBefore, replayable } from '../history/read.js'
import type { JsonValue } from '../lib/json.js'
import { type Offset, start } from '../protocol/cursor.js'
import type { Slices } from '../protocol/frames.js'
import { formatTopic, type TopicName } from '../protocol/topic.js'
import type { StateRoom } from '../state/room.js'
import { type StateCounts, type StateLimits, TopicState } from '../state/topic-state.js'
import type { StoredEvent } from '../store/store.js'
import type { Audience } from './audience.js'
import type { Filter } from './filter.js'
import { cutTo, type Replayed, type ReplayScope, type Span } from './replayed.js'
import type { Timeline } from './timeline.js'

/** Maximum of events examined for one page, so that a selective filter does not take long. */
const pageLooksMax = 5_000

/** Settings that the topics of a hub share for state. */
export interface StateSetting {
  readonly limits: StateLimits
  readonly counts: StateCounts
  /** @returns memory for the state of one more session or list */
  readonly room: () => StateRoom
  /** Whether subscriptions may get the slice. */
  readonly expose: (slice: string, topic: string) => boolean
}

/** A named view of the events and the state of a timeline. */
export abstract class Topic {
  #name: string | undefined = undefined
  readonly timeline: Timeline
  protected readonly setting: StateSetting
  #audience: Audience | undefined = undefined

  constructor(timeline: Timeline, setting: StateSetting) {
    this.timeline = timeline
    this.setting = setting
  }

  abstract get parsedName(): TopicName

  /** Made when first needed, because most workers are followed only with their session. */
  get name(): string {
    this.#name ??= formatTopic(this.parsedName)
    return this.#name
  }

  /** Whether it shows what other topics of its session show. */
  get isWhole(): boolean {
    return false
  }

  /** The histories of its retained events. */
  protected abstract histories(): readonly History[]

  /** The topics whose slices it shows. */
  protected abstract stateful(): readonly StatefulTopic[]

  /** The prefix of the names of another topic's slices in a snapshot. */
  protected abstract prefixOf(topic: StatefulTopic): string

  /** Droppable events evicted so far; unknown for a view of many topics. */
  abstract get dropped(): number

  /** @returns how many of those evicted come after an offset; undefined if unknown */
  abstract droppedAfter(offset: Offset): number | undefined

  /** Droppable events published so far. */
  abstract get droppableTotal(): number

  /** @returns whether the event appears in this topic. */
  abstract shows(event: StoredEvent, catalog: Catalog): boolean

  /** The audience of its events; absent while the topic is not followed. */
  get audience(): Audience | undefined {
    return this.#audience
  }

  get followed(): boolean {
    return this.#audience !== undefined
  }

  /** Whether a reserved slice is followed. */
  get watched(): boolean {
    return this.#audience?.watchesReserved === true
  }

  /** @param audience gets events from now on; absent: none */
  setAudience(audience: Audience | undefined): void {
    this.#audience = audience
  }

  exposes(slice: string): boolean {
    return this.setting.expose(slice, this.name)
  }

  /** Events from history and, for each changed slice, one update with its current value. */
  read(after: Offset, filter: Filter, eventsMax: number, lookedAtMax = pageLooksMax): Page {
    const { offset: until } = this.timeline
    const page = readAfter(this.histories(), after, filter, { until, eventsMax, lookedAtMax })
    return { ...page, entries: this.withUpdates(page, after, filter) }
  }

  /** Events in memory after an offset, without updates of slices. */
  readEvents(after: Offset, filter: Accepts, bounds: Parameters<typeof readAfter>[3]): Page {
    return readAfter(this.histories(), after, filter, bounds)
  }

  /** Events in memory before one offset and after another, the newest first. */
  readBefore(before: Offset, filter: Accepts, bounds: Parameters<typeof readBefore>[3]): Page {
    return readBefore(this.histories(), before, filter, bounds)
  }

  /** @returns the events of a page that begins after `after`, and the updates that belong between them. */
  withUpdates(
    { entries, last }: Pick<Page, 'entries' | 'last'>,
    after: Offset,
    filter: Filter,
  ): readonly Entry[] {
    const updates = this.#updatesAfter(after, filter).filter(({ offset }) => offset <= last)
    return updates.length === 0 ? entries : [...entries, ...updates].sort((a, b) => a.offset - b.offset)
  }

  /** @returns the current values of the slices of the filter that have not changed after `until` */
  snapshot(filter: Filter, until?: Offset): Slices {
    const slices: Record<string, JsonValue> = {}
    for (const topic of this.stateful()) {
      const wants = (slice: string): boolean => filter.wantsSlice(slice) && topic.exposes(slice)
      const found = topic.state.snapshot(wants, until)
      const prefix = this.prefixOf(topic)
      for (const [slice, value] of Object.entries(found)) slices[prefix + slice] = value
    }
    return slices
  }

  /** The offset of the newest change of state. */
  get stateOffset(): Offset {
    return this.stateful().reduce(
      (newest, { state }) => (state.offset > newest ? state.offset : newest),
      start,
    )
  }

  /** @returns the replay of a fresh join; if memory does not reach back far enough, the middle of it is in the store */
  replay(
    filter: Filter,
    { all, window }: ReplayScope,
    { after, until }: Span = { after: start, until: this.timeline.offset },
  ): Replayed {
    const trimmed = this.#archive?.trimmed ?? start
    const accepts = replayable(this.histories(), filter, all)
    const eventsMax = Number.POSITIVE_INFINITY
    const page = readAfter(this.histories(), after, accepts, { until, eventsMax })
    const entries = page.entries.filter(({ offset }) => offset <= until)
    const held = this.#heldAfter(accepts)
    const span = { after: after > trimmed ? after : trimmed, until: held < until ? held : until }
    const shown = entries.filter(({ offset }) => offset > held)
    const cut = window === undefined ? undefined : cutTo(window, shown)
    if (held <= after || cut?.isWhole === true) return { entries: cut?.entries ?? entries }
    const stored = { ...span, joined: until, accepts }
    if (cut !== undefined)
      return { entries: cut.entries, stored: { ...stored, before: [], scope: 'all', window: cut.left } }
    // Events that retention has removed from the store and memory still has, mostly pinned ones.
    const before = entries.filter(({ offset }) => offset <= trimmed)
    return { entries: shown, stored: { ...stored, before, scope: all ? 'all' : 'traits' } }
  }

  /** What is behind memory: a store, or the log. */
  get #archive(): { readonly floor: Offset; readonly trimmed: Offset } | undefined {
    const { journal, past } = this.timeline
    return journal ?? past
  }

  /** The offset after which memory has every event, including those replaced by a newer one of their key; 0 if nothing is behind it. */
  get wholeAfter(): Offset {
    if (this.#archive === undefined) return start
    const { floor, trimmed } = this.#archive
    const whole = this.histories().reduce(
      (last, { evictedTo }) => (evictedTo > last ? evictedTo : last),
      floor,
    )
    return whole > trimmed ? whole : start
  }

  /** @returns the offset after which memory has all events of the filter; 0 if the store has no more */
  #heldAfter(filter: Accepts): Offset {
    if (this.#archive === undefined) return start
    const { floor, trimmed } = this.#archive
    const { critical, droppable } = lossAfter(this.histories(), trimmed, filter)
    const held = Math.max(floor, critical, droppable) as Offset
    return held > trimmed ? held : start
  }

  /** @returns which events after `after` a subscription with this filter can no longer get */
  lossAfter(after: Offset, filter: Filter): Loss {
    const loss = lossAfter(this.histories(), after, filter)
    if (this.#archive === undefined) return loss
    const { trimmed } = this.#archive
    if (after >= trimmed) return nothingLost
    // What was trimmed is unknown, so it is always reported.
    return { critical: loss.critical > trimmed ? trimmed : loss.critical, droppable: trimmed }
  }

  /** @returns whether events after `after` must be read from the store first */
  isInStore(after: Offset, filter: Filter): boolean {
    if (this.#archive === undefined) return false
    if (after < this.#archive.floor) return true
    const { critical, droppable } = lossAfter(this.histories(), after, filter)
    return critical > 0 || droppable > 0
  }

  /** Removals of slices up to here are forgotten, so a client with an earlier position needs a snapshot. */
  get forgotten(): Offset {
    return this.stateful().reduce(
      (newest, { state }) => (state.forgotten > newest ? state.forgotten : newest),
      this.timeline.past?.openedAt ?? this.timeline.journal?.restoredAt ?? start,
    )
  }

  #updatesAfter(after: Offset, filter: Filter): Entry[] {
    if (!filter.stateful) return []
    return this.stateful().flatMap((topic) =>
      topic.state.since(after, (slice) => filter.wantsSlice(slice) && topic.exposes(slice)),
    )
  }
}

/** A topic with slices of its own. */
export abstract class StatefulTopic extends Topic {
  #state: TopicState | undefined = undefined
  /** The worker of the topic; absent for a session's own and the hub's. */
  abstract get worker(): string | undefined

  /** Created when first needed, because most topics never have slices. */
  get state(): TopicState {
    const { limits, counts } = this.setting
    this.#state ??= new TopicState(limits, counts, this.worker, this.timeline.room)
    return this.#state
  }

  get hasState(): boolean {
    return this.#state !== undefined
  }

  /** The topic leaves memory: its events and slices no longer count. */
  release(): void {
    this.#state?.release()
  }

  protected override stateful(): readonly StatefulTopic[] {
    return this.#state === undefined ? [] : [this]
  }

  protected override prefixOf(): string {
    return ''
  }
}

/** A session's own topic, or a worker's: it has a history of its own. */
export class OwnTopic extends StatefulTopic {
  readonly history: History
  readonly worker: string | undefined

  constructor(
    timeline: Timeline,
    worker: string | undefined,
    { history, setting }: { readonly history: History; readonly setting: StateSetting },
  ) {
    super(timeline, setting)
    this.worker = worker
    this.history = history
  }

  override get parsedName(): TopicName {
    return ownName(this.timeline.id, this.worker)
  }

  override release(): void {
    this.history.release()
    super.release()
  }

  override get dropped(): number {
    return this.history.dropped
  }

  override droppedAfter(offset: Offset): number | undefined {
    const { journal } = this.timeline
    const dropped = this.history.droppedAfter(offset)
    if (journal === undefined) return dropped
    // Evictions before a restart, or before the session was loaded, were not counted; events in the store are not lost.
    const stored = this.history.droppedAfter(journal.trimmed)
    const isCounted = offset >= journal.floor && dropped !== undefined && stored !== undefined
    return isCounted ? dropped - stored : undefined
  }

  override get droppableTotal(): number {
    return this.history.dropped + this.history.droppable.length
  }

  override shows({ worker, type, passes }: StoredEvent, catalog: Catalog): boolean {
    if (passes === 'all') return true
    if (this.worker !== undefined) return worker === this.worker
    return worker === undefined || catalog.traitsOf(type).rollup
  }

  protected override histories(): readonly History[] {
    return [this.history]
  }
}

/** The timeline of a session: its own topic, and its workers'. */
type Whole = Timeline & { topics(): readonly OwnTopic[] }

/** `sessions/{s}/**`: everything in the session's other topics. */
export class AllTopic extends Topic {
  readonly #whole: Whole

  constructor(whole: Whole, setting: StateSetting) {
    super(whole, setting)
    this.#whole = whole
  }

  override get parsedName(): TopicName {
    return { kind: 'all', session: this.timeline.id }
  }

  override get isWhole(): boolean {
    return true
  }

  override get dropped(): number {
    return Number.NEGATIVE_INFINITY
  }

  override droppedAfter(): undefined {
    return undefined
  }

  override get droppableTotal(): number {
    return 0
  }

  override shows(): boolean {
    return true
  }

  protected override histories(): readonly History[] {
    return this.#whole.topics().map(({ history }) => history)
  }

  protected override stateful(): readonly StatefulTopic[] {
    return this.#whole.topics().filter(({ hasState }) => hasState)
  }

  /** A worker's slices are named `workers/{w}/{slice}`. */
  protected override prefixOf({ worker }: StatefulTopic): string {
    return worker === undefined ? '' : `workers/${worker}/`
  }
}

function ownName(session: string, worker: string | undefined): TopicName {
  return worker === undefined ? { kind: 'session', session } : { kind: 'worker', session, worker }
}
