/** A timer that has not fired yet. */
export interface Timer {
  /** Forgets the timer; harmless once it has fired. */
  cancel(): void
}

/** The only source of time in the project; real in `cli/` and `server/`, simulated in tests. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Milliseconds since some moment, with fractions; never goes back. For measuring how long something takes. */
  elapsed(): number
  /** Runs `task` once, `ms` milliseconds from now. A pending timer does not keep a process alive. */
  after(ms: number, task: () => void): Timer
  /** Runs `task` once, when the current turn of the event loop has ended: the hub's flush. */
  defer(task: () => void): void
}

/** The machine's clock and event loop. */
export const systemClock: Clock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(ms, task) {
    const timeout = setTimeout(task, ms)
    // Browsers give a number here, and have no process to keep alive.
    if (typeof timeout === 'object') timeout.unref()
    return { cancel: () => clearTimeout(timeout) }
  },
  defer(task) {
    setImmediate(task)
  },
}
