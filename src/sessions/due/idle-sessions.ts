import { Oldest } from '../../lib/oldest.js'
import type { Session } from '../../session/session.js'

/** Sessions that are not followed and completely stored; if there are too many, the longest idle leave memory. */
export class IdleSessions {
  /** In the order in which they became idle. */
  readonly #idle = new Map<string, Session>()
  readonly #oldest = new Oldest(this.#idle)
  readonly #max: number
  readonly #release: (session: Session) => void

  /** @param release releases a session from memory */
  constructor(max: number, release: (session: Session) => void) {
    this.#max = Math.max(1, max)
    this.#release = release
  }

  /** The session is not followed, and everything of it is committed. */
  add(session: Session): void {
    this.#idle.delete(session.id)
    this.#idle.set(session.id, session)
    while (this.#idle.size > this.#max) {
      const id = this.#oldest.next() as string
      const oldest = this.#idle.get(id)
      this.#idle.delete(id)
      if (oldest?.followed === false) this.#release(oldest)
    }
  }

  /** The idle sessions, in the order in which they became idle. */
  sessions(): Session[] {
    return [...this.#idle.values()].filter(({ followed }) => !followed)
  }

  /** It is published to again, or has left memory. */
  delete(id: string): void {
    this.#idle.delete(id)
  }
}
