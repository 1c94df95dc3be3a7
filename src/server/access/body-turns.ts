import { Buckets } from '../../lib/bucket.js'
import type { Clock } from '../../lib/clock.js'
import type { Limits } from '../../protocol/limits.js'

/** How often waiting bodies are checked, because their senders may have gone. Milliseconds. */
const lookMs = 1_000

interface Waiting {
  readonly bytes: number
  readonly over: () => boolean
  readonly go: () => void
}

/** The waiting bodies of one sender. */
interface Line {
  readonly waiting: Waiting[]
  bytes: number
}

/**
 * The rate limit of bodies for each sender. The bodies of one sender take turns, piece by piece, so that none of them waits for
 * the end of another.
 */
export class BodyTurns {
  readonly #buckets: Buckets
  readonly #perSecond: number
  readonly #clock: Clock
  readonly #lines = new Map<string, Line>()

  constructor({ bodyRateMax, bodyBurstMax, ratedMax }: Limits, clock: Clock) {
    this.#buckets = new Buckets({ perSecond: bodyRateMax, burst: bodyBurstMax }, ratedMax)
    this.#perSecond = bodyRateMax
    this.#clock = clock
  }

  /** @returns about how long a new body would have to wait. Milliseconds */
  waitMs(sender: string): number {
    const bytes = this.#lines.get(sender)?.bytes ?? 0
    return this.#spend(sender, 0) + Math.ceil((bytes * 1_000) / this.#perSecond)
  }

  /** Counts received bytes, regardless of the rate. */
  count(sender: string, bytes: number): void {
    this.#spend(sender, bytes)
  }

  /**
   * Counts received bytes when it is their turn.
   *
   * @param over whether the body is no longer wanted
   * @returns undefined if there is no need to wait
   */
  pass(sender: string, bytes: number, over: () => boolean): Promise<void> | undefined {
    const line = this.#lines.get(sender)
    let owed = bytes
    if (line === undefined && this.#spend(sender, 0) === 0) {
      if (this.#spend(sender, bytes) === 0) return undefined
      owed = 0
    }
    return new Promise((go) => {
      const waiting = { bytes: owed, over, go }
      if (line !== undefined) {
        line.waiting.push(waiting)
        line.bytes += owed
        return
      }
      this.#lines.set(sender, { waiting: [waiting], bytes: owed })
      this.#advance(sender)
    })
  }

  #advance(sender: string): void {
    const line = this.#lines.get(sender)
    if (line === undefined) return
    for (let first = line.waiting[0]; first !== undefined; first = line.waiting[0]) {
      const ms = first.over() ? 0 : this.#spend(sender, 0)
      if (ms > 0) {
        this.#clock.after(Math.min(ms, lookMs), () => this.#advance(sender))
        return
      }
      line.waiting.shift()
      line.bytes -= first.bytes
      this.#spend(sender, first.bytes)
      first.go()
    }
    this.#lines.delete(sender)
  }

  #spend(sender: string, bytes: number): number {
    return sender === '' ? 0 : this.#buckets.spend(sender, bytes, this.#clock.elapsed())
  }
}
