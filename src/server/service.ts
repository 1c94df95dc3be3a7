import { builtInDialects } from '../dialect/built-in.js'
import type { Hub } from '../hub/hub.js'
import { type Clock, systemClock } from '../lib/clock.js'
import type { Limits } from '../protocol/limits.js'
import type { TransportChoice } from '../transport/choice.js'
import type { Service, TransportOptions } from '../transport/transport.js'
import { Authenticator } from './access/authenticator.js'
import { Authorization, type Authorize } from './access/authorize.js'
import { ConnectionGrants } from './access/connection-grants.js'
import { EntryQueue } from './access/entry-queue.js'
import { OriginRules, type Origins } from './access/origins.js'
import { RateLimits } from './access/rate-limits.js'
import type { AuthOptions, Tokens } from './access/tokens.js'
import { WorkTurns } from './access/work-turns.js'
import type { Context } from './context.js'
import { durableRoutes } from './durable/stream-routes.js'
import { BodyBudget } from './http/body-budget.js'
import { exportRoute } from './http/export-route.js'
import { hookRoutes } from './http/hook-routes.js'
import { otlpRoutes } from './http/otlp-routes.js'
import { panelRoutes } from './http/panel-routes.js'
import { publishRoutes } from './http/publish-routes.js'
import { type Route, Routes } from './http/routes.js'
import { sessionRoutes } from './http/session-routes.js'
import { stateRoutes } from './http/state-routes.js'
import { ticketRoutes } from './http/ticket-routes.js'
import { OpenConnections } from './links/connection-log.js'
import { dialectRoutes } from './links/dialect-routes.js'
import { socketRoute, upgrade } from './links/handshake.js'
import { IdleTimers } from './links/idle-timers.js'
import { type Closable, Links } from './links/links.js'
import { retryMsOf } from './links/stream-link.js'
import { streamRoutes } from './links/stream-routes.js'
import { aboutRoute } from './operations/about-route.js'
import { connectionRoutes } from './operations/connection-routes.js'
import { healthRoutes } from './operations/health-routes.js'
import { type Log, noLog } from './operations/log.js'
import { noServerCounts } from './operations/metric-definitions.js'
import { checkedWebhooks, type WebhookOptions } from './webhooks/webhook-options.js'
import { Webhooks, type WebhooksOptions } from './webhooks/webhooks.js'

/** Options of a hub's service, for any kind of server. */
export interface ServiceOptions {
  /** Silence of an SSE response before a comment is sent; default: the hub's limit. */
  readonly keepaliveMs?: number
  /** Interval of the heartbeats of some dialects; default: the hub's limit. */
  readonly heartbeatEventMs?: number
  /**
   * Origins whose pages may use the hub, in addition to its own; `*` allows all. Default: none; without keys those on loopback.
   */
  readonly origins?: Origins
  /** Addresses of proxies whose `X-Forwarded-For` is trusted. Default: none. */
  readonly trustedProxies?: readonly string[]
  /** Keys and rules for tokens. Without this and `authorize` every client has all permissions, and only loopback is served. */
  readonly auth?: AuthOptions
  /**
   * Returns the permissions of a request without a token of `auth`, for example by its cookies. Called for each request, and
   * once for each WebSocket when it opens.
   */
  readonly authorize?: Authorize
  /**
   * Host names of the hub, in addition to `localhost` and addresses. Default with `auth` or `authorize`: any; without: none,
   * because any page could otherwise use the hub through a name of its own (DNS rebinding).
   */
  readonly hosts?: readonly string[]
  /** Who is told of what happens in sessions, over HTTP. Kept in the hub's store, where that has an outbox. */
  readonly webhooks?: readonly WebhookOptions[]
  /** Which of several processes on one port this is, from 1, for `/metrics`. */
  readonly process?: number
  readonly clock?: Clock
  /** Gets one line for each closed connection, and a few others. Default: no log. */
  readonly log?: Log
  /** Called with errors that are not a peer's mistake. Default: the log if there is one, otherwise the console. */
  readonly report?: (error: unknown) => void
}

/** The bounds for a transport. */
export type Bounds = Omit<TransportOptions, 'tls'>

/** The service of a hub for a transport. */
export interface HubService extends Service {
  /** Whether a route exists for a path. */
  has(path: string): boolean
  /** Its bounds for the transport. */
  readonly bounds: Bounds
  /** Counts an uncaught error, which the process reports. */
  countUncaught(): void
  /** Releases its resources if it never began to serve. */
  release(): void
  /**
   * Closes clients with 4000 after all published events, and returns when they have gone or `graceMs` have passed. The
   * transport must cut the remaining ones.
   */
  close(graceMs: number): Promise<void>
}

export function boundsOf(limits: Limits): Bounds {
  return {
    frameBytesMax: limits.frameBytesMax,
    backpressureBytesMax: limits.backpressureBytesMax,
    overrunBytesMax: limits.overrunBytesMax,
    // A slightly too large head is read, so that its client gets a detailed error.
    headBytesMax: 2 * (limits.headBytesMax + limits.urlLengthMax),
    linksMax: limits.connectionsMax + limits.idleLinksMax,
  }
}

/**
 * @param tokens the token verifier; absent: no token is needed
 * @param transport its name and reason, for `/api/about`
 */
export function makeService(
  hub: Hub,
  tokens: Tokens | undefined,
  options: ServiceOptions,
  transport: TransportChoice = { name: 'mounted', why: 'another server listens' },
): HubService {
  const { limits } = hub
  const clock = options.clock ?? systemClock
  const log = options.log ?? noLog
  const report = reportOf(options)
  const { authorize } = options
  const open = tokens === undefined && authorize === undefined
  // Without authorization every program on this machine may use the hub, so pages that it serves may too.
  const origins = new OriginRules({ origins: options.origins ?? [], loopback: open, log })
  const rateLimits = new RateLimits({ limits, clock, trustedProxies: options.trustedProxies ?? [] })
  const authenticator = new Authenticator({
    tokens,
    authorization: authorize && new Authorization({ authorize, origins, clock, limits }),
    addressOf: (request) => rateLimits.addressOf(request),
    origins,
    clock,
    random: hub.random,
    limits,
    notes: hub.notes,
  })
  const connectionGrants = new ConnectionGrants(clock)
  tokens?.onWithdrawn(() => connectionGrants.review())
  const links = new Links(limits)
  let closing = false
  /** Requests that last as long as their peer, and must end with the server. */
  const interrupted = new Set<() => void>()
  const counts = noServerCounts(options.process)
  const reportRequest = (error: unknown): void => {
    counts.requestErrors++
    report(error)
  }
  const context: Context = {
    hub,
    limits,
    links,
    rateLimits,
    bodyBudget: new BodyBudget(limits, clock),
    authenticator,
    connectionGrants,
    connections: new OpenConnections(),
    // Uses the real event loop, even if the hub has another clock.
    entryQueue: new EntryQueue(systemClock),
    workTurns: new WorkTurns(systemClock, hub),
    clock,
    log,
    counts,
    origins,
    hosts: options.hosts?.map((name) => name.toLowerCase()) ?? (open ? [] : undefined),
    dialects: new Map([...builtInDialects, ...hub.dialects].map((dialect) => [dialect.name, dialect])),
    rates: {
      frames: { perSecond: limits.frameRateMax, burst: limits.frameBurstMax },
      pulses: { perSecond: limits.pulseRateMax, burst: limits.pulseBurstMax },
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
  const webhooks = webhooksOf(hub, options, { clock, log, counts: counts.webhooks })
  const routes = new Routes([...routesOf(context), aboutRoute(context, transport)], context)

  async function shutDown(graceMs: number): Promise<void> {
    closing = true
    tokens?.close()
    const began = clock.elapsed()
    log.info({ connections: links.size, graceMs }, 'closing')
    for (const interrupt of interrupted) interrupt()
    // What was given to a log is answered, and told, before those who wait for it are sent away.
    if (hub.isShared) await withinMs(clock, graceMs / 2, hub.settled())
    hub.flush()
    const ms = Math.min(limits.spreadMs, graceMs / 2, links.size)
    const closed = links.closeAll(sendAway, { clock, ms }).then(() => links.empty())
    await withinMs(clock, graceMs, Promise.all([closed, routes.idle()]))
    webhooks?.close()
    const left = { connections: links.size, requests: routes.busy }
    log.info({ ms: Math.round(clock.elapsed() - began), ...left }, 'closed')
  }

  function sendAway(link: Closable): void {
    link.close('shutdown', 'the hub is shutting down', retryMsOf(hub))
  }

  let closed: Promise<void> | undefined
  return {
    has: (path) => routes.has(path),
    request: (request, exchange) => routes.answer(request, exchange),
    upgrade: (request) => upgrade(context, request),
    bounds: boundsOf(limits),
    countUncaught() {
      counts.uncaughtErrors++
    },
    release() {
      tokens?.close()
      webhooks?.close()
    },
    close(graceMs) {
      closed ??= shutDown(graceMs)
      return closed
    },
  }
}

/** @throws Error that names what is wrong with an option */
function webhooksOf(
  hub: Hub,
  { webhooks = [] }: ServiceOptions,
  parts: Pick<WebhooksOptions, 'clock' | 'log' | 'counts'>,
): Webhooks | undefined {
  const checked = checkedWebhooks(webhooks)
  return checked.length === 0 ? undefined : new Webhooks({ ...parts, hub, webhooks: checked })
}

/** @returns the function for errors that are not a peer's mistake */
export function reportOf({ report, log }: ServiceOptions): (error: unknown) => void {
  if (report !== undefined) return report
  if (log === undefined) return (error) => console.error(error)
  return (err) => log.error({ err }, 'a request failed')
}

/** All HTTP routes. */
export function routesOf(context: Context): readonly Route[] {
  return [
    ...sessionRoutes(context),
    exportRoute(context),
    ...publishRoutes(context),
    ...hookRoutes(context),
    ...otlpRoutes(context),
    ...stateRoutes(context),
    socketRoute,
    ...streamRoutes(context),
    ...dialectRoutes(context),
    ...durableRoutes(context),
    ...ticketRoutes(context),
    ...healthRoutes(context),
    ...connectionRoutes(context),
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
