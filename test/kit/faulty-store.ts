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

/** A store whose writing fails, or waits, for as long as a test wants it to. Reading goes on. */
export class FaultyStore implements Store {
  readonly #store: Store
  #fault: StoreErrorKind | undefined = undefined
  #waiting: (() => void)[] | undefined = undefined
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
    return now
  }

  async #mayWrite(): Promise<void> {
    if (this.#waiting !== undefined) await new Promise<void>((go) => this.#waiting?.push(go))
    if (this.#fault === undefined) return
    throw new StoreError(this.#fault, this.#fault === 'full' ? 'There is no room left.' : 'The disk is gone.')
  }

  async commit(batch: Batch): Promise<void> {
    this.commits += 1
    await this.#mayWrite()
    await this.#store.commit(batch)
  }

  async remove(session: string): Promise<void> {
    await this.#mayWrite()
    await this.#store.remove(session)
  }

  async trim(retention: Retention, now: number, held: (session: string) => boolean): Promise<Trimmed> {
    await this.#mayWrite()
    return this.#store.trim(retention, now, held)
  }

  load(session: string): Promise<StoredSession | undefined> {
    return this.#store.load(session)
  }

  read(session: string, after: Offset, options?: ReadOptions): Promise<Page> {
    return this.#store.read(session, after, options)
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
