import type { Chunk, Codec } from '../codec/codec.js'
import type { Entry } from '../history/entry.js'
import type { Offset } from '../protocol/cursor.js'
import type { Delivery } from './delivery.js'
import type { Feed } from './feed.js'
import type { Hub } from './hub.js'
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

  constructor(entries: readonly Entry[], last: Offset) {
    this.entries = entries
    this.last = last
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

// Events of one page of the store.
const storedEventsMax = 1_000

// Pages of the store that those who are a little behind still find read and encoded.
const pagesMax = 8

/**
 * What a fresh join to a feed gets. All who join at the same offset share it, and the frames made of it:
 * a thousand clients that come back at once cost one selection and one frame for each codec.
 */
export class Replay {
  /** What memory holds: the end of the replay. */
  readonly held: ReplayPage
  readonly stored: StoredPart | undefined
  readonly #pages = new Map<Offset, Promise<ReplayPage>>()

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
      before: stored.before.filter(accepts),
      accepts: {
        ...stored.accepts,
        accepts: (entry: Entry) => stored.accepts.accepts(entry) && accepts(entry),
      },
    }
    return new Replay(held.entries.slice(next).filter(accepts), held.last, remaining)
  }

  /** @returns the page of the store after an offset. */
  page(hub: Hub, feed: Feed, after: Offset): Promise<ReplayPage> {
    let page = this.#pages.get(after)
    if (page === undefined) {
      page = this.#read(hub, feed, after)
      this.#pages.set(after, page)
      // Whoever comes next asks again.
      page.catch(() => this.#pages.delete(after))
      for (const oldest of this.#pages.keys()) {
        if (this.#pages.size <= pagesMax) break
        this.#pages.delete(oldest)
      }
    }
    return page
  }

  async #read(hub: Hub, feed: Feed, after: Offset): Promise<ReplayPage> {
    const { until, accepts, before, after: begin } = this.stored as StoredPart
    const upTo = { ...accepts, accepts: (entry: Entry) => entry.place <= until && accepts.accepts(entry) }
    const { entries, last, end } = await hub.readStored(feed.topic, upTo, { after, limit: storedEventsMax })
    const due = hub.delivery.conflate(after === begin ? [...before, ...entries] : entries)
    // A store that has nothing more, and will not have, has given all it can.
    return new ReplayPage(due, end && last <= after ? until : last)
  }
}
