import type { Offset } from '../protocol/cursor.js'
import type { PublishId } from '../store/store.js'

/**
 * The producers' ids of the newest events: what was published before is not published again. Each topic has ids of its
 * own, since workers number theirs without knowing of each other.
 */
export class PublishIds {
  readonly #offsets = new Map<string, Offset>()
  readonly #max: number
  /** There are ids that were kept before each topic had its own: they count for all. */
  #hasShared = false

  constructor(max: number) {
    this.#max = max
  }

  /** @returns where the session, or its worker, has published the event with that id, within the window */
  offsetOf(id: string, worker: string | undefined): Offset | undefined {
    const offset = this.#offsets.get(nameOf(id, worker ?? ''))
    return offset === undefined && this.#hasShared ? this.#offsets.get(nameOf(id, undefined)) : offset
  }

  add({ id, worker, offset }: PublishId): void {
    this.#hasShared ||= worker === undefined
    this.#offsets.set(nameOf(id, worker), offset)
    if (this.#offsets.size <= this.#max) return
    for (const oldest of this.#offsets.keys()) {
      this.#offsets.delete(oldest)
      return
    }
  }
}

/** What a worker is called has no `/` and is no `*`; an id may be any text. */
function nameOf(id: string, worker: string | undefined): string {
  return `${worker ?? '*'}/${id}`
}
