import type { Epoch, Offset } from '../../protocol/cursor.js'
import type { Journal } from '../../session/journal.js'
import type { Store, StoredSession } from '../../store/store.js'
import type { DamagedSessions } from './damaged-sessions.js'

/** Sessions that are being removed from the store. */
export class Removals {
  readonly #store: Store
  readonly #damaged: DamagedSessions
  readonly #leaving = new Set<string>()
  /** Sessions that could not be removed: offsets up to here were assigned, and not all were stored. */
  readonly #reached = new Map<string, { readonly epoch: Epoch; readonly offset: Offset }>()
  readonly #removals = new WeakMap<Journal, Promise<void>>()

  constructor(store: Store, damaged: DamagedSessions) {
    this.#store = store
    this.#damaged = damaged
  }

  /**
   * Forgets a session, here and in the store.
   *
   * @throws ProtocolError `unavailable` if the store fails; then the session exists again
   */
  async remove(journal: Journal): Promise<void> {
    const { session, epoch, offset } = journal
    this.#reached.set(session, { epoch, offset })
    const removal = this.removeStored(session)
    this.#removals.set(journal, removal)
    await removal
    this.#reached.delete(session)
  }

  /** @returns a session as stored; its offsets continue, even if it could not be removed */
  continued(stored: StoredSession): StoredSession {
    const { session, epoch } = stored.record
    const reached = this.#reached.get(session)
    const isBehind = reached?.epoch === epoch && reached.offset > stored.last
    return isBehind ? { ...stored, last: reached.offset } : stored
  }

  /** @returns when a session that is being removed is gone; rejects if it exists again, without its uncommitted changes */
  outcomeOf(journal: Journal): Promise<void> | undefined {
    return this.#removals.get(journal)
  }

  /** As `remove`, of a session that is not in memory. */
  async removeStored(id: string): Promise<void> {
    this.#leaving.add(id)
    try {
      await this.#store.remove(id)
      this.#damaged.delete(id)
    } catch (error) {
      throw this.#damaged.answerTo(error)
    } finally {
      this.#leaving.delete(id)
    }
  }

  /** @returns whether the store has a session with that id that is being removed */
  leaves(id: string): boolean {
    return this.#leaving.has(id)
  }
}
