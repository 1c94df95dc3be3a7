import type { Chunk, Codec } from '../codec/codec.js'
import type { Entry } from '../history/entry.js'
import type { Offset } from '../protocol/cursor.js'
import type { Delivery } from './delivery.js'
import type { Feed } from './feed.js'
import type { StoredPart } from './topic.js'

/** A part of a replay that fits one frame. */
interface Part {
  readonly chunk: Chunk
  /** The index after its last event. */
  readonly to: number
}

/** Events of a replay, and the frames made of them, which all who get them share. */
export class ReplayPage {
  readonly entries: readonly Entry[]
  /** Of a page of the store: everything up to here was looked at. */
  readonly last: Offset
  readonly #parts = new Map<Codec, Map<number, Part>>()
  /** The feed that the frames are for. */
  #feed = 0

  constructor(entries: readonly Entry[], last: Offset) {
    this.entries = entries
    this.last = last
  }

  /** @param from the index of the first event; there must be one */
  part(delivery: Delivery, { feed, codec, from }: { feed: Feed; codec: Codec; from: number }): Part {
    if (feed.number !== this.#feed) this.#parts.clear()
    this.#feed = feed.number
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

/**
 * What a fresh join to a feed gets. All who join at the same offset share it, and the frames made of it:
 * a thousand clients that come back at once cost one selection and one frame for each codec.
 */
export class Replay {
  /** What memory holds: the end of the replay. */
  readonly held: ReplayPage
  readonly stored: StoredPart | undefined

  constructor(entries: readonly Entry[], until: Offset, stored?: StoredPart) {
    this.held = new ReplayPage(entries, until)
    this.stored = stored
  }

  get isEmpty(): boolean {
    return this.stored === undefined && this.held.entries.length === 0
  }

  /** @returns what remains of it that is accepted. */
  filtered(accepts: (entry: Entry) => boolean, next: number): Replay {
    const { stored, held } = this
    const remaining = stored && {
      ...stored,
      scope: 'rest' as const,
      before: stored.before.filter(accepts),
      accepts: {
        ...stored.accepts,
        accepts: (entry: Entry) => stored.accepts.accepts(entry) && accepts(entry),
      },
    }
    return new Replay(held.entries.slice(next).filter(accepts), held.last, remaining)
  }
}
