// Longer than 350 lines: the whole of a store, one method after the other.

import assert from 'node:assert/strict'
import type { JsonValue } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import { eventsUpTo, expectForkable } from './forking.js'
import { isAboveShare, isDue, isExpired, isOver } from './retention.js'
import {
  type Batch,
  blockEventsMax,
  type Extent,
  type Fork,
  type Found,
  type Immediate,
  type Page,
  type PublishId,
  pageDefaults,
  pageScanMax,
  publishIdsMax,
  type ReadOptions,
  type Retention,
  type SessionBatch,
  type SessionPage,
  type SessionRecord,
  type Size,
  type Store,
  type StoredEvent,
  type StoredLatest,
  type StoredSession,
  type StoredSlice,
  StoreError,
  type Trimmed,
  type WorkerRecord,
} from './store.js'

interface Block {
  readonly at: number
  readonly events: readonly StoredEvent[]
  readonly count: number
  readonly bytes: number
}

interface Kept {
  record: SessionRecord
  last: Offset
  trimmed: Offset
  stored: Offset
  events: number
  bytes: number
  at: number
  readonly blocks: Block[]
  readonly workers: Map<string, WorkerRecord>
  readonly slices: Map<string, StoredSlice>
  readonly latest: Map<string, StoredLatest>
  ids: PublishId[]
  formerIds?: readonly number[]
}

/** @returns a store in memory, whose contents are lost when the process ends */
export function memoryStore(): Store {
  return new MemoryStore()
}

class MemoryStore implements Store {
  readonly found: Found = { sessions: 0, events: 0, bytes: 0, clean: true }
  readonly now: Immediate = {
    load: (session) => this.#load(session),
    newest: (session, options) => this.#newest(session, options),
  }
  readonly #sessions = new Map<string, Kept>()
  #closed = false

  async commit({ at, sessions }: Batch): Promise<void> {
    this.#mustBeOpen()
    for (const { session, record } of sessions) {
      if (record !== undefined || this.#sessions.has(session)) continue
      throw new StoreError(
        'failed',
        `The session ${session} is new to the store, but its first commit has no record.`,
      )
    }
    for (const batch of sessions) this.#keep(batch, at)
  }

  #keep(batch: SessionBatch, at: number): void {
    const { session, record, last, events = [] } = batch
    let kept = this.#sessions.get(session)
    if (record !== undefined) {
      if (kept === undefined || kept.record.epoch !== record.epoch) {
        kept = emptyKept(record)
        this.#sessions.set(session, kept)
      }
      kept.record = record
    }
    assert(kept !== undefined, 'commit has looked for the record')
    kept.last = last
    kept.at = at
    for (let from = 0; from < events.length; from += blockEventsMax) {
      const some = events.slice(from, from + blockEventsMax)
      const block = { at, events: some, count: some.length, bytes: bytesOf(some) }
      kept.blocks.push(block)
      kept.events += block.count
      kept.bytes += block.bytes
      kept.stored = some.at(-1)?.offset ?? kept.stored
    }
    for (const worker of batch.workers ?? []) kept.workers.set(worker.worker, worker)
    for (const { event, ...of } of batch.latest ?? []) {
      put(kept.latest, [of.worker ?? '', of.type, of.key], event && { ...of, event })
    }
    for (const { value, patch: _, ...of } of batch.slices ?? []) {
      put(kept.slices, [of.worker ?? '', of.slice], value === undefined ? undefined : { ...of, value })
    }
    const { ids, idsMax = publishIdsMax, formerIds } = batch
    if (ids !== undefined) kept.ids = [...kept.ids, ...ids].slice(-idsMax)
    if (formerIds !== undefined) kept.formerIds = formerIds
  }

  /** Blocks are immutable, so the fork shares all but the one in which it begins. */
  async fork({ at, from, epoch, batch }: Fork): Promise<void> {
    this.#mustBeOpen()
    const source = this.#sessions.get(from)
    expectForkable({
      from,
      epoch,
      found: source?.record.epoch,
      fork: batch.session,
      isTaken: this.#sessions.has(batch.session),
    })
    this.#keep(batch, at)
    const kept = this.#sessions.get(batch.session)
    if (source === undefined || kept === undefined) return
    for (const block of source.blocks) {
      const events = eventsUpTo(block.events, batch.last)
      if (events.length === 0) break
      const isWhole = events.length === block.count
      kept.blocks.push(
        isWhole ? block : { at: block.at, events, count: events.length, bytes: bytesOf(events) },
      )
    }
    for (const { count, bytes } of kept.blocks) {
      kept.events += count
      kept.bytes += bytes
    }
    kept.trimmed = Math.min(source.trimmed, batch.last) as Offset
    kept.stored = kept.blocks.at(-1)?.events.at(-1)?.offset ?? kept.trimmed
  }

  async load(session: string): Promise<StoredSession | undefined> {
    return this.#load(session)
  }

  #load(session: string): StoredSession | undefined {
    this.#mustBeOpen()
    const kept = this.#sessions.get(session)
    if (kept === undefined) return undefined
    return {
      record: kept.record,
      last: kept.last,
      ...extentOf(kept),
      workers: byName([...kept.workers]),
      slices: byName([...kept.slices]),
      latest: [...kept.latest.values()].toSorted((one, other) => one.event.offset - other.event.offset),
      ids: kept.ids,
      ...(kept.formerIds && { formerIds: kept.formerIds }),
    }
  }

  async read(session: string, after: Offset, options: ReadOptions = {}): Promise<Page> {
    this.#mustBeOpen()
    const { limit, bytes, filter } = { ...pageDefaults, ...options }
    const kept = this.#sessions.get(session)
    if (kept === undefined) return { events: [], last: after, end: true, trimmed: 0 as Offset }
    const events: StoredEvent[] = []
    let last = after
    let scanned = 0
    let size = 0
    let end = true
    pages: for (const block of kept.blocks) {
      if ((block.events.at(-1)?.offset ?? 0) <= after) continue
      for (const event of block.events) {
        if (event.offset <= after) continue
        if (events.length >= limit || scanned >= pageScanMax || size >= bytes) {
          end = false
          break pages
        }
        scanned += 1
        size += block.bytes / block.count
        last = event.offset
        if (filter === undefined || filter(event)) events.push(event)
      }
    }
    // The newest events may have been trimmed, so there are none up to `stored`.
    if (end && kept.stored > last) last = kept.stored
    return { events, last, end, trimmed: kept.trimmed }
  }

  async readBefore(session: string, before: Offset, options: ReadOptions = {}): Promise<Page> {
    this.#mustBeOpen()
    const { limit, bytes, filter } = { ...pageDefaults, ...options }
    const kept = this.#sessions.get(session)
    if (kept === undefined) return { events: [], last: before, end: true, trimmed: 0 as Offset }
    const events: StoredEvent[] = []
    let last = before
    let scanned = 0
    let size = 0
    for (const block of kept.blocks.toReversed()) {
      if ((block.events[0]?.offset ?? 0) >= before) continue
      for (const event of block.events.toReversed()) {
        if (event.offset >= before) continue
        if (events.length >= limit || scanned >= pageScanMax || size >= bytes) {
          return { events, last, end: false, trimmed: kept.trimmed }
        }
        scanned += 1
        size += block.bytes / block.count
        last = event.offset
        if (filter === undefined || filter(event)) events.push(event)
      }
    }
    return { events, last, end: true, trimmed: kept.trimmed }
  }

  async keptBefore(session: string, at: number): Promise<Offset> {
    this.#mustBeOpen()
    const kept = this.#sessions.get(session)
    const older = kept?.blocks.findLast((block) => block.at < at)
    return older?.events.at(-1)?.offset ?? kept?.trimmed ?? (0 as Offset)
  }

  async newest(session: string, options?: ReadOptions): Promise<Page> {
    return this.#newest(session, options)
  }

  #newest(session: string, options: ReadOptions = {}): Page {
    this.#mustBeOpen()
    const { limit, bytes, filter } = { ...pageDefaults, ...options }
    const kept = this.#sessions.get(session)
    if (kept === undefined) return { events: [], last: 0 as Offset, end: true, trimmed: 0 as Offset }
    const events: StoredEvent[] = []
    let scanned = 0
    let size = 0
    pages: for (const block of kept.blocks.toReversed()) {
      for (const event of block.events.toReversed()) {
        if (events.length >= limit || scanned >= pageScanMax || size >= bytes) break pages
        scanned += 1
        size += block.bytes / block.count
        if (filter === undefined || filter(event)) events.push(event)
      }
    }
    return { events: events.reverse(), last: kept.stored, end: true, trimmed: kept.trimmed }
  }

  async sessions(after: string, limit: number): Promise<SessionPage> {
    this.#mustBeOpen()
    const ids = this.#ids().filter((session) => session > after)
    const sessions = ids.slice(0, limit).flatMap((session) => {
      const kept = this.#sessions.get(session)
      return kept === undefined ? [] : [{ record: kept.record, extent: extentOf(kept) }]
    })
    return { sessions, end: ids.length <= limit }
  }

  #ids(): string[] {
    return [...this.#sessions.keys()].toSorted()
  }

  async remove(session: string): Promise<void> {
    this.#mustBeOpen()
    this.#sessions.delete(session)
  }

  async replace(session: string, events: readonly StoredEvent[]): Promise<void> {
    this.#mustBeOpen()
    const kept = this.#sessions.get(session)
    if (kept === undefined) return
    const others = new Map(events.map((event) => [event.offset, event]))
    for (const [index, block] of kept.blocks.entries()) {
      if (!block.events.some(({ offset }) => others.has(offset))) continue
      const changed = block.events.map((event) => others.get(event.offset) ?? event)
      const bytes = bytesOf(changed)
      kept.blocks[index] = { ...block, events: changed, bytes }
      kept.bytes += bytes - block.bytes
    }
    for (const [name, latest] of kept.latest)
      kept.latest.set(name, { ...latest, event: others.get(latest.event.offset) ?? latest.event })
  }

  /** Nothing has to be written, so one step does all the work. */
  async trim(retention: Retention, now: number, held: (session: string) => boolean): Promise<Trimmed> {
    this.#mustBeOpen()
    const removed: string[] = []
    const trimmed = new Map<string, Offset>()
    const remove = (session: string) => {
      this.#sessions.delete(session)
      removed.push(session)
    }
    const cut = (session: string, kept: Kept, isToGo: (oldest: Block) => boolean) => {
      for (let block = kept.blocks[0]; block !== undefined && isToGo(block); block = kept.blocks[0]) {
        dropOldest(kept, block)
        trimmed.set(session, kept.trimmed)
      }
    }
    for (const session of this.#ids()) {
      const kept = this.#sessions.get(session)
      if (kept === undefined) continue
      if (isExpired(kept.record, kept, retention, now, held(session))) remove(session)
      else cut(session, kept, (oldest) => isDue(oldest, kept, retention, now))
    }
    for (const session of this.#ended()) if (isOver(this.size(), retention)) remove(session)
    for (const session of this.#ids()) {
      const kept = this.#sessions.get(session)
      if (kept === undefined) continue
      cut(session, kept, () => isOver(this.size(), retention) && isAboveShare(kept, retention, this.size()))
    }
    const cuts = [...trimmed].filter(([session]) => this.#sessions.has(session))
    return { removed, trimmed: cuts.map(([session, offset]) => ({ session, trimmed: offset })), more: false }
  }

  /** The ended sessions, in the order of their ends. */
  #ended(): string[] {
    const ended: [number, string][] = []
    for (const [session, { record }] of this.#sessions) {
      if (record.endedAt !== undefined) ended.push([record.endedAt, session])
    }
    return ended
      .toSorted(([a, one], [b, other]) => a - b || (one < other ? -1 : 1))
      .map(([, session]) => session)
  }

  size(): Size {
    let events = 0
    let bytes = 0
    for (const kept of this.#sessions.values()) {
      events += kept.events
      bytes += kept.bytes
    }
    return { sessions: this.#sessions.size, events, bytes }
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#sessions.clear()
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new StoreError('closed', 'The store is closed.')
  }
}

function emptyKept(record: SessionRecord): Kept {
  const none = 0 as Offset
  return {
    record,
    last: none,
    trimmed: none,
    stored: none,
    events: 0,
    bytes: 0,
    at: 0,
    blocks: [],
    workers: new Map(),
    slices: new Map(),
    latest: new Map(),
    ids: [],
  }
}

function extentOf({ trimmed, stored, events, bytes, at }: Kept): Extent {
  return { trimmed, stored, events, bytes, at }
}

function dropOldest(kept: Kept, oldest: Block): void {
  kept.blocks.shift()
  kept.events -= oldest.count
  kept.bytes -= oldest.bytes
  kept.trimmed = oldest.events.at(-1)?.offset ?? kept.trimmed
}

function put<Value>(map: Map<string, Value>, names: readonly string[], value: Value | undefined): void {
  const name = names.join('\u0000')
  if (value === undefined) map.delete(name)
  else map.set(name, value)
}

function byName<Value>(entries: readonly (readonly [string, Value])[]): Value[] {
  return entries.toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([, value]) => value)
}

function bytesOf(events: readonly { readonly data: JsonValue }[]): number {
  return JSON.stringify(events).length
}
