import type { Traits } from '../catalog/traits.js'
import { Lane, type ReadLane } from '../lib/lane.js'
import { Weight } from '../lib/weight.js'
import { type Offset, start } from '../protocol/cursor.js'
import { type Accepts, Entry } from './entry.js'
import { EvictedOffsets } from './evicted-offsets.js'

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

/** What can no longer be read after a position: the newest evicted offset of each lane, or 0. */
export interface Loss {
  readonly critical: Offset
  readonly droppable: Offset
}

export const nothingLost: Loss = { critical: start, droppable: start }

const emptyLane: ReadLane<Entry> = new Lane<Entry>()

interface Evicted {
  readonly type: string
  readonly traits: Traits
  readonly force: boolean
  last: Offset
}

// Further types share one offset, so that made-up type names cannot fill memory.
const evictedTypesMax = 256

/** About what the mark of a type takes beside its name. */
const markBytes = 128

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
  /** The newest event per type and key of types with `replay: latest`, and commands under way, in offset order. */
  #pinned: Map<string, Entry> | undefined = undefined
  /** Events that were unpinned for room while in their lane, by the same names: unlike replaced ones, they will be missed. */
  #forgotten: Map<string, Offset> | undefined = undefined
  /** The newest evicted offset of each type, which shows whether a filter has missed anything. */
  #evicted: Map<string, Evicted> | undefined = undefined
  #evictedOthers: Loss = nothingLost
  /** The newest of these offsets. */
  #evictedLast: Offset = start
  /** Events evicted from the droppable lane. */
  #dropped: EvictedOffsets | undefined = undefined
  /** The offset of the newest evicted event, even if a newer one of its key stays pinned. */
  evictedTo: Offset = start
  /** Events that have left its lanes. */
  evicted = 0
  /** Those among them that are of no worker: what workers roll up, their own histories have. */
  evictedOwn = 0
  #bytes = 0
  /** The bytes of pinned events that have left their lane. */
  #pinnedBytes = 0
  /** Of what is remembered of evicted types. */
  #marksBytes = 0

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

  /** Events evicted from the droppable lane so far. */
  get dropped(): number {
    return this.#dropped?.total ?? 0
  }

  /** @returns how many of these come after an offset; undefined if that is no longer known */
  droppedAfter(offset: Offset): number | undefined {
    return this.#dropped === undefined ? 0 : this.#dropped.after(offset)
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
    while (this.#bytes > bytes && (this.#pinned?.size ?? 0) > 0) this.#forgetOldestPinned()
    if (this.#bytes > bytes) this.#joinMarks()
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
    const upTo = (offset: Offset): Offset => (offset < until ? offset : until)
    for (const entry of other.pinned()) {
      const { event, traits, bytes, force } = entry
      if (entry.offset > until || traits.command === 'request' || !other.#hasLeft(entry)) continue
      this.restore(new Entry(event, traits, bytes, { force }))
    }
    this.evictedTo = upTo(other.evictedTo)
    this.evicted = other.evicted
    this.evictedOwn = other.evictedOwn
    this.#dropped = other.#dropped?.upTo(until)
    this.#evictedLast = upTo(other.#evictedLast)
    const { critical, droppable } = other.#evictedOthers
    this.#evictedOthers = { critical: upTo(critical), droppable: upTo(droppable) }
    if (other.#evicted === undefined) return
    this.#evicted = new Map()
    for (const [name, evicted] of other.#evicted) {
      this.#evicted.set(name, { ...evicted, last: upTo(evicted.last) })
      this.#marksBytes += name.length + markBytes
      this.#weigh(name.length + markBytes)
    }
  }

  /** A command has reached its final state, and is evicted like any other event from now on. */
  unpin(offset: Offset): void {
    for (const [name, entry] of this.#pinned ?? []) {
      if (entry.offset !== offset) continue
      this.#unpin(name, entry)
      return
    }
  }

  /** @returns which events after `after` a subscription with this filter can no longer get */
  lossAfter(after: Offset, filter: Accepts): Loss {
    if (this.#evicted === undefined || this.#evictedLast <= after) return nothingLost
    let { critical, droppable } = this.#evictedOthers
    for (const { type, traits, force, last } of this.#evicted.values()) {
      if (last <= after || !filter.wants(type, traits, force)) continue
      if (traits.critical) critical = later(critical, last)
      else droppable = later(droppable, last)
    }
    return { critical: critical > after ? critical : start, droppable: droppable > after ? droppable : start }
  }

  /** The pinned events, in offset order. */
  pinned(): Iterable<Entry> {
    return this.#pinned?.values() ?? []
  }

  /** @returns whether the event is the newest of its type and key. */
  isPinned(entry: Entry): boolean {
    return this.#pinned?.get(pinName(entry))?.offset === entry.offset
  }

  #pin(entry: Entry): void {
    const name = pinName(entry)
    const pinned = (this.#pinned ??= new Map<string, Entry>())
    this.#forgotten?.delete(name)
    const before = pinned.get(name)
    if (before !== undefined) {
      pinned.delete(name)
      if (this.#hasLeft(before)) this.#weighPinned(-before.bytes)
    }
    pinned.set(name, entry)
    if (pinned.size > this.#limits.pinnedMax) this.#forgetOldestPinned()
  }

  /** @returns whether a pinned event is no longer in its lane */
  #hasLeft({ traits, offset }: Entry): boolean {
    const lane = traits.critical ? this.#critical : this.#droppable
    return offset < (lane?.first?.offset ?? Number.POSITIVE_INFINITY)
  }

  #forgetOldestPinned(): void {
    for (const [name, oldest] of this.#pinned ?? []) return this.#unpin(name, oldest)
  }

  #unpin(name: string, entry: Entry): void {
    this.#pinned?.delete(name)
    if (this.#hasLeft(entry)) {
      this.#weighPinned(-entry.bytes)
      this.#markEvicted(entry)
    } else {
      this.#forgotten ??= new Map()
      this.#forgotten.set(name, entry.offset)
    }
  }

  get #laneBytes(): number {
    return this.#bytes - this.#pinnedBytes - this.#marksBytes
  }

  /** Pinned events that have left their lane may take as much room as the lanes. */
  #weighPinned(bytes: number): void {
    this.#pinnedBytes += bytes
    this.#weigh(bytes)
    while (this.#pinnedBytes > this.#limits.historyBytesMax) this.#forgetOldestPinned()
  }

  #weigh(bytes: number): void {
    this.#bytes += bytes
    this.#totals.bytes += bytes
    this.#together.bytes += bytes
  }

  #evict(lane: Lane<Entry> | undefined): void {
    const entry = lane?.shift()
    if (entry === undefined) return
    if (entry.offset > this.evictedTo) this.evictedTo = entry.offset
    this.#weigh(-entry.bytes)
    this.#totals.events--
    this.evicted++
    if (entry.event.worker === undefined) this.evictedOwn++
    if (lane === this.#droppable) {
      this.#dropped ??= new EvictedOffsets()
      this.#dropped.add(entry.event.offset)
      this.#totals.evictedDroppable++
    } else this.#totals.evictedCritical++
    if (!isPinning(entry.traits)) this.#markEvicted(entry)
    else if (this.isPinned(entry)) this.#weighPinned(entry.bytes)
    else if (this.#isMissed(entry)) this.#markEvicted(entry)
  }

  /** @returns whether nothing stands for an event that was unpinned: not when a newer one of its key replaced it */
  #isMissed(entry: Entry): boolean {
    const name = pinName(entry)
    const isForgotten = this.#forgotten?.get(name) === entry.offset
    if (isForgotten) this.#forgotten?.delete(name)
    return isForgotten || entry.traits.command === 'request'
  }

  #markEvicted({ event: { type, offset }, traits, force }: Entry): void {
    this.#evicted ??= new Map()
    if (offset > this.#evictedLast) this.#evictedLast = offset
    const name = force ? `${type} force` : type
    const evicted = this.#evicted.get(name)
    // Pinned events go later than newer ones, so the mark must not go back.
    if (evicted !== undefined) evicted.last = later(evicted.last, offset)
    else if (this.#evicted.size < evictedTypesMax) {
      this.#evicted.set(name, { type, traits, force, last: offset })
      this.#marksBytes += name.length + markBytes
      this.#weigh(name.length + markBytes)
    } else this.#markOther(traits, offset)
  }

  #markOther({ critical }: Traits, offset: Offset): void {
    const others = this.#evictedOthers
    this.#evictedOthers = critical
      ? { ...others, critical: later(others.critical, offset) }
      : { ...others, droppable: later(others.droppable, offset) }
  }

  /** All types share one mark from now on: some who have missed nothing are told of a gap. */
  #joinMarks(): void {
    for (const { traits, last } of this.#evicted?.values() ?? []) this.#markOther(traits, last)
    this.#evicted?.clear()
    this.#weigh(-this.#marksBytes)
    this.#marksBytes = 0
  }
}

function isPinning({ replay, command }: Traits): boolean {
  return replay === 'latest' || command === 'request'
}

function pinName({ event: { type, key, offset }, traits }: Entry): string {
  return traits.command === 'request' ? `${type} #${offset}` : `${type} ${key ?? ''}`
}

function later(a: Offset, b: Offset): Offset {
  return a > b ? a : b
}
