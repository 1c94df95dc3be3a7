import type { IncomingMessage } from 'node:http'

/** Where a transport listens. */
export interface ListenAt {
  readonly host: string
  readonly port: number
  /** Other processes listen there too: those of one `node:cluster`. */
  readonly shared?: boolean
}

/** The interface between transports and the server: a transport listens, and passes requests to the service. */
export interface Transport {
  /**
   * @returns when it accepts connections, with the port in use (`port: 0` chooses a free one)
   * @throws Error with `code: 'EADDRINUSE'` when the port is taken
   */
  listen(at: ListenAt): Promise<Listening>
}

export interface Listening {
  readonly host: string
  readonly port: number
  /** Accepts no new link. Requests in progress and open responses continue, and kept-alive links are still served. */
  stopAccepting(): void
  /**
   * Ends at once and cuts all links.
   *
   * @returns when the service has been notified of all of them
   */
  close(): Promise<void>
}

export interface TransportOptions {
  /** The largest WebSocket message that is passed to `message`; for a larger one `tooLarge` is called. Bytes. */
  readonly frameBytesMax: number
  /** `write` returns `false` when more than this waits. Bytes. */
  readonly backpressureBytesMax: number
  /** A peer that sends requests but does not read is cut when this much more waits. Bytes. */
  readonly overrunBytesMax: number
  /** The largest head of a request; a larger one is answered with 431. Bytes. */
  readonly headBytesMax: number
  /** Maximum of open links of any kind; a further one is cut without an answer. */
  readonly linksMax: number
  readonly tls?: { readonly certFile: string; readonly keyFile: string }
}

/** The calls of a transport. They must not throw. */
export interface Service {
  /** One request whose headers have been read. It must be answered or streamed exactly once. */
  request(request: Request, exchange: Exchange): void
  /** A request for a WebSocket. Checks that take longer are done after it is open. */
  upgrade(request: Request): Upgrade
}

/** The head of a request. A plain value: it stays valid after the call. */
export interface Request {
  /** Upper case. */
  readonly method: string
  /** Unchanged, without the query; not decoded. */
  readonly path: string
  /** Without the `?`; empty when there is none. */
  readonly query: string
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>
  /** The peer's address as text; empty if unknown. */
  readonly address: string
  /** The link to the peer, which may be a proxy, uses TLS. */
  readonly encrypted?: true
  /** The path below which the surrounding server has the hub; not part of `path`. */
  readonly prefix?: string
  /** The request object of the surrounding server; absent if the transport listens itself. */
  readonly raw?: IncomingMessage | globalThis.Request
}

export interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** The link ends with this request, because a proxy in front might read other requests in the bytes that follow. */
  readonly last?: true
}

/** One request's body and its answer. After the peer has gone every call does nothing. */
export interface Exchange {
  readonly gone: boolean
  /** Called once; at once if the peer has already gone. */
  onGone(task: () => void): void
  /**
   * The body as it arrives; chunks belong to the reader. The peer is paused while the reader is busy. Iteration ends early,
   * without an error, when the peer goes.
   *
   * @param silenceMsMax the permitted silence, if it is longer than the transport would wait
   */
  body(silenceMsMax?: number): AsyncIterable<Uint8Array>
  /** The reader of the body needs a chunk, and every part of it, no more: its memory may be used for another one. */
  giveBack?(chunk: Uint8Array): void
  answer(answer: Answer): void
  /**
   * Starts a response that stays open. The head leaves with the first `write`, so something should be written at once. The rest
   * of the request's body is discarded.
   */
  stream(head: Omit<Answer, 'body'>, events: StreamEvents): Stream
}

export interface StreamEvents {
  /** The waiting data has been sent. Called only after `write` has returned `false`. */
  drained(): void
  /** The peer has gone, or the response has ended. Called once. */
  closed(): void
}

/** A response that stays open. After it is closed every call does nothing. No call triggers an event before it returns. */
export interface Stream {
  /** An upper bound of the data that was written and has not left this process. Bytes. */
  readonly waiting: number
  /**
   * @param chunk may be kept until it has been sent, so it must not be changed any more
   * @returns `false` when more than `backpressureBytesMax` waits; the chunk was taken all the same.
   */
  write(chunk: Uint8Array): boolean
  cork(writes: () => void): void
  /** Ends the response cleanly, after the written data. */
  end(): void
  /** Cuts the link. */
  cut(): void
}

export type Upgrade =
  /** The link is closed after the answer, which may follow later. */
  | { readonly kind: 'refused'; readonly answer: Answer | Promise<Answer> }
  | {
      readonly kind: 'accepted'
      /** The chosen subprotocol; absent if the client offered none. */
      readonly protocol?: string
      /** Called once the link is open. */
      open(socket: Socket): SocketEvents
    }

export interface SocketEvents {
  /** `bytes` is only valid during the call. */
  message(bytes: Uint8Array, binary: boolean): void
  /** A message over `frameBytesMax` arrived; its content is discarded. A much larger one may cut the link (1006). */
  tooLarge(): void
  drained(): void
  /** A ping or pong arrived. */
  pulse(): void
  /** Called once; 1006 if there was no close frame. */
  closed(code: number): void
}

/** A WebSocket. After it is closed every call does nothing. No call triggers an event before it returns. */
export interface Socket {
  /** The data that was written and has not left this process. Bytes. */
  readonly waiting: number
  /** @returns `false` when more than `backpressureBytesMax` waits; the chunk was taken all the same. */
  write(chunk: Uint8Array, binary: boolean): boolean
  cork(writes: () => void): void
  ping(): void
  /** Sends a close frame after the written data, and ends. */
  close(code: number, reason: string): void
  /** Cuts the link. */
  cut(): void
}
