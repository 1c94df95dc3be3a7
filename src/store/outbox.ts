import type { JsonObject } from '../lib/json.js'
import { pack, unpack } from './block.js'
import { isDamage } from './damage.js'
import type { LmdbTables, Table, Write } from './lmdb-tables.js'
import type { Outbox, OutboxEntry } from './store.js'

/** The outbox of the embedded store: a table that is there once somebody has asked for it. */
export class LmdbOutbox implements Outbox {
  readonly #tables: LmdbTables
  readonly #table: Table
  readonly #write: () => Promise<void>
  /** What no transaction has taken yet, in order. */
  #waiting: Write[] = []

  /** @param write keeps what waits, where no commit comes that takes it along */
  constructor(tables: LmdbTables, table: Table, write: () => Promise<void>) {
    this.#tables = tables
    this.#table = table
    this.#write = write
  }

  entries(): OutboxEntry[] {
    const found: OutboxEntry[] = []
    for (const key of this.#table.getKeys()) {
      try {
        const value = this.#tables.get(this.#table, key)
        if (value !== undefined) found.push({ key: key as number, value: unpack<JsonObject>(value) })
      } catch (error) {
        if (!isDamage(error)) throw error
      }
    }
    return found
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

  /** The transaction has failed. */
  putBack(writes: readonly Write[]): void {
    this.#waiting = [...writes, ...this.#waiting]
  }
}
