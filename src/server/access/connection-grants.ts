import type { Connection } from '../../delivery/connection.js'
import type { Clock, Timer } from '../../lib/clock.js'
import type { Permissions } from '../../protocol/permissions.js'
import type { VerifiedGrant } from './grant.js'

/** The longest duration of a timer (`setTimeout`: 2³¹ − 1 ms), after which it is set again. Milliseconds. */
const timerMsMax = 24 * 60 * 60 * 1_000

/** How often to check whether the clock was set, or the machine has slept. Milliseconds. */
const jumpLookMs = 1_000
/** Corrections of the clock below this are ignored. Milliseconds. */
const jumpMsMin = 500

/** The grants of the open connections. A connection is closed when its grant ends. */
export class ConnectionGrants {
  readonly #clock: Clock
  readonly #grants = new Map<Connection, VerifiedGrant>()
  /** Timers of connections whose grant expires. */
  readonly #timers = new Map<Connection, Timer>()
  /** Runs while there are such connections, because their timers do not notice changes of the clock. */
  #jumps: Timer | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The connection has opened with this grant. */
  add(connection: Connection, grant: VerifiedGrant): void {
    this.#grants.set(connection, grant)
    this.#watch(connection, grant)
  }

  grantOf(connection: Connection): VerifiedGrant | undefined {
    return this.#grants.get(connection)
  }

  /** @returns why requests of the connection are no longer permitted; undefined while they are */
  reasonAgainst(connection: Connection): string | undefined {
    return this.#grants.get(connection)?.reasonAgainst()
  }

  /**
   * Replaces the grant of the connection.
   *
   * @throws ProtocolError `unauthorized` when the new grant has ended meanwhile; the previous one stays
   */
  renew(connection: Connection, grant: VerifiedGrant): void {
    if (!this.#grants.has(connection)) return
    grant.use((permissions: Permissions) => {
      this.#grants.set(connection, grant)
      connection.permit(permissions, 'the new token does not allow it', grant.subject)
    })
    this.#watch(connection, grant)
  }

  /** The connection has closed. */
  release(connection: Connection): void {
    this.#cancel(connection)
    this.#grants.delete(connection)
  }

  /** Closes connections whose grant has ended for any reason. */
  review(): void {
    for (const [connection, grant] of this.#grants) {
      const reason = grant.reasonAgainst()
      if (reason !== undefined) connection.close('unauthorized', reason)
    }
  }

  #watch(connection: Connection, grant: VerifiedGrant): void {
    this.#cancel(connection)
    const { expiresAt } = grant
    // The renewal may have closed the connection.
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

  /** Grants may end without a timer if the clock was set or the machine has slept. */
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
