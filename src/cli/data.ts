import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { openStore } from '../store/open.js'
import type { Repair } from '../store/repair.js'
import { type Store, StoreError } from '../store/store.js'
import { CommandError, exitCodes } from './exit-codes.js'

/** The default data directory of `serve`. */
export const defaultData = './runcast-data'

/**
 * Opens an existing data directory, uses it and closes it.
 *
 * @throws CommandError with one sentence if it does not exist, is in use, or has another version
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

/** @returns the reason that a directory cannot be read, and the alternative if a running hub has locked it */
export function askInstead(message: string): string {
  return message.includes(' is in use by ')
    ? message.replace(/: stop it, or .*$/, ': stop it, or ask its hub with --hub URL')
    : message
}

export interface DataOptions {
  readonly durability?: 'process' | 'power'
  /** Keeps the undamaged part of a damaged directory, and is called with the losses; without it the directory is refused. */
  readonly onRepair?: (repair: Repair) => void
  /** Called when a container that has ended, or is ending, still seems to use the directory; then opening is tried once more. */
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
