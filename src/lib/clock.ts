/** A timer that has not fired yet. */
export interface Timer {
  /** Forgets the timer; harmless once it has fired. */
  cancel(): void
}

/** The only source of time in the project: the system's in `cli/` and `server/`, simulated in tests. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Milliseconds from any origin, with fractions; monotonic. For measuring durations. */
  elapsed(): number
  /** Runs `task` once, `ms` milliseconds from now. A pending timer does not keep a process alive. */
  after(ms: number, task: () => void): Timer
  /** Runs `task` once, after the current turn of the event loop: the hub's flush. */
  defer(task: () => void): void
}

/** The machine's clock and event loop. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(ms, task) {
    const timeout = setTimeout(task, ms)
    // In browsers this is a number, and there is no process to keep alive.
    if (typeof timeout === 'object') timeout.unref()
    return { cancel: () => clearTimeout(timeout) }
  },
  defer(task) {
    setImmediate(task)
  },
}

/**
 * A clock for what cannot be undone, such as a removal. It passes over what the wall clock is set ahead: no more time has passed
 * than the monotonic clock has counted since this was called. If the wall clock is set back, it goes back too.
 */
export function withoutJumpsAhead(clock: Clock): Clock {
  const began = clock.now() - clock.elapsed()
  return {
    now: () => Math.min(clock.now(), began + clock.elapsed()),
    elapsed: () => clock.elapsed(),
    after: (ms, task) => clock.after(ms, task),
    defer: (task) => clock.defer(task),
  }
}

/** @returns when that was, on the monotonic clock; at the latest now. @param at milliseconds since 1970 */
export function elapsedAt(clock: Clock, at: number): number {
  return clock.elapsed() - Math.max(0, clock.now() - at)
}

/** Keeps the process alive while somebody waits for an answer that only a timer will bring. Node alone. */
export class Awake {
  readonly #timer = setInterval(() => undefined, 2 ** 30).unref()
  #held = 0

  hold(): void {
    if (this.#held++ === 0) this.#timer.ref()
  }

  release(): void {
    if (--this.#held === 0) this.#timer.unref()
  }
}
