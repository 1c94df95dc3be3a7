import type { HttpResponse } from 'uWebSockets.js'
import assert from 'node:assert/strict'
import { Body, type Flow } from './body.js'
import { closeSoon } from './closing.js'
import { type OpenStreams, streamTouchMs } from './open-streams.js'
import type { Answer, Exchange, Request, Stream, StreamEvents, TransportOptions } from './transport.js'
import { writeAnswer } from './uws-http.js'
import { UwsStream } from './uws-stream.js'

/** The body of a request that has been answered. */
const noBody: AsyncIterable<Uint8Array> = { async *[Symbol.asyncIterator]() {} }

export class UwsExchange implements Exchange, Flow {
  readonly #res: HttpResponse
  readonly #headOnly: boolean
  /** If false, uWebSockets.js closes the link when the response has ended. */
  readonly #keepsLink: boolean
  readonly #options: TransportOptions
  readonly #streams: OpenStreams
  /** Absent after the answer, so that a response that streams for hours does not keep its request. */
  #body: Body | undefined
  #gone = false
  #answered = false
  #onGone: (() => void) | undefined
  #stream: UwsStream | undefined
  #silenceMs = 0
  #silenceMsMax = 0

  constructor(
    res: HttpResponse,
    { method, headers }: Request,
    options: TransportOptions,
    streams: OpenStreams,
  ) {
    this.#res = res
    this.#headOnly = method === 'HEAD'
    this.#keepsLink = (headers.get('connection') ?? 'keep-alive').toLowerCase() === 'keep-alive'
    this.#options = options
    this.#streams = streams
    this.#body = new Body(this, streams.intake)
    res.onAborted(() => this.#aborted())
    res.onData((chunk, last) => {
      this.#silenceMs = 0
      if (last) streams.delete(this)
      // uWebSockets.js reuses this memory after the call.
      const pieces = streams.bodyMemory.copy(new Uint8Array(chunk))
      for (const [index, piece] of pieces.entries())
        this.#body?.push(piece, last && index === pieces.length - 1)
    })
  }

  pause(): void {
    if (!this.#gone && !this.#answered) this.#res.pause()
  }

  resume(): void {
    if (!this.#gone && !this.#answered) this.#res.resume()
  }

  get gone(): boolean {
    return this.#gone
  }

  onGone(task: () => void): void {
    if (this.#gone) task()
    else this.#onGone = task
  }

  body(silenceMsMax = 0): AsyncIterable<Uint8Array> {
    this.#silenceMsMax = silenceMsMax
    if (silenceMsMax > 0 && !this.#gone && !this.#answered) this.#streams.add(this)
    return this.#body ?? noBody
  }

  giveBack(chunk: Uint8Array): void {
    this.#streams.bodyMemory.giveBack(chunk)
  }

  /** Pausing and resuming restarts the period in which uWebSockets.js requires a minimum of bytes. */
  touch(): void {
    this.#silenceMs += streamTouchMs
    if (this.#silenceMs <= this.#silenceMsMax) this.#body?.touch()
  }

  answer(answer: Answer): void {
    if (this.#begin()) this.#write(answer, this.#headOnly)
  }

  stream(head: Omit<Answer, 'body'>, events: StreamEvents): Stream {
    const live = this.#begin()
    const stream = new UwsStream(this.#res, events, this.#options, this.#streams)
    if (live && !this.#headOnly) {
      this.#stream = stream
      stream.open(head)
      return stream
    }
    if (live) this.#write(head, true)
    stream.abandon()
    return stream
  }

  #write(answer: Answer, headOnly: boolean): void {
    const last = answer.last === true
    const write = (): void => void this.#res.cork(() => writeAnswer(this.#res, answer, { headOnly, last }))
    if (this.#keepsLink) return write()
    closeSoon(this.#streams.clock, () => {
      if (!this.#gone) write()
    })
  }

  /** @returns whether the peer still waits for an answer */
  #begin(): boolean {
    assert(!this.#answered, 'an exchange is answered once')
    // While the link is paused, uWebSockets.js would see neither the next request nor its end.
    this.#body?.discard()
    this.#body = undefined
    this.#streams.delete(this)
    this.#answered = true
    return !this.#gone
  }

  #aborted(): void {
    this.#gone = true
    this.#streams.delete(this)
    this.#body?.discard()
    this.#stream?.aborted()
    this.#onGone?.()
  }
}
