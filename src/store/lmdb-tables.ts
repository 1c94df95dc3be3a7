import type { Database, RangeOptions, RootDatabase } from 'lmdb'
import * as lmdb from 'lmdb'
import type { Offset } from '../protocol/cursor.js'
import { pack, unpack } from './block.js'
import { isDamage } from './damage.js'
import { isSealed, seal, unseal } from './seal.js'
import { type Extent, type Found, type SessionRecord, type Size, StoreError } from './store.js'

export type LmdbKey = string | number | (string | number)[]
export type Table = Database<Buffer, LmdbKey>

/** One entry of a transaction: a value to put, or a key to remove. */
export interface Write {
  readonly table: Table
  readonly key: LmdbKey
  readonly value?: Buffer
}

/** One transaction, and the size of the store after it. */
export interface Writes {
  readonly entries: Write[]
  readonly size: Size
}

/**
 * The entry of a session in the table `extents`: nine numbers, or ten if the window of ids differs from the default. Every
 * commit rewrites it.
 */
export interface StoredExtent extends Extent {
  /** Identifies the session in the keys of its events, workers, slices and ids. Never reused. */
  readonly number: number
  /** The newest offset in use. */
  readonly last: Offset
  /** How many times the store had ended uncleanly when this was written. */
  readonly unclean: number
  /** How many ids have been published in total. */
  readonly ids: number
  /** How many of them are remembered; `publishIdsMax` when absent. */
  readonly idsMax?: number
}

/** The entry `state` of the table `meta`. */
export interface State extends Size {
  /** The next session's number. */
  readonly number: number
  readonly unclean: number
  readonly clean: boolean
}

/** The entry `format` of the table `meta`. */
export interface Format {
  readonly format: number
  /** The store was created in format 1, whose values have no seal. */
  readonly unsealed?: true
}

/** 2: every value has a seal, see `seal.ts`. 1: none has. */
export const format = 2

/** Missing in the types of LMDB's binding. @returns the bytes of a key on disk */
export const { keyValueToBuffer: keyBytes, bufferToKeyValue: keyOf } = lmdb as unknown as {
  readonly keyValueToBuffer: (key: LmdbKey) => Buffer
  readonly bufferToKeyValue: (bytes: Buffer) => LmdbKey
}

export const tableNames = [
  'meta',
  'records',
  'extents',
  'events',
  'workers',
  'slices',
  'latest',
  'ids',
  'ended',
  'left',
  'outbox',
] as const

export type TableName = (typeof tableNames)[number]

/**
 * The tables of the embedded store, and its lifetimes. `lmdb-commit.ts` writes to the tables, `lmdb-read.ts` reads from them;
 * all of it is synchronous.
 */
export class LmdbTables {
  /** `format`: see `Format`. `state`: see `State`. */
  readonly meta: Table
  /** Session id → its record. */
  readonly records: Table
  /** Session id → its extent. */
  readonly extents: Table
  /** [number, offset of the last event] → block. */
  readonly events: Table
  /** [number, worker] → its record. */
  readonly workers: Table
  /** [number, worker or '', slice, offset] → value, or patch to the previous one. */
  readonly slices: Table
  /** [number, worker or '', type, key] → event. */
  readonly latest: Table
  /** [number, ids published so far] → ids and offsets; [number, 0] → hashes of earlier ones. */
  readonly ids: Table
  /** [time of its end, session id] → empty: the order of removal. */
  readonly ended: Table
  /** number → empty: removed sessions whose data is not completely removed yet. */
  readonly left: Table

  readonly directory: string
  /** Numbers of sessions that are being copied: what is marked as left of them is not removed. */
  readonly copying = new Set<number>()
  /** Set when a page was found damaged: the transaction of this read must not be used any more. */
  broke = false
  /** The number of the next session. */
  #number = 1
  #unclean = 0
  #hasUnsealed = false
  readonly #root: RootDatabase<Buffer>
  #outbox: Table | undefined = undefined

  constructor(root: RootDatabase<Buffer>, directory: string) {
    this.directory = directory
    this.#root = root
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

  /** number → what is to be told. Not there before somebody asks: versions that do not know it refuse the file. */
  get outbox(): Table {
    this.#outbox ??= this.#root.openDB<Buffer, LmdbKey>({ name: 'outbox', encoding: 'binary' })
    return this.#outbox
  }

  /** How many times the store has ended uncleanly. */
  get unclean(): number {
    return this.#unclean
  }

  /**
   * Begins a lifetime of the store, whose end counts as unclean until `end` is called.
   *
   * @throws StoreError `refused` when it was written in a newer format
   */
  begin(): Found {
    const made = formatOf(this.meta.get('format'), this.directory)
    this.#hasUnsealed = made?.format === 1 || made?.unsealed === true
    if (made?.format !== format) {
      const kept: Format = { format, ...(this.#hasUnsealed && { unsealed: true }) }
      this.#putNow('format', pack(kept))
    }
    const state = this.#state()
    this.#number = state.number
    this.#unclean = state.unclean + (state.clean ? 0 : 1)
    const { sessions, events, bytes, clean } = state
    this.#putNow('state', this.#packState({ sessions, events, bytes }, false))
    return { sessions, events, bytes, clean }
  }

  #putNow(key: string, value: Buffer): void {
    this.meta.putSync(key, seal(keyBytes(key), value))
  }

  /** @throws StoreError `damaged` when the value is not the stored one */
  get(table: Table, key: LmdbKey): Buffer | undefined {
    try {
      const value = table.get(key)
      return value === undefined ? undefined : this.#unsealed(key, value)
    } catch (error) {
      throw this.#damage(error)
    }
  }

  /** @throws StoreError `damaged` at the first entry whose value is not the stored one */
  *range(table: Table, options: RangeOptions): Generator<{ readonly key: LmdbKey; readonly value: Buffer }> {
    try {
      for (const { key, value } of table.getRange(options)) yield { key, value: this.#unsealed(key, value) }
    } catch (error) {
      throw this.#damage(error)
    }
  }

  /** @throws StoreError `damaged` at the first entry whose page, or that of its value, is damaged */
  keys(table: Table, options: RangeOptions): LmdbKey[] {
    try {
      return [...table.getKeys(options)]
    } catch (error) {
      throw this.#damage(error)
    }
  }

  /** LMDB found a damaged page, and the transaction refuses all further reads. */
  #damage(error: unknown): unknown {
    if (error instanceof StoreError || !isDamage(error)) return error
    this.broke = true
    const reason = error instanceof Error ? error.message : String(error)
    return new StoreError('damaged', reason, { cause: error })
  }

  #unsealed(key: LmdbKey, value: Buffer): Buffer {
    return this.#hasUnsealed && !isSealed(value) ? value : unseal(keyBytes(key), value)
  }

  #state(): State {
    const bytes = this.get(this.meta, 'state')
    if (bytes !== undefined) return unpack<State>(bytes)
    return { number: 1, sessions: 0, events: 0, bytes: 0, unclean: 0, clean: true }
  }

  #packState(size: Size, clean: boolean): Buffer {
    return pack({ ...size, number: this.#number, unclean: this.#unclean, clean } satisfies State)
  }

  /** Ends the lifetime cleanly. */
  end(size: Size): Writes {
    return { entries: [{ table: this.meta, key: 'state', value: this.#packState(size, true) }], size }
  }

  /** Makes one transaction of the entries. */
  writes(entries: Write[], size: Size): Writes {
    if (entries.length === 0) return { entries, size }
    entries.push({ table: this.meta, key: 'state', value: this.#packState(size, false) })
    return { entries, size }
  }

  /** @returns a number that no session has had */
  newNumber(): number {
    return this.#number++
  }

  record(session: string): SessionRecord | undefined {
    const bytes = this.get(this.records, session)
    return bytes === undefined ? undefined : unpack<SessionRecord>(bytes)
  }

  extent(session: string): StoredExtent | undefined {
    const bytes = this.get(this.extents, session)
    return bytes === undefined ? undefined : unpackExtent(bytes)
  }
}

/** @throws StoreError `refused` when it is of another version */
function formatOf(stored: Buffer | undefined, directory: string): Format | undefined {
  if (stored === undefined) return undefined
  const value = isSealed(stored) ? unseal(keyBytes('format'), stored) : stored
  const made = unpack<Format>(value)
  if (made.format === 1 || made.format === format) return made
  throw new StoreError(
    'refused',
    `${directory} was written by a newer version of runcast, in format ${made.format}, and this one reads ` +
      `formats up to ${format}: run that version, or use another directory.`,
  )
}

/** The empty value. */
export const nothing = Buffer.alloc(0)

/** The range of the keys with this prefix. Arrays sort before longer ones, strings after numbers. */
export function within(prefix: (string | number)[]): { start: LmdbKey; end: LmdbKey } {
  const last = prefix.at(-1)
  const next = typeof last === 'number' ? last + 1 : `${last}\u0000`
  return { start: prefix, end: [...prefix.slice(0, -1), next] }
}

/** The key in the table `ids` of the hashes of ids that have left the window. */
export function formerIdsKey(number: number): LmdbKey {
  return [number, 0]
}

/** Without `idsMax`, which takes eight more. */
export const extentBytes = 9 * 8

export function packExtent(extent: StoredExtent): Buffer {
  const { number, last, trimmed, stored, events, bytes, at, unclean, ids, idsMax } = extent
  const values = [number, last, trimmed, stored, events, bytes, at, unclean, ids]
  if (idsMax !== undefined) values.push(idsMax)
  const buffer = Buffer.allocUnsafe(values.length * 8)
  let end = 0
  for (const value of values) end = buffer.writeDoubleBE(value, end)
  return buffer
}

export function unpackExtent(buffer: Buffer): StoredExtent {
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
    ...(buffer.length > extentBytes && { idsMax: value(9) }),
  }
}
