import type { Offset } from '../protocol/cursor.js'
import type { Feed } from './feed.js'
import { type StoredPage, storedEventsMax } from './history-page.js'
import type { Hub } from './hub.js'
import { ReplayPage } from './replay.js'
import type { StoredPart } from './topic.js'

// A page is about a quarter of a mebibyte in the store, and up to four times as much here, with its frames.
const pagesMax = 32

// Those who come back after a cut, and those who join a session one after the other, find it read and encoded.
const keptMs = 5_000

/** What was read, and what a replay takes of it. */
class Reading {
  readonly #hub: Hub
  readonly #stored: StoredPage
  readonly #after: Offset
  /** It is the same for every replay of that scope, however far it goes. */
  readonly isWhole: boolean
  /** What was taken last: mostly all of it. */
  #page: ReplayPage | undefined = undefined

  constructor(hub: Hub, stored: StoredPage, after: Offset, isWhole: boolean) {
    this.#hub = hub
    this.#stored = stored
    this.#after = after
    this.isWhole = isWhole
  }

  /** @returns the part of it that a replay with this end has */
  page({ until }: StoredPart): ReplayPage {
    const { entries, last, end } = this.#stored
    // A store that has nothing more, and will not have, has given all it can.
    const to = last > until || (end && last <= this.#after) ? until : last
    if (this.#page?.last !== to) {
      const due = last > until ? entries.filter(({ place }) => place <= until) : entries
      this.#page = new ReplayPage(this.#hub.delivery.conflate(due), to)
    }
    return this.#page
  }
}

interface Kept {
  readonly reading: Promise<Reading>
  /** Where the replay that asked for it ends. */
  readonly until: Offset
  /** Somebody has asked for it of late. */
  used: boolean
}

/** Pages of the store that fresh joins ask for: each is read, and its frames are made, once for all who join. */
export class StoredPages {
  readonly #hub: Hub
  /** The one asked for last stands last. */
  readonly #kept = new Map<string, Kept>()

  constructor(hub: Hub) {
    this.#hub = hub
  }

  /** @returns the page that follows an offset in what a replay takes from the store */
  async page(feed: Feed, part: StoredPart, after: Offset): Promise<ReplayPage> {
    const { topic, filter } = feed
    // What is left of a replay when the filter has changed in its midst is nobody else's.
    if (part.scope === 'rest') return (await this.#read(feed, part, after)).page(part)
    const name = `${topic.name} ${topic.session.epoch} ${after} ${part.scope} ${filter.name}`
    const before = this.#kept.get(name)
    if (before !== undefined) {
      const reading = await before.reading
      if (reading.isWhole || before.until === part.until) {
        if (this.#kept.get(name) === before) this.#keep(name, before)
        return reading.page(part)
      }
    }
    const reading = this.#read(feed, part, after)
    const kept = { reading, until: part.until, used: true }
    this.#keep(name, kept)
    // Whoever comes next asks again.
    reading.catch(() => this.#kept.get(name) === kept && this.#kept.delete(name))
    return (await reading).page(part)
  }

  async #read(feed: Feed, { accepts, before, ...part }: StoredPart, after: Offset): Promise<Reading> {
    const stored = await this.#hub.readStored(feed.topic, accepts, { after, limit: storedEventsMax })
    const isFirst = after === part.after && before.length > 0
    const isReplayed = part.scope === 'all' || stored.entries.every(({ traits }) => traits.replay === 'all')
    return new Reading(
      this.#hub,
      isFirst ? { ...stored, entries: [...before, ...stored.entries] } : stored,
      after,
      !stored.end && !isFirst && isReplayed,
    )
  }

  #keep(name: string, kept: Kept): void {
    if (this.#kept.size === 0) this.#sweepLater()
    kept.used = true
    this.#kept.delete(name)
    this.#kept.set(name, kept)
    const [oldest] = this.#kept.keys()
    if (this.#kept.size > pagesMax && oldest !== undefined) this.#kept.delete(oldest)
  }

  #sweepLater(): void {
    this.#hub.clock.after(keptMs, () => {
      for (const [name, kept] of this.#kept) {
        if (!kept.used) this.#kept.delete(name)
        kept.used = false
      }
      if (this.#kept.size > 0) this.#sweepLater()
    })
  }
}
