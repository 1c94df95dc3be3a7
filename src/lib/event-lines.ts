import type { JsonValue } from './json.js'
import { BeyondBounds, parseJsonText, type TextBounds } from './json-text.js'

/** One block of an event stream whose data is JSON. */
export interface JsonBlock {
  /** The value of `event:`; absent if the block has none. */
  readonly event?: string
  readonly data: JsonValue
}

export interface BlockBounds extends TextBounds {
  /** The longest `data` of a block, in UTF-16 units. */
  readonly lineBytesMax: number
}

/** The last data of streams of OpenAI and compatible APIs. */
export const doneMark = '[DONE]'

const fieldPattern = /^(data|event|id|retry)(?:: ?(.*))?$|^:/s

/**
 * Reads an event stream (HTML Living Standard, section 9.2.6) line by line, where each `data` is JSON. Blank lines between
 * blocks are optional: a block ends when its `data` is complete JSON. Each character is looked at once, however many lines a
 * block has.
 */
export class EventLines {
  readonly #bounds: BlockBounds
  #event: string | undefined
  #data = ''
  readonly #nesting = new Nesting()
  /** No line that follows can make JSON of the data. */
  #isBroken = false

  constructor(bounds: BlockBounds) {
    this.#bounds = bounds
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
   * @throws RangeError when the data of a block is too long, `BeyondBounds` for its other bounds
   */
  push(line: string): JsonBlock | 'done' | undefined {
    const [, name, value = ''] = fieldPattern.exec(line) ?? []
    if (name === 'event') this.#event = value
    if (name !== 'data') return undefined
    if (this.#data === '' && value.trim() === doneMark) return 'done'
    this.#data += this.#data === '' ? value : `\n${value}`
    const { lineBytesMax } = this.#bounds
    if (this.#data.length > lineBytesMax)
      throw new RangeError(`data: expected at most ${lineBytesMax} characters`)
    if (this.#isBroken || !this.#nesting.isClosedAfter(value)) return undefined
    let data: JsonValue
    try {
      data = parseJsonText(this.#data, this.#bounds)
    } catch (error) {
      if (error instanceof BeyondBounds) throw error
      // A line that follows completes white space alone. If none comes, the rest is not JSON.
      this.#isBroken = this.#data.trim() !== ''
      return undefined
    }
    const event = this.#event
    this.#event = undefined
    this.#data = ''
    return { ...(event !== undefined && { event }), data }
  }
}

const [quote, backslash] = [0x22, 0x5c]
const openings = new Set([0x5b, 0x7b])
const closings = new Set([0x5d, 0x7d])

/** How many arrays and objects of a text are open, line by line. */
class Nesting {
  #open = 0

  /** @returns whether the text may be complete; also if it cannot be JSON whatever follows */
  isClosedAfter(line: string): boolean {
    let isInString = false
    for (let at = 0; at < line.length; at += 1) {
      const code = line.charCodeAt(at)
      if (isInString) {
        if (code === backslash) at += 1
        else if (code === quote) isInString = false
      } else if (code === quote) isInString = true
      else if (openings.has(code)) this.#open += 1
      else if (closings.has(code)) this.#open -= 1
    }
    if (!isInString && this.#open > 0) return false
    // The next block begins anew. A string does not go on in another line.
    this.#open = 0
    return true
  }
}
