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

/** A directory that this process alone uses. */
export interface DirectoryLock {
  /** Lets others have it; harmless when done twice. */
  release(): void
}

interface Owner {
  readonly pid: number
  /** When the process was started, as the system tells it; tells it from a later one with the same pid. */
  readonly started: string
  /** From where the process can be seen: containers on one volume do not see each other's. Empty where nobody knows. */
  readonly space?: string
}

const attemptsMax = 10

// Whoever holds the lock touches it so often; where its process cannot be seen, it has gone when it is silent so long.
const touchMs = 3_000
const silentMs = 15_000

/**
 * Locks a directory with the file `lock`, which names the process that has it. A lock whose process has
 * gone, however it went, is taken over.
 *
 * @throws StoreError `refused` when a living process has it, or one that cannot be seen from here may have it
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
      // A link appears at once and with its content, or not at all.
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
      // One that fails is followed by others.
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
    const { pid, started, space } = JSON.parse(text) as Partial<Owner>
    if (typeof pid === 'number' && typeof started === 'string')
      return { pid, started, ...(typeof space === 'string' && { space }) }
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
    return `${boot()}:${fields[19]}`
  } catch {
    return ''
  }
}

/** @returns what tells the processes that this one can see from all others: pid_namespaces(7) of one life of the system */
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
