import { linkSync, mkdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { StoreError } from './store.js'

/** A directory that this process alone uses. */
export interface DirectoryLock {
  /** Lets others have it; harmless when done twice. */
  release(): void
}

interface Owner {
  readonly pid: number
  /** When the process was started, as the system tells it; tells it from a later one with the same pid. */
  readonly started: string
}

const attemptsMax = 10

/**
 * Locks a directory with the file `lock`, which names the process that has it. A lock whose process has
 * gone, however it went, is taken over.
 *
 * @throws StoreError `refused` when a living process has it
 */
export function lockDirectory(directory: string): DirectoryLock {
  mkdirSync(directory, { recursive: true })
  const path = join(directory, 'lock')
  const mine = JSON.stringify({ pid: process.pid, started: startOf(process.pid) } satisfies Owner)
  const draft = join(directory, `lock.${process.pid}`)
  writeFileSync(draft, mine)
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      // A link appears at once and with its content, or not at all.
      if (attempted(() => linkSync(draft, path), 'EEXIST')) return held(path, mine)
      const text = readLock(path)
      if (text === undefined) continue
      const owner = parseOwner(text)
      if (owner !== undefined && lives(owner)) {
        throw new StoreError(
          'refused',
          `${directory} is in use by the process ${owner.pid}: stop it, or use another directory.`,
        )
      }
      setAside(path, text, `${draft}.stale`)
    }
    throw new StoreError('refused', `${directory} is wanted by several processes at once: try again.`)
  } finally {
    unlinkSync(draft)
  }
}

function held(path: string, mine: string): DirectoryLock {
  let released = false
  return {
    release() {
      if (released) return
      released = true
      if (readLock(path) === mine) unlinkSync(path)
    },
  }
}

/** Moves a stale lock away. Another process may have been quicker: then what was moved is its lock, and goes back. */
function setAside(path: string, stale: string, aside: string): void {
  if (!attempted(() => renameSync(path, aside), 'ENOENT')) return
  if (readLock(aside) !== stale) attempted(() => linkSync(aside, path), 'EEXIST')
  unlinkSync(aside)
}

function readLock(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function parseOwner(text: string): Owner | undefined {
  try {
    const { pid, started } = JSON.parse(text) as Partial<Owner>
    if (typeof pid === 'number' && typeof started === 'string') return { pid, started }
  } catch {
    // Not a lock that this program wrote whole: nobody holds it.
  }
  return undefined
}

function lives({ pid, started }: Owner): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it lives, and belongs to someone else.
    if (codeOf(error) === 'ESRCH') return false
  }
  return startOf(pid) === started
}

/** @returns when the process was started, in ticks since the system was; empty where the system has no /proc. */
function startOf(pid: number): string {
  try {
    // proc(5): the name in parentheses may hold anything; the start is the 20th field after it.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A process that was killed and that nobody has waited for holds nothing any more.
    if (fields[0] === 'Z') return ''
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return `${boot}:${fields[19]}`
  } catch {
    return ''
  }
}

function attempted(task: () => void, expected: string): boolean {
  try {
    task()
    return true
  } catch (error) {
    if (codeOf(error) === expected) return false
    throw error
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code
}
