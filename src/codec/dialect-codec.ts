import { formatCursor } from '../protocol/cursor.js'
import type { ControlFrame, Slices } from '../protocol/frames.js'
import { type About, type Batch, EncodingCount } from './codec.js'
import type { DialectStream } from './dialect.js'
import { endOfBlock, SseCodec } from './sse.js'
import { GrowingText } from './utf8.js'
import type { Variants } from './variants.js'

const encoder = new TextEncoder()

/**
 * Server-sent events as one family of clients expects them. The hub's own messages are comments, because those clients do not
 * know them.
 *
 * If a dialect counts its ids, chunks have no ids, and the codec remembers where each block begins. So chunks are shared all
 * the same, and each response inserts its own ids.
 */
export class DialectCodec extends SseCodec {
  override readonly name: string
  readonly stream: DialectStream
  readonly #now: () => number
  readonly #blocks: EncodingCount
  readonly #starts = new WeakMap<Uint8Array, readonly number[]>()

  /** @param now milliseconds since 1970 */
  constructor(name: string, stream: DialectStream, now: () => number) {
    const counts = { json: new EncodingCount(), blocks: new EncodingCount() }
    super('data', 'one', counts)
    this.name = `sse:${name}`
    this.stream = stream
    this.#now = now
    this.#blocks = counts.blocks
  }

  override batch(batch: Batch): Uint8Array {
    return this.stream.ids === 'count' ? this.#withoutIds(batch) : this.#withCursors(batch)
  }

  override control(frame: ControlFrame, about?: About): Uint8Array | undefined {
    const chunk = super.control(frame, about)
    if (this.stream.ids === 'count' && chunk !== undefined) this.#mark(chunk)
    return chunk
  }

  /** @returns the places in the chunk, in bytes, at which a response must insert its own ids */
  idPlaces(chunk: Uint8Array): readonly number[] {
    return this.#starts.get(chunk) ?? []
  }

  /** @returns a heartbeat for one response */
  heartbeat(): Uint8Array | undefined {
    const text = this.stream.heartbeat?.(this.#now()) ?? ''
    if (text === '') return undefined
    const chunk = encoder.encode(text)
    if (this.stream.ids === 'count') this.#mark(chunk)
    return chunk
  }

  protected override snapshot(slices: Slices | undefined): string {
    return slices === undefined ? '' : (this.stream.snapshot?.(slices, this.#now()) ?? '')
  }

  protected override idOnly(cursor: string): string {
    return this.stream.ids === 'count' ? '' : super.idOnly(cursor)
  }

  /** An event without blocks still moves the position. */
  #withCursors({ topic, epoch, span, events }: Batch): Uint8Array {
    const text = new GrowingText()
    let silent = true
    for (let i = 0; i < events.length; i++) {
      const variants = events[i] as Variants
      const block = this.#block(variants, topic)
      silent = block === ''
      if (silent) continue
      text.add(span === undefined ? block : `id: ${formatCursor(epoch, variants.event.offset)}\n${block}`)
    }
    if (silent && span !== undefined) text.add(this.idOnly(formatCursor(epoch, span.last)))
    return text.encoded()
  }

  #withoutIds({ topic, events }: Batch): Uint8Array {
    const text = new GrowingText()
    for (let i = 0; i < events.length; i++) text.add(this.#block(events[i] as Variants, topic))
    const chunk = text.encoded()
    this.#mark(chunk)
    return chunk
  }

  #block(variants: Variants, topic: string): string {
    const made = variants.text(this.name)
    if (made !== undefined) return made
    this.#blocks.encodings++
    const session = topic.split('/', 2)[1] ?? ''
    return variants.keepText(this.name, this.stream.block(variants.event, session))
  }

  /** Remembers where the blocks of events begin; comments have no id. */
  #mark(chunk: Uint8Array): void {
    const starts: number[] = []
    for (let from = 0; from < chunk.length; from = endOfBlock(chunk, from)) {
      if (chunk[from] !== colon) starts.push(from)
    }
    if (starts.length > 0) this.#starts.set(chunk, starts)
  }
}

const colon = 58
