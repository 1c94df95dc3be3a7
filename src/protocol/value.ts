import {
  escapePointer,
  isArray,
  isPlain,
  type JsonObject,
  type JsonValue,
  prototypeName,
} from '../lib/json.js'
import { wellFormed } from '../lib/text.js'
import { ProtocolError } from './codes.js'

/** The location of a value, and its limits. */
export interface ValueSetting {
  /** Its name in messages. */
  readonly field: string
  /** JSON pointer (RFC 6901) to it within the request. */
  readonly pointer?: string
  /** How deep arrays and objects may be nested. */
  readonly depthMax: number
  /** The maximum length of its JSON text; the walk stops beyond it. */
  readonly bytesMax?: number
  /** Lone surrogates are kept, for callers that know the text that follows. */
  readonly keepsHalves?: true
}

/**
 * Converts a value to canonical JSON, as `JSON.stringify` would, with three differences. Values that it would drop or change
 * silently are refused: functions, symbols, BigInt, numbers that are not finite, instances of classes without `toJSON`. Texts
 * and names become well-formed Unicode. A field `__proto__` is refused.
 *
 * Every way into the hub applies it once, so that each codec, the store and every reader return the same value. Where many
 * values arrive, `measure` or `isCanonical` is called first: it finds in a third of the time that nothing has to be done.
 *
 * @returns the value itself if it is canonical already; otherwise a copy that shares the canonical parts
 * @throws ProtocolError `badFrame` or `frameTooLarge` with the location, which is also in the message if it is short
 */
export function canonicalValue(value: unknown, setting: ValueSetting): JsonValue {
  const found = new Walk(setting).value(value, '', setting.depthMax)
  if (found !== undefined) return found
  throw new ProtocolError(
    'badFrame',
    `${setting.field}: expected a JSON value, got nothing`,
    placeOf(setting.pointer),
  )
}

/** @returns the refusal of a value with too many names in one object */
export function tooWide(field: string, namesMax: number, pointer?: string): ProtocolError {
  const problem = `expected at most ${namesMax} names in an object (namesMax = ${namesMax})`
  return new ProtocolError('badFrame', `${field}: ${problem}`, placeOf(pointer))
}

/** A longer path is left out of the message. */
const placeLengthMax = 128

class Walk {
  readonly #field: string
  readonly #pointer: string
  readonly #bytesMax: number
  readonly #text: (text: string) => string
  readonly #path: string[] = []

  constructor({ field, pointer = '', bytesMax = Number.POSITIVE_INFINITY, keepsHalves }: ValueSetting) {
    this.#field = field
    this.#pointer = pointer
    this.#bytesMax = bytesMax
    this.#text = keepsHalves ? (text) => text : wellFormed
  }

  /** @returns undefined for a value to be left out, which becomes null in an array */
  value(given: unknown, name: string, depthMax: number): JsonValue | undefined {
    const value = hasToJson(given) ? given.toJSON(name) : given
    switch (typeof value) {
      case 'string':
        return this.#text(value)
      case 'number':
        if (!Number.isFinite(value)) this.#fail(`expected a finite number, got ${value}`)
        return value === 0 ? 0 : value
      case 'boolean':
      case 'undefined':
        return value
      case 'object':
        if (value === null) return null
        if (depthMax === 0) this.#fail('nested too deeply')
        if (isArray(value as JsonValue)) return this.#list(value as readonly unknown[], depthMax - 1)
        if (isPlain(value)) return this.#object(value as JsonObject, depthMax - 1)
        return this.#fail(`expected a plain object, got ${value.constructor?.name ?? 'another kind'}`)
      case 'bigint':
        return this.#fail('expected an integer of at most 2^53 − 1 either way, got a larger one or a BigInt')
      default:
        return this.#fail(`expected a JSON value, got a ${typeof value}`)
    }
  }

  #list(list: readonly unknown[], depthMax: number): JsonValue {
    // A sparse array may have any length.
    if (2 * list.length > this.#bytesMax)
      this.#fail(`expected at most ${this.#bytesMax} bytes`, 'frameTooLarge')
    let copy: JsonValue[] | undefined
    for (let at = 0; at < list.length; at += 1) {
      const item = list[at]
      const found = this.#within(String(at), item, depthMax) ?? null
      if (!Object.is(found, item)) copy ??= list.slice(0, at) as JsonValue[]
      copy?.push(found)
    }
    return copy ?? (list as readonly JsonValue[])
  }

  #object(object: JsonObject, depthMax: number): JsonValue {
    const names = Object.keys(object)
    // The result is always a plain object of this realm, with the usual prototype.
    let copy: Record<string, JsonValue> | undefined =
      Object.getPrototypeOf(object) === Object.prototype ? undefined : {}
    for (const [at, given] of names.entries()) {
      const name = this.#text(given)
      if (name === prototypeName) this.#fail('a field may not be named __proto__', 'badFrame', name)
      const item = object[given]
      const found = this.#within(given, item, depthMax)
      if (
        name !== given &&
        (Object.hasOwn(object, name) || (copy !== undefined && Object.hasOwn(copy, name)))
      ) {
        this.#fail('another field has the same name once it is well-formed Unicode', 'badFrame', name)
      }
      if (found === undefined || name !== given || !Object.is(found, item))
        copy ??= pick(object, names.slice(0, at))
      if (copy !== undefined && found !== undefined) copy[name] = found
    }
    return copy ?? object
  }

  #within(name: string, value: unknown, depthMax: number): JsonValue | undefined {
    this.#path.push(name)
    const found = this.value(value, name, depthMax)
    this.#path.pop()
    return found
  }

  #fail(problem: string, code: 'badFrame' | 'frameTooLarge' = 'badFrame', name?: string): never {
    const path = name === undefined ? this.#path : [...this.#path, name]
    const inside = path.map((step) => `/${escapePointer(wellFormed(step))}`).join('')
    const place = inside.length <= placeLengthMax ? inside : ''
    throw new ProtocolError(code, `${this.#field}${place}: ${problem}`, placeOf(this.#pointer + inside))
  }
}

function placeOf(pointer: string | undefined): { readonly pointer?: string } {
  return pointer === undefined || pointer === '' ? {} : { pointer }
}

function hasToJson(value: unknown): value is { toJSON(name: string): unknown } {
  if (
    value === null ||
    (typeof value !== 'object' && typeof value !== 'function' && typeof value !== 'bigint')
  ) {
    return false
  }
  return typeof (value as { toJSON?: unknown }).toJSON === 'function'
}

function pick(object: JsonObject, names: readonly string[]): Record<string, JsonValue> {
  const picked: Record<string, JsonValue> = {}
  for (const name of names) picked[name] = object[name] as JsonValue
  return picked
}
