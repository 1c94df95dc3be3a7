import type { Traits } from '../catalog/traits.js'
import { Lane, type ReadLane } from '../lib/lane.js'
import { Weight } from '../lib/weight.js'
import { type Offset, start } from '../protocol/cursor.js'
import { type Accepts, Entry } from './entry.js'
import { Evictions, type Loss, nothingLost } from './evictions.js'

export interface HistoryLimits {
  readonly laneEventsMax: number
  readonly historyBytesMax: number
  readonly pinnedMax: number
}

/** Totals over all histories of a hub. */
export interface HistoryTotals {
  events: number
  /** About the bytes of their JSON text. */
  bytes: number
  evictedCritical: number
  evictedDroppable: number
}

export function noTotals(): HistoryTotals {
  return { events: 0, bytes: 0, evictedCritical: 0, evictedDroppable: 0 }
}

const emptyLane: ReadLane<Entry> = new Lane<Entry>()

/** Events that are kept by their names. */
interface Pins {
  /** The newest event per type and key of types with `replay: latest`, and commands under way, in offset order. */
  readonly entries: Map<string, Entry>
  /** Events that were unpinned for room while in their lane, by the same names: unlike replaced ones, they will be missed. */
  forgotten?: Map<string, Offset>
  /** The bytes of pinned events that have left their lane. */
  bytes: number
}

/**
 * The retained events of one topic, in two lanes: critical events and droppable ones, each bounded by count and both together
 * by bytes. Droppable events never evict a critical one.
 */
export class History {
  // Most topics have events of one kind, many none.
  #critical: Lane<Entry> | undefined = undefined
  #droppable: Lane<Entry> | undefined = undefined
  readonly #limits: HistoryLimits
  #totals: HistoryTotals
  #together: Weight
  /** Absent until the first pinned event. */
  #pins: Pins | undefined = undefined
  /** Absent until the first event is evicted. */
  #evictions: Evictions | undefined = undefined
  #bytes = 0

  /**
   * @param totals of all histories of the hub
   * @param together the weight of all histories of the session
   */
  constructor(limits: HistoryLimits, totals: HistoryTotals = noTotals(), together = new Weight()) {
    this.#limits = limits
    this.#totals = totals
    this.#together = together
  }

  get critical(): ReadLane<Entry> {
    return this.#critical ?? emptyLane
  }

  get droppable(): ReadLane<Entry> {
    return this.#droppable ?? emptyLane
  }

  /** About the bytes of the JSON text of its events. */
  get bytes(): number {
    return this.#bytes
  }

  /** The offset of the newest evicted event, even if a newer one of its key stays pinned. */
  get evictedTo(): Offset {
    return this.#evictions?.to ?? start
  }

  /** Events that have left its lanes. */
  get evicted(): number {
    return this.#evictions?.events ?? 0
  }

  /** Those among them that are of no worker. */
  get evictedOwn(): number {
    return this.#evictions?.own ?? 0
  }

  /** Events evicted from the droppable lane so far. */
  get dropped(): number {
    return this.#evictions?.dropped ?? 0
  }

  /** @returns how many of these come after an offset; undefined if that is no longer known */
  droppedAfter(offset: Offset): number | undefined {
    return this.#evictions === undefined ? 0 : this.#evictions.droppedAfter(offset)
  }

  /** Events in its lanes. */
  get length(): number {
    return this.critical.length + this.droppable.length
  }

  /** Its topic leaves memory: its events no longer count. */
  release(): void {
    this.#totals.events -= this.length
    this.#weigh(-this.#bytes)
    this.#totals = noTotals()
    this.#together = new Weight()
  }

  /** Adds an event whose offset is above all others. */
  append(entry: Entry): void {
    // Evict before insert, so that the bounds hold for a reader in the same turn.
    const lane = entry.traits.critical
      ? (this.#critical ??= new Lane<Entry>())
      : (this.#droppable ??= new Lane<Entry>())
    if (lane.length >= this.#limits.laneEventsMax) this.#evict(lane)
    const room = this.#limits.historyBytesMax - entry.bytes
    while (this.#laneBytes > room && this.droppable.length > 0) this.#evict(this.#droppable)
    if (entry.traits.critical)
      while (this.#laneBytes > room && this.critical.length > 0) this.#evict(this.#critical)
    lane.push(entry)
    this.#weigh(entry.bytes)
    this.#totals.events++
    if (isPinning(entry.traits)) this.#pin(entry)
  }

  /** Evicts the oldest droppable events, then the oldest critical ones, then pinned ones, until at most `bytes` are left. */
  shrinkTo(bytes: number): void {
    while (this.#bytes > bytes && this.droppable.length > 0) this.#evict(this.#droppable)
    while (this.#bytes > bytes && this.critical.length > 0) this.#evict(this.#critical)
    while (this.#bytes > bytes && (this.#pins?.entries.size ?? 0) > 0) this.#forgetOldestPinned()
    if (this.#bytes > bytes) this.#weigh(-(this.#evictions?.joinMarks() ?? 0))
  }

  /** Pins an event that left its lane before the session left memory. */
  restore(entry: Entry): void {
    this.#pin(entry)
    this.#weighPinned(entry.bytes)
  }

  /**
   * Begins as the history of a fork: what another history has evicted up to an offset, it has evicted too, and what is still
   * pinned of that, it has pinned. Commands are not the fork's.
   */
  inherit(other: History, until: Offset): void {
    for (const entry of other.pinned()) {
      const { event, traits, bytes, force } = entry
      if (entry.offset > until || traits.command === 'request' || !other.#hasLeft(entry)) continue
      this.restore(new Entry(event, traits, bytes, { force }))
    }
    this.#evictions = other.#evictions?.upTo(until)
    this.#weigh(this.#evictions?.marksBytes ?? 0)
  }

  /** A command has reached its final state, and is evicted like any other event from now on. */
  unpin(offset: Offset): void {
    for (const [name, entry] of this.#pins?.entries ?? []) {
      if (entry.offset !== offset) continue
      this.#unpin(name, entry)
      return
    }
  }

  /** @returns which events after `after` a subscription with this filter can no longer get */
  lossAfter(after: Offset, filter: Accepts): Loss {
    return this.#evictions?.lossAfter(after, filter) ?? nothingLost
  }

  /** The pinned events, in offset order. */
  pinned(): Iterable<Entry> {
    return this.#pins?.entries.values() ?? []
  }

  /** @returns whether the event is the newest of its type and key. */
  isPinned(entry: Entry): boolean {
    return this.#pins?.entries.get(pinName(entry))?.offset === entry.offset
  }

  #pin(entry: Entry): void {
    const name = pinName(entry)
    const { entries, forgotten } = (this.#pins ??= { entries: new Map(), bytes: 0 })
    forgotten?.delete(name)
    const before = entries.get(name)
    if (before !== undefined) {
      entries.delete(name)
      if (this.#hasLeft(before)) this.#weighPinned(-before.bytes)
    }
    entries.set(name, entry)
    if (entries.size > this.#limits.pinnedMax) this.#forgetOldestPinned()
  }

  /** @returns whether a pinned event is no longer in its lane */
  #hasLeft({ traits, offset }: Entry): boolean {
    const lane = traits.critical ? this.#critical : this.#droppable
    return offset < (lane?.first?.offset ?? Number.POSITIVE_INFINITY)
  }

  #forgetOldestPinned(): void {
    for (const [name, oldest] of this.#pins?.entries ?? []) return this.#unpin(name, oldest)
  }

  #unpin(name: string, entry: Entry): void {
    const pins = this.#pins
    if (pins === undefined) return
    pins.entries.delete(name)
    if (this.#hasLeft(entry)) {
      this.#weighPinned(-entry.bytes)
      this.#markEvicted(entry)
    } else {
      pins.forgotten ??= new Map()
      pins.forgotten.set(name, entry.offset)
    }
  }

  get #laneBytes(): number {
    return this.#bytes - (this.#pins?.bytes ?? 0) - (this.#evictions?.marksBytes ?? 0)
  }

  /** Pinned events that have left their lane may take as much room as the lanes. */
  #weighPinned(bytes: number): void {
    const pins = this.#pins
    if (pins === undefined) return
    pins.bytes += bytes
    this.#weigh(bytes)
    while (pins.bytes > this.#limits.historyBytesMax) this.#forgetOldestPinned()
  }

  #weigh(bytes: number): void {
    this.#bytes += bytes
    this.#totals.bytes += bytes
    this.#together.bytes += bytes
  }

  #evict(lane: Lane<Entry> | undefined): void {
    const entry = lane?.shift()
    if (entry === undefined) return
    this.#evictions ??= new Evictions()
    this.#evictions.count(entry)
    this.#weigh(-entry.bytes)
    this.#totals.events--
    if (entry.traits.critical) this.#totals.evictedCritical++
    else this.#totals.evictedDroppable++
    if (!isPinning(entry.traits)) this.#markEvicted(entry)
    else if (this.isPinned(entry)) this.#weighPinned(entry.bytes)
    else if (this.#isMissed(entry)) this.#markEvicted(entry)
  }

  /** @returns whether nothing stands for an event that was unpinned: not when a newer one of its key replaced it */
  #isMissed(entry: Entry): boolean {
    const name = pinName(entry)
    const forgotten = this.#pins?.forgotten
    const isForgotten = forgotten?.get(name) === entry.offset
    if (isForgotten) forgotten?.delete(name)
    return isForgotten || entry.traits.command === 'request'
  }

  #markEvicted(entry: Entry): void {
    this.#evictions ??= new Evictions()
    this.#weigh(this.#evictions.mark(entry))
  }
}

function isPinning({ replay, command }: Traits): boolean {
  return replay === 'latest' || command === 'request'
}

function pinName({ event: { type, key, offset }, traits }: Entry): string {
  return traits.command === 'request' ? `${type} #${offset}` : `${type} ${key ?? ''}`
}
