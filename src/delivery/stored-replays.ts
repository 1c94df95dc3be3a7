import type { Chunk, Codec } from '../codec/codec.js'
import { conflate } from '../history/conflate.js'
import type { Entry } from '../history/entry.js'
import type { Clock } from '../lib/clock.js'
import type { Offset } from '../protocol/cursor.js'
import type { StoredPart } from '../session/replayed.js'
import { type FindWindow, type ReadStored, storedEventsMax } from '../sessions/stored/read-stored.js'
import { encodeBatch, replayPart } from './batches.js'
import type { DeliveryCounts } from './counts.js'
import type { Feed } from './feed.js'

// Bytes of the data of their events; the frames take about as much.
const keptBytesMax = 16 * 1024 * 1024

// About the memory of a frame in addition to its bytes.
const frameBytes = 1024

// Clients that reconnect, or join a session one after the other, find the page read and encoded.
const keptMs = 5_000

/** A page of the store as it is replayed. */
export interface StoredFrames {
  readonly list: readonly StoredFrame[]
  /** All events up to here were examined. */
  readonly last: Offset
}

interface StoredFrame {
  readonly chunk: Chunk
  readonly events: number
  /** Of its last event. */
  readonly last: Offset
}

/** A page that was read and encoded. Its events are not kept, because a page of small ones has a thousand objects to collect. */
interface Reading {
  readonly frames: StoredFrames
  readonly bytes: number
  /** Whether it is the same for every replay of that scope that reaches as far. */
  readonly isWhole: boolean
}

interface Kept {
  readonly reading: Promise<Reading>
  /** When the replay that asked for it was chosen. */
  readonly joined: Offset
  /** Known once it has been read. */
  bytes: number
  /** Whether it was requested recently. */
  used: boolean
}

export interface StoredReplaysOptions {
  readonly clock: Clock
  readonly counts: DeliveryCounts
  readonly readStored: ReadStored
  readonly findWindow: FindWindow
}

/** The stored pages for fresh joins: each page is read and encoded once for all joins within seconds. */
export class StoredReplays {
  readonly #options: StoredReplaysOptions
  /** In the order of the last requests. */
  readonly #kept = new Map<string, Kept>()
  #bytes = 0
  #isSweeping = false
  /** Dialects and framings share names. */
  readonly #codecs = new Map<Codec, number>()
  /** Where the windows of replays begin. */
  readonly #begins = new WeakMap<StoredPart, Promise<Offset>>()

  constructor(options: StoredReplaysOptions) {
    this.#options = options
  }

  /** @returns the page after an offset; it may reach into memory */
  async frames(feed: Feed, codec: Codec, part: StoredPart, from: Offset): Promise<StoredFrames> {
    const begin = part.window === undefined ? from : await this.#beginOf(feed, part)
    const after = begin > from ? begin : from
    if (after >= part.until) return { list: [], last: part.until }
    // The rest of a replay whose filter has changed is not shared.
    if (part.scope === 'rest') return (await this.#read(feed, codec, part, after)).frames
    const name = this.#nameOf(feed, codec, part, after)
    const before = this.#kept.get(name)
    if (before !== undefined) {
      const { isWhole, frames } = await before.reading
      if ((isWhole && frames.last <= part.joined) || before.joined === part.joined) {
        if (this.#kept.get(name) === before) this.#touch(name, before)
        return frames
      }
    }
    return this.#keep(name, this.#read(feed, codec, part, after), part.joined)
  }

  #beginOf({ topic }: Feed, part: StoredPart): Promise<Offset> {
    const { window = {}, ...query } = part
    let begin = this.#begins.get(part)
    if (begin === undefined) {
      begin = this.#options.findWindow(topic, { window, ...query })
      this.#begins.set(part, begin)
    }
    return begin
  }

  #nameOf(feed: Feed, codec: Codec, { scope }: StoredPart, after: Offset): string {
    const { topic, filter } = feed
    let number = this.#codecs.get(codec)
    if (number === undefined) this.#codecs.set(codec, (number = this.#codecs.size))
    const whose = codec.namesFeeds ? feed.number : `${topic.timeline.epoch} ${filter.name}`
    return `${number} ${topic.name} ${after} ${scope} ${whose}`
  }

  async #read(feed: Feed, codec: Codec, part: StoredPart, after: Offset): Promise<Reading> {
    const { counts, readStored } = this.#options
    const { accepts, before, until, joined, scope } = part
    const upTo = { ...accepts, accepts: (entry: Entry) => entry.offset <= joined && accepts.accepts(entry) }
    const stored = await readStored(feed.topic, upTo, { after, limit: storedEventsMax })
    const isFirst = after === part.after && before.length > 0
    const read = isFirst ? [...before, ...stored.entries] : stored.entries
    const due = conflate(read)
    counts.conflated += read.length - due.length
    const list: StoredFrame[] = []
    let bytes = 0
    for (let from = 0; from < due.length; ) {
      const events = replayPart(due, from)
      from += events.length
      for (const entry of events) bytes += entry.bytes
      const last = due[from - 1]?.offset ?? after
      list.push({ chunk: encodeBatch(feed, codec, undefined, events), events: events.length, last })
    }
    // The store has nothing more, and will have nothing more.
    const last = stored.end && stored.last <= after ? until : stored.last
    const isReplayed = scope === 'all' || stored.entries.every(({ traits }) => traits.replay === 'all')
    return {
      frames: { list, last },
      bytes: bytes + (list.length + 1) * frameBytes,
      isWhole: !stored.end && last <= joined && !isFirst && isReplayed,
    }
  }

  async #keep(name: string, reading: Promise<Reading>, joined: Offset): Promise<StoredFrames> {
    const kept: Kept = { reading, joined, bytes: 0, used: true }
    this.#drop(name)
    this.#kept.set(name, kept)
    this.#sweepLater()
    try {
      const { bytes, frames } = await reading
      if (this.#kept.get(name) === kept) {
        kept.bytes = bytes
        this.#bytes += bytes
        for (const oldest of this.#kept.keys()) {
          if (this.#bytes <= keptBytesMax) break
          this.#drop(oldest)
        }
      }
      return frames
    } catch (error) {
      // The next join requests it again.
      if (this.#kept.get(name) === kept) this.#drop(name)
      throw error
    }
  }

  #touch(name: string, kept: Kept): void {
    kept.used = true
    this.#kept.delete(name)
    this.#kept.set(name, kept)
  }

  #drop(name: string): void {
    this.#bytes -= this.#kept.get(name)?.bytes ?? 0
    this.#kept.delete(name)
  }

  #sweepLater(): void {
    if (this.#isSweeping || this.#kept.size === 0) return
    this.#isSweeping = true
    this.#options.clock.after(keptMs, () => {
      this.#isSweeping = false
      for (const [name, kept] of this.#kept) {
        if (!kept.used) this.#drop(name)
        kept.used = false
      }
      this.#sweepLater()
    })
  }
}
