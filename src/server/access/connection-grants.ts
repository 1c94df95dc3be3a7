import type { Connection } from '../../delivery/connection.js'
import type { Clock, Timer } from '../../lib/clock.js'
import type { Permissions } from '../../protocol/permissions.js'
import type { VerifiedGrant } from './grant.js'

/** The longest that a timer may run (`setTimeout`: 2³¹ − 1 ms); after it, it is set again. Milliseconds. */
const timerMsMax = 24 * 60 * 60 * 1_000

/** How often it is seen whether somebody has set the clock, or the machine has slept. Milliseconds. */
const jumpLookMs = 1_000
/** By how much the clock may be corrected without being looked at. Milliseconds. */
const jumpMsMin = 500

/** What the open connections may do. A connection whose grant has come to its end is closed. */
export class ConnectionGrants {
  readonly #clock: Clock
  readonly #grants = new Map<Connection, VerifiedGrant>()
  /** Of those whose grant comes to an end. */
  readonly #timers = new Map<Connection, Timer>()
  /** Runs while there are such connections: their timers do not notice a clock that jumps. */
  #jumps: Timer | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The connection has opened with this grant. */
  hold(connection: Connection, grant: VerifiedGrant): void {
    this.#grants.set(connection, grant)
    this.#watch(connection, grant)
  }

  grantOf(connection: Connection): VerifiedGrant | undefined {
    return this.#grants.get(connection)
  }

  /** @returns why what the connection asks for must not be done any more; nothing while it may */
  reasonAgainst(connection: Connection): string | undefined {
    return this.#grants.get(connection)?.reasonAgainst()
  }

  /**
   * The connection has another grant from now on.
   *
   * @throws ProtocolError `unauthorized` when that has come to its end meanwhile: the one from before stays
   */
  renew(connection: Connection, grant: VerifiedGrant): void {
    if (!this.#grants.has(connection)) return
    grant.use((permissions: Permissions) => {
      this.#grants.set(connection, grant)
      connection.permit(permissions, 'the new token does not allow it', grant.subject)
    })
    this.#watch(connection, grant)
  }

  /** The connection has gone. */
  release(connection: Connection): void {
    this.#cancel(connection)
    this.#grants.delete(connection)
  }

  /** Ends what is not good any more, whatever the reason. */
  review(): void {
    for (const [connection, grant] of this.#grants) {
      const reason = grant.reasonAgainst()
      if (reason !== undefined) connection.close('unauthorized', reason)
    }
  }

  #watch(connection: Connection, grant: VerifiedGrant): void {
    this.#cancel(connection)
    const { expiresAt } = grant
    // What was renewed may have gone by it.
    if (expiresAt === undefined || !this.#grants.has(connection)) return
    const leftMs = Math.max(0, expiresAt - this.#clock.now())
    const timer = this.#clock.after(Math.min(leftMs, timerMsMax), () => {
      const reason = grant.reasonAgainst()
      if (reason === undefined) this.#watch(connection, grant)
      else connection.close('unauthorized', reason)
    })
    this.#timers.set(connection, timer)
    this.#lookForJumps()
  }

  #cancel(connection: Connection): void {
    this.#timers.get(connection)?.cancel()
    this.#timers.delete(connection)
    if (this.#timers.size > 0) return
    this.#jumps?.cancel()
    this.#jumps = undefined
  }

  /** A clock that was set, or a machine that slept, ends grants in a moment that no timer knew of. */
  #lookForJumps(): void {
    if (this.#jumps !== undefined) return
    const apart = this.#clock.now() - this.#clock.elapsed()
    this.#jumps = this.#clock.after(jumpLookMs, () => {
      this.#jumps = undefined
      const jumpMs = Math.abs(this.#clock.now() - this.#clock.elapsed() - apart)
      if (jumpMs >= jumpMsMin) this.review()
      if (this.#timers.size > 0) this.#lookForJumps()
    })
  }
}
