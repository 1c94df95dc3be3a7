import type { Offset } from '../protocol/cursor.js'
import { blocksOf, pack, readEvents, readHead } from './block.js'
import { damageOf } from './damage.js'
import { eventsUpTo, expectForkable } from './forking.js'
import { emptyExtent } from './lmdb-commit.js'
import {
  type LmdbKey,
  type LmdbTables,
  nothing,
  packExtent,
  type StoredExtent,
  type Write,
  type Writes,
} from './lmdb-tables.js'
import { type Fork, type Size, StoreError } from './store.js'

// The bounds of one step, which takes a few milliseconds.
const bytesPerStep = 128 * 1024
const blocksPerStep = 100
const entriesPerStep = 500

/**
 * Copies a session in steps, each a transaction. Until the last one the copy is marked as the rest of a removed session: if the
 * process dies meanwhile, trimming removes it. Copied blocks belong to the copy alone, so neither session's retention, removal or
 * damage has anything to do with the other.
 */
export class ForkPass {
  readonly #tables: LmdbTables
  readonly #fork: Fork
  readonly #number: number
  /** What the fork has beside its events, as entries. */
  readonly #contents: Write[]
  /** As it was before the first events were copied. */
  #source: StoredExtent | undefined
  /** Everything up to here was copied. */
  #position = 0 as Offset
  #events = 0
  #bytes = 0
  #stored = 0 as Offset
  #isMarked = false
  #areEventsCopied = false

  constructor(tables: LmdbTables, fork: Fork) {
    this.#tables = tables
    this.#fork = fork
    this.#number = tables.newNumber()
    this.#contents = contentsOf(tables, this.#number, fork)
    tables.copying.add(this.#number)
  }

  /** @returns the next transaction; the last one if `end` is set, after which the fork exists */
  step(size: Size): { readonly writes: Writes; readonly end: boolean } {
    const entries: Write[] = []
    if (!this.#isMarked) {
      this.#isMarked = true
      entries.push({ table: this.#tables.left, key: this.#number, value: nothing })
    }
    try {
      this.#expectSource()
      if (!this.#areEventsCopied) this.#copyEvents(entries)
      else entries.push(...this.#contents.splice(0, entriesPerStep))
    } catch (error) {
      throw damageOf(error, this.#fork.from, this.#tables.directory)
    }
    const end = this.#areEventsCopied && this.#contents.length === 0
    const after = end ? this.#finish(entries, size) : size
    return { writes: this.#tables.writes(entries, after), end }
  }

  /** The copy is complete, or given up: what is marked as left may go. */
  close(): void {
    this.#tables.copying.delete(this.#number)
  }

  #expectSource(): void {
    const tables = this.#tables
    const { from, epoch, batch } = this.#fork
    const extent = tables.extent(from)
    const isTaken = tables.extent(batch.session) !== undefined
    expectForkable({ from, epoch, found: extent && tables.record(from)?.epoch, fork: batch.session, isTaken })
    if (extent === undefined || this.#areEventsCopied) return
    const isCut = this.#events > 0 && extent.trimmed > this.#position
    if (isCut)
      throw new StoreError('failed', `Events of the session ${from} were trimmed while it was forked.`)
    if (this.#events === 0) this.#source = extent
  }

  #copyEvents(entries: Write[]): void {
    const { number, trimmed } = this.#source ?? emptyExtent
    const { last } = this.#fork.batch
    const { events } = this.#tables
    let bytes = 0
    let blocks = 0
    const following = { start: [number, this.#position + 1], end: [number + 1] }
    for (const { key, value } of this.#tables.range(events, following)) {
      if (readHead(value).first > last) break
      if (blocks === blocksPerStep || bytes >= bytesPerStep) return
      const end = (key as LmdbKey & [number, Offset])[1]
      for (const block of end <= last ? [blockAt(end, value)] : cutBlock(value, last)) {
        entries.push({ table: events, key: [this.#number, block.last], value: block.bytes })
        this.#events += block.count
        this.#bytes += block.bytes.length
        this.#stored = block.last
      }
      blocks += 1
      bytes += value.length
      this.#position = end
      if (end >= last) break
    }
    this.#stored = Math.max(this.#stored, Math.min(trimmed, last)) as Offset
    this.#areEventsCopied = true
  }

  #finish(entries: Write[], size: Size): Size {
    const { trimmed } = this.#source ?? emptyExtent
    const { at, batch } = this.#fork
    const extent: StoredExtent = {
      ...emptyExtent,
      number: this.#number,
      last: batch.last,
      trimmed: Math.min(trimmed, batch.last) as Offset,
      stored: this.#stored,
      events: this.#events,
      bytes: this.#bytes,
      at,
      unclean: this.#tables.unclean,
    }
    entries.push(
      { table: this.#tables.records, key: batch.session, value: pack(batch.record) },
      { table: this.#tables.extents, key: batch.session, value: packExtent(extent) },
      { table: this.#tables.left, key: this.#number },
    )
    return {
      sessions: size.sessions + 1,
      events: size.events + extent.events,
      bytes: size.bytes + extent.bytes,
    }
  }
}

interface CopiedBlock {
  readonly last: Offset
  readonly count: number
  readonly bytes: Buffer
}

function blockAt(last: Offset, value: Buffer): CopiedBlock {
  // The value is LMDB's own memory until the next read.
  return { last, count: readHead(value).count, bytes: Buffer.from(value) }
}

/** @returns the events of a block up to an offset, kept when they were */
function cutBlock(value: Buffer, last: Offset): readonly CopiedBlock[] {
  return blocksOf(eventsUpTo(readEvents(value), last), readHead(value).at)
}

function contentsOf(tables: LmdbTables, number: number, { batch }: Fork): Write[] {
  const entries: Write[] = []
  for (const worker of batch.workers ?? []) {
    entries.push({ table: tables.workers, key: [number, worker.worker], value: pack(worker) })
  }
  for (const { worker = '', slice, offset, value } of batch.slices ?? []) {
    if (value === undefined) continue
    entries.push({ table: tables.slices, key: [number, worker, slice, offset], value: pack({ value }) })
  }
  for (const { worker = '', type, key, event } of batch.latest ?? []) {
    if (event === undefined) continue
    entries.push({ table: tables.latest, key: [number, worker, type, key], value: pack(event) })
  }
  return entries
}
