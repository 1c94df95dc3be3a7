/** One block of an event stream. A block without `data` only moves the last id. */
export interface StreamEvent {
  /** `message` if the block names none. */
  readonly event: string
  readonly data: string
}

/**
 * Reads server-sent events (HTML Living Standard, section 9.2.6) from chunks of any size.
 *
 * @param take called for each block with data, in order
 */
export class EventStreamReader {
  readonly #take: (event: StreamEvent) => void
  readonly #decoder = new TextDecoder()
  #rest = ''
  #event = ''
  #data: string[] = []
  #id: string | undefined
  #lastId: string | undefined

  constructor(take: (event: StreamEvent) => void) {
    this.#take = take
  }

  /** The id for a reconnect: that of the last complete block with an id. */
  get lastId(): string | undefined {
    return this.#lastId
  }

  push(bytes: Uint8Array): void {
    const text = this.#rest + this.#decoder.decode(bytes, { stream: true })
    let from = 0
    for (;;) {
      const end = lineEnd(text, from)
      // A CR at the end of a chunk may be the first half of a CRLF.
      if (end === -1 || (text[end] === '\r' && end === text.length - 1)) break
      this.#line(text.slice(from, end))
      from = end + (text[end] === '\r' && text[end + 1] === '\n' ? 2 : 1)
    }
    this.#rest = text.slice(from)
  }

  #line(line: string): void {
    if (line === '') return this.#dispatch()
    const colon = line.indexOf(':')
    if (colon === 0) return
    const field = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1))
    if (field === 'data') this.#data.push(value)
    else if (field === 'event') this.#event = value
    else if (field === 'id' && !value.includes('\0')) this.#id = value
  }

  #dispatch(): void {
    if (this.#id !== undefined) this.#lastId = this.#id
    const data = this.#data
    const event = this.#event
    this.#data = []
    this.#event = ''
    if (data.length > 0) this.#take({ event: event || 'message', data: data.join('\n') })
  }
}

function lineEnd(text: string, from: number): number {
  const newline = text.indexOf('\n', from)
  const block = newline === -1 ? text.length : newline
  const carriageReturn = text.indexOf('\r', from)
  return carriageReturn !== -1 && carriageReturn < block ? carriageReturn : newline
}
