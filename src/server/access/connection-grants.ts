import type { Connection } from '../../delivery/connection.js'
import type { Clock, Timer } from '../../lib/clock.js'
import type { Authenticator } from './authenticator.js'
import type { VerifiedGrant } from './grant.js'

/** The longest that a timer may run (`setTimeout`: 2³¹ − 1 ms); after it, it is set again. Milliseconds. */
const timerMsMax = 24 * 60 * 60 * 1_000

/** What the open connections may do. A connection whose grant has come to its end is closed. */
export class ConnectionGrants {
  readonly #authenticator: Authenticator
  readonly #clock: Clock
  readonly #grants = new Map<Connection, VerifiedGrant>()
  /** Of those whose grant comes to an end. */
  readonly #timers = new Map<Connection, Timer>()

  constructor(authenticator: Authenticator, clock: Clock) {
    this.#authenticator = authenticator
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

  /** The connection has another grant from now on. */
  renew(connection: Connection, grant: VerifiedGrant): void {
    if (!this.#grants.has(connection)) return
    this.#grants.set(connection, grant)
    connection.permit(grant.permissions, 'the new token does not allow it')
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
      const reason = this.#authenticator.reasonAgainst(grant)
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
      const reason = this.#authenticator.reasonAgainst(grant)
      if (reason === undefined) this.#watch(connection, grant)
      else connection.close('unauthorized', reason)
    })
    this.#timers.set(connection, timer)
  }

  #cancel(connection: Connection): void {
    this.#timers.get(connection)?.cancel()
    this.#timers.delete(connection)
  }
}
