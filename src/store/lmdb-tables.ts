import type { Database, RootDatabase } from 'lmdb'
import type { Offset } from '../protocol/cursor.js'
import { pack, unpack } from './block.js'
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

const format = 1

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
  /** [number, ids published so far] → ids and offsets. */
  readonly ids: Table
  /** [when it ended, session id] → nothing: which sessions go first. */
  readonly ended: Table
  /** number → nothing: sessions that are gone, but for what they left behind. */
  readonly left: Table

  readonly #directory: string
  /** The next session's. */
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
    const bytes = this.records.get(session)
    return bytes === undefined ? undefined : unpack<SessionRecord>(bytes)
  }

  extent(session: string): StoredExtent | undefined {
    const bytes = this.extents.get(session)
    return bytes === undefined ? undefined : unpackExtent(bytes)
  }
}

/** The value of a key that says it all. */
export const nothing = Buffer.alloc(0)

/** The range of the keys that begin so. Arrays sort before longer ones, strings after numbers. */
export function within(prefix: (string | number)[]): { start: LmdbKey; end: LmdbKey } {
  const last = prefix.at(-1)
  const next = typeof last === 'number' ? last + 1 : `${last}\u0000`
  return { start: prefix, end: [...prefix.slice(0, -1), next] }
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
