import type { Offset } from '../../src/protocol/cursor.js'
import {
  type Batch,
  type Found,
  type Immediate,
  type Page,
  type ReadOptions,
  type Retention,
  type SessionPage,
  type Size,
  type Store,
  type StoredSession,
  StoreError,
  type StoreErrorKind,
  type Trimmed,
} from '../../src/store/store.js'

/** A store whose writing fails, or waits, and whose sessions are damaged, for as long as a test wants it to. */
export class FaultyStore implements Store {
  readonly #store: Store
  #fault: StoreErrorKind | undefined = undefined
  #waiting: (() => void)[] | undefined = undefined
  #reading: (() => void)[] | undefined = undefined
  readonly #damaged = new Map<string, 'all' | 'events' | 'unnamed'>()
  #damagedAfter = 0
  #told: ((fault: StoreError | undefined) => void) | undefined = undefined
  /** Commits that were asked for, whatever came of them. */
  commits = 0

  constructor(store: Store) {
    this.#store = store
  }

  get found(): Found {
    return this.#store.found
  }

  /** From now on writing fails. */
  fail(kind: StoreErrorKind): void {
    this.#fault = kind
  }

  /** From now on writing works. */
  heal(): void {
    this.#fault = undefined
  }

  /**
   * From now on a session cannot be read or written. `events`: only its events cannot be read. `unnamed`: a commit
   * that has it fails, and does not say which session it was.
   *
   * @param after reads of the events before this offset still work
   */
  damage(session: string, what: 'all' | 'events' | 'unnamed' = 'all', after = 0): void {
    this.#damaged.set(session, what)
    this.#damagedAfter = after
  }

  #expectWhole(session: string, ...whats: readonly string[]): void {
    const what = this.#damaged.get(session)
    if (what !== undefined && whats.includes(what)) {
      throw new StoreError('damaged', `Session ${session} is damaged.`, { session })
    }
  }

  onFault(told: (fault: StoreError | undefined) => void): void {
    this.#told = told
  }

  /** As if the store noticed something by itself; nothing: it is over. */
  notice(message?: string): void {
    this.#told?.(message === undefined ? undefined : new StoreError('failed', message))
  }

  /** From now on reads wait before they read. */
  holdReads(): void {
    this.#reading ??= []
  }

  /** What waits reads. */
  releaseReads(): void {
    const reading = this.#reading ?? []
    this.#reading = undefined
    for (const go of reading) go()
  }

  /** From now on commits wait. */
  hold(): void {
    this.#waiting ??= []
  }

  /** What waits goes on. */
  release(): void {
    const waiting = this.#waiting ?? []
    this.#waiting = undefined
    for (const go of waiting) go()
  }

  get now(): Immediate {
    const { now } = this.#store
    if (now === undefined) throw new TypeError('FaultyStore: expected a store that answers at once')
    return {
      load: (session) => {
        this.#expectWhole(session, 'all', 'unnamed')
        return now.load(session)
      },
      newest: (session, options) => now.newest(session, options),
    }
  }

  async #mayWrite(): Promise<void> {
    if (this.#waiting !== undefined) await new Promise<void>((go) => this.#waiting?.push(go))
    if (this.#fault === undefined) return
    throw new StoreError(this.#fault, this.#fault === 'full' ? 'There is no room left.' : 'The disk is gone.')
  }

  async commit(batch: Batch): Promise<void> {
    this.commits += 1
    await this.#mayWrite()
    for (const { session } of batch.sessions) this.#expectWhole(session, 'all')
    const unnamed = batch.sessions.some(({ session }) => this.#damaged.get(session) === 'unnamed')
    if (unnamed) throw new StoreError('damaged', 'A page is damaged.')
    await this.#store.commit(batch)
  }

  async remove(session: string): Promise<void> {
    await this.#mayWrite()
    this.#damaged.delete(session)
    await this.#store.remove(session)
  }

  async trim(retention: Retention, now: number, held: (session: string) => boolean): Promise<Trimmed> {
    await this.#mayWrite()
    return this.#store.trim(retention, now, held)
  }

  async load(session: string): Promise<StoredSession | undefined> {
    this.#expectWhole(session, 'all')
    return this.#store.load(session)
  }

  async read(session: string, after: Offset, options?: ReadOptions): Promise<Page> {
    if (this.#reading !== undefined) await new Promise<void>((go) => this.#reading?.push(go))
    if (after >= this.#damagedAfter) this.#expectWhole(session, 'all', 'events')
    return this.#store.read(session, after, options)
  }

  async readBefore(session: string, before: Offset, options?: ReadOptions): Promise<Page> {
    if (this.#reading !== undefined) await new Promise<void>((go) => this.#reading?.push(go))
    this.#expectWhole(session, 'all', 'events')
    return this.#store.readBefore(session, before, options)
  }

  keptBefore(session: string, at: number): Promise<Offset> {
    return this.#store.keptBefore(session, at)
  }

  newest(session: string, options?: ReadOptions): Promise<Page> {
    return this.#store.newest(session, options)
  }

  sessions(after: string, limit: number): Promise<SessionPage> {
    return this.#store.sessions(after, limit)
  }

  size(): Size {
    return this.#store.size()
  }

  close(): Promise<void> {
    return this.#store.close()
  }
}
