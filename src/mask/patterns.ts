import { RE2JS, RE2JSException } from 're2js'
import type { Found, Seeker } from './found.js'

/** A form of secrets that only the user knows. */
export interface Pattern {
  /** Its name in the marks and in the metric: a–z, 0–9 and `-`. */
  readonly kind: string
  /** A regular expression of RE2. Its first group is the secret; without a group, the whole match. */
  readonly pattern: string
}

/** Maximum of instructions of all expressions together; more would take too long per character. */
const instructionsMax = 512
export const patternsMax = 32
export const kindPattern = /^[a-z][a-z0-9-]{0,31}$/

/** Maximum of a text's last word that is held back if there are patterns, whose matches may continue. Characters. */
const wordMax = 256

/** The user's own patterns, matched in time linear in the text. */
export class Patterns implements Seeker {
  readonly #patterns: readonly { readonly kind: string; readonly expression: RE2JS }[]

  /** @throws TypeError that names the pattern and its error */
  constructor(patterns: readonly Pattern[]) {
    if (patterns.length > patternsMax)
      throw new TypeError(`: expected at most ${patternsMax} patterns, got ${patterns.length}`)
    this.#patterns = patterns.map(({ kind, pattern }) => ({ kind, expression: compile(pattern, `.${kind}`) }))
    const instructions = this.#patterns.reduce((sum, { expression }) => sum + expression.programSize(), 0)
    if (instructions > instructionsMax) {
      throw new TypeError(
        `: expected patterns of at most ${instructionsMax} instructions together, got ${instructions}: make them shorter`,
      )
    }
  }

  find(text: string): readonly Found[] {
    const found: Found[] = []
    for (const { kind, expression } of this.#patterns) {
      const matcher = expression.matcher(text)
      while (matcher.find()) {
        const group = matcher.groupCount() > 0 && matcher.start(1) >= 0 ? 1 : 0
        const [from, to] = [matcher.start(group), matcher.end(group)]
        if (to > from) found.push({ from, to, kind })
      }
    }
    return found
  }

  openFrom(text: string): number {
    const { length } = text
    let at = length
    while (at > 0 && length - at <= wordMax && !/\s/.test(text[at - 1] as string)) at--
    return length - at > wordMax ? length : at
  }
}

function compile(pattern: string, at: string): RE2JS {
  let expression: RE2JS
  try {
    expression = RE2JS.compile(pattern)
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error
    throw new TypeError(`${at}: expected a regular expression of RE2, ${error.message}`)
  }
  if (expression.matches('')) throw new TypeError(`${at}: it matches the empty text`)
  return expression
}
