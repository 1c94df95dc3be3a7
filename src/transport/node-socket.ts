import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type RawData, type WebSocket, WebSocketServer } from 'ws'
import { Framed, webSocketMessage } from './framing.js'
import { closeReason } from './head-text.js'
import { answerBytes } from './node-http.js'
import { gatheredBytesMax } from './node-stream.js'
import type {
  Answer,
  Request,
  Service,
  Socket,
  SocketEvents,
  TransportOptions,
  Upgrade,
} from './transport.js'

/** How long a peer may take to answer a close, and to read the data before it. */
const closeMsMax = 10_000

export interface Handshake {
  readonly req: IncomingMessage
  readonly socket: Duplex
  /** The bytes after the head. */
  readonly head: Buffer
}

/** @returns whether this is a request for a WebSocket: RFC 6455, section 4.2.1 */
export function asksForWebSocket({ method, headers }: IncomingMessage): boolean {
  const key = headers['sec-websocket-key'] ?? ''
  return method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket' && /^[+/0-9a-z]{22}==$/i.test(key)
}

type Accepted = Extract<Upgrade, { readonly kind: 'accepted' }>

/** Makes WebSockets of upgrade requests, of any server. */
export class NodeSockets {
  readonly #service: Pick<Service, 'upgrade'>
  readonly #options: TransportOptions
  readonly #server: WebSocketServer
  readonly #requestOf: (req: IncomingMessage) => Request
  readonly #framed = { text: new Framed(webSocketMessage(1)), binary: new Framed(webSocketMessage(2)) }
  readonly #open = new Set<NodeSocket>()

  constructor(
    service: Pick<Service, 'upgrade'>,
    options: TransportOptions,
    requestOf: (req: IncomingMessage) => Request,
  ) {
    this.#service = service
    this.#requestOf = requestOf
    this.#options = options
    const wanted = {
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: 2 * options.frameBytesMax,
      // This transport bounds the data that waits for a peer, pongs included.
      maxPendingAutoPongs: 0,
      closeTimeout: closeMsMax,
    }
    this.#server = new WebSocketServer(wanted)
  }

  upgrade(handshake: Handshake): void {
    const { req, socket } = handshake
    socket.on('error', () => {})
    // RFC 6455, section 4.4.
    if (req.headers['sec-websocket-version'] !== '13') {
      return refuse(socket, { status: 426, headers: { 'Sec-WebSocket-Version': '13' } })
    }
    const upgrade = this.#service.upgrade(this.#requestOf(req))
    if (upgrade.kind === 'accepted') return this.#accept(handshake, upgrade)
    if (!(upgrade.answer instanceof Promise)) return refuse(socket, upgrade.answer)
    void upgrade.answer.then((answer) => refuse(socket, answer))
  }

  /** Cuts all sockets. */
  cut(): void {
    for (const socket of this.#open) socket.cut()
  }

  #accept({ req, socket, head }: Handshake, accepted: Accepted): void {
    // The subprotocol is already chosen, and `ws` might reject the list.
    const { 'sec-websocket-protocol': _, ...headers } = req.headers
    if (accepted.protocol !== undefined) headers['sec-websocket-protocol'] = accepted.protocol
    const chosen = Object.create(req, { headers: { value: headers } }) as IncomingMessage
    this.#server.handleUpgrade(chosen, socket, head, (ws) => {
      const opened = new NodeSocket(ws, socket, this.#options, this.#framed)
      this.#open.add(opened)
      ws.on('close', () => this.#open.delete(opened))
      opened.opened(accepted)
    })
  }
}

/** The link is closed after the answer. */
function refuse(socket: Duplex, answer: Answer): void {
  socket.end(answerBytes(answer), () => socket.destroy())
}

class NodeSocket implements Socket {
  readonly #ws: WebSocket
  /** Messages bypass `ws`, which would frame them for each peer again. `ws` itself never holds messages back. */
  readonly #socket: Duplex
  readonly #options: TransportOptions
  readonly #framed: { readonly text: Framed; readonly binary: Framed }
  #events: SocketEvents | undefined
  #corks = 0
  /** `write` has returned `false`, and `drained` has not been called since. */
  #owesDrained = false
  /** The code with which the hub closes the socket. */
  #closing: number | undefined

  constructor(
    ws: WebSocket,
    socket: Duplex,
    options: TransportOptions,
    framed: { readonly text: Framed; readonly binary: Framed },
  ) {
    this.#ws = ws
    this.#socket = socket
    this.#options = options
    this.#framed = framed
  }

  opened(accepted: Accepted): void {
    const ws = this.#ws
    ws.on('message', (data: RawData, binary) => this.#received(data as Buffer, binary))
    ws.on('ping', () => this.#pulse())
    ws.on('pong', () => this.#pulse())
    // A violation of RFC 6455, or a message that is much too large.
    ws.on('error', () => this.cut())
    ws.on('close', (code) => this.#events?.closed(this.#closing ?? code))
    this.#events = accepted.open(this)
  }

  get waiting(): number {
    return this.#open ? this.#socket.writableLength : 0
  }

  write(chunk: Uint8Array, binary: boolean): boolean {
    if (!this.#open) return true
    const { backpressureBytesMax } = this.#options
    const socket = this.#socket
    const tells = this.#owesDrained || socket.writableLength + chunk.length > backpressureBytesMax
    const pieces = (binary ? this.#framed.binary : this.#framed.text).of(chunk)
    if (pieces.length === 1 && !tells) socket.write(pieces[0])
    else this.#writeAll(pieces, tells)
    if (this.#corks > 0 && socket.writableLength > gatheredBytesMax) this.#release()
    if (socket.writableLength <= backpressureBytesMax) return true
    this.#owesDrained = true
    this.#expectReading()
    return false
  }

  cork(writes: () => void): void {
    if (!this.#open) return writes()
    this.#corks += 1
    this.#socket.cork()
    try {
      writes()
    } finally {
      this.#corks -= 1
      this.#socket.uncork()
    }
  }

  ping(): void {
    if (this.#open) this.#ws.ping()
  }

  close(code: number, reason: string): void {
    if (!this.#open) return
    this.#closing = code
    this.#ws.close(code, closeReason(reason))
  }

  cut(): void {
    this.#closing ??= 1006
    this.#ws.terminate()
  }

  get #open(): boolean {
    return this.#closing === undefined && this.#ws.readyState === this.#ws.OPEN
  }

  #writeAll(pieces: readonly Uint8Array[], tells: boolean): void {
    const socket = this.#socket
    socket.cork()
    pieces.forEach((piece, at) => {
      if (tells && at === pieces.length - 1) socket.write(piece, (error) => this.#left(error))
      else socket.write(piece)
    })
    socket.uncork()
  }

  /** Writes the gathered data to the kernel. */
  #release(): void {
    for (let n = 0; n < this.#corks; n++) this.#socket.uncork()
    for (let n = 0; n < this.#corks; n++) this.#socket.cork()
  }

  #received(bytes: Buffer, binary: boolean): void {
    if (this.#closing !== undefined) return
    if (bytes.length > this.#options.frameBytesMax) this.#events?.tooLarge()
    else this.#events?.message(bytes, binary)
  }

  #pulse(): void {
    this.#expectReading()
    if (this.#closing === undefined) this.#events?.pulse()
  }

  /** Cuts a peer that sends requests but does not read. */
  #expectReading(): void {
    const { backpressureBytesMax, overrunBytesMax } = this.#options
    if (this.#socket.writableLength > backpressureBytesMax + overrunBytesMax) this.cut()
  }

  /** The written data has left, or never will. */
  #left(error: unknown): void {
    if (error || !this.#owesDrained || !this.#open) return
    if (this.#socket.writableLength > this.#options.backpressureBytesMax / 2) return
    this.#owesDrained = false
    this.#events?.drained()
  }
}
