import type { Hub } from '../hub/hub.js'
import { type Clock, systemClock } from '../lib/clock.js'
import type { Service, Transport, TransportOptions } from '../transport/transport.js'
import { uwsTransport } from '../transport/uws.js'
import type { Context } from './context.js'
import { healthRoutes } from './health.js'
import { Links } from './links.js'
import type { Origins } from './origins.js'
import { panelRoutes } from './panels.js'
import { publishRoutes } from './publish.js'
import { Routes } from './routes.js'
import { sessionRoutes } from './sessions.js'
import { stateRoutes } from './state.js'
import { streamRoutes } from './stream.js'
import { upgrade } from './websocket.js'

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
  /** Pages of these origins may use the hub beside its own; `*` lets all. None unless given. */
  readonly origins?: Origins
  readonly clock?: Clock
  /** Told of whatever is no peer's mistake; written to standard error unless given. */
  readonly report?: (error: unknown) => void
}

/** A hub that listens. */
export interface Server {
  readonly url: string
  readonly host: string
  readonly port: number
  /**
   * Accepts nothing new, tells clients that the hub goes away (4000) after what was published, and ends once
   * they have gone or `graceMs` (2,000 unless given) have passed. The hub itself lives on.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>
}

const defaultPort = 4600
const defaultGraceMs = 2_000

/**
 * Serves a hub over WebSocket, SSE and HTTP.
 *
 * @returns once it accepts connections
 * @throws Error with `code: 'EADDRINUSE'` when the port is taken
 */
export async function serve(hub: Hub, options: ServeOptions = {}): Promise<Server> {
  const { limits } = hub
  const links = new Links(limits.connectionsMax)
  let closing = false
  const context: Context = {
    hub,
    limits,
    links,
    clock: options.clock ?? systemClock,
    origins: options.origins ?? [],
    keepaliveMs: options.keepaliveMs ?? limits.keepaliveMs,
    report: options.report ?? ((error) => console.error(error)),
    closing: () => closing,
  }
  const routes = new Routes(
    [
      ...sessionRoutes(context),
      ...publishRoutes(context),
      ...stateRoutes(context),
      ...streamRoutes(context),
      ...healthRoutes(context),
      ...panelRoutes(),
    ],
    context,
  )
  const service: Service = {
    request: (request, exchange) => routes.answer(request, exchange),
    upgrade: (request) => upgrade(context, request),
  }
  const transport = (options.transport ?? uwsTransport)(service, {
    frameBytesMax: limits.frameBytesMax,
    backpressureBytesMax: limits.backpressureBytesMax,
    ...(options.tls && { tls: options.tls }),
  })
  const listening = await transport.listen({
    host: options.host ?? '127.0.0.1',
    port: options.port ?? defaultPort,
  })

  async function shutDown(graceMs: number): Promise<void> {
    closing = true
    listening.stopAccepting()
    hub.delivery.flushAll()
    links.closeAll('shutdown', 'the hub is shutting down')
    await withinMs(context.clock, graceMs, Promise.all([links.empty(), routes.idle()]))
    listening.close()
  }

  let closed: Promise<void> | undefined
  const { host, port } = listening
  const scheme = options.tls === undefined ? 'http' : 'https'
  return {
    url: `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`,
    host,
    port,
    close({ graceMs = defaultGraceMs } = {}) {
      closed ??= shutDown(graceMs)
      return closed
    },
  }
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
