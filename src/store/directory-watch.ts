import { type Stats, stat, statSync } from 'node:fs'
import type { Clock, Timer } from '../lib/clock.js'

const watchMs = 1_000

/**
 * Looks once a second whether a file is still the one that was opened: writing to one that was removed fails nowhere,
 * and is gone with the process.
 *
 * @param told whether it is there, each time this changes
 * @returns what ends it
 */
export function watchFile(path: string, clock: Clock, told: (isThere: boolean) => void): () => void {
  const opened = statSync(path)
  let timer: Timer
  let wasThere = true
  let isOver = false
  const look = (): void => {
    stat(path, (error, found) => {
      if (isOver) return
      // A file that cannot be looked at may still be there; its commits fail if it is not.
      const isThere =
        error === null ? isSame(found, opened) : error.code !== 'ENOENT' && error.code !== 'ENOTDIR'
      if (isThere !== wasThere) told(isThere)
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
