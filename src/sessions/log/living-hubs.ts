import type { Clock, Timer } from '../../lib/clock.js'
import type { SharedLog } from '../../log/shared-log.js'
import type { Session } from '../../session/session.js'

/** How often a hub says that it lives, while watchers of a session that it has are counted. Milliseconds. */
const sayEveryMs = 3_000
/** How long it counts as alive after that. Milliseconds. */
const livesMs = 9_000

export interface LivingHubsParts {
  readonly log: SharedLog
  readonly clock: Clock
  /** The hub's own id. */
  readonly hub: string
  /** @returns the session if it is in memory */
  readonly held: (session: string) => Session | undefined
  /** A hub that has counted watchers of the session is gone. */
  readonly gone: (session: string, hub: string) => void
}

/** Finds hubs of a log that are gone, and whose watchers are still counted. Nothing is said or read where none are counted. */
export class LivingHubs {
  readonly #parts: LivingHubsParts
  /** Sessions whose watchers are counted. */
  readonly #counted = new Set<string>()
  /** Hubs that the last answer did not have: the log itself may have been away. */
  #missed: ReadonlySet<string> = new Set()
  #timer: Timer | undefined = undefined
  #isClosed = false

  constructor(parts: LivingHubsParts) {
    this.#parts = parts
  }

  /** Watchers of a session in memory are counted. */
  counted(session: string): void {
    if (this.#isClosed) return
    this.#counted.add(session)
    this.#timer ??= this.#parts.clock.after(0, () => this.#say())
  }

  /** The other hubs need not wait until this one is missed. */
  close(): void {
    this.#isClosed = true
    if (this.#timer === undefined) return
    this.#timer.cancel()
    this.#parts.log.living(this.#parts.hub, 0).catch(() => undefined)
  }

  #say(): void {
    const { log, clock, hub, held } = this.#parts
    for (const id of this.#counted) if (held(id)?.watching === undefined) this.#counted.delete(id)
    if (this.#counted.size === 0) {
      this.#timer = undefined
      return
    }
    this.#timer = clock.after(sayEveryMs, () => this.#say())
    log.living(hub, livesMs).then(
      (living) => this.#compare(new Set(living)),
      // The next answer tells.
      () => undefined,
    )
  }

  #compare(living: ReadonlySet<string>): void {
    const missing = new Set<string>()
    const { hub: own, held, gone } = this.#parts
    for (const id of this.#counted) {
      for (const hub of held(id)?.watching?.hubs ?? []) {
        if (hub === own || living.has(hub)) continue
        missing.add(hub)
        if (this.#missed.has(hub)) gone(id, hub)
      }
    }
    this.#missed = missing
  }
}
