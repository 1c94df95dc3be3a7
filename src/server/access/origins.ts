import { isIP } from 'node:net'
import { ProtocolError, quote } from '../../protocol/codes.js'
import type { Request } from '../../transport/transport.js'

/**
 * The names by which the hub is called, without ports; absent: any.
 *
 * A page of another name that is made to resolve to the hub's address (DNS rebinding) would be of the hub's own origin
 * for the browser, and so has to be told by the `Host` that it sends.
 */
export type Hosts = readonly string[] | undefined

/** @throws ProtocolError `forbidden` when the request calls the hub by a name that is not its own */
export function expectHost(request: Request, hosts: Hosts): void {
  const host = request.headers.get('host')
  if (host === undefined || hosts === undefined) return
  const name = host.replace(/:\d*$/, '').toLowerCase()
  if (isAddress(name) || name === 'localhost' || name.endsWith('.localhost') || hosts.includes(name)) return
  throw new ProtocolError(
    'forbidden',
    `host: ${quote(name)} is no name of this hub; start it with --allowed-host, if it is to be one`,
  )
}

/** No name server can forge an address. */
function isAddress(name: string): boolean {
  return isIP(name) !== 0 || (name.startsWith('[') && isIP(name.slice(1, -1)) !== 0)
}

/** Which pages of other origins may use the hub: exact origins such as `https://app.example`, or `*` for all. */
export type Origins = readonly string[]

/**
 * Browsers name the origin of a page whenever it could do harm; other clients name none and are let through.
 *
 * @returns whether the request comes from the hub's own pages, from a listed origin, or from no page
 */
export function allowsOrigin(request: Request, origins: Origins): boolean {
  const origin = request.headers.get('origin')
  if (origin === undefined || origins.includes('*') || origins.includes(origin)) return true
  return isOwn(origin, request.headers.get('host'))
}

function isOwn(origin: string, host: string | undefined): boolean {
  return host !== undefined && (origin === `http://${host}` || origin === `https://${host}`)
}

/** @returns the headers that let a page of an allowed origin read the answer: fetch standard, section 3.3 */
export function corsHeaders(request: Request): Record<string, string> {
  const origin = request.headers.get('origin')
  if (origin === undefined) return {}
  return {
    'access-control-allow-origin': origin,
    'access-control-expose-headers': 'ETag, Location',
    vary: 'Origin',
  }
}

/** @returns the further headers of the answer to a preflight request */
export function preflightHeaders(methods: string): Record<string, string> {
  return {
    'access-control-allow-methods': methods,
    'access-control-allow-headers':
      'Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID, X-Cause',
    'access-control-max-age': '600',
  }
}

/** @returns whether nobody but this machine can reach the address */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}
