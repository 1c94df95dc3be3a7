import type { Clock } from '../../lib/clock.js'
import type { Random } from '../../lib/random.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import type { VerifiedGrant } from './grant.js'

interface Ticket {
  readonly grant: VerifiedGrant
  readonly until: number
}

/**
 * What stands in a URL for a token: good once, and for a short while. An `EventSource` can set no header, and URLs end
 * up in logs.
 */
export class Tickets {
  readonly #clock: Clock
  readonly #random: Random
  readonly #limits: Limits
  /** The oldest first, and all are good for the same time: so the first is the first to go. */
  readonly #open = new Map<string, Ticket>()

  constructor(clock: Clock, random: Random, limits: Limits) {
    this.#clock = clock
    this.#random = random
    this.#limits = limits
  }

  /** @throws ProtocolError `rateExceeded` when there are as many as may be */
  issue(grant: VerifiedGrant): string {
    const { ticketMs, ticketsMax } = this.#limits
    this.#forgetOld()
    if (this.#open.size >= ticketsMax) {
      throw new ProtocolError('rateExceeded', `There are ${ticketsMax} unused tickets; come back later.`)
    }
    const ticket = this.#random.id(32)
    this.#open.set(ticket, { grant, until: this.#clock.now() + ticketMs })
    return ticket
  }

  /** @returns what it stands for, once; nothing when it was used, is too old, or never was */
  redeem(ticket: string): VerifiedGrant | undefined {
    const found = this.#open.get(ticket)
    this.#open.delete(ticket)
    return found === undefined || found.until <= this.#clock.now() ? undefined : found.grant
  }

  #forgetOld(): void {
    const now = this.#clock.now()
    for (const [ticket, { until }] of this.#open) {
      if (until > now) return
      this.#open.delete(ticket)
    }
  }
}
