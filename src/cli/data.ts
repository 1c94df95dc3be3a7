import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { openStore } from '../store/open.js'
import { type Store, StoreError } from '../store/store.js'
import { CommandError, exitCodes } from './exit-codes.js'

/** Where `serve` keeps events unless told otherwise. */
export const defaultData = './runcast-data'

/**
 * Opens a data directory that is there, uses it and closes it.
 *
 * @throws CommandError with one sentence when it is not there, in use, or of another version
 */
export async function withData<Result>(
  directory: string,
  use: (store: Store) => Promise<Result>,
): Promise<Result> {
  if (!existsSync(join(directory, 'data.lmdb'))) {
    throw new CommandError(exitCodes.failure, `${directory} holds no data of a hub`)
  }
  const store = await openData(directory)
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/** @throws CommandError with one sentence */
export async function openData(directory: string, durability?: 'process' | 'power'): Promise<Store> {
  try {
    return await openStore({ directory, ...(durability && { durability }) })
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    throw new CommandError(exitCodes.failure, error.message.replace(/\.$/, ''))
  }
}
