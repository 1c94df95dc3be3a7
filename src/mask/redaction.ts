import { isArray, type JsonObject, type JsonValue } from '../lib/json.js'
import { besideMarks, type Found, inOrder, nothingFound } from './found.js'
import { type Pattern, Patterns } from './patterns.js'
import { type KeptValue, type SecretValue, spellingsOf, Values } from './values.js'

/** Maximum of values of one redaction: each text is searched for each of them. */
export const redactedValuesMax = 16
/** Maximum length of a match of a pattern that spans two events. Characters. */
const matchLengthMax = 512

/** What to redact from published data. */
export interface Redacted {
  readonly values: readonly SecretValue[]
  readonly patterns: readonly Pattern[]
}

/** Finds what to redact in one text. */
interface Finder {
  find(text: string): readonly Found[]
}

/** Replaces values, their spellings in JSON, URLs and base64, and matches of patterns by `[secret:KIND]`. */
export class Redaction {
  readonly #finders: readonly Finder[]
  /** The length of the longest secret that can be found. Characters. */
  readonly lengthMax: number

  private constructor(finders: readonly Finder[], patterns: readonly Pattern[], lengths: readonly number[]) {
    this.#finders = patterns.length === 0 ? finders : [...finders, new Patterns(patterns)]
    this.lengthMax = Math.max(patterns.length === 0 ? 0 : matchLengthMax, ...lengths)
  }

  /** @throws TypeError if a pattern is not valid */
  static of({ values, patterns }: Redacted): Redaction {
    const spellings = values.flatMap(({ kind, value }) =>
      [...spellingsOf(value)].map((text) => ({ kind, text })),
    )
    const lengths = spellings.map(({ text }) => text.length)
    return new Redaction([{ find: (text) => findSpellings(text, spellings) }], patterns, lengths)
  }

  /**
   * The same, where only hashes of the values are known.
   *
   * @param key of the hashes
   */
  static ofHashes(values: readonly KeptValue[], patterns: readonly Pattern[], key: string): Redaction {
    const known = new Values(key)
    for (const value of values) known.add(value)
    const lengths = values.map(({ length }) => length)
    return new Redaction([known], patterns, lengths)
  }

  /** @returns the secrets of a text, in order */
  find(text: string): readonly Found[] {
    let found: readonly Found[] = nothingFound
    for (const finder of this.#finders) {
      const more = finder.find(text)
      if (more.length > 0) found = [...found, ...more]
    }
    return found.length === 0 ? nothingFound : besideMarks(text, inOrder(found))
  }

  text(text: string): string {
    const found = this.find(text)
    if (found.length === 0) return text
    let redacted = ''
    let at = 0
    for (const { from, to, kind } of found) {
      redacted += `${text.slice(at, from)}${markOf(kind)}`
      at = to
    }
    return redacted + text.slice(at)
  }

  /** @returns the value with marks in its texts and in the names of its fields; the same value if it has no secret */
  value<V extends JsonValue>(value: V): V
  value(value: JsonValue): JsonValue {
    if (typeof value === 'string') return this.text(value)
    if (typeof value !== 'object' || value === null) return value
    if (isArray(value)) {
      const items = value.map((item) => this.value(item))
      return items.some((item, at) => item !== value[at]) ? items : value
    }
    const object: JsonObject = value
    let isChanged = false
    const fields = Object.entries(object).map(([name, item]): readonly [string, JsonValue] => {
      const field = [this.text(name), this.value(item)] as const
      isChanged ||= field[0] !== name || field[1] !== item
      return field
    })
    return isChanged ? Object.fromEntries(fields) : object
  }
}

function findSpellings(
  text: string,
  spellings: readonly { readonly kind: string; readonly text: string }[],
): readonly Found[] {
  let found: Found[] | undefined
  for (const { kind, text: spelling } of spellings) {
    for (let at = text.indexOf(spelling); at >= 0; at = text.indexOf(spelling, at + spelling.length)) {
      found ??= []
      found.push({ from: at, to: at + spelling.length, kind })
    }
  }
  return found ?? nothingFound
}

export function markOf(kind: string): string {
  return `[secret:${kind}]`
}
