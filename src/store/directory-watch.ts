import { type Stats, stat, statSync } from 'node:fs'
import type { Clock, Timer } from '../lib/clock.js'

const watchMs = 1_000

/**
 * Checks once a second that a file is still the one that was opened. Writing to a removed file does not fail, but the data is
 * lost with the process.
 *
 * @param told called with whether it exists, each time this changes
 * @returns a function that ends the watch
 */
export function watchFile(path: string, clock: Clock, listener: (isThere: boolean) => void): () => void {
  const opened = statSync(path)
  let timer: Timer
  let wasThere = true
  let isOver = false
  const look = (): void => {
    stat(path, (error, found) => {
      if (isOver) return
      // A file that cannot be checked may still exist; if not, its commits fail.
      const isThere =
        error === null ? isSame(found, opened) : error.code !== 'ENOENT' && error.code !== 'ENOTDIR'
      if (isThere !== wasThere) listener(isThere)
      wasThere = isThere
      lookLater()
    })
  }
  const lookLater = (): void => {
    timer = clock.after(watchMs, look)
  }
  lookLater()
  return () => {
    isOver = true
    timer.cancel()
  }
}

function isSame(one: Stats, other: Stats): boolean {
  return one.ino === other.ino && one.dev === other.dev
}
