import { fieldsBefore, isArray, type JsonObject, type JsonValue } from '../lib/json.js'
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
  /** What became of large values. */
  readonly #known = new Map<JsonValue, JsonValue>()

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

  /** Redacts a value that is going to be asked for again. */
  remember(value: JsonValue): void {
    if (typeof value === 'object' && value !== null) this.#known.set(value, this.value(value))
  }

  /** @returns the value with marks in its texts and in the names of its fields; the same value if it has no secret */
  value<V extends JsonValue>(value: V): V
  value(value: JsonValue): JsonValue {
    if (typeof value === 'string') return this.text(value)
    if (typeof value !== 'object' || value === null) return value
    return this.#known.get(value) ?? (isArray(value) ? this.#list(value) : this.#object(value))
  }

  #list(items: readonly JsonValue[]): JsonValue {
    let redacted: JsonValue[] | undefined
    for (let at = 0; at < items.length; at++) {
      const item = items[at] as JsonValue
      const made = this.value(item)
      if (made === item) continue
      redacted ??= items.slice()
      redacted[at] = made
    }
    return redacted ?? items
  }

  #object(object: JsonObject): JsonValue {
    let redacted: Record<string, JsonValue> | undefined
    for (const name in object) {
      const item = object[name] as JsonValue
      const made = this.value(item)
      const madeName = this.text(name)
      if (redacted === undefined) {
        if (made === item && madeName === name) continue
        redacted = fieldsBefore(name, object)
      }
      redacted[madeName] = made
    }
    return redacted ?? object
  }
}

function findSpellings(
  text: string,
  spellings: readonly { readonly kind: string; readonly text: string }[],
): readonly Found[] {
  let found: Found[] | undefined
  for (const { kind, text: spelling } of spellings) {
    if (spelling.length > text.length) continue
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
