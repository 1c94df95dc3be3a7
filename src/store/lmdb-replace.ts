import type { Offset } from '../protocol/cursor.js'
import { encode, pack, readEvents, readHead, unpack } from './block.js'
import { damageOf } from './damage.js'
import { type LmdbKey, type LmdbTables, packExtent, type Write, type Writes } from './lmdb-tables.js'
import type { Size, StoredEvent } from './store.js'

/**
 * @param events in any order
 * @returns the transaction that puts them in the place of those with the same offsets
 */
export function replace(
  tables: LmdbTables,
  session: string,
  events: readonly StoredEvent[],
  size: Size,
): Writes {
  try {
    return tables.writes(...replaced(tables, session, events, size))
  } catch (error) {
    throw damageOf(error, session, tables.directory)
  }
}

function replaced(
  tables: LmdbTables,
  session: string,
  events: readonly StoredEvent[],
  size: Size,
): [entries: Write[], size: Size] {
  const extent = tables.extent(session)
  if (extent === undefined) return [[], size]
  const { number } = extent
  const entries: Write[] = []
  const others = new Map(events.map((event) => [event.offset, event]))
  let growth = 0
  let done = 0 as Offset
  for (const { offset } of events.toSorted((one, other) => one.offset - other.offset)) {
    // It was in the block of the one before.
    if (offset <= done) continue
    const [found] = tables.range(tables.events, { start: [number, offset], end: [number + 1], limit: 1 })
    if (found === undefined) break
    const { key, value } = found
    done = (key as [number, Offset])[1]
    const block = readEvents(value)
    if (!block.some((event) => others.has(event.offset))) continue
    const bytes = encode(
      block.map((event) => others.get(event.offset) ?? event),
      readHead(value).at,
    )
    growth += bytes.length - value.length
    rewrite(entries, { table: tables.events, key, value: bytes }, value.length)
  }
  replaceLatest(tables, number, events, entries)
  if (entries.length === 0) return [entries, size]
  const next = { ...extent, bytes: extent.bytes + growth }
  entries.push({ table: tables.extents, key: session, value: packExtent(next) })
  return [entries, { ...size, bytes: size.bytes + growth }]
}

function replaceLatest(
  tables: LmdbTables,
  number: number,
  events: readonly StoredEvent[],
  entries: Write[],
): void {
  const table = tables.latest
  for (const event of events) {
    const { worker = '', type, key = '', offset } = event
    // Commands are pinned by their offset.
    for (const name of [key, `#${offset}`]) {
      const at: LmdbKey = [number, worker, type, name]
      const value = tables.get(table, at)
      if (value === undefined || unpack<StoredEvent>(value).offset !== offset) continue
      rewrite(entries, { table, key: at, value: pack(event) }, value.length)
    }
  }
}

/** Zeros first, because LMDB leaves in a page what was removed from it. */
function rewrite(entries: Write[], write: Write, lengthBefore: number): void {
  entries.push({ ...write, value: Buffer.alloc(lengthBefore) }, write)
}
