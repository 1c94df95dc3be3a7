import type { Offset } from '../protocol/cursor.js'
import { blocksOf, pack } from './block.js'
import { damageOf, isDamage } from './damage.js'
import {
  formerIdsKey,
  type LmdbKey,
  type LmdbTables,
  nothing,
  packExtent,
  type StoredExtent,
  type Write,
  type Writes,
  within,
} from './lmdb-tables.js'
import {
  type Batch,
  publishIdsMax,
  type SessionBatch,
  type Size,
  type SliceChange,
  StoreError,
} from './store.js'

/** A slice is stored as a value and at most this many patches to it. */
const patchesMax = 32

/** Ids outside the window are removed after this many more. */
const idsSlack = 256

/** The extent of a session without contents. */
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

/** @returns the transaction that stores a batch */
export function commit(tables: LmdbTables, { at, sessions }: Batch, size: Size): Writes {
  const entries: Write[] = []
  let after = size
  for (const session of sessions) {
    try {
      after = commitSession(tables, session, at, { entries, size: after })
    } catch (error) {
      throw damageOf(error, session.session, tables.directory)
    }
  }
  return tables.writes(entries, after)
}

function commitSession(tables: LmdbTables, batch: SessionBatch, at: number, { entries, size }: Writes): Size {
  const { session, record } = batch
  let extent = tables.extent(session)
  let { sessions, events, bytes } = size
  if (record !== undefined) {
    const prior = extent === undefined ? undefined : tables.record(session)
    if (prior?.endedAt !== undefined) entries.push({ table: tables.ended, key: [prior.endedAt, session] })
    if (extent !== undefined && prior?.epoch !== record.epoch) {
      entries.push({ table: tables.left, key: extent.number, value: nothing })
      sessions -= 1
      events -= extent.events
      bytes -= extent.bytes
      extent = undefined
    }
    entries.push({ table: tables.records, key: session, value: pack(record) })
    if (record.endedAt !== undefined) {
      entries.push({ table: tables.ended, key: [record.endedAt, session], value: nothing })
    }
  } else if (extent === undefined) {
    throw new StoreError(
      'failed',
      `The session ${session} is new to the store, but its first commit has no record.`,
    )
  }
  if (extent === undefined) {
    sessions += 1
    extent = { ...emptyExtent, number: tables.newNumber() }
  }
  const next = commitContents(
    tables,
    batch,
    { ...extent, at, last: batch.last, unclean: tables.unclean },
    entries,
  )
  entries.push({ table: tables.extents, key: session, value: packExtent(next) })
  return {
    sessions,
    events: events + next.events - extent.events,
    bytes: bytes + next.bytes - extent.bytes,
  }
}

function commitContents(
  tables: LmdbTables,
  batch: SessionBatch,
  extent: StoredExtent,
  entries: Write[],
): StoredExtent {
  const { number } = extent
  let { events, bytes, stored, ids } = extent
  for (const block of blocksOf(batch.events ?? [], extent.at)) {
    entries.push({ table: tables.events, key: [number, block.last], value: block.bytes })
    events += block.count
    bytes += block.bytes.length
    stored = block.last
  }
  for (const worker of batch.workers ?? []) {
    entries.push({ table: tables.workers, key: [number, worker.worker], value: pack(worker) })
  }
  for (const { worker = '', type, key, event } of batch.latest ?? []) {
    const value = event === undefined ? undefined : pack(event)
    entries.push({ table: tables.latest, key: [number, worker, type, key], ...(value && { value }) })
  }
  commitSlices(tables, number, batch.slices ?? [], entries)
  if (batch.ids !== undefined && batch.ids.length > 0) {
    ids = commitIds(tables, extent, batch, entries)
  }
  if (batch.formerIds !== undefined) {
    entries.push({ table: tables.ids, key: formerIdsKey(number), value: pack(batch.formerIds) })
  }
  const { idsMax: _, ...before } = extent
  const { idsMax = publishIdsMax } = batch
  return { ...before, events, bytes, stored, ids, ...(idsMax !== publishIdsMax && { idsMax }) }
}

function commitSlices(
  tables: LmdbTables,
  number: number,
  changes: readonly SliceChange[],
  entries: Write[],
): void {
  // The entries of this batch so far are not in the table yet.
  const kept = new Map<string, LmdbKey[]>()
  for (const { worker = '', slice, offset, value, patch } of changes) {
    const name = JSON.stringify([worker, slice])
    let keys = kept.get(name)
    if (keys === undefined) {
      keys = tables.keys(tables.slices, within([number, worker, slice]))
      kept.set(name, keys)
    }
    const key = [number, worker, slice, offset]
    if (value !== undefined && patch !== undefined && keys.length > 0 && keys.length <= patchesMax) {
      entries.push({ table: tables.slices, key, value: pack({ patch }) })
    } else {
      for (const old of keys) entries.push({ table: tables.slices, key: old })
      keys.length = 0
      if (value === undefined) continue
      entries.push({ table: tables.slices, key, value: pack({ value }) })
    }
    keys.push(key)
  }
}

function commitIds(
  tables: LmdbTables,
  { number, ids }: StoredExtent,
  { ids: published = [], idsMax = publishIdsMax }: SessionBatch,
  entries: Write[],
): number {
  const total = ids + published.length
  entries.push({
    table: tables.ids,
    key: [number, total],
    value: pack(
      published.map(({ id, offset, worker }) => (worker === undefined ? [id, offset] : [id, offset, worker])),
    ),
  })
  if (Math.floor(total / idsSlack) > Math.floor(ids / idsSlack) && total > idsMax) {
    const old = tables.keys(tables.ids, {
      start: [number, 1],
      end: [number, total - idsMax],
      limit: idsSlack * 4,
    })
    for (const key of old) entries.push({ table: tables.ids, key })
  }
  return total
}

/** @returns the transaction that removes a session; an empty one if it does not exist */
export function remove(tables: LmdbTables, session: string, size: Size): Writes {
  const entries: Write[] = []
  return tables.writes(entries, removeSession(tables, session, { entries, size }))
}

/** @returns the size of the store afterwards. Later steps of trimming remove the rest of the session's data. */
export function removeSession(tables: LmdbTables, session: string, { entries, size }: Writes): Size {
  const extent = whole(() => tables.extent(session))
  const record = whole(() => tables.record(session))
  if (extent === undefined && record === undefined) return size
  const endedAt = record === 'damaged' ? undefined : record?.endedAt
  if (endedAt !== undefined) entries.push({ table: tables.ended, key: [endedAt, session] })
  entries.push({ table: tables.records, key: session })
  entries.push({ table: tables.extents, key: session })
  const sessions = size.sessions - 1
  // Without its number the rest of its data cannot be found; only a repair removes it.
  if (extent === 'damaged' || extent === undefined) return { ...size, sessions }
  entries.push({ table: tables.left, key: extent.number, value: nothing })
  return { sessions, events: size.events - extent.events, bytes: size.bytes - extent.bytes }
}

/** @returns what is read, unless it is damaged */
export function whole<Value>(read: () => Value): Value | 'damaged' {
  try {
    return read()
  } catch (error) {
    if (!isDamage(error)) throw error
    return 'damaged'
  }
}
