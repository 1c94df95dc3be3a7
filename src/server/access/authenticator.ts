import type { Clock } from '../../lib/clock.js'
import type { Random } from '../../lib/random.js'
import type { Limits } from '../../protocol/limits.js'
import type { Request } from '../../transport/transport.js'
import type { Authorization } from './authorize.js'
import { sameHub, unauthorized, unlocked, unlockedElsewhere, type VerifiedGrant } from './grant.js'
import type { OriginRules } from './origins.js'
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
  /** Whether other hubs serve the same sessions. */
  readonly isShared: boolean
}

/** Determines the permissions of a request: by its token, by a ticket, or by asking the application. */
export class Authenticator {
  readonly tickets: Tickets
  readonly #options: AuthenticatorOptions

  constructor(options: AuthenticatorOptions) {
    this.#options = options
    this.tickets = new Tickets(options.clock, options.random, options.limits)
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
    const query = new URLSearchParams(request.query)
    const token = bearer(request) ?? subprotocol(request) ?? query.get('token')
    if (token && tokens !== undefined) return tokens.grantOf(token)
    const ticket = query.get('ticket')
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

  #redeemed(ticket: string): VerifiedGrant {
    const grant = this.tickets.redeem(ticket)
    if (grant !== undefined) return grant
    const elsewhere = this.#options.isShared ? ` Or ${sameHub}` : ''
    throw unauthorized(`The ticket was used before, or is too old: ask for another.${elsewhere}`)
  }
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
