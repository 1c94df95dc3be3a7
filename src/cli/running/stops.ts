import { readFileSync } from 'node:fs'
import type { Clock, Timer } from '../../lib/clock.js'

/** How often the state of a process is read. */
const lookMs = 1_000

/** Reports when a process is stopped (SIGSTOP) and when it continues, regardless of the sender of the signal. */
export class Stops {
  readonly #pid: number
  readonly #clock: Clock
  readonly #tell: ((isStopped: boolean) => void) | undefined
  #timer: Timer | undefined
  #isStopped = false
  /** It is stopped for another reason, which is not reported. */
  #isHeld = false

  /** @param tell absent: nothing is checked */
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

  /** This process has sent the signal. */
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

/** @returns the state of a process on Linux (proc(5)); nothing if the process is gone */
function isStoppedNow(pid: number): boolean | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name in parentheses may contain any character.
    const state = stat.charAt(stat.lastIndexOf(')') + 2)
    return state === 'T' || state === 't'
  } catch {
    return undefined
  }
}
