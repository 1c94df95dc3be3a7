import type {
  HttpRequest,
  HttpResponse,
  TemplatedApp,
  us_listen_socket,
  us_socket_context_t,
  WebSocket,
} from 'uWebSockets.js'
import uWS from 'uWebSockets.js'
import assert from 'node:assert/strict'
import { STATUS_CODES } from 'node:http'
import { createServer } from 'node:net'
import { type Clock, systemClock, type Timer } from '../lib/clock.js'
import { Backlog } from './backlog.js'
import { Body } from './body.js'
import type {
  Answer,
  Exchange,
  Listening,
  Request,
  Service,
  Socket,
  SocketEvents,
  Stream,
  StreamEvents,
  Transport,
  TransportOptions,
  Upgrade,
} from './transport.js'

/**
 * What may wait for one peer before it is cut. The hub stops at `backpressureBytesMax`; this bounds what a
 * peer can make us owe it that asks and never reads: pings, requests, subscriptions. Bytes.
 */
const overrunBytesMax = 16 * 1024 * 1024

/** A WebSocket on which nothing came for so long is cut; the service's heartbeat is much shorter. Seconds. */
const socketSilenceMax = 120

/**
 * uWebSockets.js cuts a response 10 s after a write that did not leave at once. Touching it more often
 * than that keeps a peer that has stopped reading under load: how long it may is for the service to decide.
 */
const streamTouchMs = 4_000

/** RFC 6455, section 5.5.1: a control frame's payload is 125 bytes at most, two of them the code. */
const reasonBytesMax = 123

/**
 * HTTP and WebSocket on uWebSockets.js.
 *
 * What uWebSockets.js decides, and this transport does not change:
 * - A request's head must be complete 10 s after the link was opened. One that comes in several pieces may have
 *   4 KiB; more is answered with 431. One with more than 100 headers or so is never taken for complete. A
 *   malformed head is answered with 400. Each time the link is closed.
 * - A body must come with 16 KiB/s; a sender that is slower is cut after 10 s, also when the reader holds it up.
 * - `Expect: 100-continue` is answered before the service is called.
 * - A second request on a link whose first one is not answered yet cuts the link.
 * - A path that does not begin with `/` cuts the link.
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
  const app =
    options.tls === undefined
      ? uWS.App()
      : uWS.SSLApp({ cert_file_name: options.tls.certFile, key_file_name: options.tls.keyFile })
  const streams = new OpenStreams(clock)

  app.any('/*', (res, req) => {
    const request = requestOf(res, req)
    service.request(request, new UwsExchange(res, request.method === 'HEAD', options, streams))
  })

  app.ws<UserData>('/*', {
    compression: uWS.DISABLED,
    maxPayloadLength: 2 * options.frameBytesMax,
    maxBackpressure: overrunBytesMax + options.backpressureBytesMax,
    idleTimeout: socketSilenceMax,
    sendPingsAutomatically: false,
    upgrade: (res, req, context) => upgrade(service, options, clock, { res, req, context }),
    open: (ws) => ws.getUserData().socket.opened(ws),
    message: (ws, message, binary) => ws.getUserData().socket.received(message, binary),
    dropped: (ws) => ws.getUserData().socket.overrun(),
    drain: (ws) => ws.getUserData().socket.drained(),
    ping: (ws) => ws.getUserData().socket.pulse(),
    pong: (ws) => ws.getUserData().socket.pulse(),
    close: (ws, code) => ws.getUserData().socket.closed(code),
  })

  return { listen: (at) => listen(app, at) }
}

/** uWebSockets.js takes these four as well; its declarations leave this form out. */
type ListeningApp = TemplatedApp & {
  listen(
    host: string,
    port: number,
    options: number,
    done: (socket: us_listen_socket | false) => void,
  ): TemplatedApp
}

async function listen(
  app: TemplatedApp,
  at: { readonly host: string; readonly port: number },
): Promise<Listening> {
  // Exclusive: otherwise a second hub would share the port, and each would get some of the connections.
  const exclusive = 1
  const socket = await new Promise<us_listen_socket | false>((resolve) => {
    const listening = app as ListeningApp
    listening.listen(at.host, at.port, exclusive, resolve)
  })
  if (socket === false) throw await whyNot(at)

  // It is unchecked memory: closing it twice would bring the process down.
  let accepting: us_listen_socket | undefined = socket
  function stopAccepting(): void {
    if (accepting !== undefined) uWS.us_listen_socket_close(accepting)
    accepting = undefined
  }
  return {
    host: at.host,
    port: uWS.us_socket_local_port(socket),
    stopAccepting,
    close() {
      stopAccepting()
      app.close()
    },
  }
}

/** uWebSockets.js does not tell why it cannot listen; Node does. */
function whyNot(at: { readonly host: string; readonly port: number }): Promise<Error> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', resolve)
    probe.listen({ ...at, exclusive: true }, () => {
      probe.close()
      resolve(new Error(`cannot listen on ${at.host}:${at.port}; the port was free again a moment later`))
    })
  })
}

/** Copies what is only valid until the callback returns. */
function requestOf(res: HttpResponse, req: HttpRequest): Request {
  const headers = new Map<string, string>()
  req.forEach((name, value) => {
    const before = headers.get(name)
    // RFC 9110, section 5.3; RFC 6265, section 5.4, for cookies.
    headers.set(name, before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`)
  })
  return {
    method: req.getCaseSensitiveMethod(),
    path: req.getUrl(),
    query: req.getQuery() ?? '',
    headers,
    address: Buffer.from(res.getRemoteAddressAsText()).toString(),
  }
}

/** Call it corked. */
function writeHead(res: HttpResponse, { status, headers = {} }: Omit<Answer, 'body'>): void {
  res.writeStatus(`${status} ${STATUS_CODES[status] ?? 'Unknown'}`)
  for (const [name, value] of Object.entries(headers)) {
    // No value may begin another header.
    res.writeHeader(name, value.replace(/[\r\n\0]/g, ' '))
  }
}

/** Call it corked. RFC 9110, sections 8.6 and 9.3.2: what has no body may still tell its length. */
function writeAnswer(res: HttpResponse, answer: Answer, headOnly: boolean): void {
  writeHead(res, answer)
  const bodiless = answer.status === 204 || answer.status === 304
  if (!headOnly && !bodiless) {
    res.end(answer.body ?? '')
    return
  }
  if (!bodiless) res.writeHeader('Content-Length', String(Buffer.byteLength(answer.body ?? '')))
  // Without a length: given one, uWebSockets.js would wait for the body and cut the link at the next request.
  res.endWithoutBody()
}

class UwsExchange implements Exchange {
  readonly #res: HttpResponse
  readonly #headOnly: boolean
  readonly #options: TransportOptions
  readonly #streams: OpenStreams
  readonly #body: Body
  #gone = false
  #answered = false
  #onGone: (() => void) | undefined
  #stream: UwsStream | undefined

  constructor(res: HttpResponse, headOnly: boolean, options: TransportOptions, streams: OpenStreams) {
    this.#res = res
    this.#headOnly = headOnly
    this.#options = options
    this.#streams = streams
    const live = () => !this.#gone && !this.#answered
    this.#body = new Body({
      pause: () => live() && res.pause(),
      resume: () => live() && res.resume(),
    })
    res.onAborted(() => this.#aborted())
    res.onData((chunk, last) => {
      // The memory is uWebSockets' own, and is used again after this call.
      if (!this.#answered) this.#body.push(new Uint8Array(chunk.slice(0)), last)
    })
  }

  get gone(): boolean {
    return this.#gone
  }

  onGone(task: () => void): void {
    if (this.#gone) task()
    else this.#onGone = task
  }

  body(): AsyncIterable<Uint8Array> {
    return this.#body
  }

  answer(answer: Answer): void {
    if (!this.#begin()) return
    this.#res.cork(() => writeAnswer(this.#res, answer, this.#headOnly))
  }

  stream(head: Omit<Answer, 'body'>, events: StreamEvents): Stream {
    const live = this.#begin()
    const stream = new UwsStream(this.#res, events, this.#options.backpressureBytesMax, this.#streams)
    if (live && !this.#headOnly) {
      this.#stream = stream
      stream.open(head)
      return stream
    }
    if (live) this.#res.cork(() => writeAnswer(this.#res, head, true))
    stream.abandon()
    return stream
  }

  /** @returns whether there is someone to answer. */
  #begin(): boolean {
    assert(!this.#answered, 'an exchange is answered once')
    // While it is paused, uWebSockets.js would neither see the next request nor the end of the link.
    this.#body.discard()
    this.#answered = true
    return !this.#gone
  }

  #aborted(): void {
    this.#gone = true
    this.#body.discard()
    this.#stream?.aborted()
    this.#onGone?.()
  }
}

/** The streams of one transport that are open. */
class OpenStreams {
  readonly #clock: Clock
  readonly #streams = new Set<UwsStream>()
  #timer: Timer | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(stream: UwsStream): void {
    this.#streams.add(stream)
    this.#timer ??= this.#clock.after(streamTouchMs, () => this.#touch())
  }

  delete(stream: UwsStream): void {
    this.#streams.delete(stream)
    if (this.#streams.size > 0) return
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** Costs 0.3 µs for a stream of which nothing waits. */
  #touch(): void {
    this.#timer = undefined
    for (const stream of this.#streams) stream.touch()
    if (this.#streams.size > 0) this.#timer ??= this.#clock.after(streamTouchMs, () => this.#touch())
  }
}

/**
 * A response that stays open.
 *
 * uWebSockets.js buffers without bound what the kernel does not take, tells of it only by the `false` of
 * the write that failed, and, where `onWritable` is set, leaves it to that callback to send the buffer on.
 * Corking and writing nothing does exactly this.
 */
class UwsStream implements Stream {
  readonly #res: HttpResponse
  readonly #events: StreamEvents
  readonly #bytesMax: number
  readonly #streams: OpenStreams
  readonly #backlog: Backlog
  #state: 'open' | 'ending' | 'closed' = 'open'
  #corked = false
  /** `write` has answered `false`, and `drained` was not called since. */
  #owesDrained = false

  constructor(res: HttpResponse, events: StreamEvents, bytesMax: number, streams: OpenStreams) {
    this.#res = res
    this.#events = events
    this.#bytesMax = bytesMax
    this.#streams = streams
    this.#backlog = new Backlog({ write: (slice) => res.write(slice) }, bytesMax)
  }

  open(head: Omit<Answer, 'body'>): void {
    this.#streams.add(this)
    this.#res.onWritable(() => this.#writable())
    this.#res.cork(() => {
      writeHead(this.#res, head)
    })
  }

  /** There is nobody to write to. The service is told once it has got the stream. */
  abandon(): void {
    this.#state = 'closed'
    queueMicrotask(() => this.#events.closed())
  }

  aborted(): void {
    if (this.#close()) this.#events.closed()
  }

  /**
   * Puts off the moment when uWebSockets.js loses its patience. Only another write that fails does, so something is
   * written while there is something. Not covered: a peer that does not read, after a write that failed,
   * while so little follows that the kernel takes all of it. It is cut after 10 to 14 s, and resumes.
   */
  touch(): void {
    if (this.#state !== 'open') return
    this.#corkedly(() => this.#backlog.nudge())
    this.#goOn()
  }

  write(chunk: Uint8Array): boolean {
    if (this.#state !== 'open') return true
    if (this.#corked) this.#backlog.push(chunk)
    else this.#corkedly(() => this.#backlog.push(chunk))
    const bytes = this.#backlog.bytes
    if (bytes <= this.#bytesMax) return true
    this.#owesDrained = true
    if (bytes > overrunBytesMax + this.#bytesMax) this.cut()
    return false
  }

  cork(writes: () => void): void {
    if (this.#state === 'closed' || this.#corked) writes()
    else this.#corkedly(writes)
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ending'
    this.#owesDrained = false
    if (this.#backlog.idle) this.#finish()
  }

  cut(): void {
    if (!this.#close()) return
    this.#res.close()
    queueMicrotask(() => this.#events.closed())
  }

  #corkedly(writes: () => void): void {
    this.#corked = true
    try {
      this.#res.cork(writes)
    } finally {
      this.#corked = false
    }
  }

  #writable(): boolean {
    if (this.#state === 'closed') return true
    this.#corkedly(() => this.#backlog.writable())
    this.#goOn()
    return true
  }

  #goOn(): void {
    if (this.#state === 'ending') {
      if (this.#backlog.idle) this.#finish()
    } else if (this.#owesDrained && (this.#backlog.idle || this.#backlog.bytes <= this.#bytesMax / 2)) {
      this.#owesDrained = false
      this.#events.drained()
    }
  }

  #finish(): void {
    if (!this.#close()) return
    this.#res.cork(() => this.#res.end())
    queueMicrotask(() => this.#events.closed())
  }

  /** @returns whether it was open. */
  #close(): boolean {
    if (this.#state === 'closed') return false
    this.#state = 'closed'
    this.#backlog.clear()
    this.#streams.delete(this)
    return true
  }
}

/** uWebSockets.js copies the properties of what it is given, so the socket itself must be one of them. */
interface UserData {
  readonly socket: UwsSocket
}

interface Handshake {
  readonly res: HttpResponse
  readonly req: HttpRequest
  readonly context: us_socket_context_t
}

function upgrade(
  service: Service,
  options: TransportOptions,
  clock: Clock,
  { res, req, context }: Handshake,
): void {
  const request = requestOf(res, req)
  const key = request.headers.get('sec-websocket-key') ?? ''
  let gone = false

  function decide(upgrade: Upgrade): void {
    if (gone) return
    if (upgrade.kind === 'refused') {
      res.cork(() => writeAnswer(res, upgrade.answer, false))
      return
    }
    const socket = new UwsSocket(upgrade, options.frameBytesMax, options.backpressureBytesMax, clock)
    res.cork(() => res.upgrade<UserData>({ socket }, key, upgrade.protocol ?? '', '', context))
  }

  // RFC 6455, section 4.4.
  if (request.headers.get('sec-websocket-version') !== '13') {
    return decide({ kind: 'refused', answer: { status: 426, headers: { 'Sec-WebSocket-Version': '13' } } })
  }
  const upgrade = service.upgrade(request)
  if (!(upgrade instanceof Promise)) return decide(upgrade)
  res.onAborted(() => {
    gone = true
  })
  upgrade.then(decide, (error: unknown) => {
    decide({ kind: 'refused', answer: { status: 500 } })
    throw error
  })
}

class UwsSocket implements Socket {
  readonly #accepted: Extract<Upgrade, { kind: 'accepted' }>
  readonly #frameBytesMax: number
  readonly #bytesMax: number
  readonly #clock: Clock
  /** Absent before it is open and after it is closed. */
  #ws: WebSocket<UserData> | undefined
  #events: SocketEvents | undefined
  /** `write` has answered `false`, and `drained` was not called since. */
  #owesDrained = false
  /** We are the ones who close. */
  #closing = false

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

  write(chunk: Uint8Array, binary: boolean): boolean {
    const ws = this.#ws
    if (ws === undefined) return true
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
    this.#ws?.ping()
  }

  close(code: number, reason: string): void {
    this.#closing = true
    this.#ws?.end(code, cutText(reason, reasonBytesMax))
  }

  cut(): void {
    this.#closing = true
    this.#ws?.close()
  }

  // What uWebSockets.js calls.

  opened(ws: WebSocket<UserData>): void {
    this.#ws = ws
    this.#events = this.#accepted.open(this)
  }

  received(message: ArrayBuffer, binary: boolean): void {
    if (message.byteLength > this.#frameBytesMax) this.#events?.tooLarge()
    else this.#events?.message(new Uint8Array(message), binary)
  }

  drained(): void {
    if (!this.#owesDrained || this.#ws === undefined) return
    if (this.#ws.getBufferedAmount() > this.#bytesMax / 2) return
    this.#owesDrained = false
    this.#events?.drained()
  }

  pulse(): void {
    this.#events?.pulse()
  }

  /** uWebSockets.js has dropped a message, possibly a pong of its own. Closing within its callback is not safe. */
  overrun(): void {
    this.#clock.defer(() => this.cut())
  }

  closed(code: number): void {
    this.#ws = undefined
    // Whoever calls `close` should not find itself called within.
    if (this.#closing) queueMicrotask(() => this.#events?.closed(code))
    else this.#events?.closed(code)
  }
}

/** @returns as much of `text` as fits into so many bytes of UTF-8, whole characters only */
function cutText(text: string, bytesMax: number): string {
  const bytes = new TextEncoder().encode(text)
  if (bytes.length <= bytesMax) return text
  return new TextDecoder().decode(bytes.subarray(0, bytesMax)).replace(/\uFFFD+$/, '')
}
