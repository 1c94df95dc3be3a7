import type { Writable } from 'node:stream'
import type { Framed } from './framing.js'
import { cut, cutUnread, isHttp2, type NodeResponse, writeHead } from './node-http.js'
import { type OpenStreams, streamTouchMs } from './open-streams.js'
import type { Answer, Stream, StreamEvents, TransportOptions } from './transport.js'

/** A response that stays open is cut if nothing of it leaves for this long. */
const stuckMsMax = 120_000

/** How much is gathered before it is written to the kernel: less than waits for any peer that reads. Bytes. */
export const gatheredBytesMax = 64 * 1024

/** Shared by the exchanges of one transport. */
export interface Means {
  readonly options: TransportOptions
  readonly streams: OpenStreams<{ touch(): void; cut(): void }>
  /** Bodies in chunked coding, and others. */
  readonly chunked: Framed
}

const lastChunk = '0\r\n\r\n'

/**
 * A response that stays open.
 *
 * Node would hold chunks until the end of the turn, and write each to the socket in four pieces. Here the chunks are framed
 * once for all peers, and each is written to the kernel at once, so that `write` knows what the kernel has not accepted. Data
 * of HTTP/2 waits for its window in any case.
 */
export class NodeStream implements Stream {
  readonly #res: NodeResponse
  readonly #events: StreamEvents
  readonly #means: Means
  #state: 'open' | 'ending' | 'closing' | 'closed' = 'open'
  /** Uses chunked coding, which HTTP/1.0 and HTTP/2 do not have. */
  #chunked = false
  #corks = 0
  /** `write` has returned `false`, and `drained` has not been called since. */
  #owesDrained = false
  #writtenBytes = 0
  /** How many had left at the last check, and for how long no more have. */
  #sentBytes = 0
  #stuckMs = 0

  constructor(res: NodeResponse, events: StreamEvents, means: Means) {
    this.#res = res
    this.#events = events
    this.#means = means
  }

  open(head: Omit<Answer, 'body'>): void {
    const res = this.#res
    writeHead(res, head)
    if (!isHttp2(res)) {
      this.#chunked = res.chunkedEncoding
      res.chunkedEncoding = false
    }
    this.#means.streams.add(this)
  }

  /** The peer has gone. */
  abandon(): void {
    this.#state = 'closing'
  }

  /** The response has ended, or its link has gone. */
  closed(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#means.streams.delete(this)
    this.#events.closed()
  }

  touch(): void {
    const waiting = this.waiting
    const sentBytes = this.#writtenBytes - waiting
    const stuck = waiting > 0 && sentBytes === this.#sentBytes
    this.#stuckMs = stuck ? this.#stuckMs + streamTouchMs : 0
    this.#sentBytes = sentBytes
    if (this.#stuckMs >= stuckMsMax) this.cut()
  }

  get waiting(): number {
    return this.#state === 'open' || this.#state === 'ending' ? this.#res.writableLength : 0
  }

  write(chunk: Uint8Array): boolean {
    if (this.#state !== 'open') return true
    const { backpressureBytesMax, overrunBytesMax } = this.#means.options
    // An empty chunk would end the body.
    if (chunk.length > 0)
      this.#send(chunk, this.#owesDrained || this.waiting + chunk.length > backpressureBytesMax)
    const waiting = this.waiting
    if (waiting <= backpressureBytesMax) return true
    this.#owesDrained = true
    if (waiting > overrunBytesMax + backpressureBytesMax) this.cut()
    return false
  }

  cork(writes: () => void): void {
    const out = this.#out
    if (out === undefined) return writes()
    this.#corks += 1
    out.cork()
    try {
      writes()
    } finally {
      this.#corks -= 1
      out.uncork()
    }
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ending'
    this.#owesDrained = false
    this.#means.streams.delete(this)
    if (this.#chunked) this.#res.end(lastChunk)
    else this.#res.end()
    cutUnread(this.#res)
  }

  cut(): void {
    if (this.#state === 'closing' || this.#state === 'closed') return
    this.abandon()
    cut(this.#res)
  }

  /** The socket, from this response's turn on; undefined after the end. */
  get #out() {
    if (this.#state !== 'open') return undefined
    return isHttp2(this.#res) ? this.#res : (this.#res.socket ?? undefined)
  }

  /** @param tells whether to wait until it has left */
  #send(chunk: Uint8Array, tells: boolean): void {
    const res: Writable = this.#res
    const out = this.#out
    const pieces = this.#chunked ? this.#means.chunked.of(chunk) : [chunk]
    // While the socket is corked, Node does not hold it until the end of the turn.
    out?.cork()
    pieces.forEach((piece, at) => {
      this.#writtenBytes += piece.length
      if (tells && at === pieces.length - 1) res.write(piece, (error) => this.#left(error))
      else res.write(piece)
    })
    out?.uncork()
    if (this.#corks > 0 && out !== undefined && out.writableLength > gatheredBytesMax) {
      for (let n = 0; n < this.#corks; n++) out.uncork()
      for (let n = 0; n < this.#corks; n++) out.cork()
    }
  }

  /** The written data has left, or never will. */
  #left(error: unknown): void {
    if (error || !this.#owesDrained || this.#state !== 'open') return
    if (this.waiting > this.#means.options.backpressureBytesMax / 2) return
    this.#owesDrained = false
    this.#events.drained()
  }
}
