import type { Clock } from '../../lib/clock.js'
import type { Random } from '../../lib/random.js'
import type { Limits } from '../../protocol/limits.js'
import type { Request } from '../../transport/transport.js'
import { type Grant, unlocked } from './grant.js'
import { Tickets } from './tickets.js'
import { type Tokens, unauthorized } from './tokens.js'

export interface AuthenticatorOptions {
  /** Absent: nobody needs a token. */
  readonly auth: Tokens | undefined
  readonly clock: Clock
  readonly random: Random
  readonly limits: Limits
}

/** Finds out what a request may do: by its token, or by a ticket that stands for one. */
export class Authenticator {
  readonly tickets: Tickets
  readonly #auth: Tokens | undefined

  constructor({ auth, clock, random, limits }: AuthenticatorOptions) {
    this.#auth = auth
    this.tickets = new Tickets(clock, random, limits)
  }

  /** @returns what the request may do; rejects or throws with ProtocolError `unauthorized` */
  grantOf(request: Request): Grant | Promise<Grant> {
    if (this.#auth === undefined) return unlocked
    const query = new URLSearchParams(request.query)
    const token = bearer(request) ?? subprotocol(request) ?? query.get('token')
    if (token) return this.#auth.grantOf(token)
    const ticket = query.get('ticket')
    // It opens what a browser opens by its URL alone, nothing that changes anything.
    if (ticket && (request.method === 'GET' || request.method === 'HEAD')) return this.#redeemed(ticket)
    throw unauthorized(
      'A token is needed: as Authorization: Bearer …, ?token=, or the WebSocket subprotocol bearer.…',
    )
  }

  /** @returns what a token stands for that a client hands over later */
  grantOfToken(token: string): Grant | Promise<Grant> {
    return this.#auth === undefined ? unlocked : this.#auth.grantOf(token)
  }

  /** @throws ProtocolError `unauthorized` when a grant that was given is not good any more */
  expectCurrent(grant: Grant): void {
    const reason = this.reasonAgainst(grant)
    if (reason !== undefined) throw unauthorized(reason)
  }

  reasonAgainst(grant: Grant): string | undefined {
    return this.#auth?.reasonAgainst(grant)
  }

  #redeemed(ticket: string): Grant {
    const grant = this.tickets.redeem(ticket)
    if (grant === undefined) throw unauthorized('The ticket was used before, or is too old: ask for another.')
    this.expectCurrent(grant)
    return grant
  }
}

/** RFC 6750 section 2.1. Other schemes may be there for somebody else. */
function bearer({ headers }: Request): string | undefined {
  return /^bearer +(.+)$/i.exec(headers.get('authorization') ?? '')?.[1]?.trim()
}

function subprotocol({ headers }: Request): string | undefined {
  const offered = (headers.get('sec-websocket-protocol') ?? '').split(',').map((name) => name.trim())
  return offered.find((name) => name.startsWith('bearer.'))?.slice('bearer.'.length)
}
