import { builtInDialects } from '../dialect/built-in.js'
import type { Hub } from '../hub/hub.js'
import { type Clock, systemClock } from '../lib/clock.js'
import type { Service, Transport, TransportOptions } from '../transport/transport.js'
import { Authenticator } from './access/authenticator.js'
import { ConnectionGrants } from './access/connection-grants.js'
import { EntryQueue } from './access/entry-queue.js'
import { isLoopback, type Origins } from './access/origins.js'
import { RateLimits } from './access/rate-limits.js'
import { ticketRoutes } from './access/tickets.js'
import { type AuthOptions, Tokens } from './access/tokens.js'
import type { Context } from './context.js'
import { BodyBudget } from './http/body-budget.js'
import { panelRoutes } from './http/panel-routes.js'
import { publishRoutes } from './http/publish-routes.js'
import { type Route, Routes } from './http/routes.js'
import { sessionRoutes } from './http/session-routes.js'
import { stateRoutes } from './http/state-routes.js'
import { dialectRoutes } from './links/dialect-routes.js'
import { socketRoute, upgrade } from './links/handshake.js'
import { IdleTimers } from './links/idle-timers.js'
import { type Closable, Links } from './links/links.js'
import { streamRoutes } from './links/stream-routes.js'
import { healthRoutes } from './operations/health-routes.js'
import { type Log, noLog } from './operations/log.js'
import { noServerCounts } from './operations/metric-definitions.js'

export interface ServeOptions {
  /** 127.0.0.1 unless given. */
  readonly host?: string
  /** 4600 unless given; 0 takes a free one. */
  readonly port?: number
  /** How links are made; uWebSockets.js unless given. */
  readonly transport?: (service: Service, options: TransportOptions) => Transport
  readonly tls?: TransportOptions['tls']
  /** Silence of an SSE response before a comment is sent; the hub's limit unless given. */
  readonly keepaliveMs?: number
  /** Interval of the heartbeats that some dialects send; the hub's limit unless given. */
  readonly heartbeatEventMs?: number
  /** Pages of these origins may use the hub beside its own; `*` lets all. None unless given. */
  readonly origins?: Origins
  /** Addresses of proxies that are believed when they say in `X-Forwarded-For` who asks. None unless given. */
  readonly trustedProxies?: readonly string[]
  /** Who may do what, by token. Without it everybody may do everything, and only loopback is served. */
  readonly auth?: AuthOptions
  /**
   * Names by which the hub may be called beside `localhost` and addresses. With `auth`, any unless given; without,
   * none: a page from anywhere could otherwise use the hub through a name of its own (DNS rebinding).
   */
  readonly hosts?: readonly string[]
  readonly clock?: Clock
  /** Takes a line for each life of a connection, and a few of its own; nobody does unless given. */
  readonly log?: Log
  /** Told of whatever is no peer's mistake; written to the log if there is one, otherwise to the console. */
  readonly report?: (error: unknown) => void
}

/** A hub that listens. */
export interface Server {
  readonly url: string
  readonly host: string
  readonly port: number
  /**
   * Accepts nothing new, tells clients that the hub goes away (4000) after what was published, and ends once
   * they have gone or `graceMs` (`shutdownMs` unless given) have passed. The more there are, the longer it takes
   * to tell them: they are not to come back all at once. The hub itself lives on.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>
  /** Counts an error that nobody had expected, for whoever hears of it: the process that the server is in. */
  countUncaught(): void
}

const defaultPort = 4600

/**
 * Serves a hub over WebSocket, SSE and HTTP.
 *
 * @returns once it accepts connections
 * @throws Error with `code: 'EADDRINUSE'` when the port is taken
 */
export async function serve(hub: Hub, options: ServeOptions = {}): Promise<Server> {
  const { limits } = hub
  const host = options.host ?? '127.0.0.1'
  if (options.auth === undefined && !isLoopback(host)) {
    throw new Error(`${host} can be reached from other machines: expected auth, to tell who may do what`)
  }
  const clock = options.clock ?? systemClock
  const log = options.log ?? noLog
  const report = options.report ?? reportTo(options.log)
  const auth = options.auth && (await Tokens.start(options.auth, { clock, limits, report }))
  const authenticator = new Authenticator({ auth, clock, random: hub.random, limits })
  const connectionGrants = new ConnectionGrants(authenticator, clock)
  auth?.onWithdrawn(() => connectionGrants.review())
  const links = new Links(limits)
  let closing = false
  /** What goes on for as long as its peer likes, and ends when the server does. */
  const interrupted = new Set<() => void>()
  const counts = noServerCounts()
  const reportRequest = (error: unknown): void => {
    counts.requestErrors++
    report(error)
  }
  const context: Context = {
    hub,
    limits,
    links,
    rateLimits: new RateLimits({ limits, clock, trustedProxies: options.trustedProxies ?? [] }),
    bodyBudget: new BodyBudget(limits.bodiesBytesMax),
    authenticator,
    connectionGrants,
    // Turns are those of the sockets, whatever the time is.
    entryQueue: new EntryQueue(systemClock),
    clock,
    log,
    counts,
    origins: options.origins ?? [],
    hosts: options.hosts?.map((name) => name.toLowerCase()) ?? (auth === undefined ? [] : undefined),
    dialects: new Map([...builtInDialects, ...hub.dialects].map((dialect) => [dialect.name, dialect])),
    rates: {
      frames: { perSecond: limits.frameRateMax, burst: limits.frameBurstMax },
      bytes: { perSecond: limits.byteRateMax, burst: limits.byteBurstMax },
    },
    idleTimers: {
      websocket: new IdleTimers(clock, limits.heartbeatMs, reportRequest),
      sse: new IdleTimers(clock, options.keepaliveMs ?? limits.keepaliveMs, reportRequest),
    },
    heartbeatEventMs: options.heartbeatEventMs ?? limits.heartbeatEventMs,
    report: reportRequest,
    closing: () => closing,
    onClosing(task) {
      interrupted.add(task)
      return () => void interrupted.delete(task)
    },
  }
  const routes = new Routes(routesOf(context), context)
  const service: Service = {
    request: (request, exchange) => routes.answer(request, exchange),
    upgrade: (request) => upgrade(context, request),
  }
  // Loaded when something is served, so that a hub within a process needs no native code.
  const makeTransport = options.transport ?? (await import('../transport/uws.js')).uwsTransport
  const transport = makeTransport(service, {
    frameBytesMax: limits.frameBytesMax,
    backpressureBytesMax: limits.backpressureBytesMax,
    overrunBytesMax: limits.overrunBytesMax,
    linksMax: limits.connectionsMax + limits.idleLinksMax,
    ...(options.tls && { tls: options.tls }),
  })
  const listening = await transport.listen({ host, port: options.port ?? defaultPort }).catch((error) => {
    auth?.close()
    throw error
  })

  async function shutDown(graceMs: number): Promise<void> {
    closing = true
    auth?.close()
    const began = clock.elapsed()
    log.info({ connections: links.size, graceMs }, 'closing')
    listening.stopAccepting()
    for (const interrupt of interrupted) interrupt()
    hub.delivery.flushAll()
    const ms = Math.min(limits.spreadMs, graceMs / 2, links.size)
    const told = links.closeAll(sendAway, { clock, ms }).then(() => links.empty())
    await withinMs(clock, graceMs, Promise.all([told, routes.idle()]))
    const left = { connections: links.size, requests: routes.busy }
    log.info({ ms: Math.round(clock.elapsed() - began), ...left }, 'closed')
    listening.close()
  }

  // By chance, so that those who are told at the same moment come back at different ones.
  function sendAway(link: Closable): void {
    const retryMs = Math.round(limits.retryMs * (0.5 + hub.random.fraction()))
    link.close('shutdown', 'the hub is shutting down', retryMs)
  }

  let closed: Promise<void> | undefined
  const { port } = listening
  const scheme = options.tls === undefined ? 'http' : 'https'
  const url = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
  log.info({ url }, 'listening')
  return {
    url,
    countUncaught() {
      counts.uncaughtErrors++
    },
    host,
    port,
    close({ graceMs = limits.shutdownMs } = {}) {
      closed ??= shutDown(graceMs)
      return closed
    },
  }
}

function reportTo(log: Log | undefined): (error: unknown) => void {
  if (log === undefined) return (error) => console.error(error)
  return (err) => log.error({ err }, 'a request failed')
}

/** All that can be asked for over HTTP. */
export function routesOf(context: Context): readonly Route[] {
  return [
    ...sessionRoutes(context),
    ...publishRoutes(context),
    ...stateRoutes(context),
    socketRoute,
    ...streamRoutes(context),
    ...dialectRoutes(context),
    ...ticketRoutes(context),
    ...healthRoutes(context),
    ...panelRoutes(),
  ]
}

/** Waits for `task`, but no longer than `ms`. */
async function withinMs(clock: Clock, ms: number, task: Promise<unknown>): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = clock.after(ms, resolve)
    task.then(() => {
      timer.cancel()
      resolve()
    }, reject)
  })
}
