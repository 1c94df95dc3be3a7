import { type ClientRequest, get, type IncomingMessage } from 'node:http'
import type { Reading, Received } from './adapter.js'

/** A block of an event stream. */
export interface Block {
  readonly id: string | undefined
  readonly event: string
  /** Absent if the block has no data. */
  readonly data: string | undefined
}

/** Reads an event stream (WHATWG HTML, section 9.2) over one connection. */
export class EventStream {
  readonly closed: Promise<void>
  readonly #request: ClientRequest
  #response: IncomingMessage | undefined = undefined
  #text = ''

  constructor(url: string, headers: Readonly<Record<string, string>>, block: (block: Block) => void) {
    const decoder = new TextDecoder()
    let closed = (): void => undefined
    this.closed = new Promise((resolve) => {
      closed = resolve
    })
    this.#request = get(
      url,
      { headers: { accept: 'text/event-stream', ...headers }, agent: false },
      (response) => {
        this.#response = response
        response.on('data', (chunk: Buffer) => {
          this.#text += decoder.decode(chunk, { stream: true })
          this.#take(block)
        })
        response.on('error', () => undefined)
        response.on('close', closed)
      },
    )
    this.#request.on('error', () => undefined)
    this.#request.on('close', closed)
  }

  pause(): void {
    this.#response?.pause()
  }

  resume(): void {
    this.#response?.resume()
  }

  close(): void {
    this.#request.destroy()
  }

  #take(block: (block: Block) => void): void {
    for (;;) {
      const end = /\r\n\r\n|\n\n|\r\r/.exec(this.#text)
      if (end === null) return
      const lines = this.#text.slice(0, end.index).split(/\r\n|\n|\r/)
      this.#text = this.#text.slice(end.index + end[0].length)
      const fields = lines.map((line) => /^([^:]*):? ?(.*)$/s.exec(line) ?? ['', '', ''])
      const valuesOf = (name: string) =>
        fields.filter(([, field]) => field === name).map(([, , value]) => value ?? '')
      const data = valuesOf('data')
      block({
        id: valuesOf('id').at(-1),
        event: valuesOf('event').at(-1) ?? 'message',
        data: data.length === 0 ? undefined : data.join('\n'),
      })
    }
  }
}

/** What a block of an event stream tells a reader. */
type Take = (block: Block, reading: { readonly received: Received[]; position: unknown }) => void

/** A reading over one event stream. `take` adds to what was received, and moves the position. */
export function readEvents(
  url: string,
  headers: Readonly<Record<string, string>>,
  after: unknown,
  take: Take,
): Reading {
  const reading = { received: [] as Received[], position: after }
  const stream = new EventStream(url, headers, (block) => take(block, reading))
  return {
    received: reading.received,
    get position() {
      return reading.position
    },
    closed: stream.closed,
    pause: () => stream.pause(),
    resume: () => stream.resume(),
    close: () => stream.close(),
  }
}
