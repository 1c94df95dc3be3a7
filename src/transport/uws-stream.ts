import type { HttpResponse } from 'uWebSockets.js'
import { Backlog, sliceBytesMax } from './backlog.js'
import { closeSoon } from './closing.js'
import type { OpenStreams } from './open-streams.js'
import type { Answer, Stream, StreamEvents, TransportOptions } from './transport.js'
import { writeHead } from './uws-http.js'

/**
 * A response that stays open.
 *
 * uWebSockets.js buffers data that the kernel does not accept, without a bound. It reports this only by the `false` of the
 * failed write, and, if `onWritable` is set, leaves it to that callback to send the buffer. Corking without writing does
 * exactly this.
 */
export class UwsStream implements Stream {
  readonly #res: HttpResponse
  readonly #events: StreamEvents
  readonly #bytesMax: number
  readonly #overrunBytesMax: number
  readonly #streams: OpenStreams
  readonly #backlog: Backlog
  #state: 'open' | 'ending' | 'closing' | 'closed' = 'open'
  #corked = false
  /** Whether its backlog is empty. Of a thousand streams nothing is in the processor's caches, so such a stream does not look there. */
  #empty = false
  /** The data that was written within `cork` and leaves together; less than a slice. */
  #gathered: Uint8Array[] = []
  #gatheredBytes = 0
  /** `write` has returned `false`, and `drained` has not been called since. */
  #owesDrained = false

  constructor(res: HttpResponse, events: StreamEvents, options: TransportOptions, streams: OpenStreams) {
    this.#res = res
    this.#events = events
    this.#bytesMax = options.backpressureBytesMax
    this.#overrunBytesMax = options.overrunBytesMax
    this.#streams = streams
    this.#backlog = new Backlog({ write: (slice) => this.#pass(slice) }, this.#bytesMax)
  }

  open(head: Omit<Answer, 'body'>): void {
    this.#streams.add(this)
    this.#res.cork(() => writeHead(this.#res, head))
    this.#listen()
  }

  /** A method of its own, so that the retained callback does not keep the head. */
  #listen(): void {
    this.#res.onWritable(() => this.#writable())
  }

  /** The peer has gone. The service is notified after it has got the stream. */
  abandon(): void {
    this.#state = 'closing'
    queueMicrotask(() => this.#closed())
  }

  aborted(): void {
    this.#close()
    this.#closed()
  }

  /**
   * Restarts the timeout of uWebSockets.js. Only another failed write does this, so something is written as long as there is
   * data. This does not cover a peer that does not read, after a failed write, while so little follows that the kernel accepts
   * all of it. Such a peer is cut after 10 to 14 s, and resumes.
   */
  touch(): void {
    if (this.#state !== 'open') return
    this.#backlog.nudge()
    this.#goOn()
  }

  get waiting(): number {
    return this.#backlog.bytes + this.#gatheredBytes
  }

  write(chunk: Uint8Array): boolean {
    if (this.#state !== 'open') return true
    if (this.#empty && !this.#corked && chunk.length <= sliceBytesMax) {
      if (this.#pass(chunk)) return true
      this.#empty = false
      this.#backlog.blockedBy(chunk.length)
    } else this.#take(chunk)
    const bytes = this.waiting
    if (bytes <= this.#bytesMax) return true
    this.#owesDrained = true
    if (bytes > this.#overrunBytesMax + this.#bytesMax) this.cut()
    return false
  }

  cork(writes: () => void): void {
    if (this.#over || this.#corked) return writes()
    this.#corked = true
    try {
      writes()
    } finally {
      this.#corked = false
      this.#release()
    }
    if (this.#state === 'ending' && this.#backlog.idle) this.#finish()
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ending'
    this.#owesDrained = false
    if (this.#backlog.idle && !this.#corked) this.#finish()
  }

  cut(): void {
    this.#closeBy(() => this.#res.close())
  }

  #take(chunk: Uint8Array): void {
    if (this.#gatheredBytes + chunk.length > sliceBytesMax) this.#release()
    if (!this.#corked || chunk.length > sliceBytesMax) return this.#push(chunk)
    this.#gathered.push(chunk)
    this.#gatheredBytes += chunk.length
  }

  #release(): void {
    if (this.#gatheredBytes === 0) return
    const gathered = this.#gathered
    this.#gathered = []
    this.#gatheredBytes = 0
    const [first] = gathered
    this.#push(gathered.length === 1 && first !== undefined ? first : Buffer.concat(gathered))
  }

  #push(chunk: Uint8Array): void {
    this.#backlog.push(chunk)
    this.#empty = this.#backlog.empty
  }

  /**
   * Writes at most the cork's 16 KiB. If the cork's content cannot leave, uWebSockets.js keeps it, but loses data that did not
   * fit in, which would corrupt the rest of the response.
   */
  #pass(slice: Uint8Array): boolean {
    let room = true
    this.#res.cork(() => {
      room = this.#res.write(slice)
    })
    return room
  }

  #writable(): boolean {
    if (this.#over) return true
    // Sends the buffer of uWebSockets.js.
    this.#res.cork(() => {})
    this.#backlog.writable()
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
    this.#closeBy(() => this.#res.cork(() => this.#res.end()))
  }

  #closeBy(close: () => void): void {
    if (!this.#close()) return
    closeSoon(this.#streams.clock, () => {
      // The peer may have gone meanwhile.
      if (this.#state === 'closing') close()
      this.#closed()
    })
  }

  /** Stops writing. @returns whether it was open */
  #close(): boolean {
    if (this.#over) return false
    this.#state = 'closing'
    this.#backlog.clear()
    this.#gathered = []
    this.#gatheredBytes = 0
    this.#streams.delete(this)
    return true
  }

  get #over(): boolean {
    return this.#state === 'closing' || this.#state === 'closed'
  }

  #closed(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#events.closed()
  }
}
