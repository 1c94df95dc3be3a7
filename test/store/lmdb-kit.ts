import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { openLmdb } from '../../src/store/lmdb.js'
import type { Store } from '../../src/store/store.js'

/** @returns a directory for one store, which is removed after the test */
export function aDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'runcast-lmdb-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return join(directory, 'data')
}

/** Opens a store, and closes it after its use. */
export async function withStore<Result>(
  directory: string,
  use: (store: Store) => Promise<Result>,
): Promise<Result> {
  const store = openLmdb({ directory })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}
