import type { Clock, Timer } from '../lib/clock.js'
import { BodyMemory } from './body-memory.js'
import { Intake } from './intake.js'

/**
 * How often open responses and bodies are touched. uWebSockets.js cuts a response 10 s after a write that did not leave at
 * once, and a body that arrives too slowly. Touching them more often prevents this, so that the service decides how slow a peer
 * may be.
 */
export const streamTouchMs = 4_000

/** The open responses and incomplete bodies of one transport. */
export class OpenStreams<Open extends { touch(): void } = { touch(): void }> {
  readonly clock: Clock
  readonly intake: Intake
  readonly bodyMemory: BodyMemory
  readonly #streams = new Set<Open>()
  #timer: Timer | undefined

  constructor(clock: Clock) {
    this.clock = clock
    this.intake = new Intake(clock)
    this.bodyMemory = new BodyMemory(clock)
  }

  add(stream: Open): void {
    this.#streams.add(stream)
    this.#timer ??= this.clock.after(streamTouchMs, () => this.#touch())
  }

  delete(stream: Open): void {
    this.#streams.delete(stream)
    if (this.#streams.size > 0) return
    this.#timer?.cancel()
    this.#timer = undefined
  }

  [Symbol.iterator](): Iterator<Open> {
    return this.#streams.values()
  }

  /** Takes 0.3 µs for a stream without waiting data. */
  #touch(): void {
    this.#timer = undefined
    for (const stream of this.#streams) stream.touch()
    if (this.#streams.size > 0) this.#timer ??= this.clock.after(streamTouchMs, () => this.#touch())
  }
}
