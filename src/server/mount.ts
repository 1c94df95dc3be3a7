import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Hub } from '../hub/hub.js'
import { systemClock } from '../lib/clock.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import { idPattern } from '../protocol/topic.js'
import { FetchEndpoint, headOf } from '../transport/fetch.js'
import { NodeEndpoint } from '../transport/node-endpoint.js'
import {
  type NodeRequest,
  type NodeResponse,
  requestOf,
  targetOf,
  writeAnswer,
} from '../transport/node-http.js'
import { asksForWebSocket } from '../transport/node-socket.js'
import type { Answer, Service } from '../transport/transport.js'
import { Tokens } from './access/tokens.js'
import { problem, problemOf } from './http/problem.js'
import { socketPath } from './links/handshake.js'
import { makeService, reportOf, type ServiceOptions } from './service.js'

export interface MountOptions extends ServiceOptions {
  /** The path of the hub, such as `/live`; all requests below it belong to the hub. Default: the server's root. */
  readonly prefix?: string
  /** Gives all permissions to every client, instead of `auth` and `authorize`. */
  readonly open?: boolean
}

/** A hub within an existing server. Its functions need no `this`. */
export interface Mount {
  /** Without a slash at its end; empty: the server's root. */
  readonly prefix: string
  /**
   * Answers requests of the hub, and passes others to `next`; without `next` they get 404. For `node:http`, Express, Connect,
   * Fastify and Nest. The body must not have been read before.
   */
  readonly handle: (req: NodeRequest, res: NodeResponse, next?: (error?: unknown) => void) => void
  /** @returns `false` for requests of others, which are left to other listeners of `upgrade` */
  readonly upgrade: (req: IncomingMessage, socket: Duplex, head: Buffer) => boolean
  /**
   * Answers a request of the fetch standard: SSE and HTTP, no WebSocket.
   *
   * @param more `address` of the client, which the standard does not have; without it there are no limits per address
   */
  readonly fetch: (request: Request, more?: { readonly address?: string }) => Promise<Response>
  /**
   * Closes clients with 4000, and returns when they have gone or `graceMs` (default `shutdownMs`) have passed. The hub and the
   * server continue; further requests get 503.
   */
  readonly close: (options?: { readonly graceMs?: number }) => Promise<void>
}

/**
 * Gives an existing server the routes of a hub.
 *
 * @throws Error without any of `auth`, `authorize` and `open: true`; TypeError when the prefix is not valid
 */
export function mount(hub: Hub, options: MountOptions): Mount {
  const { auth, authorize, open = false, clock = systemClock } = options
  if ((auth === undefined && authorize === undefined) !== open) {
    throw new Error(
      'mount: expected auth or authorize, to control access, or open: true, to permit everything',
    )
  }
  const prefix = prefixOf(options.prefix ?? '')
  const { limits } = hub
  const report = reportOf(options)
  const service = makeService(hub, auth && Tokens.begin(auth, { clock, limits, report }), options)
  const inside: Service = {
    request(request, exchange) {
      if (request.path === '') exchange.answer(toItsPage(prefix, request.query))
      else service.request(request, exchange)
    },
    upgrade: (request) => service.upgrade(request),
  }
  const nodeEndpoint = new NodeEndpoint(inside, service.bounds, { clock, requestOf: ofMount })
  const fetchEndpoint = new FetchEndpoint(inside, service.bounds)

  /** The request for the service. */
  function ofMount(req: NodeRequest) {
    const { path, query } = targetOf(urlOf(req))
    return { ...requestOf(req), path: path.slice(prefix.length), query, prefix, raw: req as IncomingMessage }
  }

  /** At the root, the surrounding server has routes of its own. */
  function owns(path: string): boolean {
    if (prefix === '') return service.has(path)
    return path === prefix || path.startsWith(`${prefix}/`)
  }

  return {
    prefix,
    handle(req, res, next) {
      const { path } = targetOf(urlOf(req))
      if (!owns(path)) {
        if (next === undefined) writeAnswer(res, nothingAt(path))
        else next()
      } else if (wasRead(req)) {
        const error = new Error(
          `mount: the body of ${req.method} ${path} was read before the request reached the hub; mount the hub before any body parser`,
        )
        writeAnswer(res, problemOf(error, report))
      } else nodeEndpoint.request(req, res)
    },
    upgrade(req, socket, head) {
      const { path } = targetOf(urlOf(req))
      const own = prefix === '' ? path === socketPath : owns(path)
      if (!own || !asksForWebSocket(req)) return false
      nodeEndpoint.upgrade(req, socket, head)
      return true
    },
    async fetch(request, more) {
      const { pathname } = new URL(request.url)
      // Servers may pass other arguments.
      const address = typeof more?.address === 'string' ? more.address : ''
      if (owns(pathname))
        return fetchEndpoint.answer(request, {
          ...headOf(request, pathname.slice(prefix.length), address),
          prefix,
        })
      const { status, headers, body } = nothingAt(pathname)
      return new Response(body as string, { status, headers: { ...headers } })
    },
    async close({ graceMs = limits.shutdownMs } = {}) {
      await service.close(graceMs)
      nodeEndpoint.cut()
      fetchEndpoint.cut()
    },
  }
}

/** @throws TypeError */
function prefixOf(text: string): string {
  const prefix = text.replace(/\/$/, '')
  const [first, ...names] = prefix.split('/')
  if (first === '' && names.every((name) => idPattern.test(name))) return prefix
  throw new TypeError(`prefix: expected a path such as /live, got ${quote(text)}`)
}

/** Express and Connect remove the mount path from `url`. */
function urlOf(req: NodeRequest): string {
  return (req as { readonly originalUrl?: string }).originalUrl ?? req.url ?? '/'
}

/**
 * The page's links are relative, so its address must end in a slash. This redirect is relative too, so it works behind any
 * proxy.
 */
function toItsPage(prefix: string, query: string): Answer {
  const name = prefix.slice(prefix.lastIndexOf('/') + 1)
  return {
    status: 308,
    headers: { location: `${name}/${query === '' ? '' : `?${query}`}`, 'cache-control': 'no-cache' },
  }
}

function nothingAt(path: string): Answer {
  return problem(new ProtocolError('notFound', `There is nothing at ${path.slice(0, 200)}.`))
}

/** The body has already been read. */
function wasRead(req: NodeRequest): boolean {
  const { 'content-length': length, 'transfer-encoding': coding } = req.headers
  return req.readableEnded && (coding !== undefined || Number(length ?? 0) > 0)
}
