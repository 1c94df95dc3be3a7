/** What a connection received that it must not have, or did not. */
export interface Faults {
  /** Events that never came. */
  lost: number
  /** Events that came again. */
  duplicates: number
  /** Events that came after a later one. */
  reordered: number
  /** Offsets that do not rise, or a batch that does not begin where the last one ended. */
  misplaced: number
  /** Frames that could not be read. */
  malformed: number
  /** Connections that ended while they were needed. */
  closed: number
}

export function noFaults(): Faults {
  return { lost: 0, duplicates: 0, reordered: 0, misplaced: 0, malformed: 0, closed: 0 }
}

/** @returns the number of faults of all kinds. */
export function countFaults(faults: Faults): number {
  return Object.values(faults).reduce((sum, count) => sum + count, 0)
}

/** One event as it was read from a frame. */
export interface Received {
  readonly number: number
  readonly stamp: number
  /** The event's place in its session, where the protocol has one. */
  readonly offset?: number
  /** A text that a model streams. */
  readonly isText?: boolean
}

/** One frame's content. */
export interface Reading {
  readonly events: readonly Received[]
  /** The feed's positions before and after, where the protocol has them. */
  readonly after?: number
  readonly last?: number
  /** The connection has all that was due on joining. */
  readonly live?: boolean
  /** What the protocol wants said in return. */
  readonly reply?: Buffer
}

/** A frame that some connection read without a fault. Those that get the same bytes only compare. */
export interface Known {
  readonly bytes: Buffer
  readonly events: number
  /** Number of its newest event. */
  readonly last: number
  /** When its oldest event was published. */
  readonly stamp: number
  /** The connection's position before and after it. */
  readonly before: number | undefined
  readonly position: number | undefined
  /** It says as well that the connection has all that was due on joining. */
  readonly live: boolean
}

const missingMax = 100_000

/**
 * Where one connection stands, and what went wrong on it. It is due the events whose number leaves
 * `residue` when divided by `stride`: all of them unless a filter is at work.
 */
export class Tally {
  /** Number of the newest event, or nothing before the first. */
  last: number | undefined = undefined
  position: number | undefined = undefined
  readonly missing = new Set<number>()
  readonly #stride: number
  readonly #residue: number
  readonly #faults: Faults

  constructor(faults: Faults, stride = 1, residue = 0) {
    this.#faults = faults
    this.#stride = stride
    this.#residue = residue
  }

  /** Nothing up to and with `number` is owed. No effect on a connection that has received events. */
  startAfter(number: number): void {
    this.last ??= this.#newestDue(number)
  }

  /** @returns how many of the `events` events due after number `after` come after the newest received. */
  owed(after: number, events: number): number {
    const newest = this.#newestDue(after + events * this.#stride)
    return Math.max(0, (newest - (this.last ?? this.#newestDue(after))) / this.#stride)
  }

  /** May lie before the first event. */
  #newestDue(number: number): number {
    const beyond = (number - this.#residue) % this.#stride
    return number - (beyond < 0 ? beyond + this.#stride : beyond)
  }

  /** Takes what a frame held. @returns whether it continued without a fault from where the connection stood. */
  take(reading: Reading): boolean {
    const before = countFaults(this.#faults)
    for (const event of reading.events) this.#takeEvent(event)
    this.#takeSpan(reading)
    return countFaults(this.#faults) === before
  }

  /** The same as `take` for a frame that another connection read from the same place. */
  follow(known: Known): void {
    this.last = known.last
    this.position = known.position
  }

  /** @returns whether a frame that another connection read right after event `last` may be followed. */
  canFollow(known: Known): boolean {
    return this.position === undefined || this.position === known.before
  }

  #takeEvent({ number, offset, isText = false }: Received): void {
    // A text may end like the beginning of a secret: its end then comes in an event of its own, which has the same number.
    const isRestOfText = isText && number === this.last && (offset ?? -1) > (this.position ?? -1)
    if (isRestOfText) return
    const due = this.last === undefined ? number : this.last + this.#stride
    if (number >= due) {
      for (let missed = due; missed < number && this.missing.size < missingMax; missed += this.#stride) {
        this.missing.add(missed)
        this.#faults.lost += 1
      }
      this.last = number
    } else if (this.missing.delete(number)) {
      this.#faults.lost -= 1
      this.#faults.reordered += 1
    } else {
      this.#faults.duplicates += 1
    }
  }

  #takeSpan({ events, after, last }: Reading): void {
    if (after !== undefined && this.position !== undefined && after !== this.position)
      this.#faults.misplaced += 1
    let floor = after ?? this.position ?? -1
    for (const { offset } of events) {
      if (offset === undefined) continue
      if (offset <= floor) this.#faults.misplaced += 1
      floor = Math.max(floor, offset)
    }
    if (last !== undefined && last < floor) this.#faults.misplaced += 1
    if (last !== undefined || floor >= 0) this.position = last ?? floor
  }
}
