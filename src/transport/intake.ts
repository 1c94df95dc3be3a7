import type { Clock } from '../lib/clock.js'

/** What has brought as much is large; what has not costs no more than any request. */
const largeBytes = 64 * 1024
/** Reading and copying it takes some tenths of a millisecond. */
const turnBytesMax = 256 * 1024

/** A body that is on its way. */
export interface Coming {
  /** What it has brought altogether. Bytes. */
  readonly bytes: number
  /** Pauses its sender, or no longer does. */
  hold(isHeld: boolean): void
}

/**
 * What the bodies of one transport bring in a turn of the event loop. The kernel has up to 512 KiB ready of each, and of a
 * hundred at once they would hold up all else for as long as it takes to copy them. Where a turn has brought enough, all large
 * bodies pause, and go on by turns in the order in which they paused.
 */
export class Intake {
  readonly #clock: Clock
  /** In this turn. */
  #bytes = 0
  #isTurnAsked = false
  /** Large ones that are read, and what each has brought since it last went on. */
  readonly #reading = new Map<Coming, number>()
  readonly #waiting = new Map<Coming, number>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** So many more bytes have come of a body. */
  add(body: Coming, bytes: number): void {
    this.#bytes += bytes
    this.#askForTurn()
    if (body.bytes >= largeBytes) this.#reading.set(body, (this.#reading.get(body) ?? 0) + bytes)
    if (this.#bytes < turnBytesMax) return
    for (const [one, brought] of this.#reading) {
      this.#waiting.set(one, brought)
      one.hold(true)
    }
    this.#reading.clear()
  }

  /** Nothing more will come of it. */
  delete(body: Coming): void {
    this.#reading.delete(body)
    if (this.#waiting.delete(body)) body.hold(false)
  }

  #askForTurn(): void {
    if (this.#isTurnAsked) return
    this.#isTurnAsked = true
    this.#clock.defer(() => this.#turn())
  }

  /** Who has been silent since it last went on takes no part of the turn: it may be silent for ever. */
  #turn(): void {
    this.#isTurnAsked = false
    this.#bytes = 0
    let expected = 0
    for (const [body, brought] of this.#waiting) {
      if (expected >= turnBytesMax && brought > 0) {
        this.#askForTurn()
        continue
      }
      expected += brought
      this.#waiting.delete(body)
      this.#reading.set(body, 0)
      body.hold(false)
    }
  }
}
