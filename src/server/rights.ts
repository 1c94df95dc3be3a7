import type { Connection } from '../hub/connection.js'
import type { Clock, Timer } from '../lib/clock.js'
import type { Gate } from './gate.js'
import type { Grant } from './grant.js'

interface Holding {
  grant: Grant
  timer: Timer | undefined
}

/** The longest that a timer may run (`setTimeout`: 2³¹ − 1 ms); after it, it is set again. Milliseconds. */
const timerMsMax = 24 * 60 * 60 * 1_000

/** What the open connections may do. A connection whose grant has come to its end is closed. */
export class Rights {
  readonly #gate: Gate
  readonly #clock: Clock
  readonly #holdings = new Map<Connection, Holding>()

  constructor(gate: Gate, clock: Clock) {
    this.#gate = gate
    this.#clock = clock
  }

  /** The connection has opened with this grant. */
  hold(connection: Connection, grant: Grant): void {
    const holding: Holding = { grant, timer: undefined }
    this.#holdings.set(connection, holding)
    this.#watch(connection, holding)
  }

  grantOf(connection: Connection): Grant | undefined {
    return this.#holdings.get(connection)?.grant
  }

  /** The connection has another grant from now on. */
  renew(connection: Connection, grant: Grant): void {
    const holding = this.#holdings.get(connection)
    if (holding === undefined) return
    holding.timer?.cancel()
    holding.grant = grant
    connection.permit(grant.permissions, 'the new token does not allow it')
    this.#watch(connection, holding)
  }

  /** The connection has gone. */
  release(connection: Connection): void {
    this.#holdings.get(connection)?.timer?.cancel()
    this.#holdings.delete(connection)
  }

  /** Ends what is not good any more, whatever the reason. */
  review(): void {
    for (const [connection, { grant }] of this.#holdings) {
      const reason = this.#gate.reasonAgainst(grant)
      if (reason !== undefined) connection.close('unauthorized', reason)
    }
  }

  #watch(connection: Connection, holding: Holding): void {
    const { expiresAt } = holding.grant
    if (expiresAt === undefined) return
    const leftMs = Math.max(0, expiresAt - this.#clock.now())
    holding.timer = this.#clock.after(Math.min(leftMs, timerMsMax), () => {
      const reason = this.#gate.reasonAgainst(holding.grant)
      if (reason === undefined) this.#watch(connection, holding)
      else connection.close('unauthorized', reason)
    })
  }
}
