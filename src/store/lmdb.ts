import { statfsSync } from 'node:fs'
import { open, type RootDatabase } from 'lmdb'
import { type Clock, systemClock } from '../lib/clock.js'
import type { Offset } from '../protocol/cursor.js'
import { commit, remove } from './lmdb-commit.js'
import { load, newest, read, sessions } from './lmdb-read.js'
import { type LmdbKey, LmdbTables, type Table, type Writes } from './lmdb-tables.js'
import { TrimPass } from './lmdb-trim.js'
import { type DirectoryLock, lockDirectory } from './lock.js'
import {
  type Batch,
  type Found,
  type Immediate,
  type Page,
  pageDefaults,
  pageScanMax,
  type ReadOptions,
  type Retention,
  type SessionPage,
  type Size,
  type Store,
  type StoredSession,
  StoreError,
  type Trimmed,
} from './store.js'

export interface LmdbOptions {
  /** Made when it is not there. Used by one process at a time. */
  readonly directory: string
  /**
   * What a commit waits for. `process` (default): the operating system has it, and a crash of this process
   * loses nothing. `power`: the disk has it, and a loss of power loses nothing.
   */
  readonly durability?: 'process' | 'power'
  readonly clock?: Clock
}

/**
 * Opens the embedded store: an LMDB environment. Opening reads a few numbers, whatever it holds.
 *
 * Values are encoded in the caller's turn; writing and flushing go on in a thread of LMDB's. Each page is read
 * in a turn of its own: however many ask at once, what is live goes on in between.
 *
 * @throws StoreError `refused` when another process uses the directory or a newer version wrote it, `full`
 *   when there is no room, `failed` when it cannot be opened for another reason
 */
export function openLmdb(options: LmdbOptions): Store {
  const lock = lockDirectory(options.directory, options.clock ?? systemClock)
  try {
    return new LmdbStore(options, lock)
  } catch (error) {
    lock.release()
    throw storeError(error, options.directory, 0)
  }
}

class LmdbStore implements Store {
  readonly found: Found
  readonly now: Immediate = {
    load: (session) => {
      this.#beginReading()
      return load(this.#tables, session)
    },
    newest: (session, options) => {
      this.#beginReading()
      return newest(this.#tables, session, { ...pageDefaults, scan: pageScanMax, ...options })
    },
  }
  readonly #directory: string
  readonly #clock: Clock
  readonly #lock: DirectoryLock
  readonly #root: RootDatabase<Buffer>
  readonly #tables: LmdbTables
  #size: Size
  #trim: TrimPass | undefined = undefined
  /** Settles in the turn of the read that was asked for last. */
  #reading: Promise<void> = Promise.resolve()
  /** Settles when the write that was asked for last has. */
  #writing: Promise<unknown> = Promise.resolve()
  /** The newest commit has not been kept: offsets may have been given out that no record knows of. */
  #behind = false
  #closing: Promise<void> | undefined = undefined

  constructor({ directory, durability = 'process', clock = systemClock }: LmdbOptions, lock: DirectoryLock) {
    this.#directory = directory
    this.#clock = clock
    this.#lock = lock
    this.#root = open<Buffer>({
      path: `${directory}/data.lmdb`,
      encoding: 'binary',
      // One batch is one transaction. Otherwise LMDB holds promises of its own that nobody can catch.
      eventTurnBatching: false,
      // With it a commit is visible, and told, before it is flushed to the disk.
      overlappingSync: durability === 'process',
    })
    this.#tables = new LmdbTables(this.#root, directory)
    try {
      this.found = this.#tables.begin()
    } catch (error) {
      void this.#root.close()
      throw error
    }
    const { sessions, events, bytes } = this.found
    this.#size = { sessions, events, bytes }
  }

  async commit(batch: Batch): Promise<void> {
    this.#mustBeOpen()
    this.#behind = true
    await this.#write(() => commit(this.#tables, batch, this.#size))
    this.#behind = false
  }

  async load(session: string): Promise<StoredSession | undefined> {
    await this.#turn()
    return this.now.load(session)
  }

  async read(session: string, after: Offset, options: ReadOptions = {}): Promise<Page> {
    await this.#turn()
    return read(this.#tables, session, after, { ...pageDefaults, scan: pageScanMax, ...options })
  }

  async newest(session: string, options: ReadOptions = {}): Promise<Page> {
    await this.#turn()
    return this.now.newest(session, options)
  }

  async sessions(after: string, limit: number): Promise<SessionPage> {
    await this.#turn()
    return sessions(this.#tables, after, limit)
  }

  async remove(session: string): Promise<void> {
    await this.#write(() => remove(this.#tables, session, this.#size))
  }

  async trim(retention: Retention, now: number, held: (session: string) => boolean): Promise<Trimmed> {
    let trimmed: Trimmed = { removed: [], trimmed: [], more: false }
    await this.#write(() => {
      this.#trim ??= new TrimPass(this.#tables)
      const step = this.#trim.step({ retention, now, held, size: this.#size })
      trimmed = step.trimmed
      return step.writes
    }).catch((error: unknown) => {
      // The pass may believe that something is gone which is still there: the next one starts afresh.
      this.#trim = undefined
      throw error
    })
    if (!trimmed.more) this.#trim = undefined
    return trimmed
  }

  size(): Size {
    return this.#size
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#writing
    try {
      if (!this.#behind) await this.#apply(this.#tables.end(this.#size))
    } catch {
      // Then this was no end in good order, and the next start will know.
    } finally {
      await this.#root.close()
      this.#lock.release()
    }
  }

  /** Waits for a turn in which nobody else reads. */
  async #turn(): Promise<void> {
    this.#mustBeOpen()
    this.#reading = this.#reading.then(() => new Promise((resolve) => this.#clock.defer(resolve)))
    await this.#reading
    this.#beginReading()
  }

  /** What a commit has kept has to be seen. LMDB's reads go on for a moment with what there was at the first of them. */
  #beginReading(): void {
    this.#mustBeOpen()
    this.#root.resetReadTxn()
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined) throw new StoreError('closed', 'The store is closed.')
  }

  /** Runs writes one after the other, so that each is made from what the one before has left. */
  async #write(make: () => Writes): Promise<void> {
    this.#mustBeOpen()
    const before = this.#writing
    const done = before.then(async () => {
      const writes = make()
      if (writes.entries.length === 0) return
      await this.#apply(writes)
      this.#size = writes.size
    })
    this.#writing = done.catch(() => undefined)
    await done
  }

  async #apply({ entries }: Writes): Promise<void> {
    let bytes = 0
    for (const { value } of entries) bytes += value?.length ?? 0
    try {
      // Nothing in here throws: keys and values were made before, so that no half of a batch is written.
      await this.#root.batch(() => {
        for (const { table, key, value } of entries) put(table, key, value)
      })
    } catch (error) {
      throw storeError(await causeOf(error), this.#directory, bytes)
    }
  }
}

/** LMDB tells that a commit failed at once, and why a little later. */
async function causeOf(error: unknown): Promise<unknown> {
  if (!(error instanceof Error && 'commitError' in error)) return error
  try {
    await error.commitError
    return error
  } catch (cause) {
    return cause
  }
}

// Errors of LMDB and of the system, as numbers.
const mapFull = -30_792
const noSpace = 28
const fileTooLarge = 27
const quotaExceeded = 122
const inputOutput = 5

function storeError(error: unknown, directory: string, bytes: number): StoreError {
  if (error instanceof StoreError) return error
  const text = error instanceof Error ? error.message : String(error)
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  const full =
    code === mapFull ||
    code === noSpace ||
    code === 'ENOSPC' ||
    code === fileTooLarge ||
    code === quotaExceeded ||
    // LMDB calls a short write an input/output error.
    (code === inputOutput && freeBytes(directory) < 2 * bytes + 1024 * 1024)
  return full
    ? new StoreError('full', `There is no room left in ${directory}: make room there, or keep less.`, {
        cause: error,
      })
    : new StoreError('failed', `The store in ${directory} failed: ${text}`, { cause: error })
}

function freeBytes(directory: string): number {
  try {
    const { bavail, bsize } = statfsSync(directory)
    return bavail * bsize
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

function put(table: Table, key: LmdbKey, value: Buffer | undefined): void {
  // Both promises are that of the batch.
  if (value === undefined) void table.remove(key)
  else void table.put(key, value)
}
