import type { JsonValue } from '../lib/json.js'
import type { JoinText } from '../protocol/cursor.js'
import type { Part, Slices } from '../protocol/frames.js'

/** Puts together a snapshot that comes in parts, over several links where one does not live long enough. */
export class Assembly {
  readonly #slices: Record<string, JsonValue> = {}
  /** Of the slice that is under way. */
  #slice: string | undefined
  #text = ''
  /** Of the part that is to come. */
  #index = 0
  /** How many are still to come. */
  left = 0

  get slices(): Slices {
    return this.#slices
  }

  /** One before which another is missing is not taken, and then the snapshot never is whole. */
  take({ slice, index, text, last }: Part): void {
    if (index > 0 && (index !== this.#index || slice !== this.#slice)) return
    this.left -= 1
    this.#text = index === 0 ? text : this.#text + text
    this.#slice = slice
    this.#index = index + 1
    if (last) this.#slices[slice] = JSON.parse(this.#text) as JsonValue
  }

  /** @returns what has come, for a cursor; nothing where nothing has */
  progress(hasGap: boolean): JoinText | undefined {
    return this.#slice && `${hasGap ? 'g' : 's'}${this.#text.length}.${this.#slice}`
  }
}
