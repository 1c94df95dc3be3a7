import assert from 'node:assert/strict'
import { Body, type Flow } from './body.js'
import {
  cut,
  cutUnread,
  isHttp2,
  type NodeRequest,
  type NodeResponse,
  writeAnswer,
  writeHead,
} from './node-http.js'
import { type Means, NodeStream } from './node-stream.js'
import { streamTouchMs } from './open-streams.js'
import type { Answer, Exchange, Request, Stream, StreamEvents } from './transport.js'

/** The body of a request that has been answered. */
const noBody: AsyncIterable<Uint8Array> = { async *[Symbol.asyncIterator]() {} }

/** The minimum rate of a body, measured over several touches. */
const bodyBytesPerSecond = 16 * 1024
const bodyTouches = 3

/** A request and its response, of HTTP/1 or HTTP/2, of any server. */
export class NodeExchange implements Exchange, Flow {
  readonly #req: NodeRequest
  readonly #res: NodeResponse
  readonly #headOnly: boolean
  readonly #hasBody: boolean
  readonly #means: Means
  /** Absent until it is requested, and after the exchange is answered. */
  #body: Body | undefined
  #gone = false
  #answered = false
  #onGone: (() => void) | undefined
  #stream: NodeStream | undefined
  #paused = false
  #wasRead = false
  #silenceMs = 0
  #silenceMsMax = 0
  /** The bytes of the body in this window, and the number of touches in it. */
  #cameBytes = 0
  #touches = 0

  constructor(req: NodeRequest, res: NodeResponse, { method, headers }: Request, means: Means) {
    this.#req = req
    this.#res = res
    this.#headOnly = method === 'HEAD'
    this.#hasBody = isHttp2(res) ? !req.readableEnded : hasBody(headers)
    this.#means = means
    if (this.#hasBody) means.streams.add(this)
    // The end of the response reports errors as well.
    const ignore = (): void => {}
    req.on('error', ignore)
    res.on('error', ignore)
    res.on('close', () => this.#closed())
    // A response that waits for the previous one is not notified when its link closes.
    if (!isHttp2(res) && res.socket === null) req.socket.once('close', () => this.#closed())
  }

  pause(): void {
    this.#paused = true
    this.#req.pause()
  }

  resume(): void {
    this.#paused = false
    this.#req.resume()
  }

  get gone(): boolean {
    return this.#gone
  }

  onGone(task: () => void): void {
    if (this.#gone) task()
    else this.#onGone = task
  }

  body(silenceMsMax = 0): AsyncIterable<Uint8Array> {
    if (this.#gone || this.#answered || !this.#hasBody) return noBody
    this.#silenceMsMax = silenceMsMax
    this.#body ??= this.#read()
    return this.#body
  }

  #read(): Body {
    const req = this.#req
    const body = new Body(this, this.#means.streams.intake)
    this.#count()
    req.on('data', (chunk: Buffer) => body.push(chunk, false))
    req.on('end', () => {
      this.#means.streams.delete(this)
      body.push(new Uint8Array(), true)
    })
    // Other code has already read it.
    if (req.readableEnded) body.discard()
    return body
  }

  #count(): void {
    this.#req.on('data', (chunk: Buffer) => {
      this.#silenceMs = 0
      this.#cameBytes += chunk.length
    })
  }

  /** A sender that is too slow is cut, unless its reader holds it up or permits it. */
  touch(): void {
    if (this.#req.complete) return this.#means.streams.delete(this)
    if (this.#paused || (this.#body === undefined && !this.#answered)) return
    this.#silenceMs += streamTouchMs
    if (this.#silenceMsMax > 0) {
      if (this.#silenceMs > this.#silenceMsMax) this.cut()
      return
    }
    this.#touches += 1
    if (this.#touches < bodyTouches) return
    const enough = this.#cameBytes >= ((bodyTouches * streamTouchMs) / 1_000) * bodyBytesPerSecond
    this.#touches = 0
    this.#cameBytes = 0
    if (!enough) this.cut()
  }

  cut(): void {
    cut(this.#res)
  }

  answer(answer: Answer): void {
    if (!this.#begin()) return
    writeAnswer(this.#res, answer)
    this.#letGo()
  }

  stream(head: Omit<Answer, 'body'>, events: StreamEvents): Stream {
    const live = this.#begin()
    const stream = new NodeStream(this.#res, events, this.#means)
    if (!live) {
      stream.abandon()
      queueMicrotask(() => stream.closed())
      return stream
    }
    this.#stream = stream
    if (this.#headOnly) {
      stream.abandon()
      writeHead(this.#res, head)
      this.#res.end()
    } else {
      stream.open(head)
    }
    this.#letGo()
    return stream
  }

  /** Discards the rest of the body, and cuts a peer that does not read its answer. */
  #letGo(): void {
    if (this.#hasBody && !this.#req.readableEnded) {
      if (!this.#wasRead) this.#count()
      this.#req.resume()
    }
    if (this.#res.writableEnded) cutUnread(this.#res)
  }

  /** @returns whether the peer still waits for an answer */
  #begin(): boolean {
    assert(!this.#answered, 'an exchange is answered once')
    this.#wasRead = this.#body !== undefined
    this.#body?.discard()
    this.#body = undefined
    this.#answered = true
    return !this.#gone
  }

  #closed(): void {
    this.#means.streams.delete(this)
    if (this.#answered) {
      this.#stream?.closed()
      return
    }
    if (this.#gone) return
    this.#gone = true
    this.#body?.discard()
    this.#onGone?.()
  }
}

/** RFC 9112, section 6.3. */
function hasBody(headers: ReadonlyMap<string, string>): boolean {
  return headers.has('transfer-encoding') || Number(headers.get('content-length') ?? 0) > 0
}
