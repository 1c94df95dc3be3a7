import assert from 'node:assert/strict'
import { latin1, utf8 } from './head-text.js'
import type {
  Answer,
  Exchange,
  Request,
  Service,
  Stream,
  StreamEvents,
  TransportOptions,
} from './transport.js'

type WebRequest = globalThis.Request

/**
 * The entry for requests of the fetch standard, for servers whose handlers turn a `Request` into a `Response`. The server
 * decides how slow a body may be, and when a link is cut.
 */
export class FetchEndpoint {
  readonly #service: Service
  readonly #means: Means

  constructor(service: Service, options: TransportOptions) {
    this.#service = service
    this.#means = { options, streams: new Set() }
  }

  /**
   * @param head of the request, for the service
   * @returns when there is an answer, or a response that stays open has begun; never if the peer has gone
   */
  answer(request: WebRequest, head: Request): Promise<Response> {
    return new Promise((resolve) =>
      this.#service.request(head, new FetchExchange(request, this.#means, resolve)),
    )
  }

  /** Cuts the responses that stay open. */
  cut(): void {
    for (const stream of this.#means.streams) stream.cut()
  }
}

/** Shared by the exchanges of one endpoint. */
interface Means {
  readonly options: TransportOptions
  readonly streams: Set<FetchStream>
}

/** @returns the head of a request of the fetch standard; the caller provides `path` and `address` */
export function headOf(request: WebRequest, path: string, address: string): Request {
  const { host, search, protocol } = new URL(request.url)
  const headers = new Map<string, string>()
  for (const [name, value] of request.headers) headers.set(name, utf8(value))
  // Compression is left to the surrounding server, because Next removes the header that declares it.
  headers.delete('accept-encoding')
  // A request that a program created has no `host` header.
  if (!headers.has('host')) headers.set('host', host)
  const encrypted = protocol === 'https:' && { encrypted: true as const }
  return {
    method: request.method,
    path,
    query: search.slice(1),
    headers,
    address,
    ...encrypted,
    raw: request,
  }
}

class FetchExchange implements Exchange {
  readonly #request: WebRequest
  readonly #means: Means
  readonly #respond: (response: Response) => void
  #gone = false
  #answered = false
  #onGone: (() => void) | undefined
  #stream: FetchStream | undefined
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined

  constructor(request: WebRequest, means: Means, respond: (response: Response) => void) {
    this.#request = request
    this.#means = means
    this.#respond = respond
    if (request.signal.aborted) this.#gone = true
    else request.signal.addEventListener('abort', () => this.#aborted(), { once: true })
  }

  get gone(): boolean {
    return this.#gone
  }

  onGone(task: () => void): void {
    if (this.#gone) task()
    else this.#onGone = task
  }

  async *body(): AsyncGenerator<Uint8Array, undefined> {
    const { body } = this.#request
    if (this.#gone || this.#answered || body === null) return
    // Other code has already begun to read it.
    if (this.#request.bodyUsed || body.locked)
      throw new TypeError('the body of the request was read before it reached the hub')
    const reader = body.getReader() as ReadableStreamDefaultReader<Uint8Array>
    this.#reader = reader
    for (;;) {
      // A peer that disconnects in the middle ends the body; `gone` reports it.
      const { value, done } = await reader.read().catch(() => ({ value: undefined, done: true }))
      if (done || value === undefined || this.#answered) return
      if (value.length > 0) yield value
    }
  }

  answer(answer: Answer): void {
    if (!this.#begin()) return
    const { status, body = '' } = answer
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    const headers = headersOf(answer)
    // RFC 9110, sections 8.6 and 9.3.2: an answer without a body may still have a length.
    const bodiless = status === 204 || status === 304
    if (!bodiless) headers.set('content-length', String(bytes.length))
    const none = bodiless || this.#request.method === 'HEAD'
    this.#respond(new Response(none ? null : (bytes as Uint8Array<ArrayBuffer>), { status, headers }))
  }

  stream(head: Omit<Answer, 'body'>, events: StreamEvents): Stream {
    const live = this.#begin()
    const stream = new FetchStream(events, this.#means)
    const init = { status: head.status, headers: headersOf(head) }
    if (live && this.#request.method !== 'HEAD') {
      this.#stream = stream
      this.#respond(new Response(stream.readable(), init))
      return stream
    }
    if (live) this.#respond(new Response(null, init))
    stream.abandon()
    return stream
  }

  /** @returns whether the peer still waits for an answer */
  #begin(): boolean {
    assert(!this.#answered, 'an exchange is answered once')
    this.#answered = true
    // The rest of the body is discarded.
    if (this.#reader !== undefined) void this.#reader.cancel().catch(() => {})
    return !this.#gone
  }

  #aborted(): void {
    if (this.#answered) {
      this.#stream?.abandon()
      return
    }
    this.#gone = true
    this.#onGone?.()
  }
}

/**
 * A response that stays open. It passes one chunk to its reader on each request and holds the others, so it knows how much
 * waits.
 */
class FetchStream implements Stream {
  readonly #events: StreamEvents
  readonly #means: Means
  readonly #queue: Uint8Array<ArrayBuffer>[] = []
  #waiting = 0
  #state: 'open' | 'ending' | 'closed' = 'open'
  /** The reader has asked for a chunk, and there was none. */
  #wanted = false
  /** `write` has returned `false`, and `drained` has not been called since. */
  #owesDrained = false
  #controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined

  constructor(events: StreamEvents, means: Means) {
    this.#events = events
    this.#means = means
  }

  readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#means.streams.add(this)
    return new ReadableStream(
      {
        start: (controller) => {
          this.#controller = controller
        },
        pull: () => this.#pulled(),
        cancel: () => this.abandon(),
      },
      { highWaterMark: 0 },
    )
  }

  /** The peer has gone, possibly before the response began. */
  abandon(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#means.streams.delete(this)
    this.#queue.length = 0
    this.#waiting = 0
    this.#controller = undefined
    queueMicrotask(() => this.#events.closed())
  }

  get waiting(): number {
    return this.#waiting
  }

  write(chunk: Uint8Array<ArrayBuffer>): boolean {
    if (this.#state !== 'open' || chunk.length === 0) return true
    if (this.#wanted) {
      this.#wanted = false
      this.#controller?.enqueue(chunk)
      return true
    }
    const { backpressureBytesMax, overrunBytesMax } = this.#means.options
    this.#queue.push(chunk)
    this.#waiting += chunk.length
    if (this.#waiting <= backpressureBytesMax) return true
    this.#owesDrained = true
    if (this.#waiting > overrunBytesMax + backpressureBytesMax) this.cut()
    return false
  }

  cork(writes: () => void): void {
    writes()
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ending'
    this.#owesDrained = false
    if (this.#wanted) this.#finish()
  }

  cut(): void {
    const controller = this.#controller
    this.abandon()
    controller?.error(new Error('The hub closed this response.'))
  }

  #pulled(): void {
    const chunk = this.#queue.shift()
    if (chunk === undefined) {
      if (this.#state === 'ending') return this.#finish()
      this.#wanted = true
      return
    }
    this.#waiting -= chunk.length
    this.#controller?.enqueue(chunk)
    if (!this.#owesDrained || this.#waiting > this.#means.options.backpressureBytesMax / 2) return
    this.#owesDrained = false
    // The reader may ask for a chunk within a write.
    queueMicrotask(() => {
      if (this.#state === 'open') this.#events.drained()
    })
  }

  #finish(): void {
    const controller = this.#controller
    this.abandon()
    controller?.close()
  }
}

function headersOf({ headers = {} }: Omit<Answer, 'body'>): Headers {
  const sent = new Headers()
  for (const [name, value] of Object.entries(headers)) {
    sent.set(name, latin1(value))
  }
  return sent
}
