import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Clock, systemClock } from '../lib/clock.js'
import { Framed, httpChunk } from './framing.js'
import { NodeExchange } from './node-exchange.js'
import { type NodeRequest, type NodeResponse, requestOf } from './node-http.js'
import { NodeSockets } from './node-socket.js'
import type { Means } from './node-stream.js'
import { OpenStreams } from './open-streams.js'
import type { Request, Service, TransportOptions } from './transport.js'

interface EndpointOptions {
  readonly clock?: Clock
  readonly requestOf?: (req: NodeRequest) => Request
}

/** The entry for requests that a server of `node:http` or `node:http2` has read, the hub's own or a surrounding one. */
export class NodeEndpoint {
  readonly #service: Service
  readonly #means: Means
  readonly #sockets: NodeSockets
  readonly #requestOf: (req: NodeRequest) => Request

  /** @param more with `requestOf`, which makes the request for the service */
  constructor(service: Service, options: TransportOptions, more: EndpointOptions = {}) {
    const { clock = systemClock } = more
    this.#service = service
    this.#requestOf = more.requestOf ?? requestOf
    this.#means = { options, streams: new OpenStreams(clock), chunked: new Framed(httpChunk) }
    this.#sockets = new NodeSockets(service, options, this.#requestOf)
  }

  request(req: NodeRequest, res: NodeResponse): void {
    const request = this.#requestOf(req)
    this.#service.request(request, new NodeExchange(req, res, request, this.#means))
  }

  /** Answers the request, or makes a WebSocket of it. The caller has to filter out other upgrades. */
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#sockets.upgrade({ req, socket, head })
  }

  /** Cuts the responses that stay open, and the WebSockets. */
  cut(): void {
    for (const stream of this.#means.streams) stream.cut()
    this.#sockets.cut()
  }
}
