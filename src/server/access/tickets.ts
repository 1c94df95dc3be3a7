import type { Clock } from '../../lib/clock.js'
import type { Random } from '../../lib/random.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import type { VerifiedGrant } from './grant.js'

interface Ticket {
  readonly grant: VerifiedGrant
  readonly sender: string
  /** On the clock that never goes back. Milliseconds. */
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
  /** Of each sender, those that have any: the oldest first. */
  readonly #ofSender = new Map<string, Set<string>>()

  constructor(clock: Clock, random: Random, limits: Limits) {
    this.#clock = clock
    this.#random = random
    this.#limits = limits
  }

  /**
   * When there are as many as may be, the oldest of whoever has most goes for one of somebody who has fewer.
   *
   * @param sender a token's holder, or an address
   * @throws ProtocolError `rateExceeded` when the sender has as many as may be, or more than all others
   */
  issue(grant: VerifiedGrant, sender: string): string {
    const { ticketMs, ticketsMax, ticketsPerHolderMax } = this.#limits
    this.#forgetOld()
    const own = this.#ofSender.get(sender)?.size ?? 0
    if (own >= ticketsPerHolderMax) throw tooMany(own)
    if (this.#open.size >= ticketsMax) {
      let most: ReadonlySet<string> = new Set()
      for (const all of this.#ofSender.values()) if (all.size > most.size) most = all
      const [oldest] = most
      if (oldest === undefined || most.size <= own) throw tooMany(own)
      this.#take(oldest)
    }
    const ticket = this.#random.id(32)
    this.#open.set(ticket, { grant, sender, until: this.#clock.elapsed() + ticketMs })
    const all = this.#ofSender.get(sender) ?? new Set()
    this.#ofSender.set(sender, all.add(ticket))
    return ticket
  }

  /** @returns what it stands for, once; nothing when it was used, is too old, or never was */
  redeem(ticket: string): VerifiedGrant | undefined {
    const found = this.#take(ticket)
    return found === undefined || found.until <= this.#clock.elapsed() ? undefined : found.grant
  }

  #take(ticket: string): Ticket | undefined {
    const found = this.#open.get(ticket)
    if (found === undefined) return undefined
    this.#open.delete(ticket)
    const all = this.#ofSender.get(found.sender)
    all?.delete(ticket)
    if (all?.size === 0) this.#ofSender.delete(found.sender)
    return found
  }

  #forgetOld(): void {
    const now = this.#clock.elapsed()
    for (const [ticket, { until }] of this.#open) {
      if (until > now) return
      this.#take(ticket)
    }
  }
}

function tooMany(own: number): ProtocolError {
  return new ProtocolError('rateExceeded', `You have ${own} unused tickets; use them, or try again later.`)
}
