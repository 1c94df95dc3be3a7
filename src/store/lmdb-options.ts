import type { Clock } from '../lib/clock.js'
import type { Repair } from './repair.js'

export interface LmdbOptions {
  /** Created if it does not exist. Only one process at a time may use it. */
  readonly directory: string
  /**
   * When a commit is complete. `process` (default): the operating system has the data, so a crash of this process loses
   * nothing. `power`: the disk has the data, so a loss of power loses nothing.
   */
  readonly durability?: 'process' | 'power'
  readonly clock?: Clock
  /**
   * Called after a damaged file was replaced by its intact data, with what was lost. Without it a damaged file is refused. A
   * truncated file is always refused.
   */
  readonly onRepair?: (repair: Repair) => void
}

/** The way LMDB opens a file decides which commit it considers the last one, see `pickMeta`. */
export function overlapsIn({ durability = 'process' }: Pick<LmdbOptions, 'durability'>): boolean {
  return durability === 'process' && process.platform !== 'win32'
}
