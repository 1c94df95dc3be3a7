import { type Clock, type Timer, withoutJumpsAhead } from '../../lib/clock.js'
import type { Offset } from '../../protocol/cursor.js'
import { type Retention, type Store, StoreError } from '../../store/store.js'

export interface TrimmingOptions {
  readonly store: Store
  readonly clock: Clock
  readonly retention: Retention
  /** Retention has removed a session, or a session's events up to an offset. */
  readonly removed: (session: string) => void
  readonly trimmed: (session: string, trimmed: Offset) => void
  /** The session is damaged, and keeps what is due. */
  readonly damaged: (session: string) => void
  /** Whether the session is in use; then it is not removed. */
  readonly holds: (session: string) => boolean
}

const trimEveryMs = 60_000

/** Removes from the store what retention does not keep. */
export class Trimming {
  readonly #options: TrimmingOptions
  /** A removal cannot be undone. */
  readonly #clock: Clock
  #timer: Timer | undefined = undefined
  #ended = false

  constructor(options: TrimmingOptions) {
    this.#options = options
    this.#clock = withoutJumpsAhead(options.clock)
    this.#schedule()
  }

  end(): void {
    this.#ended = true
    this.#timer?.cancel()
  }

  #schedule(): void {
    this.#timer = this.#options.clock.after(trimEveryMs, () => {
      void this.#trim().then(() => {
        if (!this.#ended) this.#schedule()
      })
    })
  }

  /** Applies retention in small steps; a failed step is repeated the next time. */
  async #trim(): Promise<void> {
    const { store, retention, holds, removed, trimmed, damaged } = this.#options
    for (let more = true; more && !this.#ended; ) {
      try {
        const step = await store.trim(retention, this.#clock.now(), holds)
        for (const session of step.removed) removed(session)
        for (const cut of step.trimmed) trimmed(cut.session, cut.trimmed)
        for (const session of step.damaged ?? []) damaged(session)
        more = step.more
      } catch (error) {
        if (error instanceof StoreError) return
        throw error
      }
    }
  }
}
