import type { TemplatedApp, us_listen_socket } from 'uWebSockets.js'
import uWS from 'uWebSockets.js'
import { createServer } from 'node:net'
import { type Clock, systemClock } from '../lib/clock.js'
import { OpenStreams } from './open-streams.js'
import type { ListenAt, Listening, Service, Transport, TransportOptions } from './transport.js'
import { UwsExchange } from './uws-exchange.js'
import { requestOf } from './uws-http.js'
import { type UserData, upgrade } from './uws-socket.js'

/** A WebSocket that has been silent for this long is cut; the service's heartbeat is much shorter. Seconds. */
const socketSilenceMax = 120

/**
 * HTTP and WebSocket on uWebSockets.js.
 *
 * What uWebSockets.js decides, and this transport does not change:
 * - A request's head must be complete 10 s after the link was opened. One that comes in several pieces may have
 *   4 KiB; more is answered with 431. One with more than 100 headers or so is never taken for complete. A
 *   malformed head is answered with 400. Each time the link is closed.
 * - A body must come with 16 KiB/s; a sender that is slower is cut after 10 s, also when the reader holds it up,
 *   unless the reader lets it be silent (`Exchange.body`).
 * - `Expect: 100-continue` is answered before the service is called.
 * - A second request on a link whose first one is not answered yet cuts the link.
 * - A link beyond `linksMax` is cut as soon as it is there: there is no request yet that could be answered.
 * - A path that does not begin with `/` cuts the link.
 * - Bytes beyond ASCII at the beginning or the end of a header's value are lost, as if they were blanks.
 * - A WebSocket message of more than twice `frameBytesMax` cuts the link (1006); up to there it goes to
 *   `SocketEvents.tooLarge`. So does whatever breaks RFC 6455: the link is cut without a close frame.
 *
 * A body that was not read to its end when the exchange is answered is taken and thrown away.
 */
export function uwsTransport(
  service: Service,
  options: TransportOptions,
  clock: Clock = systemClock,
): Transport {
  // Without the header that names the server, which would help an attacker.
  uws._cfg('silent')
  const app =
    options.tls === undefined
      ? uWS.App()
      : uWS.SSLApp({ cert_file_name: options.tls.certFile, key_file_name: options.tls.keyFile })
  const streams = new OpenStreams(clock)
  let links = 0
  // Called for every link that opens or closes, except for the end of those that have become WebSockets.
  app.filter((res, count) => {
    links += Number(count)
    if (links > options.linksMax && Number(count) === 1) res.close()
  })

  app.any('/*', (res, req) => {
    const request = requestOf(res, req, options.tls !== undefined)
    service.request(request, new UwsExchange(res, request, options, streams))
  })

  app.ws<UserData>('/*', {
    compression: uWS.DISABLED,
    maxPayloadLength: 2 * options.frameBytesMax,
    maxBackpressure: options.overrunBytesMax + options.backpressureBytesMax,
    idleTimeout: socketSilenceMax,
    sendPingsAutomatically: false,
    upgrade: (res, req, context) => upgrade(service, options, clock, { res, req, context }),
    open: (ws) => ws.getUserData().socket.opened(ws),
    message: (ws, message, binary) => ws.getUserData().socket.received(message, binary),
    dropped: (ws) => ws.getUserData().socket.overrun(),
    drain: (ws) => ws.getUserData().socket.drained(),
    ping: (ws) => ws.getUserData().socket.pulse(),
    pong: (ws) => ws.getUserData().socket.pulse(),
    close(ws, code) {
      links -= 1
      ws.getUserData().socket.closed(code)
    },
  })

  return { listen: (at) => listen(app, at) }
}

/** Missing in its declarations. */
const uws = uWS as typeof uWS & { _cfg(key: 'silent'): void }

/** A form with four arguments that is missing in the declarations of uWebSockets.js. */
type ListeningApp = TemplatedApp & {
  listen(
    host: string,
    port: number,
    options: number,
    done: (socket: us_listen_socket | false) => void,
  ): TemplatedApp
}

async function listen(app: TemplatedApp, at: ListenAt): Promise<Listening> {
  // Exclusive, because otherwise a second hub would share the port and get some of the connections.
  const exclusive = at.shared === true ? 0 : 1
  const socket = await new Promise<us_listen_socket | false>((resolve) => {
    const listening = app as ListeningApp
    listening.listen(at.host, at.port, exclusive, resolve)
  })
  if (socket === false) throw await whyNot(at)

  // An unchecked pointer: closing it twice would crash the process.
  let accepting: us_listen_socket | undefined = socket
  function stopAccepting(): void {
    if (accepting !== undefined) uWS.us_listen_socket_close(accepting)
    accepting = undefined
  }
  return {
    host: at.host,
    port: uWS.us_socket_local_port(socket),
    stopAccepting,
    async close() {
      stopAccepting()
      app.close()
    },
  }
}

/** uWebSockets.js does not report why it cannot listen; Node does. */
function whyNot(at: { readonly host: string; readonly port: number }): Promise<Error> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', resolve)
    probe.listen({ ...at, exclusive: true }, () => {
      probe.close()
      resolve(
        new Error(`cannot listen on ${at.host}:${at.port}: the port was in use, and is free now; try again`),
      )
    })
  })
}
