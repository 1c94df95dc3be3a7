import type { Hub } from '../hub/hub.js'
import { systemClock } from '../lib/clock.js'
import type { Limits } from '../protocol/limits.js'
import type { ChosenTransport, MakeTransport, TransportChoice, TransportName } from '../transport/choice.js'
import type { TransportOptions } from '../transport/transport.js'
import { isLoopback } from './access/origins.js'
import { Tokens } from './access/tokens.js'
import { noLog } from './operations/log.js'
import { boundsOf, makeService, reportOf, type ServiceOptions } from './service.js'

export interface ServeOptions extends ServiceOptions {
  /** Default 127.0.0.1. */
  readonly host?: string
  /** Default 4600; 0 chooses a free port. */
  readonly port?: number
  /**
   * The transport. `auto`, the default, uses uWebSockets.js if its addon loads, and Node's own HTTP otherwise; `uws` fails if
   * it does not load. A function creates a custom transport.
   */
  readonly transport?: TransportName | MakeTransport
  readonly tls?: TransportOptions['tls']
  /** Other processes of one `node:cluster` listen on the same host and port. Their hubs share a log. */
  readonly sharesPort?: boolean
}

/** A hub that listens. */
export interface Server {
  readonly url: string
  readonly host: string
  readonly port: number
  /** The transport, and the reason for the choice. */
  readonly transport: TransportChoice
  /**
   * Accepts nothing new, closes clients with 4000 after all published events, and returns when they have gone or `graceMs`
   * (default `shutdownMs`) have passed. Clients are closed one after the other, so that they do not all reconnect at once. The
   * hub itself continues.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>
  /** Counts an uncaught error, which the process reports. */
  countUncaught(): void
}

const defaultPort = 4600

/**
 * Serves a hub over WebSocket, SSE and HTTP.
 *
 * @returns when it accepts connections
 * @throws Error with `code: 'EADDRINUSE'` when the port is taken
 */
export async function serve(hub: Hub, options: ServeOptions = {}): Promise<Server> {
  const { limits } = hub
  const host = options.host ?? '127.0.0.1'
  if (options.auth === undefined && options.authorize === undefined && !isLoopback(host)) {
    throw new Error(
      `${host} can be reached from other machines: expected auth or authorize, to control access`,
    )
  }
  const { clock = systemClock, log = noLog } = options
  const setting = { clock, limits, report: reportOf(options) }
  const chosen = await choiceOf(options.transport, limits)
  const tokens = options.auth && (await Tokens.start(options.auth, setting))
  const service = makeService(hub, tokens, options, chosen)
  const transport = chosen.make(service, { ...service.bounds, ...(options.tls && { tls: options.tls }) })
  const at = { host, port: options.port ?? defaultPort, shared: options.sharesPort === true }
  const listening = await transport.listen(at).catch((error) => {
    service.release()
    throw error
  })
  let closed: Promise<void> | undefined
  const { port } = listening
  const scheme = options.tls === undefined ? 'http' : 'https'
  const url = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`
  const { name, why } = chosen
  log.info({ url, transport: name, why }, 'listening')
  return {
    url,
    countUncaught: () => service.countUncaught(),
    host,
    port,
    transport: { name, why },
    close({ graceMs = limits.shutdownMs } = {}) {
      if (closed === undefined) {
        listening.stopAccepting()
        closed = service.close(graceMs).then(() => listening.close())
      }
      return closed
    },
  }
}

/** Loaded only for serving, so that a hub within a process needs no native code. */
async function choiceOf(wanted: ServeOptions['transport'], limits: Limits): Promise<ChosenTransport> {
  if (typeof wanted === 'function') return { name: 'own', why: 'it was given to serve', make: wanted }
  const { chooseTransport } = await import('../transport/choice.js')
  return chooseTransport(wanted ?? 'auto', boundsOf(limits))
}
