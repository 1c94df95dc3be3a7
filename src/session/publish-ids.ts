import { FormerIds } from '../lib/former-ids.js'
import type { Offset } from '../protocol/cursor.js'
import type { PublishId } from '../store/store.js'

/**
 * The producers' ids of the newest events: what was published before is not published again. Each topic has ids of its
 * own, since workers number theirs without knowing of each other.
 */
export class PublishIds {
  /** Absent as long as nobody names an id. */
  #offsets: Map<string, Offset> | undefined = undefined
  readonly #max: number
  /** Those that have left the window; most sessions have none. */
  #former: FormerIds | undefined = undefined
  /** There are ids that were kept before each topic had its own: they count for all. */
  #hasShared = false

  constructor(max: number) {
    this.#max = max
  }

  /** @returns where the session, or its worker, has published the event with that id, within the window */
  offsetOf(id: string, worker: string | undefined): Offset | undefined {
    const offset = this.#offsets?.get(nameOf(id, worker ?? ''))
    return offset === undefined && this.#hasShared ? this.#offsets?.get(nameOf(id, undefined)) : offset
  }

  /** @returns whether the id is known to have been published, and is not in the window any more */
  hasLeft(id: string, worker: string | undefined): boolean {
    if (this.#former === undefined || this.offsetOf(id, worker) !== undefined) return false
    return (
      this.#former.has(nameOf(id, worker ?? '')) ||
      (this.#hasShared && this.#former.has(nameOf(id, undefined)))
    )
  }

  /** Takes one that is new. The window is as large as it should be only once `shrink` is called. */
  add({ id, worker, offset }: PublishId): void {
    this.#hasShared ||= worker === undefined
    this.#offsets ??= new Map()
    this.#offsets.set(nameOf(id, worker), offset)
  }

  /** Lets the oldest leave the window. @returns whether `former` has changed by it */
  shrink(): boolean {
    const offsets = this.#offsets
    if (offsets === undefined) return false
    let changed = false
    for (const oldest of offsets.keys()) {
      if (offsets.size <= this.#max) break
      offsets.delete(oldest)
      this.#former ??= new FormerIds()
      if (this.#former.add(oldest)) changed = true
    }
    return changed
  }

  get hasFormer(): boolean {
    return this.#former !== undefined
  }

  /** What a store keeps of those that have left. */
  get former(): readonly number[] {
    return this.#former?.stored() ?? []
  }

  /** @param former as `former` was */
  restore(ids: readonly PublishId[], former: readonly number[]): void {
    for (const id of ids) this.add(id)
    if (former.length === 0) return
    this.#former ??= new FormerIds()
    this.#former.restore(former)
  }
}

/** What a worker is called has no `/` and is no `*`; an id may be any text. */
function nameOf(id: string, worker: string | undefined): string {
  return `${worker ?? '*'}/${id}`
}
