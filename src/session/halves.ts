import { mergeTextOf, withTextAt } from '../catalog/merge.js'
import type { Traits } from '../catalog/traits.js'
import type { JsonValue } from '../lib/json.js'
import { isHighSurrogate, isLowSurrogate, isWellFormed, wellFormed } from '../lib/text.js'

/** A half of a character that waits, as the store keeps it: for what, and the UTF-16 code unit. */
export type Half = readonly [stream: string, unit: number]

/** Streams of one session that may have a half at the same time; the oldest is dropped. */
const halvesMax = 64
/** What is longer in a stream's name does not tell it from others. */
const streamLengthMax = 1_024

/**
 * The first halves of characters that producers have cut over two pieces of a mergeable text. A half is no Unicode, so
 * it can be neither stored nor sent: it waits for the next piece and becomes a part of it. What is no half that belongs
 * to the next piece becomes U+FFFD.
 */
export class Halves {
  /** Absent as long as nothing waits, as in most sessions. */
  #held: Map<string, number> | undefined = undefined

  /** @returns the halves that wait */
  entries(): readonly Half[] {
    return [...(this.#held ?? [])]
  }

  restore(halves: readonly Half[]): void {
    if (halves.length > 0) this.#held = new Map(halves)
  }

  clear(): void {
    this.#held = undefined
  }

  /**
   * @param publisher worker, type and key: the stream that the text belongs to, together with the other fields of `data`
   * @returns `data` with a text that is well-formed: with the half that waited for it, without the half at its end
   */
  join(data: JsonValue, { merge }: Traits, publisher: readonly (string | undefined)[]): JsonValue {
    const found = merge && mergeTextOf(merge, data)
    if (found === undefined || (this.#held === undefined && isWellFormed(found.text))) return data
    const { path, text } = found
    const common = JSON.stringify(publisher)
    const stream = (common + JSON.stringify(withTextAt(data, path, ''))).slice(0, streamLengthMax)
    const joined = this.#taken(stream, common, text) + text
    const last = joined.charCodeAt(joined.length - 1)
    if (!isHighSurrogate(last))
      return joined === text && isWellFormed(text) ? data : withTextAt(data, path, wellFormed(joined))
    this.#hold(stream, last)
    return withTextAt(data, path, wellFormed(joined.slice(0, -1)))
  }

  /** @returns the half that the text goes on from; empty when there is none */
  #taken(stream: string, common: string, text: string): string {
    const unit = this.#held?.get(stream)
    if (unit !== undefined) return this.#take(stream, unit)
    // Fields such as the whole text so far differ from piece to piece. Then only a second half shows that it belongs.
    if (!isLowSurrogate(text.charCodeAt(0))) return ''
    for (const [other, first] of this.#held ?? [])
      if (other.startsWith(common)) return this.#take(other, first)
    return ''
  }

  #take(stream: string, unit: number): string {
    this.#held?.delete(stream)
    if (this.#held?.size === 0) this.#held = undefined
    return String.fromCharCode(unit)
  }

  #hold(stream: string, unit: number): void {
    this.#held ??= new Map()
    this.#held.set(stream, unit)
    if (this.#held.size <= halvesMax) return
    for (const oldest of this.#held.keys()) {
      this.#held.delete(oldest)
      return
    }
  }
}
