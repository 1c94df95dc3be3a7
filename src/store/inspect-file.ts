import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../lib/clock.js'
import { lockDirectory } from './lock.js'
import { repairFile } from './repair.js'
import { type Salvage, salvage } from './salvage.js'

/**
 * Reads every page and value of a store that nobody uses, without the database.
 *
 * @param repair what is whole takes the place of a file in which something is not
 * @returns what is damaged, and where the file as it was is once it is repaired; nothing when all is whole
 * @throws StoreError `refused` when another process uses it, or nothing can be read
 */
export function inspectFile(
  directory: string,
  repair: boolean,
): (Salvage & { readonly aside?: string }) | undefined {
  if (!existsSync(join(directory, 'data.lmdb'))) return undefined
  const lock = lockDirectory(directory, systemClock)
  try {
    // Both ways of opening pick the same commit of a directory that was closed, or whose system has not ended.
    const found = salvage(directory, true)
    const isWhole = found.faults.length === 0 && found.losses.length === 0
    // A repair also seals what a release before has written without checksums.
    if (isWhole && !(repair && found.hasUnsealed)) return undefined
    return repair ? repairFile(directory, true, systemClock.now()) : found
  } finally {
    lock.release()
  }
}
