import type { Clock } from '../../lib/clock.js'
import type { JsonObject } from '../../lib/json.js'
import { lastOf, type SessionRecord, type Store, StoreError } from '../../store/store.js'
import { byAttention } from './attention.js'

/** Maximum of sessions that a list shows and remembers: the most urgent ones. */
export const listedMax = 1_000

/** Maximum of sessions that are read from the store at once: about a millisecond. */
const pageSessions = 200

/** Beyond this number, sessions of earlier runs are listed only when they are requested. */
const soughtMax = 200_000

/**
 * The list entries of sessions that are only in the store: they have left memory, or are from an earlier run
 * of the hub.
 */
export class StoredSessions {
  readonly #clock: Clock
  readonly #sessions = new Map<string, JsonObject>()
  /** Whether some were not remembered, because there were too many. */
  isPartial = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @param ids the visible ones; all by default */
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
    // Removes the surplus at once and not one by one, because each time all are examined.
    if (this.#sessions.size >= 2 * listedMax) this.#keepFirst()
  }

  clear(): void {
    this.#sessions.clear()
    this.isPartial = false
  }

  /** @returns whether it was listed */
  delete(id: string): boolean {
    return this.#sessions.delete(id)
  }

  /**
   * Reads the stored sessions in steps, until the store fails or closes.
   *
   * @param found is called with the records of each step
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
