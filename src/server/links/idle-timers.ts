import type { Clock, Timer } from '../../lib/clock.js'

/** Whom one waits to hear of. An object, and not a function: there is one for each connection already. */
export interface IdleLink {
  /** Called after each `ms` of one timer: the first time with 1, then 2. */
  silent(times: number): void
}

/** So many that have ended are always let be. */
const endedMax = 64

/**
 * The silences of one length, of all connections: one timer looks at whichever is due first. A timer of its own for
 * each connection takes 0.5 KB.
 */
export class IdleTimers {
  readonly clock: Clock
  readonly ms: number
  /** A binary heap by `due`. Those that have ended are in it for a while: they are less than half of it, or few. */
  #heap: IdleTimer[] = []
  #running = 0
  #timer: Timer | undefined = undefined
  readonly #report: (error: unknown) => void

  /** @param report told of what those throw who are told of a timer */
  constructor(clock: Clock, ms: number, report: (error: unknown) => void) {
    this.clock = clock
    this.ms = ms
    this.#report = report
  }

  begin(who: IdleLink): IdleTimer {
    const timer = new IdleTimer(this, who)
    this.#running++
    this.#push(timer)
    if (this.#heap[0] === timer) this.#arm()
    return timer
  }

  /** One of them has. */
  ended(): void {
    this.#running--
    if (this.#running > 0 && this.#heap.length < 2 * this.#running + endedMax) return
    // What is sorted is a heap.
    this.#heap = this.#heap.filter(({ running }) => running).sort((a, b) => a.due - b.due)
    this.#arm()
  }

  /** Sets the timer for the first that is due. */
  #arm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const [first] = this.#heap
    if (first === undefined) return
    const leftMs = Math.max(0, Math.ceil(first.due - this.clock.elapsed()))
    this.#timer = this.clock.after(leftMs, () => this.#look())
  }

  /** Armed before anyone is told, so that whoever is told may end any of them. */
  #look(): void {
    const now = this.clock.elapsed()
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

  /** Takes the first one out. */
  #pop(): void {
    const last = this.#heap.pop() as IdleTimer
    if (this.#heap.length === 0) return
    this.#heap[0] = last
    this.#sink()
  }

  /** Brings the first one, which is due later now, to its place. */
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
 * How long nothing has been heard of one connection.
 *
 * `broken` only notes the time; whoever looks finds out whether there is still something to wait for. So a busy
 * connection costs no timers, and an idle one a look in each `ms`.
 */
export class IdleTimer {
  /** When to look next. Milliseconds, as the clock's `elapsed`. */
  due: number
  readonly #timers: IdleTimers
  #who: IdleLink | undefined
  #since: number
  #times = 0

  constructor(timers: IdleTimers, who: IdleLink) {
    this.#timers = timers
    this.#who = who
    this.#since = timers.clock.elapsed()
    this.due = this.#since + timers.ms
  }

  get running(): boolean {
    return this.#who !== undefined
  }

  /** Something was heard. */
  broken(): void {
    this.#since = this.#timers.clock.elapsed()
    this.#times = 0
  }

  end(): void {
    if (this.#who === undefined) return
    // It may be looked for long after: nothing of its connection should stay until then.
    this.#who = undefined
    this.#timers.ended()
  }

  /** @returns whether the timer has lasted. Either way it is due later now. */
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
