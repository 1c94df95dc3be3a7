import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { open, type RootDatabase, type Transaction } from 'lmdb'
import { type Clock, systemClock } from '../lib/clock.js'
import type { Offset } from '../protocol/cursor.js'
import { checkFile, describe } from './check-file.js'
import { damageOf, isDamage } from './damage.js'
import { watchFile } from './directory-watch.js'
import { commit, remove } from './lmdb-commit.js'
import { storeError } from './lmdb-error.js'
import type { Owner } from './lmdb-fault.js'
import { ForkPass } from './lmdb-fork.js'
import { type LmdbOptions, overlapsIn } from './lmdb-options.js'
import { keptBefore, load, newest, read, readBefore, sessionIds, sessions } from './lmdb-read.js'
import { replace } from './lmdb-replace.js'
import { LmdbTables, type Writes } from './lmdb-tables.js'
import { TrimPass } from './lmdb-trim.js'
import { LmdbWriter } from './lmdb-write.js'
import { type DirectoryLock, lockDirectory } from './lock.js'
import { repairFile } from './repair.js'
import {
  type Batch,
  type Fork,
  type Found,
  type Immediate,
  type Outbox,
  type Page,
  pageDefaults,
  pageScanMax,
  type ReadOptions,
  type Retention,
  type SessionPage,
  type Size,
  type Store,
  type StoredEvent,
  type StoredSession,
  StoreError,
  type Trimmed,
} from './store.js'

/**
 * Opens the embedded store, an LMDB environment. Every page in use is checked first, because LMDB crashes on a damaged one.
 * This takes 2 to 6 s for each GB; of the values only the checksums of their keys are read.
 *
 * Values are encoded in the caller's turn; writing and flushing happen in a thread of LMDB. Each page is read in a turn of its
 * own, so that live events are delivered between many reads.
 *
 * @throws StoreError `refused` when another process uses the directory, a newer version wrote it or it is damaged, `full` when
 *   there is no room, `failed` when it cannot be opened for another reason
 */
export function openLmdb(options: LmdbOptions): Store {
  const lock = lockDirectory(options.directory, options.clock ?? systemClock)
  try {
    expectWhole(options)
    return new LmdbStore(options, lock)
  } catch (error) {
    lock.release()
    throw storeError(error, options.directory, 0)
  }
}

/** @throws StoreError `refused` when the file is damaged and must not or cannot be repaired */
function expectWhole(options: LmdbOptions): void {
  const { directory, onRepair, clock = systemClock } = options
  const path = join(directory, 'data.lmdb')
  if (!existsSync(path)) return
  const overlaps = overlapsIn(options)
  const check = checkFile(path, overlaps)
  if (check.faults.length === 0) return
  const what = describe(directory, check)
  if (check.isLost) throw new StoreError('refused', `${what}: restore a backup.`)
  if (onRepair === undefined || check.isCut) {
    const how = `restore a backup, or save all intact data with \`runcast inspect --repair ${directory}\`.`
    throw new StoreError('refused', `${what}: ${how}`)
  }
  onRepair(repairFile(directory, overlaps, clock.now()))
}

function closed(): StoreError {
  return new StoreError('closed', 'The store is closed.')
}

class LmdbStore implements Store {
  readonly kind = 'lmdb'
  readonly found: Found
  readonly now: Immediate = {
    load: (session) => {
      this.#mustBeOpen()
      return this.#reading(session, () => load(this.#tables, session))
    },
    newest: (session, options) => {
      this.#mustBeOpen()
      const scan = { ...pageDefaults, scan: pageScanMax, ...options }
      return this.#reading(session, () => newest(this.#tables, session, scan))
    },
  }
  readonly #directory: string
  readonly #clock: Clock
  readonly #lock: DirectoryLock
  readonly #root: RootDatabase<Buffer>
  readonly #tables: LmdbTables
  readonly #writer: LmdbWriter
  #trim: TrimPass | undefined = undefined
  /** What retention cannot remove, see `Unwritable`. */
  readonly #unwritable = new Set<number | string>()
  /** Settles in the turn of the last requested read. */
  #lastRead: Promise<void> = Promise.resolve()
  /** The newest commit failed, so offsets may be in use that no record knows. */
  #behind = false
  /** The same for a session that may return, until this lifetime ends. */
  #isUnclean = false
  #listener: ((fault: StoreError | undefined) => void) | undefined = undefined
  readonly #endWatch: () => void
  #closing: Promise<void> | undefined = undefined

  constructor({ directory, durability = 'process', clock = systemClock }: LmdbOptions, lock: DirectoryLock) {
    this.#directory = directory
    this.#clock = clock
    this.#lock = lock
    this.#root = open<Buffer>({
      path: join(directory, 'data.lmdb'),
      encoding: 'binary',
      // One batch is one transaction. Otherwise LMDB creates promises of its own whose rejections cannot be caught.
      eventTurnBatching: false,
      // With it a commit is visible and acknowledged before it is flushed to the disk.
      overlappingSync: overlapsIn({ durability }),
    })
    this.#tables = new LmdbTables(this.#root, directory)
    try {
      this.found = this.#tables.begin()
    } catch (error) {
      void this.#root.close()
      throw error
    }
    const { sessions, events, bytes } = this.found
    this.#writer = new LmdbWriter({
      directory,
      root: this.#root,
      tables: this.#tables,
      size: { sessions, events, bytes },
      reading: (read) => this.#reading(undefined, read),
    })
    this.#endWatch = watchFile(join(directory, 'data.lmdb'), clock, (isThere) => this.#notice(isThere))
  }

  get outbox(): Outbox {
    return this.#writer.outbox
  }

  onFault(listener: (fault: StoreError | undefined) => void): void {
    this.#listener = listener
  }

  #notice(isThere: boolean): void {
    const message = `${join(this.#directory, 'data.lmdb')} was removed or replaced while it was in use: put it back, or start again.`
    this.#writer.refusal = isThere ? undefined : new StoreError('failed', message)
    this.#listener?.(this.#writer.refusal)
  }

  async commit(batch: Batch): Promise<void> {
    this.#mustBeOpen()
    this.#behind = true
    try {
      await this.#writer.write(() => commit(this.#tables, batch, this.#writer.size))
    } catch (error) {
      // A batch for damaged data is not given again.
      this.#isUnclean ||= isDamage(error)
      throw error
    }
    this.#behind = false
  }

  async fork(fork: Fork): Promise<void> {
    this.#mustBeOpen()
    const pass = new ForkPass(this.#tables, fork)
    try {
      for (let end = false; !end; ) {
        await this.#turn()
        let step: ReturnType<ForkPass['step']> | undefined
        await this.#writer.write(() => {
          // The same again after a fault of the outbox.
          step ??= pass.step(this.#writer.size)
          end = step.end
          return step.writes
        })
      }
    } finally {
      pass.close()
    }
  }

  async load(session: string): Promise<StoredSession | undefined> {
    await this.#turn()
    return this.now.load(session)
  }

  async read(session: string, after: Offset, options: ReadOptions = {}): Promise<Page> {
    await this.#turn()
    const scan = { ...pageDefaults, scan: pageScanMax, ...options }
    return this.#reading(session, () => read(this.#tables, session, after, scan))
  }

  async readBefore(session: string, before: Offset, options: ReadOptions = {}): Promise<Page> {
    await this.#turn()
    const scan = { ...pageDefaults, scan: pageScanMax, ...options }
    return this.#reading(session, () => readBefore(this.#tables, session, before, scan))
  }

  async keptBefore(session: string, at: number): Promise<Offset> {
    await this.#turn()
    return this.#reading(session, () => keptBefore(this.#tables, session, at))
  }

  async newest(session: string, options: ReadOptions = {}): Promise<Page> {
    await this.#turn()
    return this.now.newest(session, options)
  }

  async sessions(after: string, limit: number): Promise<SessionPage> {
    await this.#turn()
    const ids = this.#reading(undefined, () => sessionIds(this.#tables, after, limit))
    return this.#reading(undefined, () => sessions(this.#tables, ids, limit))
  }

  async replace(session: string, events: readonly StoredEvent[]): Promise<void> {
    this.#mustBeOpen()
    await this.#writer.write(() => replace(this.#tables, session, events, this.#writer.size))
  }

  async remove(session: string): Promise<void> {
    this.#mustBeOpen()
    try {
      await this.#writer.write(() => remove(this.#tables, session, this.#writer.size))
    } catch (error) {
      this.#isUnclean = true
      throw error
    }
    // A new session may have this id.
    this.#unwritable.delete(session)
  }

  async trim(retention: Retention, now: number, held: (session: string) => boolean): Promise<Trimmed> {
    this.#mustBeOpen()
    let trimmed: Trimmed = { removed: [], trimmed: [], more: false }
    const make = (): Writes => {
      this.#trim ??= new TrimPass(this.#tables, this.#unwritable)
      const step = this.#trim.step({ retention, now, held, size: this.#writer.size })
      trimmed = step.trimmed
      return step.writes
    }
    // The pass may consider something removed that still exists, so the next one starts afresh.
    const without = (owner: Owner): boolean => {
      this.#trim = undefined
      return this.#passOver(owner)
    }
    await this.#writer.write(make, without).catch((error: unknown) => {
      this.#trim = undefined
      throw error
    })
    if (!trimmed.more) this.#trim = undefined
    return trimmed
  }

  size(): Size {
    return this.#writer.size
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#writer.settled()
    this.#writer.refusal = closed()
    this.#endWatch()
    try {
      if (!this.#behind && !this.#isUnclean)
        await this.#writer.apply(this.#tables.end(this.#writer.size).entries)
    } catch {
      // Then this was not a clean end, which the next start will detect.
    } finally {
      await this.#root.close()
      this.#lock.release()
    }
  }

  /** Waits for a turn without another read. */
  async #turn(): Promise<void> {
    this.#mustBeOpen()
    this.#lastRead = this.#lastRead.then(() => new Promise((resolve) => this.#clock.defer(resolve)))
    await this.#lastRead
    this.#mustBeOpen()
  }

  /**
   * Reads in a transaction that sees the last commit. LMDB's own transactions keep the state of their first read for a moment,
   * and one that found a damaged page refuses every later read.
   *
   * @throws StoreError `damaged` when the data is not what was stored
   */
  #reading<Result>(session: string | undefined, make: () => Result): Result {
    this.#root.resetReadTxn()
    const transaction: Transaction & { refCount?: number } = this.#root.useReadTransaction()
    this.#tables.broke = false
    try {
      return make()
    } catch (error) {
      this.#tables.broke ||= isDamage(error)
      throw damageOf(error, session, this.#directory)
    } finally {
      if (this.#tables.broke) {
        // A reset releases a transaction that is in use, and the interrupted walk will not end its own use.
        this.#root.resetReadTxn()
        for (let use = transaction.refCount ?? 1; use > 0; use--) transaction.done()
      } else transaction.done()
    }
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined) throw closed()
  }

  /** Retention does without a session that cannot be written. @returns whether this is new */
  #passOver({ session = '', number }: Owner): boolean {
    const name = number ?? session
    if (this.#unwritable.has(name)) return false
    this.#unwritable.add(name)
    return true
  }
}
