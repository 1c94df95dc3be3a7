import type { Clock } from '../../lib/clock.js'
import type { Random } from '../../lib/random.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import type { VerifiedGrant } from './grant.js'

interface Ticket {
  readonly grant: VerifiedGrant
  /** Other hubs know it too. */
  readonly isShared: boolean
  readonly sender: string
  /** By the monotonic clock. Milliseconds. */
  readonly until: number
}

/**
 * Tickets replace tokens in URLs: each is valid once, for a short time. An `EventSource` cannot set headers, and URLs end up in
 * logs.
 */
export class Tickets {
  readonly #clock: Clock
  readonly #random: Random
  readonly #limits: Limits
  /** The oldest first. All have the same lifetime, so they expire in this order. */
  readonly #open = new Map<string, Ticket>()
  /** The tickets of each sender, the oldest first. */
  readonly #ofSender = new Map<string, Set<string>>()

  constructor(clock: Clock, random: Random, limits: Limits) {
    this.#clock = clock
    this.#random = random
    this.#limits = limits
  }

  /**
   * At the limit, the oldest ticket of the sender with most tickets is dropped for a sender with fewer.
   *
   * @param sender a token's holder, or an address
   * @param isShared whether other hubs know it too
   * @throws ProtocolError `rateExceeded` when the sender has reached its limit, or the total is reached and it has most
   */
  issue(grant: VerifiedGrant, sender: string, isShared = false): string {
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
    this.#open.set(ticket, { grant, isShared, sender, until: this.#clock.elapsed() + ticketMs })
    const all = this.#ofSender.get(sender) ?? new Set()
    this.#ofSender.set(sender, all.add(ticket))
    return ticket
  }

  /** @returns the ticket with its grant, once; undefined if it was used, has expired, or never existed */
  redeem(ticket: string): Pick<Ticket, 'grant' | 'isShared'> | undefined {
    const found = this.#take(ticket)
    return found === undefined || found.until <= this.#clock.elapsed() ? undefined : found
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
