import type { RootDatabase } from 'lmdb'
import { damageOf, isDamage } from './damage.js'
import { causeOf, storeError } from './lmdb-error.js'
import { findFault, type Owner, ownerOf, put } from './lmdb-fault.js'
import { keyBytes, type LmdbTables, type Write, type Writes } from './lmdb-tables.js'
import { LmdbOutbox } from './outbox.js'
import { seal } from './seal.js'
import { type Size, StoreError } from './store.js'

export interface LmdbWriterOptions {
  readonly directory: string
  readonly root: RootDatabase<Buffer>
  readonly tables: LmdbTables
  /** The size of the store when it was opened. */
  readonly size: Size
  /** Runs reads in a transaction that contains the last commit. */
  readonly reading: <Result>(read: () => Result) => Result
}

/** Writes transactions one after the other. If damage makes one fail, nothing is changed, and the session is reported. */
export class LmdbWriter {
  readonly #options: LmdbWriterOptions
  #size: Size
  /** Settles when the last requested write has settled. */
  #last: Promise<unknown> = Promise.resolve()
  #outbox: LmdbOutbox | undefined = undefined
  /** Why nothing can be written now. */
  refusal: StoreError | undefined = undefined

  constructor(options: LmdbWriterOptions) {
    this.#options = options
    this.#size = options.size
  }

  /** The size of the store after the last transaction. */
  get size(): Size {
    return this.#size
  }

  get outbox(): LmdbOutbox {
    const { tables, reading } = this.#options
    this.#outbox ??= new LmdbOutbox(tables, reading, () =>
      this.write(() => ({ entries: [], size: this.#size })),
    )
    return this.#outbox
  }

  /**
   * Writes one transaction. `make` sees the result of the previous one, and is called again after a failure.
   *
   * @param without called with the session whose damage made the transaction fail; returns whether `make` now leaves it out
   * @throws StoreError `damaged` if the session's data cannot be written; `full` or `failed` if nothing can
   */
  async write(make: () => Writes, without: (owner: Owner) => boolean = () => false): Promise<void> {
    const done = this.#last.then(async () => {
      while (!(await this.#try(make, without)));
    })
    this.#last = done.catch(() => undefined)
    await done
  }

  /** @returns when everything requested so far has been written, or has failed */
  async settled(): Promise<void> {
    await this.#outbox?.flush().catch(() => undefined)
    await this.#last
  }

  /** @returns false if it must be tried again */
  async #try(make: () => Writes, without: (owner: Owner) => boolean): Promise<boolean> {
    if (this.refusal !== undefined) throw this.refusal
    const { directory, reading, tables } = this.#options
    const { entries, size } = reading(make)
    const notices = this.#outbox?.take() ?? []
    const all = [...entries, ...notices]
    if (all.length === 0) return true
    const fault = await this.apply(all).catch((error: unknown) => {
      this.#outbox?.putBack(notices)
      throw error
    })
    if (fault === undefined) {
      this.#size = size
      return true
    }
    const { entry, error } = fault
    this.#outbox?.putBack(notices.filter((each) => each !== entry))
    if (notices.includes(entry)) return false
    const owner = reading(() => ownerOf(tables, entry, entries))
    if (owner === undefined) throw storeError(error, directory, 0)
    if (!without(owner)) throw damageOf(error, owner.session, directory)
    return false
  }

  /**
   * @returns the entry that cannot be written because of damage, if there is one; then nothing was written
   * @throws StoreError `full` or `failed` if nothing could be written for another reason
   */
  async apply(entries: readonly Write[]): Promise<{ entry: Write; error: unknown } | undefined> {
    const { directory, root, tables } = this.#options
    let bytes = 0
    const sealed = entries.map(({ table, key, value }) => {
      bytes += value?.length ?? 0
      return { table, key, ...(value && { value: seal(keyBytes(key), value) }) }
    })
    try {
      // Nothing in the callback throws, because keys and values exist already; so no batch is written in part.
      await root.batch(() => {
        for (const { table, key, value } of sealed) put(table, key, value)
      })
      return undefined
    } catch (failure) {
      const cause = await causeOf(failure)
      const index = isDamage(cause) ? findFault(root, tables.meta, sealed) : undefined
      const entry = index === undefined ? undefined : entries[index]
      if (entry !== undefined) {
        const reason = 'one of its pages can be neither replaced nor removed'
        return { entry, error: new StoreError('damaged', reason, { cause }) }
      }
      throw storeError(cause, directory, bytes)
    }
  }
}
