import type { Weight } from '../lib/weight.js'

/** The memory of one session's state, a part of the memory that all sessions share. */
export class StateRoom {
  /** The memory in use. */
  bytes = 0
  readonly #together: Weight
  readonly #expect: ((held: number, more: number) => void) | undefined

  /**
   * @param together the memory that all sessions use
   * @param expect throws if a session that uses `held` may not use `more` in addition; absent: unbounded
   */
  constructor(together: Weight, expect?: (held: number, more: number) => void) {
    this.#together = together
    this.#expect = expect
  }

  /** @throws ProtocolError `unavailable` when there is not enough room */
  expect(more: number): void {
    if (more > 0) this.#expect?.(this.bytes, more)
  }

  /** Adds to the memory in use, or subtracts from it. */
  add(bytes: number): void {
    this.bytes += bytes
    this.#together.bytes += bytes
  }
}
