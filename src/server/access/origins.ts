import { isIP } from 'node:net'
import { ProtocolError, quote } from '../../protocol/codes.js'
import type { Request } from '../../transport/transport.js'
import type { Log } from '../operations/log.js'

/**
 * The names of the hub, without ports; absent: any.
 *
 * With DNS rebinding, a page's host name resolves to the hub's address, so for the browser the page has the hub's own origin.
 * Only the `Host` of its requests reveals it.
 */
export type Hosts = readonly string[] | undefined

/** @throws ProtocolError `forbidden` when the `Host` of the request is not a name of the hub */
export function expectHost(request: Request, hosts: Hosts): void {
  const host = request.headers.get('host')
  if (host === undefined || hosts === undefined) return
  const name = host.replace(/:\d*$/, '').toLowerCase()
  if (isAddress(name) || name === 'localhost' || name.endsWith('.localhost') || hosts.includes(name)) return
  throw new ProtocolError(
    'forbidden',
    `host: ${quote(name)} is not a name of this hub; allow it with --allowed-host or in hosts`,
  )
}

/** An address cannot be forged by DNS. */
function isAddress(name: string): boolean {
  return isIP(name) !== 0 || (name.startsWith('[') && isIP(name.slice(1, -1)) !== 0)
}

/** Which pages of other origins may use the hub: exact origins such as `https://app.example`, or `*` for all. */
export type Origins = readonly string[]

// Bounds the logged origins, so that pages cannot fill the log.
const loggedOriginsMax = 100

/** Decides which pages may use a hub, and logs the refused ones, because browsers do not show their users the reason. */
export class OriginRules {
  readonly #origins: Origins
  readonly #loopback: boolean
  readonly #log: Log
  readonly #logged = new Set<string>()

  /** @param given `loopback`: pages on loopback may use the hub as well */
  constructor(given: { readonly origins: Origins; readonly loopback: boolean; readonly log: Log }) {
    this.#origins = given.origins
    this.#loopback = given.loopback
    this.#log = given.log
  }

  /**
   * Browsers send the origin of a page whenever it matters; other clients send none and are allowed.
   *
   * @returns whether the request comes from the hub's own pages, from an allowed origin, or from no page
   */
  allows({ headers }: Request): boolean {
    const origin = headers.get('origin')
    if (origin === undefined || this.#origins.includes('*') || this.#origins.includes(origin)) return true
    const host = headers.get('host')
    if (isOwn(origin, host)) return true
    return this.#loopback && isOfLoopback(origin) && isOfLoopback(`http://${host}`)
  }

  /** @returns whether commands need no token: the page is of the hub's own or a listed origin, or the client is not a page */
  trustsCommands({ headers }: Request): boolean {
    const origin = headers.get('origin')
    if (origin === undefined || isOwn(origin, headers.get('host'))) return true
    return this.#origins.includes('*') || this.#origins.includes(origin)
  }

  /**
   * A browser sends its user's cookies with every request of any page.
   *
   * @returns whether cookies can be trusted: the page is of the hub's own or a listed origin, or the client is not a page. `*`
   *   does not count as listed; it is for pages with tokens
   */
  trustsCookies({ headers }: Request): boolean {
    const origin = headers.get('origin')
    if (origin !== undefined) return this.#origins.includes(origin) || isOwn(origin, headers.get('host'))
    // Browsers send no origin if no script will see the answer (Fetch Metadata, section 2.3).
    const site = headers.get('sec-fetch-site')
    return site === undefined || site === 'same-origin' || site === 'none'
  }

  /** @throws ProtocolError `forbidden`, which names the origin and the flag that allows it */
  expect(request: Request): void {
    if (this.allows(request)) return
    const origin = request.headers.get('origin') ?? ''
    const message = `origin: pages of ${quote(origin)} may not use this hub; ${remedy(origin)}`
    if (!this.#logged.has(origin) && this.#logged.size < loggedOriginsMax) {
      this.#logged.add(origin)
      this.#log.warn({ origin: origin.slice(0, 200) }, `refused a page: ${message}`)
    }
    throw new ProtocolError('forbidden', message)
  }
}

/** Pages without an origin, such as files, cannot be distinguished from each other. */
function remedy(origin: string): string {
  if (origin === 'null') return 'serve the page from an origin'
  return 'start the hub with --origin and this origin, if they are to use it'
}

function isOfLoopback(origin: string): boolean {
  if (!URL.canParse(origin)) return false
  const { hostname } = new URL(origin)
  return isLoopback(hostname.replace(/^\[(.*)\]$/, '$1')) || hostname.endsWith('.localhost')
}

function isOwn(origin: string, host: string | undefined): boolean {
  return host !== undefined && (origin === `http://${host}` || origin === `https://${host}`)
}

/**
 * @param withCookies whether cookies can identify the user
 * @returns the headers that let a page of an allowed origin read the answer: fetch standard, section 3.3
 */
export function corsHeaders(request: Request, withCookies: boolean): Record<string, string> {
  const origin = request.headers.get('origin')
  if (origin === undefined) return {}
  return {
    'access-control-allow-origin': origin,
    'access-control-expose-headers': exposedHeaders,
    ...(withCookies && { 'access-control-allow-credentials': 'true' }),
    vary: 'Origin',
  }
}

/** Those of Durable Streams among them. */
const exposedHeaders =
  'ETag, Location, Retry-After, Runcast-Connection, Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, Stream-TTL, ' +
  'Stream-Expires-At, Stream-SSE-Data-Encoding, Producer-Epoch, Producer-Seq, Producer-Expected-Seq, Producer-Received-Seq'

const ownHeaders =
  'Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID, X-Cause, traceparent, tracestate'

/** A list of names of headers (RFC 9110, section 5.6.2). */
const headerNames = /^[\w!#$%&'*+.^`|~, -]{1,1000}$/

/**
 * Clients of dialects, and tracers, send headers of their own. A page of an allowed origin may send any header, because none
 * has more effect than its token.
 *
 * @returns the further headers of the answer to a preflight request: fetch standard, section 3.3.3
 */
export function preflightHeaders({ headers }: Request, methods: string): Record<string, string> {
  const requested = headers.get('access-control-request-headers') ?? ''
  return {
    'access-control-allow-methods': methods,
    'access-control-allow-headers': headerNames.test(requested) ? `${ownHeaders}, ${requested}` : ownHeaders,
    'access-control-max-age': '600',
  }
}

/** @returns whether only this machine can reach the address */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
