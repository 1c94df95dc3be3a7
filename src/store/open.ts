import type { LmdbOptions } from './lmdb-options.js'
import type { Store } from './store.js'

/**
 * Opens the embedded store for `createHub({ store })`; the hub closes it. The database is loaded here, so that programs without
 * a store do not need it.
 *
 * @throws StoreError `refused`, `full` or `failed`, with one sentence
 */
export async function openStore(options: LmdbOptions): Promise<Store> {
  const { openLmdb } = await import('./lmdb.js')
  return openLmdb(options)
}
