import type { Clock } from '../lib/clock.js'
import type { Offset } from '../protocol/cursor.js'
import { formatPlace, streamCursor } from '../protocol/durable-stream.js'
import type { ControlFrame, HubEvent } from '../protocol/frames.js'
import type { About, Batch } from './codec.js'
import { EncodingCount } from './codec.js'
import { oneLine } from './one-line.js'
import { SseCodec } from './sse.js'
import { GrowingText } from './utf8.js'
import type { Variants } from './variants.js'

/** What the messages of a stream are: JSON values, text, bytes, or the events of a session as JSON. */
export type MessageKind = 'json' | 'text' | 'bytes' | 'events'

/** The end of a stream as it is now. */
export interface StreamEnd {
  readonly lifetime: number
  /** The offset of the newest message. */
  readonly tail: Offset
  readonly closed: boolean
}

/** Finds the end of the stream of a topic. */
export type FindEnd = (topic: string) => StreamEnd | undefined

/** @returns the bytes of a message of `stream.text` or `stream.bytes` */
export function messageBytes({ type, data }: HubEvent): Buffer {
  return Buffer.from(typeof data === 'string' ? data : '', type === 'stream.bytes' ? 'base64' : 'utf8')
}

/** @returns whether it is no message but the end of its session */
export function isEnd({ type }: HubEvent): boolean {
  return type === 'complete'
}

/** @returns a message of a JSON stream as JSON text */
export function messageJson(event: HubEvent, kind: MessageKind): string {
  return JSON.stringify(kind === 'events' ? event : event.data)
}

const encoder = new TextEncoder()

/** Stands for a gap: a response must end there, because its client cannot be told of one. */
export const lost = encoder.encode(': lost\n\n')

interface DurableStreamOptions {
  readonly clock: Clock
  readonly findEnd: FindEnd
  readonly cursor?: number
  readonly made?: EncodingCount
}

/**
 * The SSE responses of Durable Streams (PROTOCOL.md, section 5.7): an event `data` with the messages of a batch, then an event
 * `control` with the place after them. The end of the session is said by the last `control`.
 */
export class DurableStreamCodec extends SseCodec {
  override readonly name: string
  readonly oneByOne = true
  readonly #kind: MessageKind
  readonly #clock: Clock
  readonly #findEnd: FindEnd
  readonly #cursor: number | undefined
  readonly #made: EncodingCount
  readonly #lives = new WeakSet<Uint8Array>()

  /** @param options `cursor`: of the only client; absent: for all that gave none, or an older one */
  constructor(kind: MessageKind, options: DurableStreamOptions) {
    const { made = new EncodingCount() } = options
    super('data', 'one', { json: made, blocks: made })
    this.name = `durable:${kind}`
    this.#kind = kind
    this.#clock = options.clock
    this.#findEnd = options.findEnd
    this.#cursor = options.cursor
    this.#made = made
  }

  /** @returns one whose encodings count as its own */
  withOwnCursor(cursor: number): DurableStreamCodec {
    const [kind, clock, findEnd, made] = [this.#kind, this.#clock, this.#findEnd, this.#made]
    return new DurableStreamCodec(kind, { clock, findEnd, made, cursor })
  }

  override batch({ topic, span, events, once }: Batch): Uint8Array {
    const end = this.#findEnd(topic)
    const messages = events.filter(({ event }) => this.#isMessage(event))
    const last = events.at(-1)?.event.offset ?? span?.last
    if (end === undefined || last === undefined) return encoder.encode(':\n\n')
    const text = new GrowingText()
    if (messages.length > 0) this.#addData(text, messages, once === true)
    const isClosed = events.some(({ event }) => isEnd(event))
    // The session goes on a little after the last message.
    const offset = Math.min(Math.max(last, span?.last ?? 0), end.tail) as Offset
    text.add(this.#control({ ...end, offset, closed: isClosed }))
    return text.encoded()
  }

  override control(frame: ControlFrame, about?: About): Uint8Array | undefined {
    if (frame.type === 'gap' || (frame.type === 'subscribed' && frame.gap !== undefined)) return lost
    if (frame.type !== 'live' || about === undefined) return undefined
    const end = this.#findEnd(about.topic)
    // The end of the session follows, or was sent.
    if (end === undefined || end.closed) return undefined
    const chunk = encoder.encode(
      this.#control({ ...end, offset: Math.min(frame.offset, end.tail) as Offset }),
    )
    this.#lives.add(chunk)
    return chunk
  }

  /** @returns whether the chunk only says that the client is up to date, which the last batch has said if there was one */
  isLive(chunk: Uint8Array): boolean {
    return this.#lives.has(chunk)
  }

  /** These clients reconnect where a response ends. */
  override closing(): Uint8Array {
    return encoder.encode(':\n\n')
  }

  /** The events of a session include its end. */
  #isMessage(event: HubEvent): boolean {
    return this.#kind === 'events' || !isEnd(event)
  }

  #addData(text: GrowingText, messages: readonly Variants[], once: boolean): void {
    text.add('event: data\n')
    if (this.#kind === 'json' || this.#kind === 'events') {
      messages.forEach((message, index) => {
        text.add(index === 0 ? 'data:[' : ',')
        text.add(this.#json(message, once))
      })
      return text.add(']\n\n')
    }
    const bytes = Buffer.concat(messages.map(({ event }) => messageBytes(event)))
    const content = this.#kind === 'bytes' ? bytes.toString('base64') : bytes.toString('utf8')
    // A line of an event stream ends with any of these, and one space after the colon is not part of it (HTML Living
    // Standard, section 9.2.5). The conformance suite wants none otherwise.
    for (const line of content.split(/\r\n|\r|\n/))
      text.add(`data:${line.startsWith(' ') ? ' ' : ''}${line}\n`)
    text.add('\n')
  }

  #json(message: Variants, once: boolean): string {
    const known = message.text(this.name)
    if (known !== undefined) return known
    this.#made.encodings++
    const json = oneLine(messageJson(message.event, this.#kind))
    return once ? json : message.keepText(this.name, json)
  }

  #control({ lifetime, offset, tail, closed }: StreamEnd & { readonly offset: Offset }): string {
    const place = formatPlace({ lifetime, offset })
    const state = closed
      ? { streamNextOffset: place, streamClosed: true, upToDate: true }
      : {
          streamNextOffset: place,
          streamCursor: String(streamCursor(this.#clock.now(), this.#cursor)),
          ...(offset >= tail && { upToDate: true }),
        }
    return `event: control\ndata:${JSON.stringify(state)}\n\n`
  }
}
