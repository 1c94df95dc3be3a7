import { type Clock, withoutJumpsAhead } from '../../lib/clock.js'
import type { Random } from '../../lib/random.js'
import { ProtocolError } from '../../protocol/codes.js'
import { expiryOf } from '../../session/durable-stream.js'
import type { StreamRecord } from '../../store/store.js'
import { DueTimes } from './due-times.js'

/** Maximum of durable streams whose expiry a hub waits for. Others are removed when somebody asks for them. */
export const expiriesMax = 100_000

/** A random delay, so that of several hubs of a log one is first and the others find it done. */
const spreadMs = 400
/** The delay before a removal is tried again, because the store or the log failed. */
const retryMs = 1_000

export interface StreamExpiriesParts {
  readonly clock: Clock
  readonly random: Random
  /** Whether other hubs wait for the same streams. */
  readonly isShared: boolean
  /** Finds a stream, and removes it if it has expired. */
  readonly find: (session: string) => Promise<StreamRecord | undefined>
}

/** Removes durable streams once they have expired, one at a time, because each may have to be loaded from the store. */
export class StreamExpiries {
  readonly #parts: StreamExpiriesParts
  /** As those who find out whether a stream has expired. */
  readonly #clock: Clock
  readonly #times: DueTimes
  readonly #due = new Set<string>()
  #isRemoving = false
  #closed = false

  constructor(parts: StreamExpiriesParts) {
    this.#parts = parts
    this.#clock = withoutJumpsAhead(parts.clock)
    this.#times = new DueTimes(this.#clock, (session) => this.#come(session))
  }

  /** Waits until the stream may have expired. Then it is read when it does. @param at milliseconds since 1970 */
  wait(session: string, at: number): void {
    if (this.#closed || (this.#times.size >= expiriesMax && !this.#times.has(session))) return
    const { isShared, random } = this.#parts
    this.#times.wait(session, undefined, isShared ? at + Math.round(random.fraction() * spreadMs) : at)
  }

  /** The session was removed. */
  drop(session: string): void {
    this.#times.dropAll(session)
  }

  close(): void {
    this.#closed = true
    this.#times.clear()
    this.#due.clear()
  }

  #come(session: string): undefined {
    this.#due.add(session)
    if (!this.#isRemoving) void this.#removeAll()
  }

  async #removeAll(): Promise<void> {
    this.#isRemoving = true
    for (const session of this.#due) {
      this.#due.delete(session)
      await this.#remove(session)
    }
    this.#isRemoving = false
  }

  async #remove(session: string): Promise<void> {
    const { find } = this.#parts
    try {
      const stream = await find(session)
      const at = stream === undefined || stream.isDeleted ? undefined : expiryOf(stream)
      if (at !== undefined) this.wait(session, at)
    } catch (error) {
      // What is damaged stays until somebody asks for it.
      const isAway = error instanceof ProtocolError && error.code === 'unavailable'
      if (isAway) this.wait(session, this.#clock.now() + retryMs)
    }
  }
}
