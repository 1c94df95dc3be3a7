import type { IncomingMessage } from 'node:http'
import type { Clock } from '../../lib/clock.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import type { Request } from '../../transport/transport.js'
import { type Grant, type VerifiedGrant, verifiedGrant } from './grant.js'
import type { OriginRules } from './origins.js'

/** The head of a request of which `authorize` says what it may do. */
export interface AuthorizeRequest {
  /** Upper case. */
  readonly method: string
  /** As the hub knows it: without the prefix of a mount, and without the query. */
  readonly path: string
  /** Without the `?`; empty when there is none. */
  readonly query: string
  /** By lower-case name. There is no `cookie` from a page whose cookies do not count. */
  readonly headers: ReadonlyMap<string, string>
  /** By name, decoded. From a page whose cookies do not count there are none. */
  readonly cookies: ReadonlyMap<string, string>
  /** Who asks; empty where it is not known. */
  readonly address: string
  /**
   * The request of the surrounding server, with whatever its middleware has left there. Absent where the hub listens
   * itself, and from a page whose cookies do not count.
   */
  readonly raw?: IncomingMessage | globalThis.Request
}

/** Says what a request may do; nothing, where it is not known who asks. What it throws is answered with 500. */
export type Authorize = (request: AuthorizeRequest) => Grant | undefined | Promise<Grant | undefined>

export interface AuthorizationOptions {
  readonly authorize: Authorize
  readonly origins: Pick<OriginRules, 'trustsCookies'>
  readonly clock: Clock
  readonly limits: Limits
}

/** Asks the surrounding application, and believes no page that could use the cookies of its visitor unseen. */
export class Authorization {
  readonly #options: AuthorizationOptions

  constructor(options: AuthorizationOptions) {
    this.#options = options
  }

  /**
   * @param address of whoever asks, whom a trusted proxy may have named
   * @returns rejects or throws with ProtocolError `unauthorized` when it is not known who asks, and with whatever
   *   the application throws
   */
  grantOf(request: Request, address: string): VerifiedGrant | Promise<VerifiedGrant> {
    const { authorize, origins } = this.#options
    const answer = authorize(
      origins.trustsCookies(request) ? asked(request, address) : askedWithoutCookies(request, address),
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

function asked({ method, path, query, headers, raw }: Request, address: string): AuthorizeRequest {
  const cookies = cookiesOf(headers.get('cookie') ?? '')
  return { method, path, query, headers, cookies, address, ...(raw && { raw }) }
}

function askedWithoutCookies({ method, path, query, headers }: Request, address: string): AuthorizeRequest {
  const others = new Map(headers)
  others.delete('cookie')
  return { method, path, query, headers: others, cookies: new Map(), address }
}

/** RFC 6265 section 5.4; of several with one name the first is the most specific. */
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
