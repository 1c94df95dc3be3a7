import type { JsonValue } from '../lib/json.js'
import { parseJsonText, type TextBounds } from '../lib/json-text.js'
import type { ControlFrame } from '../protocol/frames.js'
import { type Batch, type Codec, EncodingCount } from './codec.js'
import { GrowingText } from './utf8.js'
import type { Variants } from './variants.js'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

/** @returns the event as JSON text, counted when it is made */
export function eventJson(variants: Variants, count: EncodingCount, once = false): string {
  if (variants.json !== undefined) return variants.json
  count.encodings++
  const json = JSON.stringify(variants.event)
  if (!once) variants.json = json
  return json
}

/** Text frames of subprotocol `runcast.v1.json`: each frame one JSON object (RFC 8259) in UTF-8. */
export class JsonCodec implements Codec {
  readonly name = 'json'
  readonly namesFeeds = true
  readonly #bounds: TextBounds
  readonly #count: EncodingCount

  /**
   * @param bounds of a frame
   * @param count of the JSON texts of a hub, which the SSE codecs use too
   */
  constructor(bounds: TextBounds, count = new EncodingCount()) {
    this.#bounds = bounds
    this.#count = count
  }

  get encodings(): number {
    return this.#count.encodings
  }

  control(frame: ControlFrame): Uint8Array {
    return encoder.encode(JSON.stringify(frame))
  }

  batch({ feed, span, events, once }: Batch): Uint8Array {
    const position = span === undefined ? '"replay":true' : `"after":${span.after},"last":${span.last}`
    const text = new GrowingText()
    text.add(`{"type":"events","feed":${feed},${position},"events":[`)
    for (let i = 0; i < events.length; i++) {
      if (i > 0) text.add(',')
      text.add(eventJson(events[i] as Variants, this.#count, once))
    }
    text.add(']}')
    return text.encoded()
  }

  /** @throws Error when the bytes are not UTF-8, not JSON or beyond a bound */
  decode(bytes: Uint8Array): JsonValue {
    return parseJsonText(decoder.decode(bytes), this.#bounds)
  }
}
