import type { Described, DescribedPage, Description } from './shared-log.js'

/** Removed sessions that are told of; who asks more seldom asks for all. */
const removedMax = 10_000

/** The descriptions of sessions of a log in memory, in the order of their changes. */
export class Descriptions {
  readonly #sessions = new Map<string, Description & { readonly mark: number }>()
  readonly #removed = new Map<string, number>()
  #mark = 0

  put(session: string, description: Description): void {
    const kept = this.#sessions.get(session)
    if (kept?.epoch === description.epoch && kept.offset > description.offset) return
    // The newest ones last.
    this.#sessions.delete(session)
    this.#removed.delete(session)
    this.#sessions.set(session, { ...description, mark: ++this.#mark })
  }

  remove(session: string): void {
    if (!this.#sessions.delete(session)) return
    this.#removed.set(session, ++this.#mark)
    const [oldest] = this.#removed.keys()
    if (this.#removed.size > removedMax && oldest !== undefined) this.#removed.delete(oldest)
  }

  page(after: number, limit: number): DescribedPage {
    const all: (Described & { readonly mark: number })[] = []
    for (const [session, { about, mark }] of this.#sessions)
      if (mark > after) all.push({ session, about, mark })
    if (after > 0) {
      for (const [session, mark] of this.#removed) {
        if (mark > after) all.push({ session, about: undefined, mark })
      }
    }
    all.sort((one, other) => one.mark - other.mark)
    const page = all.slice(0, limit)
    return {
      sessions: page.map(({ session, about }) => ({ session, about })),
      mark: page.at(-1)?.mark ?? after,
      end: all.length <= limit,
      total: this.#sessions.size,
    }
  }
}
