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

/** One transaction, and what the store holds after it. */
export interface Writes {
  readonly entries: Write[]
  readonly size: Size
}

/** What the table `extents` holds of a session: nine numbers, or ten where the window of ids is not the usual one, rewritten by every commit. */
export interface StoredExtent extends Extent {
  /** Stands for the session in the keys of its events, workers, slices and ids. Never used again. */
  readonly number: number
  /** The newest offset that was given out. */
  readonly last: Offset
  /** How many times the store had ended uncleanly when this was written. */
  readonly unclean: number
  /** How many ids were published, ever. */
  readonly ids: number
  /** How many of them are remembered; `publishIdsMax` when absent. */
  readonly idsMax?: number
}

/** What the table `meta` holds under `state`. */
export interface State extends Size {
  /** The next session's number. */
  readonly number: number
  readonly unclean: number
  readonly clean: boolean
}

/** What the table `meta` holds under `format`. */
export interface Format {
  readonly format: number
  /** It was begun in format 1: values of that time have no seal. */
  readonly unsealed?: true
}

/** 2: every value has a seal, see `seal.ts`. 1: none has. */
export const format = 2

/** Not in the types of LMDB's binding. @returns a key as its bytes lie on disk */
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
 * The tables of the embedded store, and what it knows of its own lifetimes. What a commit writes to them is in
 * `lmdb-commit.ts`, what is read from them in `lmdb-read.ts`; nothing here or there is awaited.
 */
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
  /** [number, ids published so far] → ids and offsets; [number, 0] → hashes of earlier ones. */
  readonly ids: Table
  /** [when it ended, session id] → nothing: which sessions go first. */
  readonly ended: Table
  /** number → nothing: sessions that are gone, but for what they left behind. */
  readonly left: Table

  readonly directory: string
  /** Set where a page was found broken: the transaction of this read is of no more use. */
  broke = false
  /** The next session's. */
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
   * Begins a lifetime of the store: from now on, until `end`, its end counts as unclean.
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

  /** @throws StoreError `damaged` when it is not what was put */
  get(table: Table, key: LmdbKey): Buffer | undefined {
    try {
      const value = table.get(key)
      return value === undefined ? undefined : this.#unsealed(key, value)
    } catch (error) {
      throw this.#damage(error)
    }
  }

  /** @throws StoreError `damaged` at the first entry that is not what was put */
  *range(table: Table, options: RangeOptions): Generator<{ readonly key: LmdbKey; readonly value: Buffer }> {
    try {
      for (const { key, value } of table.getRange(options)) yield { key, value: this.#unsealed(key, value) }
    } catch (error) {
      throw this.#damage(error)
    }
  }

  /** LMDB met a broken page: the transaction in which it did refuses all that follows. */
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

  /** Ends the lifetime in good order. */
  end(size: Size): Writes {
    return { entries: [{ table: this.meta, key: 'state', value: this.#packState(size, true) }], size }
  }

  /** Makes one transaction of what is to be written. */
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

/** The value of a key that says it all. */
export const nothing = Buffer.alloc(0)

/** The range of the keys that begin so. Arrays sort before longer ones, strings after numbers. */
export function within(prefix: (string | number)[]): { start: LmdbKey; end: LmdbKey } {
  const last = prefix.at(-1)
  const next = typeof last === 'number' ? last + 1 : `${last}\u0000`
  return { start: prefix, end: [...prefix.slice(0, -1), next] }
}

/** Where the table `ids` has what is left of those that no window holds any more. */
export function formerIdsKey(number: number): LmdbKey {
  return [number, 0]
}

const extentBytes = 9 * 8

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
