import type { IncomingMessage } from 'node:http'
import type { Clock } from '../../lib/clock.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import type { Request } from '../../transport/transport.js'
import { type Grant, type VerifiedGrant, verifiedGrant } from './grant.js'
import type { OriginRules } from './origins.js'

/** The head of a request, for `authorize`. */
export interface AuthorizeRequest {
  /** Upper case. */
  readonly method: string
  /** Without the prefix of a mount, and without the query. */
  readonly path: string
  /** Without the `?`; empty when there is none. */
  readonly query: string
  /** By lower-case name. Without `cookie` if the page's cookies are not trusted. */
  readonly headers: ReadonlyMap<string, string>
  /** By name, decoded. Empty if the page's cookies are not trusted. */
  readonly cookies: ReadonlyMap<string, string>
  /** The client's address; empty if unknown. */
  readonly address: string
  /**
   * The request object of the surrounding server, with the properties that its middleware has added. Absent if the hub listens
   * itself, or if the page's cookies are not trusted.
   */
  readonly raw?: IncomingMessage | globalThis.Request
}

/** Returns the permissions of a request; undefined if the user is unknown. An exception is answered with 500. */
export type Authorize = (request: AuthorizeRequest) => Grant | undefined | Promise<Grant | undefined>

export interface AuthorizationOptions {
  readonly authorize: Authorize
  readonly origins: Pick<OriginRules, 'trustsCookies'>
  readonly clock: Clock
  readonly limits: Limits
}

/** Asks the surrounding application, without cookies from pages that could misuse those of their visitor. */
export class Authorization {
  readonly #options: AuthorizationOptions

  constructor(options: AuthorizationOptions) {
    this.#options = options
  }

  /**
   * @param address of the client, which a trusted proxy may have reported
   * @returns rejects or throws with ProtocolError `unauthorized` if the user is unknown, and with any error of the application
   */
  grantOf(request: Request, address: string): VerifiedGrant | Promise<VerifiedGrant> {
    const { authorize, origins } = this.#options
    const answer = authorize(
      origins.trustsCookies(request) ? withCookies(request, address) : withoutCookies(request, address),
    )
    return answer instanceof Promise ? this.#within(answer) : this.#granted(answer)
  }

  #granted(answer: Grant | undefined): VerifiedGrant {
    if (answer !== undefined) return verifiedGrant(answer, this.#options.limits, this.#options.clock)
    throw new ProtocolError('unauthorized', 'Not signed in: sign in first.')
  }

  async #within(answer: Promise<Grant | undefined>): Promise<VerifiedGrant> {
    const { clock, limits } = this.#options
    let late = (): void => {}
    const timer = clock.after(limits.authorizeMs, () => late())
    const deadline = new Promise<never>((_, reject) => {
      late = () => reject(unanswered(limits))
    })
    try {
      return this.#granted(await Promise.race([answer, deadline]))
    } finally {
      timer.cancel()
    }
  }
}

export function unanswered({ authorizeMs }: Limits): ProtocolError {
  return new ProtocolError(
    'unavailable',
    `Authorization took longer than ${authorizeMs} ms; try again later.`,
  )
}

function withCookies({ method, path, query, headers, raw }: Request, address: string): AuthorizeRequest {
  const cookies = cookiesOf(headers.get('cookie') ?? '')
  return { method, path, query, headers, cookies, address, ...(raw && { raw }) }
}

function withoutCookies({ method, path, query, headers }: Request, address: string): AuthorizeRequest {
  const others = new Map(headers)
  others.delete('cookie')
  return { method, path, query, headers: others, cookies: new Map(), address }
}

/** RFC 6265 section 5.4; of several cookies with one name the first is the most specific. */
function cookiesOf(header: string): ReadonlyMap<string, string> {
  const cookies = new Map<string, string>()
  for (const pair of header.split(';')) {
    const at = pair.indexOf('=')
    if (at < 1) continue
    const name = pair.slice(0, at).trim()
    if (!cookies.has(name))
      cookies.set(
        name,
        decoded(
          pair
            .slice(at + 1)
            .trim()
            .replace(/^"(.*)"$/, '$1'),
        ),
      )
  }
  return cookies
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
