import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { createSecureServer, type ServerHttp2Session } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import { type Clock, systemClock } from '../lib/clock.js'
import { NodeEndpoint } from './node-endpoint.js'
import { isHttp2, type NodeRequest, type NodeResponse } from './node-http.js'
import { asksForWebSocket } from './node-socket.js'
import type { ListenAt, Listening, Service, Transport, TransportOptions } from './transport.js'

/** The time for a link to send the complete head of its next request. */
const handshakeMsMax = 10_000
/** How often links without a complete head are checked. */
const lookMs = 1_000
/** The maximum of streams on one link of HTTP/2. */
const streamsMax = 256

/**
 * HTTP and WebSocket on `node:http` and `ws`; over TLS also HTTP/2.
 *
 * What this transport decides beside what every one must:
 * - A request's head must be complete 10 s after the link was opened, or after the answer before it. A larger one than
 * `headBytesMax` is answered with 431, a malformed one with 400, one that is too late with 408. Each time the link is closed.
 * - A body must come with 16 KiB/s, seen over 12 s, unless the reader holds it up or lets it be silent (`Exchange.body`);
 * otherwise its link is cut.
 * - A second request on a link of HTTP/1 whose first one is not answered yet cuts the link.
 * - A link beyond `linksMax` is cut as soon as it is there.
 * - A WebSocket message of more than twice `frameBytesMax` cuts the link, and so does whatever breaks RFC 6455: after a close
 * frame with 1009, 1002 or 1007. The service is told 1006.
 * - An answer that is not read is cut when nothing of it leaves for 10 s; a response that stays open, for 120 s.
 */
export function nodeTransport(
  service: Service,
  options: TransportOptions,
  clock: Clock = systemClock,
): Transport {
  return { listen: (at) => listen(new NodeEndpoint(service, options, { clock }), options, at) }
}

async function listen(endpoint: NodeEndpoint, options: TransportOptions, at: ListenAt): Promise<Listening> {
  const server = makeServer(options)
  const links = new Set<Socket>()
  /** The newest request of each link. */
  const latest = new WeakMap<Socket, NodeResponse>()

  server.on('connection', (socket) => {
    links.add(socket)
    socket.on('close', () => links.delete(socket))
  })
  server.on('session', endWhenIdle)
  server.on('request', (req: NodeRequest, res: NodeResponse) => {
    if (!isHttp2(res)) {
      if (latest.get(req.socket)?.writableEnded === false) return void req.socket.destroy()
      latest.set(req.socket, res)
    }
    endpoint.request(req, res)
  })
  server.on('upgrade', (req: IncomingMessage, socket: Socket, head: Buffer) => {
    if (latest.get(socket)?.writableEnded === false) socket.destroy()
    else if (asksForWebSocket(req)) endpoint.upgrade(req, socket, head)
    else passOver(server, req, socket, head)
  })

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: at.host, port: at.port, exclusive: at.shared !== true }, () => {
      server.off('error', reject)
      // A link could not be accepted; its client notices.
      server.on('error', () => {})
      resolve()
    })
  })

  function stopAccepting(): void {
    if (server.listening) server.close()
  }
  return {
    host: at.host,
    port: (server.address() as AddressInfo).port,
    stopAccepting,
    async close() {
      stopAccepting()
      const gone = [...links].map((link) => new Promise((resolve) => link.once('close', resolve)))
      for (const link of links) link.destroy()
      await Promise.all(gone)
    },
  }
}

function makeServer({ tls, linksMax, headBytesMax }: TransportOptions): Server {
  const server =
    tls === undefined
      ? createServer()
      : createSecureServer({
          cert: readFileSync(tls.certFile),
          key: readFileSync(tls.keyFile),
          allowHTTP1: true,
          handshakeTimeout: handshakeMsMax,
          settings: { maxConcurrentStreams: streamsMax, maxHeaderListSize: headBytesMax },
        })
  // The server of HTTP/2 accepts options of HTTP/1 only as properties.
  return Object.assign(server as Server, {
    maxConnections: linksMax,
    maxHeaderSize: headBytesMax,
    maxHeadersCount: 0,
    headersTimeout: handshakeMsMax,
    keepAliveTimeout: handshakeMsMax,
    connectionsCheckingInterval: lookMs,
    // The exchange decides how slow a body may be.
    requestTimeout: 0,
    requireHostHeader: true,
    // From Node 24.9 on, any other upgrade is an ordinary request. For older versions `passOver` makes it one.
    shouldUpgradeCallback: asksForWebSocket,
    // Health checks are answered until the hub has stopped.
    closeIdleConnections() {},
  })
}

/** Closes a link of HTTP/2 once it has no requests. */
function endWhenIdle(session: ServerHttp2Session): void {
  let streams = 0
  session.on('stream', (stream) => {
    streams += 1
    stream.once('close', () => void (streams -= 1))
  })
  session.setTimeout(handshakeMsMax, () => {
    if (streams === 0) session.close()
  })
}

/**
 * Answers a request for an upgrade to another protocol than WebSocket as an ordinary request: RFC 9110, section 7.8. Java's
 * client sends such a first request. Node has read only the head, and reads it again without the upgrade.
 */
function passOver(server: Server, req: IncomingMessage, socket: Socket, head: Buffer): void {
  const raw = req.rawHeaders
  let text = `${req.method} ${req.url} HTTP/${req.httpVersion}\r\n`
  for (let at = 0; at < raw.length; at += 2) {
    if (!/^(upgrade|http2-settings)$/i.test(raw[at] as string)) text += `${raw[at]}: ${raw[at + 1]}\r\n`
  }
  socket.unshift(Buffer.concat([Buffer.from(`${text}\r\n`, 'latin1'), head]))
  server.emit('connection', socket)
}
