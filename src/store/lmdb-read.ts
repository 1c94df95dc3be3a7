import type { JsonValue } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import type { PatchOperation } from '../protocol/frames.js'
import { applyPatch } from '../state/apply.js'
import { readEvents, readHead, unpack } from './block.js'
import { isDamage } from './damage.js'
import { formerIdsKey, type LmdbKey, type LmdbTables, type StoredExtent, within } from './lmdb-tables.js'
import {
  type Extent,
  offsetsAhead,
  type Page,
  type PublishId,
  publishIdsMax,
  type ReadOptions,
  type SessionPage,
  type SessionRecord,
  type StoredEvent,
  type StoredLatest,
  type StoredSession,
  type StoredSlice,
  StoreError,
  type WorkerRecord,
} from './store.js'

interface Scan extends ReadOptions {
  readonly limit: number
  readonly bytes: number
  readonly scan: number
}

export function load(tables: LmdbTables, session: string): StoredSession | undefined {
  const record = tables.record(session)
  const extent = tables.extent(session)
  if (record === undefined && extent === undefined) return undefined
  if (record === undefined || extent === undefined) throw lost(session)
  const { number, last, trimmed, stored, events, bytes, at } = extent
  const former = tables.get(tables.ids, formerIdsKey(number))
  return {
    record,
    last: (last + (tables.unclean - extent.unclean) * offsetsAhead) as Offset,
    trimmed,
    stored,
    events,
    bytes,
    at,
    workers: [...tables.range(tables.workers, within([number]))].map(({ value }) =>
      unpack<WorkerRecord>(value),
    ),
    slices: loadSlices(tables, number, session),
    latest: loadLatest(tables, number),
    ids: loadIds(tables, extent),
    ...(former && { formerIds: unpack<number[]>(former) }),
  }
}

function loadSlices(tables: LmdbTables, number: number, session: string): StoredSlice[] {
  const slices: StoredSlice[] = []
  for (const { key, value: bytes } of tables.range(tables.slices, within([number]))) {
    const [, worker, slice, offset] = key as [number, string, string, Offset]
    const entry = unpack<{ value: JsonValue } | { patch: PatchOperation[] }>(bytes)
    const of = { ...(worker === '' ? {} : { worker }), slice, offset }
    if ('value' in entry) {
      slices.push({ ...of, value: entry.value })
      continue
    }
    const before = slices.pop()
    if (before?.slice !== slice || (before.worker ?? '') !== worker) {
      throw new StoreError('damaged', `the value of slice ${slice} is missing`, { session })
    }
    slices.push({ ...of, value: applyPatch(before.value, entry.patch) })
  }
  return slices
}

function loadLatest(tables: LmdbTables, number: number): StoredLatest[] {
  const latest: StoredLatest[] = []
  for (const { key, value } of tables.range(tables.latest, within([number]))) {
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

function loadIds(tables: LmdbTables, { number, idsMax = publishIdsMax }: StoredExtent): PublishId[] {
  const blocks: [id: string, offset: Offset, worker?: string][][] = []
  let count = 0
  for (const { key, value } of tables.range(tables.ids, backwards(number))) {
    if ((key as number[])[1] === 0) break
    const block = unpack<[id: string, offset: Offset, worker?: string][]>(value)
    blocks.push(block)
    count += block.length
    if (count >= idsMax) break
  }
  const ids = blocks.reverse().flat().slice(-idsMax)
  return ids.map(([id, offset, worker]) => ({ id, offset, ...(worker !== undefined && { worker }) }))
}

export function read(
  tables: LmdbTables,
  session: string,
  after: Offset,
  { limit, bytes, scan, filter }: Scan,
): Page {
  const extent = tables.extent(session)
  if (extent === undefined) return { events: [], last: after, end: true, trimmed: 0 as Offset }
  const { number, stored, trimmed } = extent
  const events: StoredEvent[] = []
  let last = after
  let scanned = 0
  let size = 0
  let end = true
  const following = { start: [number, after + 1], end: [number + 1] }
  try {
    pages: for (const { value } of tables.range(tables.events, following)) {
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
  } catch (error) {
    // The events before the damage are a page of their own.
    if (!isDamage(error)) throw error
    if (last === after) throw damageAfter(tables, number, after, error)
    return { events, last, end: false, trimmed }
  }
  // The newest events may have been trimmed, so there are none up to `stored`.
  if (end && stored > last) last = stored
  return { events, last, end, trimmed }
}

export function readBefore(
  tables: LmdbTables,
  session: string,
  before: Offset,
  { limit, bytes, scan, filter }: Scan,
): Page {
  const extent = tables.extent(session)
  if (extent === undefined) return { events: [], last: before, end: true, trimmed: 0 as Offset }
  const { number, trimmed } = extent
  const events: StoredEvent[] = []
  let last = before
  let scanned = 0
  let size = 0
  try {
    // A block's key has the offset of its last event, which may be above `before`.
    const [nearest] = keysFrom(tables, number, before - 1)
    const preceding = { start: nearest ?? [number + 1], end: [number], reverse: true }
    for (const { value } of tables.range(tables.events, preceding)) {
      const block = readEvents(value)
      const share = value.length / block.length
      for (const event of block.reverse()) {
        if (event.offset >= before) continue
        if (events.length >= limit || scanned >= scan || size >= bytes) {
          return { events, last, end: false, trimmed }
        }
        scanned += 1
        size += share
        last = event.offset
        if (filter === undefined || filter(event)) events.push(event)
      }
    }
  } catch (error) {
    // The events above the damage are a page of their own.
    if (!isDamage(error)) throw error
    if (last !== before) return { events, last, end: false, trimmed }
    const reason = error instanceof Error ? error.message : String(error)
    throw new StoreError('damaged', `its events before ${before} cannot be read, ${reason}`)
  }
  return { events, last, end: true, trimmed }
}

/** Blocks are in the order in which they were stored, so a binary search reads about twenty blocks of a million events. */
export function keptBefore(tables: LmdbTables, session: string, at: number): Offset {
  const extent = tables.extent(session)
  if (extent === undefined) return 0 as Offset
  const { number } = extent
  let { trimmed: low, stored: high } = extent
  while (low < high) {
    const middle = Math.floor((low + high) / 2) as Offset
    const following = { start: [number, middle + 1], end: [number + 1], limit: 1 }
    const [block] = tables.range(tables.events, following)
    if (block === undefined) {
      high = middle
      continue
    }
    const { at: keptAt, first } = readHead(block.value)
    if (keptAt < at) low = (block.key as [number, Offset])[1]
    else high = Math.max(low, Math.min(middle, first - 1)) as Offset
  }
  return low
}

function keysFrom(tables: LmdbTables, number: number, offset: number): LmdbKey[] {
  if (tables.broke) return []
  return tables.keys(tables.events, { start: [number, offset], end: [number + 1], limit: 1 })
}

/** Reports which events cannot be read; a block's key has the offset of its last one. */
function damageAfter(tables: LmdbTables, number: number, after: Offset, cause: unknown): StoreError {
  const [key] = keysFrom(tables, number, after + 1) as [number, number][]
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new StoreError(
    'damaged',
    `events after ${after} up to ${key?.[1] ?? 'the next'} cannot be read: ${reason}`,
  )
}

export function newest(tables: LmdbTables, session: string, { limit, bytes, scan, filter }: Scan): Page {
  const extent = tables.extent(session)
  if (extent === undefined) return { events: [], last: 0 as Offset, end: true, trimmed: 0 as Offset }
  const { number, stored, trimmed } = extent
  const events: StoredEvent[] = []
  let scanned = 0
  let size = 0
  try {
    pages: for (const { value } of tables.range(tables.events, backwards(number))) {
      const block = readEvents(value)
      const share = value.length / block.length
      for (const event of block.reverse()) {
        if (events.length >= limit || scanned >= scan || size >= bytes) break pages
        scanned += 1
        size += share
        if (filter === undefined || filter(event)) events.push(event)
      }
    }
  } catch (error) {
    // Only the newest events are requested; a reader that goes further back will get the damage.
    if (!isDamage(error)) throw error
  }
  return { events: events.reverse(), last: stored, end: true, trimmed }
}

/** @returns the ids of a page of sessions, and the next one; after it the transaction may be of no use */
export function sessionIds(tables: LmdbTables, after: string, limit: number): string[] {
  const range = { ...(after !== '' && { start: after, exclusiveStart: true }), limit: limit + 1 }
  const ids = new Set(tables.keys(tables.extents, range))
  try {
    // One of the two may be lost.
    for (const id of tables.keys(tables.records, range)) ids.add(id)
  } catch (error) {
    // The page of a record is damaged, which shows when that record is read.
    if (!isDamage(error)) throw error
  }
  return ([...ids] as string[]).toSorted().slice(0, limit + 1)
}

/** @param ids see `sessionIds` */
export function sessions(tables: LmdbTables, ids: readonly string[], limit: number): SessionPage {
  const found: { record: SessionRecord; extent: Extent }[] = []
  const damaged: string[] = []
  for (const session of ids.slice(0, limit)) {
    try {
      const record = tables.record(session)
      const extent = tables.extent(session)
      if (record === undefined && extent === undefined) continue
      if (record === undefined || extent === undefined) throw lost(session)
      found.push({ record, extent: shown(extent) })
    } catch (error) {
      if (!isDamage(error)) throw error
      damaged.push(session)
      // The others need another transaction.
      if (tables.broke) return { sessions: found, damaged, end: session === ids.at(-1) }
    }
  }
  const end = ids.length <= limit
  return { sessions: found, ...(damaged.length > 0 && { damaged }), end }
}

function lost(session: string): StoreError {
  return new StoreError('damaged', 'the record or the extent is missing', { session })
}

function backwards(number: number): { start: LmdbKey; end: LmdbKey; reverse: true } {
  return { start: [number + 1], end: [number], reverse: true }
}

function shown({ trimmed, stored, events, bytes, at }: StoredExtent): Extent {
  return { trimmed, stored, events, bytes, at }
}
