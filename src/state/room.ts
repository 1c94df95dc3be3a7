import type { Weight } from '../lib/weight.js'

/** What the state of one session takes of the memory that all of them share. */
export class StateRoom {
  /** What it takes. */
  bytes = 0
  readonly #together: Weight
  readonly #expect: ((held: number, more: number) => void) | undefined

  /**
   * @param together what all take
   * @param expect throws when one that takes `held` may not take so much more; absent: it may take any
   */
  constructor(together: Weight, expect?: (held: number, more: number) => void) {
    this.#together = together
    this.#expect = expect
  }

  /** @throws ProtocolError `unavailable` when there is no room for so much more */
  expect(more: number): void {
    if (more > 0) this.#expect?.(this.bytes, more)
  }

  /** Takes so much more, or gives it back. */
  add(bytes: number): void {
    this.bytes += bytes
    this.#together.bytes += bytes
  }
}
