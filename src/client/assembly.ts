import type { JsonValue } from '../lib/json.js'
import type { JoinText } from '../protocol/cursor.js'
import type { Part, Slices } from '../protocol/frames.js'

/** Assembles a snapshot that comes in parts, over several links if one breaks before the end. */
export class Assembly {
  readonly #slices: Record<string, JsonValue> = {}
  /** The incomplete slice. */
  #slice: string | undefined
  #text = ''
  /** The index of the next part. */
  #index = 0
  /** The number of missing parts. */
  left = 0

  get slices(): Slices {
    return this.#slices
  }

  /** Ignores a part if the one before it is missing; then the snapshot never becomes complete. */
  take({ slice, index, text, last }: Part): void {
    if (index > 0 && (index !== this.#index || slice !== this.#slice)) return
    this.left -= 1
    this.#text = index === 0 ? text : this.#text + text
    this.#slice = slice
    this.#index = index + 1
    if (last) this.#slices[slice] = JSON.parse(this.#text) as JsonValue
  }

  /** @returns the received part, for a cursor; undefined if there is none */
  progress(hasGap: boolean): JoinText | undefined {
    return this.#slice && `${hasGap ? 'g' : 's'}${this.#text.length}.${this.#slice}`
  }
}
