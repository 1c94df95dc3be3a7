import { existsSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { open } from 'lmdb'
import { type Random, systemRandom } from '../lib/random.js'
import { tableNames } from './lmdb-tables.js'
import { type Salvage, salvage } from './salvage.js'
import { seal } from './seal.js'

/** The result of replacing a file by its intact data. */
export interface Repair extends Salvage {
  /** The path of the old file. */
  readonly aside: string
}

/**
 * Writes the intact data of a store's file into a new one, which replaces it; the old one stays beside it. No process may be
 * using it.
 *
 * @throws StoreError `refused` when nothing can be read, `full` or `failed` when the new one cannot be written
 */
export function repairFile(
  directory: string,
  overlaps: boolean,
  now: number,
  random: Random = systemRandom,
): Repair {
  const path = join(directory, 'data.lmdb')
  const draft = join(directory, 'data.repaired')
  const clear = (): void => {
    for (const left of [draft, `${draft}-lock`]) rmSync(left, { force: true })
  }
  clear()
  try {
    // Each transaction is on the disk before the next.
    const root = open<Buffer>({ path: draft, encoding: 'binary', noSubdir: true, overlappingSync: false })
    const tables = new Map(
      tableNames.map((name) => [
        name,
        root.openDB<Buffer, Buffer>({ name, encoding: 'binary', keyEncoding: 'binary' }),
      ]),
    )
    let salvaged: Salvage
    try {
      salvaged = salvage(directory, overlaps, random, (puts) =>
        root.transactionSync(() => {
          for (const { table, key, value } of puts) void tables.get(table)?.put(key, seal(key, value))
        }),
      )
    } finally {
      void root.close()
    }
    const aside = asideOf(directory, now)
    renameSync(path, aside)
    renameSync(draft, path)
    clear()
    rmSync(`${path}-lock`, { force: true })
    return { ...salvaged, aside }
  } catch (error) {
    clear()
    throw error
  }
}

function asideOf(directory: string, now: number): string {
  const time = new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, '')
  for (let number = 1; ; number++) {
    const path = join(directory, `data.damaged-${time}${number === 1 ? '' : `-${number}`}.lmdb`)
    if (!existsSync(path)) return path
  }
}
