import type { Database, RootDatabase } from 'lmdb'
import type { JsonValue } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import type { PatchOperation } from '../protocol/frames.js'
import { applyPatch } from '../state/apply.js'
import { blocksOf, pack, readEvents, unpack } from './block.js'
import {
  type Batch,
  type Extent,
  type Found,
  offsetsAhead,
  type Page,
  type PublishId,
  publishIdsMax,
  type ReadOptions,
  type SessionBatch,
  type SessionPage,
  type SessionRecord,
  type Size,
  type SliceChange,
  type StoredEvent,
  type StoredLatest,
  type StoredSession,
  type StoredSlice,
  StoreError,
  type WorkerRecord,
} from './store.js'

export type LmdbKey = string | number | (string | number)[]
export type Table = Database<Buffer, LmdbKey>

/** One entry of a transaction: a value to put, or a key to remove. */
export interface Write {
  readonly table: Table
  readonly key: LmdbKey
  readonly value?: Buffer
}

/** One transaction, and what the store holds after it. */
export interface Writes {
  readonly entries: Write[]
  readonly size: Size
}

/** What the table `extents` holds of a session: eight or nine numbers, rewritten by every commit. */
export interface StoredExtent extends Extent {
  /** Stands for the session in the keys of its events, workers, slices and ids. Never used again. */
  readonly number: number
  /** The newest offset that was given out. */
  readonly last: Offset
  /** How many times the store had ended uncleanly when this was written. */
  readonly unclean: number
  /** How many ids were published, ever. */
  readonly ids: number
}

/** What the table `meta` holds under `state`. */
interface State extends Size {
  /** The next session's number. */
  readonly number: number
  readonly unclean: number
  readonly clean: boolean
}

interface Scan extends ReadOptions {
  readonly limit: number
  readonly bytes: number
  readonly scan: number
}

const format = 1

/** A slice is kept as a value and at most this many patches to it. */
const patchesMax = 32

/** Ids outside the window are removed when so many more have come. */
const idsSlack = 256

/** The tables of the embedded store, and what is written to and read from them. It awaits nothing. */
export class LmdbTables {
  /** `format`: what wrote this. `state`: see `State`. */
  readonly meta: Table
  /** Session id → its record. */
  readonly records: Table
  /** Session id → its extent. */
  readonly extents: Table
  /** [number, offset of the last event] → block. */
  readonly events: Table
  /** [number, worker] → its record. */
  readonly workers: Table
  /** [number, worker or '', slice, offset] → value, or patch to the one before. */
  readonly slices: Table
  /** [number, worker or '', type, key] → event. */
  readonly latest: Table
  /** [number, ids published so far] → ids and offsets. */
  readonly ids: Table
  /** [when it ended, session id] → nothing: which sessions go first. */
  readonly ended: Table
  /** number → nothing: sessions that are gone, but for what they left behind. */
  readonly left: Table

  readonly #directory: string
  #number = 1
  #unclean = 0

  constructor(root: RootDatabase<Buffer>, directory: string) {
    this.#directory = directory
    const table = (name: string): Table => root.openDB<Buffer, LmdbKey>({ name, encoding: 'binary' })
    this.meta = table('meta')
    this.records = table('records')
    this.extents = table('extents')
    this.events = table('events')
    this.workers = table('workers')
    this.slices = table('slices')
    this.latest = table('latest')
    this.ids = table('ids')
    this.ended = table('ended')
    this.left = table('left')
  }

  /**
   * Begins a lifetime of the store: from now on, until `end`, its end counts as unclean.
   *
   * @throws StoreError `refused` when it was written in a newer format
   */
  begin(): Found {
    const stored = this.meta.get('format')
    if (stored === undefined) this.meta.putSync('format', pack({ format }))
    else this.#mustRead(unpack<{ format: number }>(stored).format)
    const state = this.#state()
    this.#number = state.number
    this.#unclean = state.unclean + (state.clean ? 0 : 1)
    const { sessions, events, bytes, clean } = state
    this.meta.putSync('state', this.#packState({ sessions, events, bytes }, false))
    return { sessions, events, bytes, clean }
  }

  #mustRead(found: number): void {
    if (found === format) return
    const other = found > format ? 'a newer' : 'an older'
    throw new StoreError(
      'refused',
      `${this.#directory} was written by ${other} version of runcast, in format ${found}, and this one reads ` +
        `format ${format}: run that version, or use another directory.`,
    )
  }

  #state(): State {
    const bytes = this.meta.get('state')
    if (bytes !== undefined) return unpack<State>(bytes)
    return { number: 1, sessions: 0, events: 0, bytes: 0, unclean: 0, clean: true }
  }

  #packState(size: Size, clean: boolean): Buffer {
    return pack({ ...size, number: this.#number, unclean: this.#unclean, clean } satisfies State)
  }

  /** Ends the lifetime in good order. */
  end(size: Size): Writes {
    return { entries: [{ table: this.meta, key: 'state', value: this.#packState(size, true) }], size }
  }

  commit({ at, sessions }: Batch, size: Size): Writes {
    const entries: Write[] = []
    let after = size
    for (const session of sessions) after = this.#commitSession(session, at, { entries, size: after })
    return this.#sized(entries, after)
  }

  #sized(entries: Write[], size: Size): Writes {
    entries.push({ table: this.meta, key: 'state', value: this.#packState(size, false) })
    return { entries, size }
  }

  #commitSession(batch: SessionBatch, at: number, { entries, size }: Writes): Size {
    const { session, record } = batch
    let extent = this.extent(session)
    let { sessions, events, bytes } = size
    if (record !== undefined) {
      const prior = extent === undefined ? undefined : this.record(session)
      if (prior?.endedAt !== undefined) entries.push({ table: this.ended, key: [prior.endedAt, session] })
      if (extent !== undefined && prior?.epoch !== record.epoch) {
        entries.push({ table: this.left, key: extent.number, value: nothing })
        sessions -= 1
        events -= extent.events
        bytes -= extent.bytes
        extent = undefined
      }
      entries.push({ table: this.records, key: session, value: pack(record) })
      if (record.endedAt !== undefined) {
        entries.push({ table: this.ended, key: [record.endedAt, session], value: nothing })
      }
    } else if (extent === undefined) {
      throw new StoreError(
        'failed',
        `The session ${session} is new to the store, and came without its record.`,
      )
    }
    if (extent === undefined) {
      sessions += 1
      extent = { ...emptyExtent, number: this.#number++ }
    }
    const next = this.#commitContents(
      batch,
      { ...extent, at, last: batch.last, unclean: this.#unclean },
      entries,
    )
    entries.push({ table: this.extents, key: session, value: packExtent(next) })
    return {
      sessions,
      events: events + next.events - extent.events,
      bytes: bytes + next.bytes - extent.bytes,
    }
  }

  #commitContents(batch: SessionBatch, extent: StoredExtent, entries: Write[]): StoredExtent {
    const { number } = extent
    let { events, bytes, stored, ids } = extent
    for (const block of blocksOf(batch.events ?? [], extent.at)) {
      entries.push({ table: this.events, key: [number, block.last], value: block.bytes })
      events += block.count
      bytes += block.bytes.length
      stored = block.last
    }
    for (const worker of batch.workers ?? []) {
      entries.push({ table: this.workers, key: [number, worker.worker], value: pack(worker) })
    }
    for (const { worker = '', type, key, event } of batch.latest ?? []) {
      const value = event === undefined ? undefined : pack(event)
      entries.push({ table: this.latest, key: [number, worker, type, key], ...(value && { value }) })
    }
    this.#commitSlices(number, batch.slices ?? [], entries)
    if (batch.ids !== undefined && batch.ids.length > 0) {
      ids = this.#commitIds(extent, batch.ids, entries)
    }
    return { ...extent, events, bytes, stored, ids }
  }

  #commitSlices(number: number, changes: readonly SliceChange[], entries: Write[]): void {
    // What this batch has put so far is not in the table yet.
    const kept = new Map<string, LmdbKey[]>()
    for (const { worker = '', slice, offset, value, patch } of changes) {
      const name = JSON.stringify([worker, slice])
      let keys = kept.get(name)
      if (keys === undefined) {
        keys = [...this.slices.getKeys(within([number, worker, slice]))]
        kept.set(name, keys)
      }
      const key = [number, worker, slice, offset]
      if (value !== undefined && patch !== undefined && keys.length > 0 && keys.length <= patchesMax) {
        entries.push({ table: this.slices, key, value: pack({ patch }) })
      } else {
        for (const old of keys) entries.push({ table: this.slices, key: old })
        keys.length = 0
        if (value === undefined) continue
        entries.push({ table: this.slices, key, value: pack({ value }) })
      }
      keys.push(key)
    }
  }

  #commitIds({ number, ids }: StoredExtent, published: readonly PublishId[], entries: Write[]): number {
    const total = ids + published.length
    entries.push({
      table: this.ids,
      key: [number, total],
      value: pack(published.map(({ id, offset }) => [id, offset])),
    })
    if (Math.floor(total / idsSlack) > Math.floor(ids / idsSlack) && total > publishIdsMax) {
      const old = this.ids.getKeys({
        start: [number],
        end: [number, total - publishIdsMax],
        limit: idsSlack * 4,
      })
      for (const key of old) entries.push({ table: this.ids, key })
    }
    return total
  }

  record(session: string): SessionRecord | undefined {
    const bytes = this.records.get(session)
    return bytes === undefined ? undefined : unpack<SessionRecord>(bytes)
  }

  extent(session: string): StoredExtent | undefined {
    const bytes = this.extents.get(session)
    return bytes === undefined ? undefined : unpackExtent(bytes)
  }

  load(session: string): StoredSession | undefined {
    const record = this.record(session)
    const extent = this.extent(session)
    if (record === undefined || extent === undefined) return undefined
    const { number, last, trimmed, stored, events, bytes, at } = extent
    return {
      record,
      last: (last + (this.#unclean - extent.unclean) * offsetsAhead) as Offset,
      trimmed,
      stored,
      events,
      bytes,
      at,
      workers: [...this.workers.getRange(within([number]))].map(({ value }) => unpack<WorkerRecord>(value)),
      slices: this.#loadSlices(number, session),
      latest: this.#loadLatest(number),
      ids: this.#loadIds(number),
    }
  }

  #loadSlices(number: number, session: string): StoredSlice[] {
    const slices: StoredSlice[] = []
    for (const { key, value: bytes } of this.slices.getRange(within([number]))) {
      const [, worker, slice, offset] = key as [number, string, string, Offset]
      const entry = unpack<{ value: JsonValue } | { patch: PatchOperation[] }>(bytes)
      const of = { ...(worker === '' ? {} : { worker }), slice, offset }
      if ('value' in entry) {
        slices.push({ ...of, value: entry.value })
        continue
      }
      const before = slices.pop()
      if (before?.slice !== slice || (before.worker ?? '') !== worker) {
        throw new StoreError(
          'failed',
          `The slice ${slice} of ${session} has lost its value: its patches follow nothing.`,
        )
      }
      slices.push({ ...of, value: applyPatch(before.value, entry.patch) })
    }
    return slices
  }

  #loadLatest(number: number): StoredLatest[] {
    const latest: StoredLatest[] = []
    for (const { key, value } of this.latest.getRange(within([number]))) {
      const [, worker, type, name] = key as [number, string, string, string]
      latest.push({
        ...(worker === '' ? {} : { worker }),
        type,
        key: name,
        event: unpack<StoredEvent>(value),
      })
    }
    return latest.toSorted((one, other) => one.event.offset - other.event.offset)
  }

  #loadIds(number: number): PublishId[] {
    const blocks: [string, Offset][][] = []
    let count = 0
    for (const { value } of this.ids.getRange(backwards(number))) {
      const block = unpack<[string, Offset][]>(value)
      blocks.push(block)
      count += block.length
      if (count >= publishIdsMax) break
    }
    const ids = blocks.reverse().flat().slice(-publishIdsMax)
    return ids.map(([id, offset]) => ({ id, offset }))
  }

  read(session: string, after: Offset, { limit, bytes, scan, filter }: Scan): Page {
    const extent = this.extent(session)
    if (extent === undefined) return { events: [], last: after, end: true, trimmed: 0 as Offset }
    const { number, stored, trimmed } = extent
    const events: StoredEvent[] = []
    let last = after
    let scanned = 0
    let size = 0
    let end = true
    pages: for (const { value } of this.events.getRange({ start: [number, after + 1], end: [number + 1] })) {
      const block = readEvents(value)
      const share = value.length / block.length
      for (const event of block) {
        if (event.offset <= after) continue
        if (events.length >= limit || scanned >= scan || size >= bytes) {
          end = false
          break pages
        }
        scanned += 1
        size += share
        last = event.offset
        if (filter === undefined || filter(event)) events.push(event)
      }
    }
    // The newest events may have been trimmed: there is nothing to find up to `stored`.
    if (end && stored > last) last = stored
    return { events, last, end, trimmed }
  }

  newest(session: string, { limit, bytes, scan, filter }: Scan): Page {
    const extent = this.extent(session)
    if (extent === undefined) return { events: [], last: 0 as Offset, end: true, trimmed: 0 as Offset }
    const { number, stored, trimmed } = extent
    const events: StoredEvent[] = []
    let scanned = 0
    let size = 0
    pages: for (const { value } of this.events.getRange(backwards(number))) {
      const block = readEvents(value)
      const share = value.length / block.length
      for (const event of block.reverse()) {
        if (events.length >= limit || scanned >= scan || size >= bytes) break pages
        scanned += 1
        size += share
        if (filter === undefined || filter(event)) events.push(event)
      }
    }
    return { events: events.reverse(), last: stored, end: true, trimmed }
  }

  sessions(after: string, limit: number): SessionPage {
    const sessions: { record: SessionRecord; extent: Extent }[] = []
    const start = after === '' ? {} : { start: after, exclusiveStart: true }
    for (const { key, value } of this.records.getRange({ ...start, limit: limit + 1 })) {
      const extent = this.extent(key as string)
      if (extent !== undefined) sessions.push({ record: unpack<SessionRecord>(value), extent: shown(extent) })
    }
    return { sessions: sessions.slice(0, limit), end: sessions.length <= limit }
  }

  remove(session: string, size: Size): Writes {
    const entries: Write[] = []
    const after = this.removeSession(session, { entries, size })
    return after === size ? { entries: [], size } : this.#sized(entries, after)
  }

  /** @returns what the store holds afterwards. What the session leaves behind goes in later steps of trimming. */
  removeSession(session: string, { entries, size }: Writes): Size {
    const extent = this.extent(session)
    if (extent === undefined) return size
    const endedAt = this.record(session)?.endedAt
    if (endedAt !== undefined) entries.push({ table: this.ended, key: [endedAt, session] })
    entries.push({ table: this.records, key: session })
    entries.push({ table: this.extents, key: session })
    entries.push({ table: this.left, key: extent.number, value: nothing })
    return {
      sessions: size.sessions - 1,
      events: size.events - extent.events,
      bytes: size.bytes - extent.bytes,
    }
  }

  /** Ends a transaction of trimming. */
  trimmed(entries: Write[], size: Size): Writes {
    return entries.length === 0 ? { entries, size } : this.#sized(entries, size)
  }
}

const nothing = Buffer.alloc(0)

export const emptyExtent: StoredExtent = {
  number: 0,
  last: 0 as Offset,
  trimmed: 0 as Offset,
  stored: 0 as Offset,
  events: 0,
  bytes: 0,
  at: 0,
  unclean: 0,
  ids: 0,
}

/** The range of the keys that begin so. Arrays sort before longer ones, strings after numbers. */
export function within(prefix: (string | number)[]): { start: LmdbKey; end: LmdbKey } {
  const last = prefix.at(-1)
  const next = typeof last === 'number' ? last + 1 : `${last}\u0000`
  return { start: prefix, end: [...prefix.slice(0, -1), next] }
}

function backwards(number: number): { start: LmdbKey; end: LmdbKey; reverse: true } {
  return { start: [number + 1], end: [number], reverse: true }
}

function shown({ trimmed, stored, events, bytes, at }: StoredExtent): Extent {
  return { trimmed, stored, events, bytes, at }
}

const extentBytes = 9 * 8

export function packExtent(extent: StoredExtent): Buffer {
  const { number, last, trimmed, stored, events, bytes, at, unclean, ids } = extent
  const buffer = Buffer.allocUnsafe(extentBytes)
  let place = 0
  for (const value of [number, last, trimmed, stored, events, bytes, at, unclean, ids]) {
    place = buffer.writeDoubleBE(value, place)
  }
  return buffer
}

function unpackExtent(buffer: Buffer): StoredExtent {
  const value = (index: number) => buffer.readDoubleBE(index * 8)
  return {
    number: value(0),
    last: value(1) as Offset,
    trimmed: value(2) as Offset,
    stored: value(3) as Offset,
    events: value(4),
    bytes: value(5),
    at: value(6),
    unclean: value(7),
    ids: value(8),
  }
}
