import { join } from 'node:path'
import { type Random, systemRandom } from '../lib/random.js'
import type { Offset } from '../protocol/cursor.js'
import { pack, readEvents, readHead, unpack } from './block.js'
import { checkFile, describe, type FileCheck, type FileEntry, type FileFault } from './check-file.js'
import {
  extentBytes,
  format,
  keyBytes,
  keyOf,
  nothing,
  packExtent,
  type State,
  type StoredExtent,
  type TableName,
  unpackExtent,
} from './lmdb-tables.js'
import { isSealed, unseal } from './seal.js'
import { type SessionRecord, type Size, type StoredEvent, StoreError } from './store.js'

/** The losses of a session, which continues with its intact data and a new epoch. */
export interface Loss {
  readonly session: string
  /** Names of `tableNames`. */
  readonly parts: readonly TableName[]
}

/** The contents of a damaged file. */
export interface Salvage {
  readonly faults: readonly FileFault[]
  readonly losses: readonly Loss[]
  /** The intact data. */
  readonly kept: Size
  readonly isCut: boolean
  /** Some values have no checksums. */
  readonly hasUnsealed: boolean
}

interface Put {
  readonly table: TableName
  readonly key: Buffer
  readonly value: Buffer
}

/** Receives the intact entries. */
type Sink = (puts: readonly Put[]) => void

const putsAtOnce = 5_000

/**
 * Reads all intact data of a store's file, regardless of damage elsewhere. No process may be writing to it.
 *
 * @throws StoreError `refused` when not even its first pages can be read
 */
export function salvage(
  directory: string,
  overlaps: boolean,
  random = systemRandom,
  sink: Sink = () => undefined,
): Salvage {
  const contents = new Contents(sink)
  const check = checkFile(join(directory, 'data.lmdb'), overlaps, (entry) => contents.take(entry))
  if (check.isLost) throw new StoreError('refused', `${describe(directory, check)}: restore a backup.`)
  const { losses, size } = contents.end(check, random)
  return { faults: check.faults, losses, kept: size, isCut: check.isCut, hasUnsealed: check.hasUnsealed }
}

interface Tally {
  events: number
  bytes: number
  last: number
  newest: StoredEvent | undefined
  oldest: StoredEvent | undefined
}

/** The contents of a damaged file, by the numbers of its sessions. */
class Contents {
  readonly #sink: Sink
  #puts: Put[] = []
  readonly #records = new Map<string, SessionRecord>()
  readonly #extents = new Map<string, StoredExtent>()
  readonly #tallies = new Map<number, Tally>()
  /** Numbers of sessions with any entry. */
  readonly #met = new Set<number>()
  readonly #lost = new Map<number, Set<TableName>>()
  readonly #lostIds = new Map<string, Set<TableName>>()
  /** Slices are held back, because in a session that has lost one, each may be out of date. */
  readonly #slices = new Map<number, Put[]>()

  constructor(sink: Sink) {
    this.#sink = sink
  }

  take({ table, key, value }: FileEntry): void {
    if (table === 'ended' || table === 'left') return
    const name = decoded(key)
    try {
      const whole = Buffer.from(isSealed(value) ? unseal(key, value) : value)
      this.#takeWhole(table, { table, key, value: whole }, name)
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      if (typeof name === 'string') add(this.#lostIds, name, table)
      else if (Array.isArray(name)) add(this.#lost, Number(name[0]), table)
    }
  }

  #takeWhole(table: TableName, put: Put, name: unknown): void {
    const { value } = put
    if (table === 'records') return void this.#records.set(String(name), unpack<SessionRecord>(value))
    if (table === 'extents') {
      if (value.length !== extentBytes && value.length !== extentBytes + 8)
        throw new StoreError('damaged', 'an extent has the wrong length')
      return void this.#extents.set(String(name), unpackExtent(value))
    }
    if (table === 'outbox') {
      unpack(value)
      return this.#put(put)
    }
    const number = Number((name as unknown[])[0])
    this.#met.add(number)
    if (table === 'events') this.#count(number, Number((name as unknown[])[1]), value)
    else unpack(value)
    if (table === 'slices') {
      const slices = this.#slices.get(number)
      if (slices === undefined) this.#slices.set(number, [put])
      else slices.push(put)
      return
    }
    this.#put(put)
  }

  #count(number: number, last: number, block: Buffer): void {
    const { count } = readHead(block)
    const events = readEvents(block)
    if (events.length !== count) throw new StoreError('damaged', 'a block has the wrong number of events')
    const tally = this.#tallies.get(number) ?? {
      events: 0,
      bytes: 0,
      last: 0,
      newest: undefined,
      oldest: undefined,
    }
    this.#tallies.set(number, tally)
    tally.events += count
    tally.bytes += block.length
    tally.last = Math.max(tally.last, last)
    tally.newest = events.at(-1) ?? tally.newest
    tally.oldest ??= events[0]
  }

  #put(put: Put): void {
    this.#puts.push(put)
    if (this.#puts.length >= putsAtOnce) this.#flush()
  }

  #flush(): void {
    this.#sink(this.#puts)
    this.#puts = []
  }

  /** Called after all entries. */
  end(check: FileCheck, random: Random): { losses: Loss[]; size: Size } {
    const numbers = new Map([...this.#extents].map(([session, { number }]) => [number, session]))
    this.#spread(check.faults, numbers)
    let next = (check.state?.number ?? 0) + 1
    for (const number of [...this.#met, ...numbers.keys()]) next = Math.max(next, number + 1)
    const losses: Loss[] = []
    let [sessions, events, bytes] = [0, 0, 0]
    for (const session of new Set([
      ...this.#records.keys(),
      ...this.#extents.keys(),
      ...this.#lostIds.keys(),
    ])) {
      const extent = this.#extents.get(session) ?? { ...newExtent, number: next++ }
      const parts = this.#partsOf(session, extent)
      const kept = this.#keep(session, extent, parts, random)
      if (parts.size > 0) losses.push({ session, parts: [...parts] })
      sessions += 1
      events += kept.events
      bytes += kept.bytes
    }
    for (const number of this.#met) {
      if (!numbers.has(number)) this.#put({ table: 'left', key: keyBytes(number), value: nothing })
    }
    const size = { sessions, events, bytes }
    this.#putMade(check, { ...size, number: next }, losses.length > 0)
    this.#flush()
    return { losses, size }
  }

  /** Entries on damaged pages are lost for all sessions whose keys may have been there. */
  #spread(faults: readonly FileFault[], numbers: ReadonlyMap<number, string>): void {
    for (const { table, kind, from, to } of faults) {
      if (table === undefined || kind === 'head') continue
      if (table === 'records' || table === 'extents') continue
      const first = numberOf(from) ?? 0
      const last = numberOf(to) ?? Number.POSITIVE_INFINITY
      for (const number of numbers.keys())
        if (number >= first && number <= last) add(this.#lost, number, table)
    }
  }

  #partsOf(session: string, extent: StoredExtent): Set<TableName> {
    const parts = new Set([...(this.#lostIds.get(session) ?? []), ...(this.#lost.get(extent.number) ?? [])])
    if (!this.#records.has(session)) parts.add('records')
    if (!this.#extents.has(session)) parts.add('extents')
    // Its events can be counted.
    const tally = this.#tallies.get(extent.number)
    if ((tally?.events ?? 0) === extent.events && (tally?.bytes ?? 0) === extent.bytes) parts.delete('events')
    else parts.add('events')
    return parts
  }

  #keep(session: string, extent: StoredExtent, parts: ReadonlySet<TableName>, random: Random): Size {
    const tally = this.#tallies.get(extent.number)
    const made = this.#records.get(session) ?? recordFrom(session, tally)
    // A client with an old cursor may have missed lost events, so it must get a gap.
    const record = parts.size === 0 ? made : { ...made, epoch: random.id(12) }
    const { events = 0, bytes = 0 } = tally ?? {}
    const last = Math.max(extent.last, tally?.last ?? 0) as Offset
    const stored = parts.has('events')
      ? (Math.max(tally?.last ?? 0, extent.trimmed) as Offset)
      : extent.stored
    this.#put({ table: 'records', key: keyBytes(session), value: pack(record) })
    const value = packExtent({ ...extent, events, bytes, last, stored })
    this.#put({ table: 'extents', key: keyBytes(session), value })
    if (record.endedAt !== undefined) {
      this.#put({ table: 'ended', key: keyBytes([record.endedAt, session]), value: nothing })
    }
    if (!parts.has('slices')) for (const put of this.#slices.get(extent.number) ?? []) this.#put(put)
    return { sessions: 1, events, bytes }
  }

  #putMade({ state }: FileCheck, { number, ...size }: Size & { number: number }, hasLost: boolean): void {
    // If the number of unclean ends is unknown, offsets continue well above all that may be in use.
    let known = 0
    for (const { unclean } of this.#extents.values()) known = Math.max(known, unclean)
    const unclean = state?.unclean ?? known + uncleanSpare
    const clean = (state?.clean ?? false) && !hasLost
    this.#put({ table: 'meta', key: keyBytes('format'), value: pack({ format }) })
    const value = pack({ ...size, number, unclean, clean } satisfies State)
    this.#put({ table: 'meta', key: keyBytes('state'), value })
  }
}

const uncleanSpare = 64

const newExtent: StoredExtent = {
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

/** Reconstructs a lost record from the session's events. */
function recordFrom(session: string, tally: Tally | undefined): SessionRecord {
  const { oldest, newest } = tally ?? {}
  const startedAt = oldest?.time ?? 0
  const isEnded = newest?.type === 'complete' && newest.passes === 'all'
  const ended = isEnded ? { endedAt: newest.time } : undefined
  return { session, epoch: '', status: isEnded ? 'ended' : 'running', startedAt, ...ended }
}

function decoded(key: Buffer): unknown {
  try {
    return keyOf(key)
  } catch {
    return undefined
  }
}

/** @returns the number of the session at the beginning of a key */
function numberOf(key: Buffer | undefined): number | undefined {
  const name = key === undefined ? undefined : decoded(key)
  const number: unknown = Array.isArray(name) ? name[0] : name
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined
}

function add<Key>(lost: Map<Key, Set<TableName>>, key: Key, table: TableName): void {
  const tables = lost.get(key)
  if (tables === undefined) lost.set(key, new Set([table]))
  else tables.add(table)
}
