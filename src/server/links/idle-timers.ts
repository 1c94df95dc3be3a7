import type { Clock, Timer } from '../../lib/clock.js'

/** The owner of an idle timer. An object instead of a function, because each connection has one already. */
export interface IdleLink {
  /** Called after each `ms` of one timer: the first time with 1, then 2. */
  silent(times: number): void
}

/** Up to this many ended timers always stay in the heap. */
const endedMax = 64

/**
 * The idle timers of one duration, of all connections, with a single system timer for the first that is due. A system timer for
 * each connection would take 0.5 KB.
 */
export class IdleTimers {
  readonly clock: Clock
  readonly ms: number
  /** A binary heap by `due`. Ended timers stay in it for a while: less than half of it, or few. */
  #heap: IdleTimer[] = []
  #running = 0
  #timer: Timer | undefined = undefined
  readonly #began: number
  readonly #report: (error: unknown) => void

  /** @param report told of what those throw who are told of a timer */
  constructor(clock: Clock, ms: number, report: (error: unknown) => void) {
    this.clock = clock
    this.ms = ms
    this.#began = clock.elapsed()
    this.#report = report
  }

  /** Whole milliseconds since this was made, monotonic: V8 keeps other numbers in an object of their own, two for each connection. */
  elapsed(): number {
    return Math.floor(this.clock.elapsed() - this.#began)
  }

  begin(who: IdleLink): IdleTimer {
    const timer = new IdleTimer(this, who)
    this.#running++
    this.#push(timer)
    if (this.#heap[0] === timer) this.#arm()
    return timer
  }

  /** A timer has ended. */
  ended(): void {
    this.#running--
    if (this.#running > 0 && this.#heap.length < 2 * this.#running + endedMax) return
    // A sorted list is a heap.
    this.#heap = this.#heap.filter(({ running }) => running).sort((a, b) => a.due - b.due)
    this.#arm()
  }

  /** Sets the system timer for the first that is due. */
  #arm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const [first] = this.#heap
    if (first === undefined) return
    const leftMs = Math.max(0, first.due - this.elapsed())
    this.#timer = this.clock.after(leftMs, () => this.#look())
  }

  /** Armed before the calls, because a callee may end any timer. */
  #look(): void {
    const now = this.elapsed()
    const lasted: IdleTimer[] = []
    for (let first = this.#heap[0]; first !== undefined && first.due <= now; first = this.#heap[0]) {
      if (!first.running) this.#pop()
      else {
        if (first.look(now)) lasted.push(first)
        this.#sink()
      }
    }
    this.#arm()
    for (const timer of lasted) {
      try {
        timer.tell()
      } catch (error) {
        this.#report(error)
      }
    }
  }

  #push(timer: IdleTimer): void {
    const heap = this.#heap
    let at = heap.push(timer) - 1
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = heap[above] as IdleTimer
      if (parent.due <= timer.due) break
      heap[at] = parent
      at = above
    }
    heap[at] = timer
  }

  /** Removes the first one. */
  #pop(): void {
    const last = this.#heap.pop() as IdleTimer
    if (this.#heap.length === 0) return
    this.#heap[0] = last
    this.#sink()
  }

  /** Restores the order of the heap after the first one's due time has grown. */
  #sink(): void {
    const heap = this.#heap
    const timer = heap[0] as IdleTimer
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below + 1 < heap.length && (heap[below + 1] as IdleTimer).due < (heap[below] as IdleTimer).due)
        below++
      const child = heap[below]
      if (child === undefined || child.due >= timer.due) break
      heap[at] = child
      at = below
    }
    heap[at] = timer
  }
}

/**
 * Measures the silence of one connection.
 *
 * `broken` only notes the time; the check decides later. So a busy connection costs no timers, and an idle one a check in each
 * `ms`.
 */
export class IdleTimer {
  /** The time of the next check. Milliseconds, as the `elapsed` of its timers. */
  due: number
  readonly #timers: IdleTimers
  #who: IdleLink | undefined
  #since: number
  #times = 0

  constructor(timers: IdleTimers, who: IdleLink) {
    this.#timers = timers
    this.#who = who
    this.#since = timers.elapsed()
    this.due = this.#since + timers.ms
  }

  get running(): boolean {
    return this.#who !== undefined
  }

  /** Ends the silence. */
  broken(): void {
    this.#since = this.#timers.elapsed()
    this.#times = 0
  }

  end(): void {
    if (this.#who === undefined) return
    // The timer may stay in the heap for long, and must not keep its connection in memory.
    this.#who = undefined
    this.#timers.ended()
  }

  /** @returns whether the silence has lasted; in either case the next check is later */
  look(now: number): boolean {
    const { ms } = this.#timers
    const silentMs = now - this.#since
    const lasted = silentMs >= ms
    this.due = now + (lasted ? ms : ms - silentMs)
    if (lasted) this.#times += 1
    return lasted
  }

  tell(): void {
    this.#who?.silent(this.#times)
  }
}
