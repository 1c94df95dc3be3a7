import {
  linkSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  unlinkSync,
  utimes,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Clock, Timer } from '../lib/clock.js'
import { StoreError } from './store.js'

/** The exclusive use of a directory by this process. */
export interface DirectoryLock {
  /** Releases the directory; may be called twice. */
  release(): void
}

interface Owner {
  readonly pid: number
  /** The start time of the process according to the system, which distinguishes it from a later process with the same pid. */
  readonly started: string
  /**
   * The namespace in which the process is visible: containers on one volume do not see each other's processes. Empty if
   * unknown.
   */
  readonly space?: string
}

const attemptsMax = 10

// The owner touches the lock at this interval; an invisible owner counts as gone after the silence below.
const touchMs = 3_000
const silentMs = 15_000

/**
 * Locks a directory with the file `lock`, which names its process. A lock whose process has ended, in whatever way, is taken
 * over.
 *
 * @throws StoreError `refused` when a running process holds it, or an invisible one may hold it
 */
export function lockDirectory(directory: string, clock: Clock): DirectoryLock {
  mkdirSync(directory, { recursive: true })
  const path = join(directory, 'lock')
  const mine = JSON.stringify({
    pid: process.pid,
    started: startOf(process.pid),
    space: spaceOf(),
  } satisfies Owner)
  const draft = join(directory, `lock.${process.pid}`)
  writeFileSync(draft, mine)
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      // A link is created atomically, with its content.
      if (attempted(() => linkSync(draft, path), 'EEXIST')) return held(path, mine, clock)
      const text = readLock(path)
      if (text === undefined) continue
      const owner = parseOwner(text)
      if (owner !== undefined) expectGone(owner, { directory, path, now: clock.now() })
      setAside(path, text, `${draft}.stale`)
    }
    throw new StoreError('refused', `several processes try to use ${directory} at once: try again.`)
  } finally {
    unlinkSync(draft)
  }
}

function held(path: string, mine: string, clock: Clock): DirectoryLock {
  let released = false
  let touch: Timer
  const touchLater = (): void => {
    touch = clock.after(touchMs, () => {
      const now = new Date(clock.now())
      // A failure does not matter, because further touches follow.
      utimes(path, now, now, () => undefined)
      touchLater()
    })
  }
  touchLater()
  return {
    release() {
      if (released) return
      released = true
      touch.cancel()
      if (readLock(path) === mine) unlinkSync(path)
    },
  }
}

/** @throws StoreError `refused` */
function expectGone(owner: Owner, lock: { directory: string; path: string; now: number }): void {
  const { directory, path, now } = lock
  if (owner.space === undefined || owner.space === spaceOf()) {
    if (!lives(owner)) return
    const message = `${directory} is in use by the process ${owner.pid}: stop it, or use another directory.`
    throw new StoreError('refused', message)
  }
  const retryMs = Math.ceil(silentMs - (now - touchedAt(path)))
  if (retryMs <= 0) return
  const who = `the process ${owner.pid} of another container`
  const message = `${directory} is in use by ${who}, or was until now: stop it, or use another directory.`
  throw new StoreError('refused', message, { retryMs })
}

function touchedAt(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
}

/** Moves a stale lock away. If another process was quicker, the moved file is its lock, and is moved back. */
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
    const { pid, started, space } = JSON.parse(text) as Partial<Owner>
    if (typeof pid === 'number' && typeof started === 'string')
      return { pid, started, ...(typeof space === 'string' && { space }) }
  } catch {
    // Not a complete lock of this program, so nobody holds it.
  }
  return undefined
}

function lives({ pid, started }: Owner): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: the process is running and belongs to another user.
    if (codeOf(error) === 'ESRCH') return false
  }
  return startOf(pid) === started
}

/** @returns the start time of the process, in ticks since the system's start; empty without /proc */
function startOf(pid: number): string {
  try {
    // proc(5): the name in parentheses may contain any character; the start time is the 20th field after it.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie process no longer uses the directory.
    if (fields[0] === 'Z') return ''
    return `${boot()}:${fields[19]}`
  } catch {
    return ''
  }
}

/** @returns an id of the processes visible to this one: the pid_namespaces(7) namespace and the boot of the system */
function spaceOf(): string {
  try {
    return `${boot()}:${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return ''
  }
}

function boot(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
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
