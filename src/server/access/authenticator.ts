import type { Clock } from '../../lib/clock.js'
import type { Random } from '../../lib/random.js'
import type { Limits } from '../../protocol/limits.js'
import type { Request } from '../../transport/transport.js'
import type { Authorization } from './authorize.js'
import { sameHub, unauthorized, unlocked, unlockedElsewhere, type VerifiedGrant } from './grant.js'
import type { OriginRules } from './origins.js'
import { type Notes, SharedTickets } from './shared-tickets.js'
import { Tickets } from './tickets.js'
import type { Tokens } from './tokens.js'

export interface AuthenticatorOptions {
  /** Absent: this hub does not use tokens. */
  readonly tokens: Tokens | undefined
  /** Absent: no application is asked. Without tokens either, every request has all permissions. */
  readonly authorization: Authorization | undefined
  /** @returns the address of the client */
  readonly addressOf: (request: Request) => string
  readonly origins: Pick<OriginRules, 'trustsCommands'>
  readonly clock: Clock
  readonly random: Random
  readonly limits: Limits
  /** Where the hubs of a log leave something for each other; absent without a log. */
  readonly notes: Notes | undefined
}

/** Determines the permissions of a request: by its token, by a ticket, or by asking the application. */
export class Authenticator {
  readonly #tickets: Tickets
  /** Tickets of tokens, for all hubs of a log. */
  readonly #shared: SharedTickets | undefined
  readonly #options: AuthenticatorOptions

  constructor(options: AuthenticatorOptions) {
    this.#options = options
    const { clock, random, limits, notes } = options
    this.#tickets = new Tickets(clock, random, limits)
    this.#shared = notes && new SharedTickets(notes, limits.ticketMs)
  }

  /** Whether every request has all permissions. */
  get open(): boolean {
    return this.#options.tokens === undefined && this.#options.authorization === undefined
  }

  /** Whether cookies can identify the user. */
  get readsCookies(): boolean {
    return this.#options.authorization !== undefined
  }

  /** @returns the permissions of the request; rejects or throws with ProtocolError `unauthorized` */
  grantOf(request: Request): VerifiedGrant | Promise<VerifiedGrant> {
    if (this.open) return this.#options.origins.trustsCommands(request) ? unlocked : unlockedElsewhere
    const { tokens, authorization, addressOf } = this.#options
    const token = tokenOf(request)
    if (token && tokens !== undefined) return tokens.grantOf(token)
    const ticket = new URLSearchParams(request.query).get('ticket')
    // A ticket is only for requests that a browser makes by URL, which change nothing.
    if (ticket && (request.method === 'GET' || request.method === 'HEAD')) return this.#redeemed(ticket)
    if (authorization !== undefined) return authorization.grantOf(request, addressOf(request))
    throw unauthorized(
      'A token is needed: as Authorization: Bearer …, ?token=, or the WebSocket subprotocol bearer.…',
    )
  }

  /**
   * @param held the current grant, which the client keeps if the hub does not use tokens
   * @returns the grant of a token that a client sends later
   */
  grantOfToken(token: string, held: VerifiedGrant | undefined): VerifiedGrant | Promise<VerifiedGrant> {
    if (this.open) return held ?? unlockedElsewhere
    if (this.#options.tokens !== undefined) return this.#options.tokens.grantOf(token)
    throw unauthorized('This hub takes no tokens: connect again, to be asked again who you are.')
  }

  /**
   * @param request that asks for it
   * @param sender as in `Tickets.issue`
   * @returns a ticket for the grant; over a log, if the grant is a token's, for all hubs
   * @throws ProtocolError `rateExceeded`; `unavailable` if the log cannot be reached
   */
  async issueTicket(request: Request, grant: VerifiedGrant, sender: string): Promise<string> {
    const token = this.#options.tokens && tokenOf(request)
    const shared = token ? this.#shared : undefined
    const ticket = this.#tickets.issue(grant, sender, shared !== undefined)
    if (token && shared !== undefined) await shared.keep(ticket, token)
    return ticket
  }

  #redeemed(ticket: string): VerifiedGrant | Promise<VerifiedGrant> {
    const { grant, isShared } = this.#tickets.redeem(ticket) ?? {}
    if (grant !== undefined && isShared !== true) return grant
    if (this.#shared !== undefined) return this.#redeemedOnce(ticket, this.#shared, grant)
    throw unauthorized(usedTicket)
  }

  /** @param grant of a ticket of this hub, which another one may have redeemed */
  async #redeemedOnce(
    ticket: string,
    shared: SharedTickets,
    grant: VerifiedGrant | undefined,
  ): Promise<VerifiedGrant> {
    const { tokens, authorization } = this.#options
    const token = await shared.take(ticket)
    if (token !== undefined && tokens !== undefined) return grant ?? tokens.grantOf(token)
    // Grants of the application are known to the hub that has asked it, and to no other.
    throw unauthorized(authorization === undefined ? usedTicket : `${usedTicket} Or ${sameHub}`)
  }
}

const usedTicket = 'The ticket was used before, or is too old: ask for another.'

function tokenOf(request: Request): string | undefined {
  return (
    bearer(request) ?? subprotocol(request) ?? new URLSearchParams(request.query).get('token') ?? undefined
  )
}

/** RFC 6750 section 2.1. Other schemes may be meant for the application. */
function bearer({ headers }: Request): string | undefined {
  // What comes after the spaces is none: otherwise many of them before a line separator would take quadratic time.
  return /^bearer +([^ ].*)$/is.exec(headers.get('authorization') ?? '')?.[1]?.trim()
}

function subprotocol({ headers }: Request): string | undefined {
  const offered = (headers.get('sec-websocket-protocol') ?? '').split(',').map((name) => name.trim())
  return offered.find((name) => name.startsWith('bearer.'))?.slice('bearer.'.length)
}
