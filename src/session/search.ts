import { RE2JS, RE2JSException } from 're2js'
import type { JsonValue } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { HubEvent } from '../protocol/frames.js'

export interface SearchLimits {
  readonly searchLengthMax: number
  readonly searchWorkMax: number
}

/** The part of `searchWorkMax` that one event may take. */
const eventShare = 1 / 32

/** Maximum of instructions of a regular expression; with more, each character takes too long. */
const instructionsMax = 256

/**
 * A text to search for, in any case; or between slashes a regular expression, which takes linear time: `/timeout after \d+/`,
 * `/error/i`.
 */
export class Search {
  /** The work so far: characters searched, times the instructions of the expression. */
  work = 0
  readonly #test: (text: string) => boolean
  readonly #instructions: number
  /** How much of one event is searched. Characters. */
  readonly #charactersMax: number

  /** @throws ProtocolError `badFrame` for an expression that is invalid or too large */
  constructor(q: string, { searchLengthMax, searchWorkMax }: SearchLimits) {
    if (typeof q !== 'string' || q === '' || q.length > searchLengthMax) {
      throw new ProtocolError('badFrame', `q: expected 1–${searchLengthMax} characters, got ${quote(q)}`)
    }
    const [, pattern, flags] = /^\/(.+)\/(i?)$/s.exec(q) ?? []
    if (pattern === undefined) {
      const wanted = q.toLowerCase()
      this.#test = (text) => text.toLowerCase().includes(wanted)
      this.#instructions = 1
    } else {
      const expression = expressionOf(pattern, flags === 'i' ? RE2JS.CASE_INSENSITIVE : 0)
      this.#test = (text) => expression.test(text)
      this.#instructions = expression.programSize()
    }
    this.#charactersMax = Math.ceil((searchWorkMax * eventShare) / this.#instructions)
  }

  /** @returns whether the type, the worker, or a name, text or number in the data matches */
  matches({ type, worker, data }: HubEvent): boolean {
    let left = this.#charactersMax
    const has = (text: string): boolean => {
      const part = text.length > left ? text.slice(0, left) : text
      left -= part.length
      return this.#test(part)
    }
    const found = has(type) || (worker !== undefined && has(worker)) || hasWithin(data, has, () => left > 0)
    // An event without any text costs work too.
    this.work += (this.#charactersMax - left + 1) * this.#instructions
    return found
  }

  /** @returns whether one of the texts matches */
  matchesText(texts: readonly string[]): boolean {
    return texts.some((text) => this.#test(text.slice(0, this.#charactersMax)))
  }
}

function hasWithin(value: JsonValue, has: (text: string) => boolean, goesOn: () => boolean): boolean {
  if (!goesOn()) return false
  if (typeof value === 'string') return has(value)
  if (typeof value !== 'object' || value === null) return has(String(value))
  if (Array.isArray(value)) return value.some((item) => hasWithin(item as JsonValue, has, goesOn))
  for (const [name, item] of Object.entries(value)) {
    if (has(name) || hasWithin(item, has, goesOn)) return true
  }
  return false
}

function expressionOf(pattern: string, flags: number): RE2JS {
  let expression: RE2JS
  try {
    expression = RE2JS.compile(pattern, flags)
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error
    throw new ProtocolError('badFrame', `q: expected a regular expression of RE2, ${error.message}`)
  }
  const instructions = expression.programSize()
  if (instructions <= instructionsMax) return expression
  throw new ProtocolError(
    'badFrame',
    `q: expected a regular expression of at most ${instructionsMax} instructions, got one of ${instructions}`,
  )
}
