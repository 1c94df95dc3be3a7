import type { Offset } from '../protocol/cursor.js'
import type { ClientFrame, Part, Slices, Subscribed } from '../protocol/frames.js'
import { Assembly } from './assembly.js'
import type { View } from './view.js'

/** A requested snapshot, and the parts received so far. */
interface RequestedSnapshot {
  view: View | undefined
  /** The view's subscription number at that time. */
  readonly for: number
  offset: Offset
  /** Absent if it comes in one piece. */
  assembly: Assembly | undefined
}

/** Requested snapshots, each by a subscription of its own, so that the view's position is not affected. */
export class RequestedSnapshots {
  readonly #send: (frames: readonly ClientFrame[]) => void
  /** By the number of the subscription that brings them. */
  readonly #asked = new Map<number, RequestedSnapshot>()

  constructor(send: (frames: readonly ClientFrame[]) => void) {
    this.#send = send
  }

  /**
   * @param sub the number of the subscription that brings it
   * @param mark a type that no event has
   */
  ask(view: View, slices: readonly string[], { sub, mark }: { sub: number; mark: string }): void {
    // An earlier request that is still unanswered is obsolete.
    for (const asked of this.#asked.values()) if (asked.view === view) asked.view = undefined
    this.#asked.set(sub, { view, for: view.sub, offset: 0 as Offset, assembly: undefined })
    const { topic } = view.interest
    this.#send([{ type: 'subscribe', sub, topic, types: [mark], slices, replay: false }])
  }

  has(sub: number): boolean {
    return this.#asked.has(sub)
  }

  subscribed({ sub, slices, parts, offset }: Subscribed): void {
    const asked = this.#asked.get(sub)
    if (asked === undefined) return
    asked.offset = offset
    if (parts !== undefined) {
      asked.assembly = new Assembly()
      asked.assembly.left = parts
    }
    this.#assembled(sub, asked, slices)
  }

  /** @returns whether it is a part of a requested snapshot */
  part(part: Part): boolean {
    const asked = this.#asked.get(part.sub)
    if (asked === undefined) return false
    asked.assembly?.take(part)
    this.#assembled(part.sub, asked)
    return true
  }

  /** The subscription was refused. */
  refused(sub: number): void {
    this.#asked.delete(sub)
  }

  /** The link is lost, and with it all its requests. */
  lost(): void {
    this.#asked.clear()
  }

  #assembled(sub: number, { view, for: number, offset, assembly }: RequestedSnapshot, slices?: Slices): void {
    if (assembly !== undefined && assembly.left > 0) return
    this.#asked.delete(sub)
    this.#send([{ type: 'unsubscribe', sub }])
    if (view?.sub === number) view.snapshot(assembly?.slices ?? slices ?? {}, offset)
  }
}
