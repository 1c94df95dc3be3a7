import type { HttpRequest, HttpResponse, us_socket_context_t, WebSocket } from 'uWebSockets.js'
import type { Clock } from '../lib/clock.js'
import { closeSoon } from './closing.js'
import { closeReason } from './head-text.js'
import type { Answer, Service, Socket, SocketEvents, TransportOptions, Upgrade } from './transport.js'
import { requestOf, writeAnswer } from './uws-http.js'

/** uWebSockets.js copies the properties of this object, so the socket itself must be one of them. */
export interface UserData {
  readonly socket: UwsSocket
}

export interface Handshake {
  readonly res: HttpResponse
  readonly req: HttpRequest
  readonly context: us_socket_context_t
}

export function upgrade(
  service: Service,
  options: TransportOptions,
  clock: Clock,
  { res, req, context }: Handshake,
): void {
  const request = requestOf(res, req)
  // RFC 6455, section 4.4.
  if (request.headers.get('sec-websocket-version') !== '13') {
    writeAnswer(res, { status: 426, headers: { 'Sec-WebSocket-Version': '13' } })
    return
  }
  const upgrade = service.upgrade(request)
  if (upgrade.kind === 'refused') return refuse(res, upgrade.answer, clock)
  // In the same turn, because uWebSockets.js mistakes some upgrades that happen later, corked, for answered requests, and
  // closes them (uWebSockets, pull request 1929).
  const key = request.headers.get('sec-websocket-key') ?? ''
  const socket = new UwsSocket(upgrade, options.frameBytesMax, options.backpressureBytesMax, clock)
  res.upgrade<UserData>({ socket }, key, upgrade.protocol ?? '', '', context)
}

/**
 * The hub closes the link itself. Otherwise the ends of hundreds of peers that disconnect together would all come in one turn.
 */
function refuse(res: HttpResponse, answer: Answer | Promise<Answer>, clock: Clock): void {
  if (!(answer instanceof Promise)) return writeAnswer(res, answer, { last: true })
  let gone = false
  res.onAborted(() => {
    gone = true
  })
  const say = (one: Answer): void => {
    if (!gone) res.cork(() => writeAnswer(res, one, { last: true }))
  }
  void answer.then((one) => closeSoon(clock, () => say(one)))
}

class UwsSocket implements Socket {
  /** Absent after it is open, so that an idle socket does not keep its handshake. */
  #accepted: Extract<Upgrade, { kind: 'accepted' }> | undefined
  readonly #frameBytesMax: number
  readonly #bytesMax: number
  readonly #clock: Clock
  /** Absent before it is open and after it is closed. */
  #ws: WebSocket<UserData> | undefined
  #events: SocketEvents | undefined
  /** `write` has returned `false`, and `drained` has not been called since. */
  #owesDrained = false
  /** The hub itself closes the socket. */
  #closing = false
  /** uWebSockets.js waits for the answer to a frame before it reads the next one. */
  #reading = false
  /** How to close it once the answer is there. */
  #closeAfter: ((ws: WebSocket<UserData>) => void) | undefined

  constructor(
    accepted: Extract<Upgrade, { kind: 'accepted' }>,
    frameBytesMax: number,
    bytesMax: number,
    clock: Clock,
  ) {
    this.#accepted = accepted
    this.#frameBytesMax = frameBytesMax
    this.#bytesMax = bytesMax
    this.#clock = clock
  }

  get waiting(): number {
    return this.#ws?.getBufferedAmount() ?? 0
  }

  write(chunk: Uint8Array, binary: boolean): boolean {
    const ws = this.#ws
    if (ws === undefined || this.#closing) return true
    const sent = 1
    if (ws.send(chunk, binary, false) === sent || ws.getBufferedAmount() <= this.#bytesMax) return true
    this.#owesDrained = true
    return false
  }

  cork(writes: () => void): void {
    if (this.#ws === undefined) writes()
    else this.#ws.cork(writes)
  }

  ping(): void {
    if (!this.#closing) this.#ws?.ping()
  }

  close(code: number, reason: string): void {
    this.#closeBy((ws) => ws.end(code, closeReason(reason)))
  }

  cut(): void {
    this.#closeBy((ws) => ws.close())
  }

  #closeBy(close: (ws: WebSocket<UserData>) => void): void {
    this.#closing = true
    this.#owesDrained = false
    if (this.#reading) {
      this.#closeAfter ??= close
      return
    }
    closeSoon(this.#clock, () => {
      if (this.#ws !== undefined) close(this.#ws)
    })
  }

  // Called by uWebSockets.js.

  opened(ws: WebSocket<UserData>): void {
    this.#ws = ws
    this.#events = this.#accepted?.open(this)
    this.#accepted = undefined
  }

  received(message: ArrayBuffer, binary: boolean): void {
    this.#read((events) => {
      if (message.byteLength > this.#frameBytesMax) events.tooLarge()
      else events.message(new Uint8Array(message), binary)
    })
  }

  drained(): void {
    if (!this.#owesDrained || this.#ws === undefined) return
    if (this.#ws.getBufferedAmount() > this.#bytesMax / 2) return
    this.#owesDrained = false
    this.#events?.drained()
  }

  pulse(): void {
    this.#read((events) => events.pulse())
  }

  /**
   * One read of the link may bring 80,000 frames. If one of them makes the hub close the socket, that is done before the next
   * one is read, and not by a timer, which would have to wait for all of them.
   */
  #read(task: (events: SocketEvents) => void): void {
    if (this.#closing || this.#events === undefined) return
    this.#reading = true
    try {
      task(this.#events)
    } finally {
      this.#reading = false
      if (this.#ws !== undefined) this.#closeAfter?.(this.#ws)
    }
  }

  /** uWebSockets.js has dropped a message, possibly a pong of its own. */
  overrun(): void {
    // uWebSockets.js calls this for each of thousands of dropped messages.
    if (!this.#closing) this.cut()
  }

  closed(code: number): void {
    this.#ws = undefined
    this.#events?.closed(code)
  }
}
