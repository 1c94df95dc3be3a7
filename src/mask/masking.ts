import { fieldsBefore, isArray, type JsonObject, type JsonValue } from '../lib/json.js'
import type { Random } from '../lib/random.js'
import {
  beforeMark,
  besideMarks,
  type Found,
  heldLengthMax,
  inOrder,
  nothingFound,
  type Seeker,
} from './found.js'
import { credential } from './header-shapes.js'
import { MaskingKey } from './masking-key.js'
import { type MarkKey, Masks } from './masks.js'
import { hasSecretField, kindOfField, namedValues } from './named-values.js'
import { kindPattern, type Pattern, Patterns } from './patterns.js'
import { shapes } from './shapes.js'
import { tokenFinder } from './token-finder.js'
import { findCookies } from './wide-shapes.js'

/**
 * What is masked. `off`: nothing. `shapes`: known forms of secrets, matches of patterns, and registered values. `all`:
 * also values whose names show that they are secret.
 */
export type MaskingMode = 'off' | 'shapes' | 'all'

export const maskingModes: readonly MaskingMode[] = ['off', 'shapes', 'all']

export interface MaskingOptions {
  /** `shapes` by default. */
  readonly mode?: MaskingMode
  /** Forms of secrets that only the user knows. */
  readonly patterns?: readonly Pattern[]
  /**
   * A random secret of at least 32 bytes that all hubs of a log have. With it the log has held-back text only encrypted, and the same
   * secret gets the same mark from all hubs.
   */
  readonly key?: string
}

/** The session to which the secrets belong. */
export interface MaskedSession {
  readonly epoch: string
  /** Absent until a secret is masked or registered. */
  readonly masks: Masks | undefined
  /** Creates the masks. */
  startMasks(masks: Masks): void
  /** Called when a secret was masked for the first time. */
  masksChanged(): void
  /** Called with the kind of each masked secret, in place of counting it, where several hubs mask the session. */
  countLater?(kind: string): void
}

const commonKinds = ['authorization', 'cookie', 'jwt', 'password', 'private-key']
/** Maximum of secrets in one event or value. The text after them is not searched, so that marks do not make it long. */
const marksInValueMax = 1_000
/** A token of at least so many characters has too many random ones to be guessed by its hash. */
const randomLengthMin = 24
/** Shorter texts contain no secret of a known form. Characters. */
const textMin = 8

/** Masks secrets in published data, before anything is stored or sent. A hub has one. */
export class Masking {
  readonly mode: Exclude<MaskingMode, 'off'>
  /** The number of masked secrets by kind. Kinds that belong to no provider are reported as 0 from the beginning. */
  readonly counts = new Map(commonKinds.map((kind) => [kind, 0]))
  readonly #seekers: readonly Seeker[]
  readonly #random: Random
  /** Absent unless hubs of a log share one. */
  readonly key: MaskingKey | undefined
  #key: string | undefined = undefined

  /** @throws TypeError if a pattern or the key is not valid */
  constructor(mode: Exclude<MaskingMode, 'off'>, patterns: readonly Pattern[], random: Random, key?: string) {
    this.mode = mode
    this.#random = random
    this.key = key === undefined ? undefined : new MaskingKey(key)
    this.#seekers = [
      tokenFinder,
      ...(patterns.length > 0 ? [patternsOf(patterns)] : []),
      ...(mode === 'all' ? [namedValues] : []),
    ]
  }

  /**
   * @param known the previous value: parts that the new value shares with it by reference are not searched
   * @returns the value with marks instead of secrets; the same value if it has none
   */
  value<V extends JsonValue>(value: V, session: MaskedSession, known?: JsonValue): V {
    // Nearly all values have no secret, which this tells without allocating anything.
    if (known === undefined && this.seeksOnlyShapesIn(session) && isClean(value)) return value
    return new Walk(this, session).value(value, known) as V
  }

  text(text: string, session: MaskedSession): string {
    return this.replaced(text, this.find(text, session), session)
  }

  /** Whether a text may be sent unchanged whatever follows it. Most texts may, and this check is cheap. */
  isPlain(text: string, session: Pick<MaskedSession, 'masks'>): boolean {
    return this.seeksOnlyShapesIn(session) && tokenFinder.isPlain(text)
  }

  /** Whether a value contains no secret, where `isPlainJson` has found none in its JSON text. Much cheaper than `value`. */
  isPlainValue(value: JsonValue, session: Pick<MaskedSession, 'masks'>): boolean {
    return this.seeksOnlyShapesIn(session) && !hasSecretField(value)
  }

  /** Whether `isPlainJson` helps. */
  get seeksOnlyShapes(): boolean {
    return this.#seekers.length === 1
  }

  /** Whether all secrets of a session are known only by their forms. */
  seeksOnlyShapesIn({ masks }: Pick<MaskedSession, 'masks'>): boolean {
    return this.seeksOnlyShapes && masks?.values === undefined
  }

  /** @returns the secrets of a text, in order */
  find(text: string, { masks }: Pick<MaskedSession, 'masks'>): readonly Found[] {
    const values = masks?.values?.find(text) ?? nothingFound
    if (values.length === 0 && this.#seekers.length === 1) return besideMarks(text, tokenFinder.find(text))
    const found = [...values]
    for (const seeker of this.#seekers) found.push(...seeker.find(text))
    return besideMarks(text, found.length > 1 ? inOrder(found) : found)
  }

  /** @returns the index at which an unfinished secret may begin; the text's length if there is none */
  openFrom(text: string, { masks }: Pick<MaskedSession, 'masks'>): number {
    let open = masks?.values?.openFrom(text) ?? text.length
    for (const seeker of this.#seekers) open = Math.min(open, seeker.openFrom(text))
    open = beforeMark(text, open)
    return text.length - open > heldLengthMax ? text.length : open
  }

  replaced(text: string, found: readonly Found[], session: MaskedSession): string {
    if (found.length === 0) return text
    let masked = ''
    let at = 0
    for (const one of found) {
      masked += text.slice(at, one.from) + this.mark(one, text.slice(one.from, one.to), session)
      at = one.to
    }
    return masked + text.slice(at)
  }

  mark(found: Found, secret: string, session: MaskedSession): string {
    if (session.countLater === undefined) this.count(found.kind)
    else session.countLater(found.kind)
    const { mark, isNew } = this.#masksOf(session).markOf(
      found,
      secret,
      this.#keyFor(found, secret, session),
      session.epoch,
    )
    if (isNew) session.masksChanged()
    return mark
  }

  /** Without a key of the hubs, only hashes of secrets that nobody can guess may leave the process. */
  #keyFor({ kind }: Found, { length }: string, session: MaskedSession): MarkKey {
    if (this.key !== undefined) return { key: this.key.marks, isShared: true }
    if (session.countLater !== undefined && length >= randomLengthMin && isRandom(kind))
      return { key: session.epoch, isShared: true }
    this.#key ??= this.#random.id()
    return { key: this.#key, isShared: false }
  }

  /** A secret of a kind was masked. */
  count(kind: string): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
  }

  #masksOf(session: MaskedSession): Masks {
    if (session.masks !== undefined) return session.masks
    const masks = new Masks()
    session.startMasks(masks)
    return masks
  }
}

const randomKinds: ReadonlySet<string> = new Set(['private-key', ...shapes.map(({ kind }) => kind)])
const guessableKinds = ['authorization', 'cookie', 'password']

/** Whether secrets of a kind are random characters, and not chosen by people. */
function isRandom(kind: string): boolean {
  return randomKinds.has(kind) && !guessableKinds.includes(kind)
}

/** @throws TypeError if a pattern is not valid */
function patternsOf(patterns: readonly Pattern[]): Patterns {
  for (const { kind } of patterns) {
    if (!kindPattern.test(kind))
      throw new TypeError(`masking.patterns: expected a kind of 1–32 of a–z, 0–9 and -, got ${kind}`)
  }
  try {
    return new Patterns(patterns)
  } catch (error) {
    throw new TypeError(`masking.patterns${(error as Error).message}`)
  }
}

/** Whether a value has no secret of a known form. False if in doubt. */
function isClean(value: JsonValue): boolean {
  if (typeof value === 'string') return value.length < textMin || tokenFinder.find(value).length === 0
  if (typeof value !== 'object' || value === null) return true
  if (isArray(value)) {
    for (let at = 0; at < value.length; at++) if (!isClean(value[at] as JsonValue)) return false
    return true
  }
  const object: JsonObject = value
  for (const name in object) {
    if (kindOfField(name, false) !== undefined) return false
    if (name.length >= textMin && tokenFinder.find(name).length > 0) return false
    if (!isClean(object[name] as JsonValue)) return false
  }
  return true
}

/** The search in one value. */
class Walk {
  readonly #masking: Masking
  readonly #session: MaskedSession
  #left = marksInValueMax

  constructor(masking: Masking, session: MaskedSession) {
    this.#masking = masking
    this.#session = session
  }

  value(value: JsonValue, known?: JsonValue): JsonValue {
    if (typeof value === 'string') return value.length < textMin ? value : this.#text(value)
    if (typeof value !== 'object' || value === null || value === known) return value
    return isArray(value) ? this.#list(value, known) : this.#object(value, known)
  }

  #text(text: string): string {
    const found = this.#masking.find(text, this.#session)
    if (found.length === 0) return text
    this.#left -= found.length
    if (this.#left < 0) return '[secret:more]'.slice(0, text.length)
    return this.#masking.replaced(text, found, this.#session)
  }

  #list(items: readonly JsonValue[], known: JsonValue | undefined): JsonValue {
    let masked: JsonValue[] | undefined
    const before =
      known !== undefined && typeof known === 'object' && known !== null && isArray(known) ? known : []
    // Most changes are at the beginning or at the end.
    const moved = before.length - items.length
    for (let at = 0; at < items.length; at++) {
      const item = items[at] as JsonValue
      if (typeof item === 'number') continue
      if (typeof item === 'object' && (item === before[at] || item === before[at + moved])) continue
      const made = this.value(item, before[at])
      if (made === item) continue
      masked ??= items.slice()
      masked[at] = made
    }
    return masked ?? items
  }

  #object(object: JsonObject, known: JsonValue | undefined): JsonValue {
    const before = typeof known === 'object' && known !== null && !isArray(known) ? known : noFields
    let masked: Record<string, JsonValue> | undefined
    for (const name in object) {
      const value = object[name] as JsonValue
      const made = this.#field(name, value, before[name])
      const madeName = name.length < textMin ? name : this.#text(name)
      if (masked === undefined) {
        if (made === value && madeName === name) continue
        masked = fieldsBefore(name, object)
      }
      masked[madeName] = made
    }
    return masked ?? object
  }

  #field(name: string, value: JsonValue, before: JsonValue | undefined): JsonValue {
    if (typeof value === 'string' && value.length >= 4) {
      const kind = kindOfField(name, this.#masking.mode === 'all')
      if (kind !== undefined) return this.#whole(kind, value)
    }
    return this.value(value, before)
  }

  /** The text of a field whose name shows that it is secret. */
  #whole(kind: string, text: string): string {
    const found: Found[] = []
    if (kind === 'cookie') findCookies(`cookie:${text}`, found)
    else if (kind === 'authorization') {
      const read = credential(text, 0)
      if (read?.isSecret === true) found.push({ from: read.from, to: read.to, kind })
    } else found.push({ from: 0, to: text.length, kind })
    const shift = kind === 'cookie' ? 7 : 0
    const moved = found.map((one) => ({ ...one, from: one.from - shift, to: one.to - shift }))
    const others = this.#masking.find(text, this.#session)
    return this.#masking.replaced(text, besideMarks(text, inOrder([...moved, ...others])), this.#session)
  }
}

const noFields: JsonObject = {}
