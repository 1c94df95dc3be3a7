import { type Clock, type Timer, withoutJumpsAhead } from '../../lib/clock.js'
import type { Described, SharedLog } from '../../log/shared-log.js'
import { aboutSession } from '../../session/reserved-slices.js'
import type { Session } from '../../session/session.js'

/** How often a hub looks for sessions that are due for removal. Milliseconds. */
const lookEveryMs = 60_000
/** Maximum of sessions per look at the log. */
const pageSessions = 100

export interface LogRetentionParts {
  readonly log: SharedLog
  readonly clock: Clock
  /** Sessions to which nothing was written for so long are removed. */
  readonly ageMs: number
  /** The sessions in memory now. */
  readonly held: () => readonly Session[]
}

/**
 * Removes sessions of a log to which nobody has written for long: those that have ended, and those that nobody follows at any hub.
 * All hubs do it, and need not agree: a session is only removed as it was seen.
 */
export class LogRetention {
  readonly #parts: LogRetentionParts
  /** When the log was told last that somebody follows a session here. */
  readonly #describedAt = new WeakMap<Session, number>()
  #timer: Timer | undefined = undefined
  #isClosed = false

  constructor(parts: LogRetentionParts) {
    this.#parts = { ...parts, clock: withoutJumpsAhead(parts.clock) }
    this.#wait()
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  #wait(): void {
    const { clock, ageMs } = this.#parts
    // If a look fails, the next one finds the same.
    this.#timer = clock.after(Math.min(lookEveryMs, ageMs / 4), () => {
      this.#look()
        .catch(() => undefined)
        .finally(() => {
          if (!this.#isClosed) this.#wait()
        })
    })
  }

  async #look(): Promise<void> {
    const { log, clock, ageMs } = this.#parts
    await this.#keepFollowed()
    for (let mark = 0, end = false; !end && !this.#isClosed; ) {
      const page = await log.described(mark, pageSessions)
      for (const described of page.sessions) {
        // The others were described later.
        if (described.at >= clock.now() - ageMs) return
        await this.#expire(described)
      }
      ;({ mark, end } = page)
    }
  }

  /** Sessions that are followed here count as changed. */
  async #keepFollowed(): Promise<void> {
    const { log, clock, ageMs, held } = this.#parts
    const now = clock.elapsed()
    for (const session of held()) {
      const { id, epoch, offset, status, followed } = session
      if (!followed || status === 'waiting' || status === 'ended') continue
      if (now - (this.#describedAt.get(session) ?? Number.NEGATIVE_INFINITY) < ageMs / 2) continue
      await log.describe(id, { epoch, offset, about: JSON.stringify(aboutSession(session)) })
      this.#describedAt.set(session, now)
    }
  }

  async #expire({ session, about, at }: Described): Promise<void> {
    const { log, clock, ageMs } = this.#parts
    const { epoch, last, before, batches } = await log.open(session)
    const writtenAt = [...before, ...batches].reduce((newest, batch) => Math.max(newest, batch.at), 0)
    const isDue = (writtenAt || at) < clock.now() - ageMs
    if (isDue) await log.remove(session, { epoch, offset: last })
    // Not every batch changes the description.
    else if (about !== undefined) await log.describe(session, { epoch, offset: last, about })
  }
}
