import type { JsonValue } from './json.js'

/** One block of an event stream whose data is JSON. */
export interface JsonBlock {
  /** The value of `event:`; absent if the block has none. */
  readonly event?: string
  readonly data: JsonValue
}

/** The last data of streams of OpenAI and compatible APIs. */
export const doneMark = '[DONE]'

const fieldPattern = /^(data|event|id|retry)(?:: ?(.*))?$|^:/s

/**
 * Reads an event stream (HTML Living Standard, section 9.2.6) line by line, where each `data` is JSON. Blank lines between
 * blocks are optional: a block ends when its `data` is complete JSON.
 */
export class EventLines {
  readonly #dataMax: number
  #event: string | undefined
  #data = ''

  /** @param dataMax the longest `data` of a block, in UTF-16 units */
  constructor(dataMax: number) {
    this.#dataMax = dataMax
  }

  /** The text of an incomplete block. */
  get rest(): string {
    return this.#data
  }

  static isField(line: string): boolean {
    return fieldPattern.test(line)
  }

  /**
   * @returns the block that the line completes; `done` for the mark at the end; undefined for any other line
   * @throws RangeError when the data of a block is too long
   */
  push(line: string): JsonBlock | 'done' | undefined {
    const [, name, value = ''] = fieldPattern.exec(line) ?? []
    if (name === 'event') this.#event = value
    if (name !== 'data') return undefined
    if (this.#data === '' && value.trim() === doneMark) return 'done'
    this.#data += this.#data === '' ? value : `\n${value}`
    if (this.#data.length > this.#dataMax)
      throw new RangeError(`data: expected at most ${this.#dataMax} characters`)
    let data: JsonValue
    try {
      data = JSON.parse(this.#data) as JsonValue
    } catch {
      // The next line continues it; if none comes, the rest is not JSON.
      return undefined
    }
    const event = this.#event
    this.#event = undefined
    this.#data = ''
    return { ...(event !== undefined && { event }), data }
  }
}
