import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { openStore } from '../store/open.js'
import type { Repair } from '../store/repair.js'
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
    throw new CommandError(exitCodes.failure, `${directory} has no hub data`)
  }
  const store = await openData(directory).catch((error: unknown) => {
    throw error instanceof CommandError ? new CommandError(error.exitCode, askInstead(error.message)) : error
  })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/** @returns why a directory cannot be read, and what else to do where a hub that runs has it to itself */
export function askInstead(message: string): string {
  return message.includes(' is in use by ')
    ? message.replace(/: stop it, or .*$/, ': stop it, or ask its hub with --hub URL')
    : message
}

export interface DataOptions {
  readonly durability?: 'process' | 'power'
  /** What is whole of a damaged directory is kept, and told what was lost; it is refused unless given. */
  readonly onRepair?: (repair: Repair) => void
  /** Told that a container which is gone, or goes, still seems to use the directory; then it is tried once more. */
  readonly onWait?: (why: string, ms: number) => void
}

/** @throws CommandError with one sentence */
export async function openData(
  directory: string,
  { durability, onRepair, onWait }: DataOptions = {},
): Promise<Store> {
  const open = () =>
    openStore({ directory, ...(durability && { durability }), ...(onRepair && { onRepair }) })
  try {
    return await open().catch(async (error: unknown) => {
      const isWorthWaiting =
        onWait !== undefined && error instanceof StoreError && error.retryMs !== undefined
      if (!isWorthWaiting) throw error
      onWait(error.message, error.retryMs)
      await pause(error.retryMs)
      return open()
    })
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    throw new CommandError(exitCodes.failure, error.message.replace(/\.$/, ''))
  }
}
