import { readFileSync } from 'node:fs'
import type { Clock, Timer } from '../lib/clock.js'

/** How often a process is looked at. */
const lookMs = 1_000

/** Tells when a process is stopped (SIGSTOP) and when it goes on, whoever sent the signal. */
export class Stops {
  readonly #pid: number
  readonly #clock: Clock
  readonly #tell: ((isStopped: boolean) => void) | undefined
  #timer: Timer | undefined
  #isStopped = false
  /** It is stopped for another reason, which nobody is told of. */
  #isHeld = false

  /** @param tell absent: nobody asks, and nothing is looked at */
  constructor(pid: number, clock: Clock, tell?: (isStopped: boolean) => void) {
    this.#pid = pid
    this.#clock = clock
    this.#tell = tell
    this.#later()
  }

  get isStopped(): boolean {
    return this.#isStopped
  }

  /** It waits until its output is read. */
  held(isHeld: boolean): void {
    this.#isHeld = isHeld
    this.#later()
  }

  /** We have sent the signal. */
  told(isStopped: boolean): void {
    this.#note(isStopped)
    // It takes a moment until the process is seen to be in that state.
    this.#later()
  }

  end(): void {
    this.#timer?.cancel()
  }

  #note(isStopped: boolean): void {
    if (isStopped === this.#isStopped) return
    this.#isStopped = isStopped
    this.#tell?.(isStopped)
  }

  #later(): void {
    this.#timer?.cancel()
    if (this.#tell === undefined || process.platform !== 'linux') return
    this.#timer = this.#clock.after(lookMs, () => {
      const isStopped = this.#isHeld ? undefined : isStoppedNow(this.#pid)
      if (isStopped !== undefined) this.#note(isStopped)
      this.#later()
    })
  }
}

/** @returns the state that Linux tells of a process (proc(5)); nothing where it is gone */
function isStoppedNow(pid: number): boolean | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name in parentheses may have any character.
    const state = stat.charAt(stat.lastIndexOf(')') + 2)
    return state === 'T' || state === 't'
  } catch {
    return undefined
  }
}
