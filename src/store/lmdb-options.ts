import type { Clock } from '../lib/clock.js'
import type { Repair } from './repair.js'

export interface LmdbOptions {
  /** Made when it is not there. Used by one process at a time. */
  readonly directory: string
  /**
   * What a commit waits for. `process` (default): the operating system has it, and a crash of this process
   * loses nothing. `power`: the disk has it, and a loss of power loses nothing.
   */
  readonly durability?: 'process' | 'power'
  readonly clock?: Clock
  /**
   * What is whole of a damaged file takes its place; told what was lost. Unless given, a damaged file is refused.
   * One that was cut is refused in any case.
   */
  readonly onRepair?: (repair: Repair) => void
}

/** How LMDB opens a file decides what it takes for the last commit, see `pickMeta`. */
export function overlapsIn({ durability = 'process' }: Pick<LmdbOptions, 'durability'>): boolean {
  return durability === 'process' && process.platform !== 'win32'
}
