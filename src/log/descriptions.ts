import type { Clock } from '../lib/clock.js'
import type { Described, DescribedPage, Description } from './shared-log.js'

/** Removed sessions that are told of; who asks more seldom asks for all. */
const removedMax = 10_000

/** Where a change stands in their order, and when it was. */
interface Marked {
  readonly mark: number
  readonly at: number
}

/** The descriptions of sessions of a log in memory, in the order of their changes. */
export class Descriptions {
  readonly #clock: Clock
  readonly #sessions = new Map<string, Description & Marked>()
  readonly #removed = new Map<string, Marked>()
  #mark = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  put(session: string, description: Description): void {
    const kept = this.#sessions.get(session)
    if (kept?.epoch === description.epoch && kept.offset > description.offset) return
    // The newest ones last.
    this.#sessions.delete(session)
    this.#removed.delete(session)
    this.#sessions.set(session, { ...description, ...this.#next() })
  }

  remove(session: string): void {
    if (!this.#sessions.delete(session)) return
    this.#removed.set(session, this.#next())
    const [oldest] = this.#removed.keys()
    if (this.#removed.size > removedMax && oldest !== undefined) this.#removed.delete(oldest)
  }

  #next(): Marked {
    return { mark: ++this.#mark, at: this.#clock.now() }
  }

  page(after: number, limit: number): DescribedPage {
    const all: (Described & { readonly mark: number })[] = []
    for (const [session, { about, mark, at }] of this.#sessions)
      if (mark > after) all.push({ session, about, mark, at })
    if (after > 0) {
      for (const [session, { mark, at }] of this.#removed) {
        if (mark > after) all.push({ session, about: undefined, mark, at })
      }
    }
    all.sort((one, other) => one.mark - other.mark)
    const page = all.slice(0, limit)
    return {
      sessions: page.map(({ session, about, at }) => ({ session, about, at })),
      mark: page.at(-1)?.mark ?? after,
      end: all.length <= limit,
      total: this.#sessions.size,
    }
  }
}
