import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../lib/clock.js'
import { lockDirectory } from './lock.js'
import { repairFile } from './repair.js'
import { type Salvage, salvage } from './salvage.js'

/**
 * Reads every page and value of a store that is not in use, without LMDB.
 *
 * @param repair replaces a damaged file by one with its intact data
 * @returns the damage, and after a repair the path of the old file; undefined if everything is intact
 * @throws StoreError `refused` when another process uses it, or nothing can be read
 */
export function inspectFile(
  directory: string,
  repair: boolean,
): (Salvage & { readonly aside?: string }) | undefined {
  if (!existsSync(join(directory, 'data.lmdb'))) return undefined
  const lock = lockDirectory(directory, systemClock)
  try {
    // Both ways of opening choose the same commit if the directory was closed or the system has not restarted.
    const found = salvage(directory, true)
    const isWhole = found.faults.length === 0 && found.losses.length === 0
    // A repair also adds checksums to values of an older release.
    if (isWhole && !(repair && found.hasUnsealed)) return undefined
    return repair ? repairFile(directory, true, systemClock.now()) : found
  } finally {
    lock.release()
  }
}
