import type { Clock } from '../lib/clock.js'
import type { JsonObject } from '../lib/json.js'
import { lastOf, type SessionRecord, type Store, StoreError } from '../store/store.js'
import { byAttention } from './attention.js'

/** How many a list shows, and how many are remembered for it: those that a person looks at first. */
export const listedMax = 1_000

/** What is read of the store at once: about a millisecond. */
const pageSessions = 200

/** Beyond so many, those of earlier lives are listed once they are asked for. */
const soughtMax = 200_000

/**
 * What a list shows of sessions that the store has and memory has not: they have left it, or are of an earlier life
 * of the hub.
 */
export class StoredSessions {
  readonly #clock: Clock
  readonly #sessions = new Map<string, JsonObject>()
  /** Some were too many to be remembered. */
  isPartial = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @param ids those that may be seen; all of them unless given */
  entries(ids: readonly string[] | undefined): readonly (readonly [string, JsonObject])[] {
    if (ids === undefined) return [...this.#sessions]
    return ids.flatMap((id) => {
      const about = this.#sessions.get(id)
      return about === undefined ? [] : [[id, about] as const]
    })
  }

  /** @param about as `aboutSession` */
  add(id: string, about: JsonObject): void {
    this.#sessions.set(id, about)
    // Down to the most at once and not one by one: all of them are looked at.
    if (this.#sessions.size >= 2 * listedMax) this.#keepFirst()
  }

  /** @returns whether it was there */
  delete(id: string): boolean {
    return this.#sessions.delete(id)
  }

  /**
   * Reads which sessions the store has, in steps. A store that fails or closes ends it.
   *
   * @param found told the records of each step
   */
  static async seek(store: Store, found: (records: readonly SessionRecord[]) => void): Promise<void> {
    try {
      let after = ''
      for (let sought = 0; sought < soughtMax; sought += pageSessions) {
        const page = await store.sessions(after, pageSessions)
        found(page.sessions.map(({ record }) => record))
        if (page.end) return
        after = lastOf(page) ?? after
      }
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
    }
  }

  #keepFirst(): void {
    this.isPartial = true
    for (const [id] of byAttention([...this.#sessions], this.#clock.now()).slice(listedMax)) {
      this.#sessions.delete(id)
    }
  }
}
