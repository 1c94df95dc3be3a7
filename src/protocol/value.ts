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

/** Where a value stands, and what it may be. */
export interface ValueSetting {
  /** What messages call it. */
  readonly field: string
  /** JSON pointer (RFC 6901) to it within the request. */
  readonly pointer?: string
  /** How deep arrays and objects may be nested. */
  readonly depthMax: number
  /** Of its JSON text; what is longer need not be walked to its end. */
  readonly bytesMax?: number
  /** Texts are left as they are, for who knows what follows them. */
  readonly keepsHalves?: true
}

/**
 * Makes canonical JSON of a value: what `JSON.stringify` would make of it, with three differences. What it drops silently
 * is refused: functions, symbols, BigInt, numbers that are not finite, instances of classes without `toJSON`. Texts and
 * names become well-formed Unicode. A field `__proto__` is refused.
 *
 * Every door applies it once to what comes in, so that each codec, the store and every reader give back the same. Where
 * many values come, `measure` or `isCanonical` is asked first: in a third of the time it sees that nothing is to be done.
 *
 * @returns the value itself where it is canonical already; else a copy that shares with it what is
 * @throws ProtocolError `badFrame` or `frameTooLarge` with the place, which stands in the message too, where it is short
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

/** A longer path is not a part of the message. */
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

  /** @returns nothing for what is to be left out, which is null in an array */
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
    // A sparse array may claim any length.
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
    // What comes out is an object as any other: not one without a prototype, or of another realm.
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
