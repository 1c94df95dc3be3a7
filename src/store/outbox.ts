import type { RangeOptions } from 'lmdb'
import type { JsonObject } from '../lib/json.js'
import { pack, unpack } from './block.js'
import { isDamage } from './damage.js'
import type { LmdbKey, LmdbTables, Table, Write } from './lmdb-tables.js'
import type { Outbox, OutboxEntry } from './store.js'

/** The outbox of the embedded store: a table that is there once somebody has asked for it. */
export class LmdbOutbox implements Outbox {
  readonly #tables: LmdbTables
  readonly #table: Table
  readonly #reading: <Result>(read: () => Result) => Result
  readonly #write: () => Promise<void>
  /** What no transaction has taken yet, in order. */
  #waiting: Write[] = []

  /**
   * @param reading runs reads in a transaction
   * @param write keeps what waits, where no commit comes that takes it along
   */
  constructor(
    tables: LmdbTables,
    reading: <Result>(read: () => Result) => Result,
    write: () => Promise<void>,
  ) {
    this.#tables = tables
    this.#table = tables.outbox
    this.#reading = reading
    this.#write = write
  }

  entries(): OutboxEntry[] {
    const found: OutboxEntry[] = []
    for (const key of this.#keys()) {
      try {
        // After a damaged page the transaction is of no use, so each entry has its own.
        const value = this.#reading(() => this.#tables.get(this.#table, key))
        if (value !== undefined) found.push({ key: key as number, value: unpack<JsonObject>(value) })
      } catch (error) {
        if (!isDamage(error)) throw error
      }
    }
    return found
  }

  /** LMDB stops at an entry with a damaged page, so those after it are read from the end. */
  #keys(): LmdbKey[] {
    const until = (range: RangeOptions): { readonly keys: LmdbKey[]; readonly isWhole: boolean } => {
      const keys: LmdbKey[] = []
      try {
        this.#reading(() => {
          for (const key of this.#table.getKeys(range)) keys.push(key)
        })
        return { keys, isWhole: true }
      } catch (error) {
        if (!isDamage(error)) throw error
        return { keys, isWhole: false }
      }
    }
    const { keys, isWhole } = until({})
    return isWhole ? keys : [...keys, ...until({ reverse: true }).keys.reverse()]
  }

  put(key: number, value: JsonObject): void {
    this.#waiting.push({ table: this.#table, key, value: pack(value) })
  }

  remove(key: number): void {
    this.#waiting.push({ table: this.#table, key })
  }

  flush(): Promise<void> {
    return this.#waiting.length === 0 ? Promise.resolve() : this.#write()
  }

  /** @returns what waits, for a transaction */
  take(): Write[] {
    return this.#waiting.splice(0)
  }

  /**
   * The transaction has failed. A write that met damage is not put back, because what happens in sessions must be kept even
   * then: what cannot be removed is told again after a restart, and what cannot be put only if there is none before.
   */
  putBack(writes: readonly Write[]): void {
    this.#waiting = [...writes, ...this.#waiting]
  }
}
