import type { Chunk, Codec } from '../codec/codec.js'
import type { Entry } from '../history/entry.js'
import type { Delivery } from './delivery.js'
import type { Feed } from './feed.js'

/** A part of a replay that fits one frame. */
interface Part {
  readonly chunk: Chunk
  /** The index after its last event. */
  readonly to: number
}

/**
 * What a fresh join to a feed gets. All who join at the same offset share it, and the frames made of it:
 * a thousand clients that come back at once cost one selection and one frame for each codec.
 */
export class Replay {
  readonly entries: readonly Entry[]
  readonly #parts = new Map<Codec, Map<number, Part>>()

  constructor(entries: readonly Entry[]) {
    this.entries = entries
  }

  /** @param from the index of the first event; there must be one */
  part(delivery: Delivery, { feed, codec, from }: { feed: Feed; codec: Codec; from: number }): Part {
    let parts = this.#parts.get(codec)
    if (parts === undefined) this.#parts.set(codec, (parts = new Map()))
    let part = parts.get(from)
    if (part === undefined) {
      const events = delivery.part(this.entries, from)
      part = { chunk: delivery.encode(feed, codec, undefined, events), to: from + events.length }
      parts.set(from, part)
    }
    return part
  }
}
