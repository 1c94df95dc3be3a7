import type { IncomingMessage } from 'node:http'

/** What the server is written against: a transport listens, and hands what comes to the service. */
export interface Transport {
  /**
   * @returns once it accepts connections, with the port that was taken (`port: 0` takes a free one)
   * @throws Error with `code: 'EADDRINUSE'` when the port is taken
   */
  listen(at: { readonly host: string; readonly port: number }): Promise<Listening>
}

export interface Listening {
  readonly host: string
  readonly port: number
  /**
   * Accepts no new link. What is being answered, and what stays open, goes on, and links that are kept alive are
   * served.
   */
  stopAccepting(): void
  /**
   * Ends at once, cutting what is open.
   *
   * @returns once the service has been told of all of it
   */
  close(): Promise<void>
}

export interface TransportOptions {
  /** The largest WebSocket message that reaches the service; a larger one goes to `tooLarge`. Bytes. */
  readonly frameBytesMax: number
  /** `write` answers `false` when more than this waits. Bytes. */
  readonly backpressureBytesMax: number
  /** A peer is cut when so much more waits: it asks, and does not read. Bytes. */
  readonly overrunBytesMax: number
  /** The largest head of a request that is read; a larger one is answered with 431. Bytes. */
  readonly headBytesMax: number
  /** Links open at once, whatever they are used for; a further one is cut without an answer. */
  readonly linksMax: number
  readonly tls?: { readonly certFile: string; readonly keyFile: string }
}

/** What a transport calls. Neither may throw. */
export interface Service {
  /** One request whose headers have been read. It must be answered or streamed exactly once. */
  request(request: Request, exchange: Exchange): void
  /** A request for a WebSocket. What takes longer to find out is found out once it is open. */
  upgrade(request: Request): Upgrade
}

/** The head of a request. A plain value: it stays valid after the call. */
export interface Request {
  /** Upper case. */
  readonly method: string
  /** As it came, without the query; not decoded. */
  readonly path: string
  /** Without the `?`; empty when there is none. */
  readonly query: string
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>
  /** The peer's address as text; empty where nobody knows it. */
  readonly address: string
  /** As the server had it that this one was mounted in; absent where the transport listens itself. */
  readonly raw?: IncomingMessage | globalThis.Request
}

export interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** The link ends with it: what follows on it may be another request for who is before the hub than for the hub. */
  readonly last?: true
}

/** One request's body and its answer. After the peer has gone every call does nothing. */
export interface Exchange {
  readonly gone: boolean
  /** Called once, at once if the peer has gone already. */
  onGone(task: () => void): void
  /**
   * The body as it arrives; chunks belong to the reader. The peer is paused while the reader is busy.
   * Iteration ends early, without an error, when the peer goes.
   *
   * @param silenceMsMax for how long nothing may come, where that is longer than the transport would wait
   */
  body(silenceMsMax?: number): AsyncIterable<Uint8Array>
  answer(answer: Answer): void
  /**
   * Starts a response that stays open. The head leaves with the first `write`, so something should be
   * written at once. What is left of the request's body is thrown away.
   */
  stream(head: Omit<Answer, 'body'>, events: StreamEvents): Stream
}

export interface StreamEvents {
  /** What waited has been sent. Only after `write` has answered `false`. */
  drained(): void
  /** The peer has gone, or the response has ended. Once. */
  closed(): void
}

/** A response that stays open. After it is closed every call does nothing. None calls an event before it returns. */
export interface Stream {
  /** What was written and has not left this process: an upper bound. Bytes. */
  readonly waiting: number
  /**
   * @param chunk may be kept until it has been sent: it must not be changed any more
   * @returns `false` when more than `backpressureBytesMax` waits; the chunk was taken all the same.
   */
  write(chunk: Uint8Array): boolean
  cork(writes: () => void): void
  /** Ends the response in good order, after what was written. */
  end(): void
  /** Cuts the link. */
  cut(): void
}

export type Upgrade =
  /** The link is closed after the answer, which may come later. */
  | { readonly kind: 'refused'; readonly answer: Answer | Promise<Answer> }
  | {
      readonly kind: 'accepted'
      /** The subprotocol that was chosen; absent where the client offered none. */
      readonly protocol?: string
      /** Called once the link is open. */
      open(socket: Socket): SocketEvents
    }

export interface SocketEvents {
  /** `bytes` is only valid during the call. */
  message(bytes: Uint8Array, binary: boolean): void
  /** A message over `frameBytesMax` came. Its content is gone. A much larger one may cut the link (1006). */
  tooLarge(): void
  drained(): void
  /** A ping or pong came. */
  pulse(): void
  /** Once; 1006 when there was no close frame. */
  closed(code: number): void
}

/** A WebSocket. After it is closed every call does nothing. None calls an event before it returns. */
export interface Socket {
  /** What was written and has not left this process. Bytes. */
  readonly waiting: number
  /** @returns `false` when more than `backpressureBytesMax` waits; the chunk was taken all the same. */
  write(chunk: Uint8Array, binary: boolean): boolean
  cork(writes: () => void): void
  ping(): void
  /** Sends a close frame after what was written, and ends. */
  close(code: number, reason: string): void
  /** Cuts the link. */
  cut(): void
}
