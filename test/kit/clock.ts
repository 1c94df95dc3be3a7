import assert from 'node:assert/strict'
import { type Clock, systemClock, type Timer } from '../../src/lib/clock.js'

interface Entry {
  readonly at: number
  readonly number: number
  readonly task: () => void
}

const tasksPerTurnMax = 1_000_000

/**
 * A clock that only moves when told to. Timers run in the order of their time, those of one time in the
 * order in which they were set; deferred tasks run before the clock moves on. What a task throws comes out of
 * the call that ran it.
 */
export class SimulatedClock implements Clock {
  #now: number
  /** What the wall clock was set ahead by. */
  #aheadMs = 0
  #numbers = 0
  #deferred: (() => void)[] = []
  /** A binary heap by time, then by number. A cancelled entry is dropped when it comes to the top. */
  readonly #timers: Entry[] = []
  readonly #pending = new Set<Entry>()

  constructor(now = Date.UTC(2025, 0, 1)) {
    this.#now = now
  }

  now(): number {
    return this.#now + this.#aheadMs
  }

  /** Sets the wall clock, ahead or back, while no time passes. */
  jump(ms: number): void {
    this.#aheadMs += ms
  }

  elapsed(): number {
    return this.#now
  }

  after(ms: number, task: () => void): Timer {
    assert(ms >= 0 && Number.isFinite(ms), `after: expected milliseconds from 0, got ${ms}`)
    this.#numbers += 1
    const entry: Entry = { at: this.#now + ms, number: this.#numbers, task }
    this.#pending.add(entry)
    this.#push(entry)
    return { cancel: () => void this.#pending.delete(entry) }
  }

  defer(task: () => void): void {
    this.#deferred.push(task)
  }

  /** How many timers have neither fired nor been cancelled: what a test finds left at its end. */
  get timers(): number {
    return this.#pending.size
  }

  /** When the next timer is due, as `elapsed`; nothing when there is none. */
  get next(): number | undefined {
    return this.#top()?.at
  }

  /** @returns whether there is a deferred task. */
  get busy(): boolean {
    return this.#deferred.length > 0
  }

  /** Ends the turn: runs what was deferred, and what that defers in its turn, until nothing is left. */
  runTurn(): void {
    for (let ran = 0; this.#deferred.length > 0; ) {
      const tasks = this.#deferred
      this.#deferred = []
      ran += tasks.length
      assert(ran < tasksPerTurnMax, 'runTurn: deferred tasks keep deferring')
      for (const task of tasks) task()
    }
  }

  /** Lets `ms` milliseconds pass: each timer that falls due runs at its time, and has a turn of its own. */
  advance(ms: number): void {
    const end = this.#now + ms
    this.runTurn()
    for (let entry = this.#top(); entry !== undefined && entry.at <= end; entry = this.#top()) {
      this.#pop()
      this.#pending.delete(entry)
      this.#now = entry.at
      entry.task()
      this.runTurn()
    }
    this.#now = end
  }

  /** As `advance`, and lets promises settle before and after each timer: for code that awaits. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms
    await settle()
    this.runTurn()
    await settle()
    for (let entry = this.#top(); entry !== undefined && entry.at <= end; entry = this.#top()) {
      this.advance(entry.at - this.#now)
      await settle()
      this.runTurn()
      await settle()
    }
    this.advance(end - this.#now)
    await settle()
  }

  #top(): Entry | undefined {
    while (this.#timers[0] !== undefined && !this.#pending.has(this.#timers[0])) this.#pop()
    return this.#timers[0]
  }

  #push(entry: Entry): void {
    const heap = this.#timers
    let at = heap.length
    heap.push(entry)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (earlier(heap[parent] as Entry, entry)) break
      heap[at] = heap[parent] as Entry
      at = parent
    }
    heap[at] = entry
  }

  #pop(): void {
    const heap = this.#timers
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      const right = child + 1
      if (right < heap.length && earlier(heap[right] as Entry, heap[child] as Entry)) child = right
      if (earlier(last, heap[child] as Entry)) break
      heap[at] = heap[child] as Entry
      at = child
    }
    heap[at] = last
  }
}

function earlier(one: Entry, other: Entry): boolean {
  return one.at < other.at || (one.at === other.at && one.number < other.number)
}

/** Resolves when every promise that can settle without time or I/O has settled. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** The machine's clock, which tells how many of its timers are pending. */
export class CountedClock implements Clock {
  readonly now = systemClock.now
  readonly elapsed = systemClock.elapsed
  readonly defer = systemClock.defer
  readonly #pending = new Set<object>()

  get timers(): number {
    return this.#pending.size
  }

  after(ms: number, task: () => void): Timer {
    const entry = {}
    this.#pending.add(entry)
    const timer = systemClock.after(ms, () => {
      this.#pending.delete(entry)
      task()
    })
    return {
      cancel: () => {
        this.#pending.delete(entry)
        timer.cancel()
      },
    }
  }
}
