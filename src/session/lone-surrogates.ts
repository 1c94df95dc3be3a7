import { mergeTextOf, withTextAt } from '../catalog/merge.js'
import type { Traits } from '../catalog/traits.js'
import type { JsonValue } from '../lib/json.js'
import { isHighSurrogate, isLowSurrogate, isWellFormed, wellFormed } from '../lib/text.js'

/** A waiting lone surrogate, as in the store: its stream, and the UTF-16 code unit. */
export type Half = readonly [stream: string, unit: number]

/** Maximum of streams of one session with a waiting surrogate; the oldest is dropped. */
const halvesMax = 64
/** Streams are distinguished only by this many characters of their names. */
const streamLengthMax = 1_024

/**
 * Lone surrogates at the ends of mergeable texts, from producers that split a character over two events. A lone surrogate can
 * be neither stored nor sent, so it waits for the next text and is prepended to it. If the two do not form a pair, it becomes
 * U+FFFD.
 */
export class LoneSurrogates {
  /** Absent as long as none waits, as in most sessions. */
  #held: Map<string, number> | undefined = undefined
  #changes = 0

  /** Grows with each change of what waits. */
  get changes(): number {
    return this.#changes
  }

  /** @returns the waiting surrogates */
  entries(): readonly Half[] {
    return [...(this.#held ?? [])]
  }

  /** Replaces the waiting surrogates. */
  restore(halves: readonly Half[]): void {
    this.#held = halves.length > 0 ? new Map(halves) : undefined
  }

  clear(): void {
    this.#held = undefined
  }

  /**
   * @param publisher worker, type and key, which identify the stream of the text together with the other fields of `data`
   * @returns `data` with a well-formed text: with the surrogate that waited for it, without one at its end
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

  /** @returns the surrogate that the text continues; empty if there is none */
  #taken(stream: string, common: string, text: string): string {
    const unit = this.#held?.get(stream)
    if (unit !== undefined) return this.#take(stream, unit)
    // Fields such as the whole text so far differ between events. Then only a second half shows that the text continues the
    // first.
    if (!isLowSurrogate(text.charCodeAt(0))) return ''
    for (const [other, first] of this.#held ?? [])
      if (other.startsWith(common)) return this.#take(other, first)
    return ''
  }

  #take(stream: string, unit: number): string {
    this.#changes++
    this.#held?.delete(stream)
    if (this.#held?.size === 0) this.#held = undefined
    return String.fromCharCode(unit)
  }

  #hold(stream: string, unit: number): void {
    this.#changes++
    this.#held ??= new Map()
    this.#held.set(stream, unit)
    if (this.#held.size <= halvesMax) return
    for (const oldest of this.#held.keys()) {
      this.#held.delete(oldest)
      return
    }
  }
}
