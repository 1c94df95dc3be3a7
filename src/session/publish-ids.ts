import { FormerIds } from '../lib/former-ids.js'
import { Oldest } from '../lib/oldest.js'
import type { Offset } from '../protocol/cursor.js'
import type { StateRoom } from '../state/room.js'
import type { PublishId } from '../store/store.js'

/** About what an id takes beside its name and its worker's, and one that has left. Bytes. */
export const idBytes = 96
const hashBytes = 48

/** What others may ask of the ids of a session. */
export type KnownIds = Pick<PublishIds, 'offsetOf' | 'hasLeft' | 'hasFormer'>

/**
 * The producers' ids of the newest events, so that an event is not published twice. Each topic has its own ids, because workers
 * number theirs independently.
 */
export class PublishIds {
  /** Absent as long as no event has an id. */
  #offsets: Map<string, Offset> | undefined = undefined
  /** Absent as long as none has left. */
  #oldest: Oldest<string> | undefined = undefined
  readonly #max: number
  /** Ids that have left the window; most sessions have none. */
  #former: FormerIds | undefined = undefined
  /** Some ids were stored before each topic had its own, and count for all topics. */
  #hasShared = false
  #bytes = 0
  readonly #room: Pick<StateRoom, 'add'>
  /** The bytes that `room` has counted. */
  #weighed = 0

  /** @param room counts about what the ids take */
  constructor(max: number, room: Pick<StateRoom, 'add'>) {
    this.#max = max
    this.#room = room
  }

  /** @returns the offset of the event with that id of the session, or of its worker, within the window */
  offsetOf(id: string, worker: string | undefined): Offset | undefined {
    const offset = this.#offsets?.get(nameOf(id, worker ?? ''))
    return offset === undefined && this.#hasShared ? this.#offsets?.get(nameOf(id, undefined)) : offset
  }

  /** @returns whether the id is known to have been published, but is no longer in the window */
  hasLeft(id: string, worker: string | undefined): boolean {
    // New ids are the most frequent ones, and a hash tells them.
    const isFormer =
      this.#former !== undefined &&
      (this.#former.has(nameOf(id, worker ?? '')) ||
        (this.#hasShared && this.#former.has(nameOf(id, undefined))))
    return isFormer && this.offsetOf(id, worker) === undefined
  }

  /** Adds a new id. The window may be too large until `shrink` is called. */
  add({ id, worker, offset }: PublishId): void {
    this.#hasShared ||= worker === undefined
    this.#offsets ??= new Map()
    const name = nameOf(id, worker)
    const { size } = this.#offsets
    this.#offsets.set(name, offset)
    if (this.#offsets.size > size) this.#bytes += name.length + idBytes
  }

  /** Removes the oldest ids from the window, and weighs the ids. @returns whether this changed `former` */
  shrink(): boolean {
    const offsets = this.#offsets
    if (offsets === undefined) return false
    let changed = false
    while (offsets.size > this.#max) {
      this.#oldest ??= new Oldest(offsets)
      const oldest = this.#oldest.next() as string
      offsets.delete(oldest)
      this.#bytes -= oldest.length + idBytes
      this.#former ??= new FormerIds()
      if (this.#former.add(oldest)) changed = true
    }
    this.#weighAgain()
    return changed
  }

  get hasFormer(): boolean {
    return this.#former !== undefined
  }

  /** The stored form of the ids that have left. */
  get former(): readonly number[] {
    return this.#former?.stored() ?? []
  }

  /** @param former the earlier value of `former` */
  restore(ids: readonly PublishId[], former: readonly number[]): void {
    for (const id of ids) this.add(id)
    if (former.length > 0) {
      this.#former ??= new FormerIds()
      this.#former.restore(former)
    }
    this.#weighAgain()
  }

  #weighAgain(): void {
    const bytes = this.#bytes + (this.#former?.size ?? 0) * hashBytes
    if (bytes === this.#weighed) return
    this.#room.add(bytes - this.#weighed)
    this.#weighed = bytes
  }
}

/** The ids of a session whose events have none. */
export const noIds: KnownIds = new PublishIds(0, { add() {} })

/** Names of workers do not contain `/` and are not `*`; an id may be any text. */
function nameOf(id: string, worker: string | undefined): string {
  return `${worker ?? '*'}/${id}`
}
