import type { Offset } from '../protocol/cursor.js'

/** The producers' ids of the newest events: what was published before is not published again. */
export class PublishIds {
  readonly #offsets = new Map<string, Offset>()
  readonly #max: number

  constructor(max: number) {
    this.#max = max
  }

  /** @returns where the event with that id was published, within the window */
  offsetOf(id: string): Offset | undefined {
    return this.#offsets.get(id)
  }

  add(id: string, offset: Offset): void {
    this.#offsets.set(id, offset)
    if (this.#offsets.size <= this.#max) return
    for (const oldest of this.#offsets.keys()) {
      this.#offsets.delete(oldest)
      return
    }
  }
}
