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
import type { Context } from './context.js'
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
import { dialectRoutes } from './links/dialect-routes.js'
import { socketRoute, upgrade } from './links/handshake.js'
import { IdleTimers } from './links/idle-timers.js'
import { type Closable, Links } from './links/links.js'
import { retryMsOf } from './links/stream-link.js'
import { streamRoutes } from './links/stream-routes.js'
import { aboutRoute } from './operations/about-route.js'
import { healthRoutes } from './operations/health-routes.js'
import { type Log, noLog } from './operations/log.js'
import { noServerCounts } from './operations/metric-definitions.js'
import { checkedWebhooks, type WebhookOptions } from './webhooks/webhook-options.js'
import { Webhooks, type WebhooksOptions } from './webhooks/webhooks.js'

/** What a hub's service needs to know, whoever listens for it. */
export interface ServiceOptions {
  /** Silence of an SSE response before a comment is sent; the hub's limit unless given. */
  readonly keepaliveMs?: number
  /** Interval of the heartbeats that some dialects send; the hub's limit unless given. */
  readonly heartbeatEventMs?: number
  /** Pages of these origins may use the hub beside its own; `*` lets all. Unless given none; without keys those of loopback. */
  readonly origins?: Origins
  /** Addresses of proxies that are believed when they say in `X-Forwarded-For` who asks. None unless given. */
  readonly trustedProxies?: readonly string[]
  /**
   * Who may do what, by token. Without it and `authorize` everybody may do everything, and only loopback is served.
   */
  readonly auth?: AuthOptions
  /**
   * Says what a request may do that has no token of `auth`: by its cookies, or whatever else tells. It is asked for
   * each request, and for each WebSocket once, as it opens.
   */
  readonly authorize?: Authorize
  /**
   * Names by which the hub may be called beside `localhost` and addresses. With `auth` or `authorize`, any unless given;
   * without, none: a page from anywhere could otherwise use the hub through a name of its own (DNS rebinding).
   */
  readonly hosts?: readonly string[]
  /** Who is told of what happens in sessions, over HTTP. Kept in the hub's store, where that has an outbox. */
  readonly webhooks?: readonly WebhookOptions[]
  readonly clock?: Clock
  /** Takes a line for each life of a connection, and a few of its own; nobody does unless given. */
  readonly log?: Log
  /** Told of whatever is no peer's mistake; written to the log if there is one, otherwise to the console. */
  readonly report?: (error: unknown) => void
}

/** What a transport must heed. */
export type Bounds = Omit<TransportOptions, 'tls'>

/** A hub as a transport sees it, and how it ends. */
export interface HubService extends Service {
  /** Whether there is anything at a path. */
  has(path: string): boolean
  /** What a transport must heed for it. */
  readonly bounds: Bounds
  /** Counts an error that nobody had expected, for whoever hears of it: the process that the service is in. */
  countUncaught(): void
  /** Lets go of what it holds, where it never came to serve. */
  release(): void
  /**
   * Tells clients that the hub goes away (4000) after what was published, and ends once they have gone or `graceMs`
   * have passed. What is still open then is for the transport to cut.
   */
  close(graceMs: number): Promise<void>
}

export function boundsOf(limits: Limits): Bounds {
  return {
    frameBytesMax: limits.frameBytesMax,
    backpressureBytesMax: limits.backpressureBytesMax,
    overrunBytesMax: limits.overrunBytesMax,
    // One that is somewhat too large is read, so that its client is told what was expected.
    headBytesMax: 2 * (limits.headBytesMax + limits.urlLengthMax),
    linksMax: limits.connectionsMax + limits.idleLinksMax,
  }
}

/**
 * @param tokens which tokens are good; absent: nobody needs one
 * @param transport what will speak for it, where it has to tell
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
  // Where nobody is asked, whatever runs on this machine may use the hub, so a page that it serves may too.
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
  })
  const connectionGrants = new ConnectionGrants(clock)
  tokens?.onWithdrawn(() => connectionGrants.review())
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
    rateLimits,
    bodyBudget: new BodyBudget(limits, clock),
    authenticator,
    connectionGrants,
    // Turns are those of the sockets, whatever the time is.
    entryQueue: new EntryQueue(systemClock),
    clock,
    log,
    counts,
    origins,
    hosts: options.hosts?.map((name) => name.toLowerCase()) ?? (open ? [] : undefined),
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
  const webhooks = webhooksOf(hub, options, { clock, log, counts: counts.webhooks })
  const routes = new Routes([...routesOf(context), aboutRoute(context, transport)], context)

  async function shutDown(graceMs: number): Promise<void> {
    closing = true
    tokens?.close()
    const began = clock.elapsed()
    log.info({ connections: links.size, graceMs }, 'closing')
    for (const interrupt of interrupted) interrupt()
    hub.flush()
    const ms = Math.min(limits.spreadMs, graceMs / 2, links.size)
    const told = links.closeAll(sendAway, { clock, ms }).then(() => links.empty())
    await withinMs(clock, graceMs, Promise.all([told, routes.idle()]))
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

/** @returns who is told of whatever is no peer's mistake */
export function reportOf({ report, log }: ServiceOptions): (error: unknown) => void {
  if (report !== undefined) return report
  if (log === undefined) return (error) => console.error(error)
  return (err) => log.error({ err }, 'a request failed')
}

/** All that can be asked for over HTTP. */
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
