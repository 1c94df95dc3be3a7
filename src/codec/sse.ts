import { type CloseCode, closeCodes } from '../protocol/codes.js'
import {
  type Cursor,
  formatCombinedCursor,
  formatCursor,
  formatPosition,
  type Offset,
  type Position,
} from '../protocol/cursor.js'
import type { ControlFrame, GapNotice, Slices, Subscribed } from '../protocol/frames.js'
import type { About, Batch, Codec, EncodingCount } from './codec.js'
import { eventJson } from './json.js'
import { oneLine } from './one-line.js'
import { GrowingText } from './utf8.js'
import type { Variants } from './variants.js'

const encoder = new TextEncoder()

/**
 * Whether blocks name their event, or leave `event:` out so that all of them reach `onmessage`. In the second case the hub's
 * own messages are comments; with `data and gaps`, gaps are data as well.
 */
export type Framing = 'named' | 'data' | 'data and gaps'

/** Counts for all the SSE codecs of a hub: the JSON texts, and the blocks made of them. */
export interface SseCounts {
  readonly json: EncodingCount
  readonly blocks: EncodingCount
}

/**
 * Server-sent events (HTML Living Standard, section 9.2) of one topic or of many.
 *
 * With one topic each event that moves the position has the cursor as its `id`. With many topics no event has
 * one; an id-only block ends each flush instead.
 */
export class SseCodec implements Codec {
  readonly name: string = 'sse'
  readonly namesFeeds = false
  readonly framing: 'named' | 'data'
  readonly topics: 'one' | 'many'
  readonly #gapsAreData: boolean
  readonly #namesTopic: boolean
  readonly #counts: SseCounts
  /** The offsets of the events in each part of a replay. */
  readonly #replayed = new WeakMap<Uint8Array, readonly Offset[]>()
  /** The same parts with ids, for clients that joined at the same offset as the last one. */
  readonly #marked = new WeakMap<Uint8Array, { readonly joined: Offset; readonly chunk: Uint8Array }>()

  /** @param namesTopic whether the data of events has the topic */
  constructor(framing: Framing, topics: 'one' | 'many', counts: SseCounts, namesTopic = true) {
    this.framing = framing === 'named' ? framing : 'data'
    this.#gapsAreData = framing === 'data and gaps'
    this.topics = topics
    this.#namesTopic = namesTopic
    this.#counts = counts
  }

  get encodings(): number {
    return this.#counts.blocks.encodings
  }

  control(frame: ControlFrame, about?: About): Uint8Array | undefined {
    const text = this.#control(frame, about)
    return text === '' ? undefined : encoder.encode(text)
  }

  batch({ topic, epoch, span, events, once }: Batch): Uint8Array {
    const withIds = span !== undefined && this.topics === 'one'
    // A batch that only advances the position.
    if (withIds && events.length === 0) return encoder.encode(this.idOnly(formatCursor(epoch, span.last)))
    const text = new GrowingText()
    for (let i = 0; i < events.length; i++) {
      const variants = events[i] as Variants
      if (withIds) text.add(`id: ${epoch}:${variants.event.offset}\n`)
      text.add(this.#block(variants, { topic, replayed: span === undefined, once }))
    }
    const chunk = text.encoded()
    // Over many topics, positions are sent in blocks of their own.
    if (span === undefined && this.topics === 'one') {
      this.#replayed.set(
        chunk,
        events.map(({ event }) => event.offset),
      )
    }
    return chunk
  }

  withCursor(chunk: Uint8Array, { epoch, offset }: Position): Uint8Array {
    const offsets = this.#replayed.get(chunk)
    if (offsets === undefined) return chunk
    const known = this.#marked.get(chunk)
    if (known?.joined === offset) return known.chunk
    const parts: Uint8Array[] = []
    let bytes = 0
    let from = 0
    for (const upTo of offsets) {
      const id = encoder.encode(`id: ${formatPosition({ epoch, offset, join: `r${upTo}` })}\n`)
      const end = endOfBlock(chunk, from)
      parts.push(id, chunk.subarray(from, end))
      bytes += id.length + end - from
      from = end
    }
    const marked = new Uint8Array(bytes)
    let at = 0
    for (const part of parts) {
      marked.set(part, at)
      at += part.length
    }
    this.#marked.set(chunk, { joined: offset, chunk: marked })
    return marked
  }

  /**
   * @param retryMs sent as `retry:` as well, which browsers obey
   * @returns the end of a response: `hub.close` with the code and the reason
   */
  closing(code: CloseCode, reason: string, retryMs?: number): Uint8Array {
    const retry = retryMs === undefined ? '' : `retry: ${retryMs}\n`
    return encoder.encode(retry + this.#event('hub.close', { code: closeCodes[code], reason, retryMs }))
  }

  /** A block that moves the client's position and dispatches nothing. */
  protected idOnly(cursor: string): string {
    return `id: ${cursor}\n\n`
  }

  #control(frame: ControlFrame, about: About | undefined): string {
    const topic = about?.topic
    switch (frame.type) {
      case 'welcome':
        return this.topics === 'many' ? this.#event('hub.open', { connection: frame.connection }) : ''
      case 'subscribed':
        return this.#subscribed(frame) + this.#gapOf(frame, topic) + this.snapshot(frame.slices, topic)
      case 'gap': {
        const { type: _, sub, slices, ...notice } = frame
        return this.#gap(notice, topic, sub) + this.snapshot(slices, topic)
      }
      case 'part': {
        const { type: _, sub, ...part } = frame
        return this.#part({ topic, ...(this.topics === 'many' && { sub }) }, part, about?.cursor)
      }
      case 'live': {
        const live = this.#event('hub.live', { topic, sub: frame.sub, offset: frame.offset })
        const moves = this.topics === 'one' && about !== undefined
        return moves ? this.idOnly(formatCursor(about.epoch, frame.offset)) + live : live
      }
      case 'unsubscribed': {
        const { type: _, ...rest } = frame
        return this.#event('hub.unsubscribed', { topic, ...rest })
      }
      case 'error': {
        // For requests that opened the response; other requests have responses of their own.
        const { type: _, ...rest } = frame
        return this.topics === 'many' ? this.#event('hub.error', rest) : ''
      }
      default:
        return ''
    }
  }

  /** The beginning of a subscription, for clients that change the subscriptions of a response. */
  #subscribed({ topic, sub, epoch, offset, resumed, slices, parts, gap }: Subscribed): string {
    if (this.topics === 'one') return ''
    const head = { topic, sub, epoch, offset, resumed }
    if (parts !== undefined) return this.#event('hub.subscribed', { ...head, parts, gap })
    return this.#event('hub.subscribed', { ...head, state: slices === undefined ? undefined : true })
  }

  /** If the snapshot comes in parts, the gap is in `hub.subscribed`, because the parts belong to both. */
  #gapOf({ gap, parts, sub }: Subscribed, topic: string | undefined): string {
    return this.topics === 'many' && parts !== undefined ? '' : this.#gap(gap, topic, sub)
  }

  #part(about: object, part: object, cursor: Cursor | undefined): string {
    const id = this.topics === 'one' && cursor !== undefined ? `id: ${cursor}\n` : ''
    if (this.framing === 'named') return id + this.#event('state.part', { ...about, ...part })
    return `${id}data: ${oneLine(JSON.stringify({ type: 'state.part', ...about, data: part }))}\n\n`
  }

  #gap(gap: GapNotice | undefined, topic: string | undefined, sub: number): string {
    if (gap === undefined) return ''
    const about = { topic, ...(this.topics === 'many' && { sub }) }
    if (this.#gapsAreData) return `data: ${JSON.stringify({ type: 'hub.gap', ...about, data: gap })}\n\n`
    return this.#event('hub.gap', { ...about, ...gap })
  }

  protected snapshot(slices: Slices | undefined, topic: string | undefined): string {
    if (slices === undefined) return ''
    const data = `data: ${oneLine(JSON.stringify({ type: 'state.initial', topic, data: { slices } }))}\n\n`
    return this.framing === 'named' ? `event: state.initial\n${data}` : data
  }

  /** A control event; a comment if events have no names, so that clients do not confuse it with events of the topic. */
  #event(name: string, data: object): string {
    const json = oneLine(JSON.stringify(data))
    return this.framing === 'named' ? `event: ${name}\ndata: ${json}\n\n` : `: ${name} ${json}\n\n`
  }

  /** The block of an event without its id, made once for each topic that it names, and kept unless it is used only once. */
  #block(variants: Variants, { topic, replayed, once }: BlockOf): string {
    const name = `${this.framing}${replayed ? ':replay:' : ':'}${this.#namesTopic ? topic : ''}`
    const made = variants.text(name)
    if (made !== undefined) return made
    this.#counts.blocks.encodings++
    const json = oneLine(eventJson(variants, this.#counts.json, once))
    const mark = replayed ? '"replay":true,' : ''
    const named = this.#namesTopic ? `"topic":${JSON.stringify(topic)},` : ''
    const data = `data: {${named}${mark}${json.slice(1)}\n\n`
    const block = this.framing === 'named' ? `event: ${variants.event.type}\n${data}` : data
    return once === true ? block : variants.keepText(name, block)
  }
}

interface BlockOf {
  readonly topic: string
  readonly replayed: boolean
  readonly once: boolean | undefined
}

/** Many topics on one response: an id-only block at the end of each flush has their positions. */
export class SseManyCodec extends SseCodec {
  constructor(framing: Framing, counts: SseCounts) {
    super(framing, 'many', counts)
  }

  trailer(positions: ReadonlyMap<string, Position>): Uint8Array | undefined {
    return positions.size === 0 ? undefined : encoder.encode(this.idOnly(formatCombinedCursor(positions)))
  }
}

const newline = 10

/** @returns the end of the block that begins at `from`, including its empty line */
export function endOfBlock(chunk: Uint8Array, from: number): number {
  let end = chunk.indexOf(newline, from)
  while (end !== -1 && chunk[end + 1] !== newline) end = chunk.indexOf(newline, end + 1)
  return end === -1 ? chunk.length : end + 2
}
