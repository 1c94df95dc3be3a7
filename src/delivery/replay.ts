import type { Chunk, Codec } from '../codec/codec.js'
import { conflate } from '../history/conflate.js'
import type { Entry } from '../history/entry.js'
import type { Offset } from '../protocol/cursor.js'
import type { StoredPart } from '../session/replayed.js'
import { encodeBatch, type FeedLabel, replayPart } from './batches.js'

/** A part of a replay that fits one frame. */
interface Part {
  readonly chunk: Chunk
  /** The index after its last event. */
  readonly to: number
}

/** Events of a replay in memory, and their frames, which all recipients share. */
export class ReplayPage {
  readonly entries: readonly Entry[]
  readonly #parts = new Map<Codec, Map<number, Part>>()

  constructor(entries: readonly Entry[]) {
    this.entries = conflate(entries)
  }

  /** @param from the index of the first event; there must be one */
  part(feed: FeedLabel, codec: Codec, from: number): Part {
    let parts = this.#parts.get(codec)
    if (parts === undefined) this.#parts.set(codec, (parts = new Map()))
    let part = parts.get(from)
    if (part === undefined) {
      const events = replayPart(this.entries, from)
      part = { chunk: encodeBatch(feed, codec, undefined, events), to: from + events.length }
      parts.set(from, part)
    }
    return part
  }
}

/**
 * The replay of a fresh join to a feed: first from the store, then from memory. All joins at the same offset
 * share it and its frames: a thousand clients that reconnect at once cost one selection and one frame for
 * each codec.
 */
export class Replay {
  readonly stored: StoredPart | undefined
  readonly #entries: readonly Entry[]
  #held: { readonly after: Offset; readonly page: ReplayPage } | undefined = undefined

  constructor(entries: readonly Entry[], stored?: StoredPart) {
    this.#entries = entries
    this.stored = stored
  }

  get isEmpty(): boolean {
    return this.stored === undefined && this.#entries.length === 0
  }

  /** @returns the part in memory after the stored part, which may overlap it */
  held(after: Offset): ReplayPage {
    if (this.#held?.after !== after) {
      const left = this.#entries.filter(({ offset }) => offset > after)
      this.#held = { after, page: new ReplayPage(left) }
    }
    return this.#held.page
  }

  /** @returns the events after an offset, of a replay in memory */
  after(last: Offset): Replay {
    return new Replay(this.#entries.filter(({ offset }) => offset > last))
  }

  /** @returns the rest of it that is accepted */
  filtered(accepts: (entry: Entry) => boolean): Replay {
    const { stored } = this
    const remaining = stored && {
      ...stored,
      scope: 'rest' as const,
      before: stored.before.filter(accepts),
      accepts: {
        ...stored.accepts,
        accepts: (entry: Entry) => stored.accepts.accepts(entry) && accepts(entry),
      },
    }
    return new Replay(this.#entries.filter(accepts), remaining)
  }
}
