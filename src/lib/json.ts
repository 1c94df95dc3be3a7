import { isWellFormed } from './text.js'

/** Any JSON value (RFC 8259). Values are treated as immutable once they are passed on. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue }

export type JsonObject = { readonly [name: string]: JsonValue }

/** @returns whether it is an object, and neither `null` nor an array */
export function isObject(value: JsonValue | undefined): value is JsonObject
export function isObject(value: unknown): value is Readonly<Record<string, unknown>>
export function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** No object may have this field: careless readers would set a prototype, and some codecs rename it. */
export const prototypeName = '__proto__'

/**
 * Estimates the size of a value and checks in the same walk that it is canonical JSON: plain objects and arrays, with finite
 * numbers, well-formed texts and no field `__proto__`. About 35 ns for an object of two fields.
 *
 * @param namesMax of one object
 * @returns about the bytes of its JSON text, or −1 if it is not canonical or beyond a bound; `canonicalValue` then converts it
 *   or throws the reason, except for `namesMax`
 */
export function measure(
  value: JsonValue,
  depthMax: number,
  namesMax: number = Number.POSITIVE_INFINITY,
): number {
  switch (typeof value) {
    case 'string':
      return isWellFormed(value) ? value.length + 2 : -1
    case 'number':
      // JSON text has no −0.
      return Number.isFinite(value) && !Object.is(value, -0) ? 8 : -1
    case 'boolean':
      return 5
    case 'object':
      if (value === null) return 4
      if (depthMax === 0) return -1
      return isArray(value)
        ? measureArray(value, depthMax - 1, namesMax)
        : measureObject(value, depthMax - 1, namesMax)
    default:
      return -1
  }
}

function measureArray(items: readonly JsonValue[], depthMax: number, namesMax: number): number {
  let bytes = 2
  for (let i = 0; i < items.length; i++) {
    const size = measure(items[i] as JsonValue, depthMax, namesMax)
    if (size < 0) return -1
    bytes += size + 1
  }
  return bytes
}

function measureObject(object: JsonObject, depthMax: number, namesMax: number): number {
  if (Object.getPrototypeOf(object) !== Object.prototype) return -1
  let bytes = 2
  let left = namesMax
  // `for in` would also visit what is inherited; a plain object inherits nothing enumerable.
  for (const name in object) {
    const size = isName(name) ? measure(object[name] as JsonValue, depthMax, namesMax) : -1
    if (size < 0 || --left < 0) return -1
    bytes += name.length + size + 4
  }
  return bytes
}

/** A loop, because calling `isWellFormed` for each short name takes twice as long. */
function isName(name: string): boolean {
  for (let at = 0; at < name.length; at += 1) {
    if (name.charCodeAt(at) >= 0xd800) return isWellFormed(name)
  }
  return name !== prototypeName
}

/**
 * @param known a canonical value; parts that both share by reference are not walked, even if items of a list have moved
 * @returns whether `measure` would accept the value
 */
export function isCanonical(
  value: JsonValue,
  depthMax: number,
  known: JsonValue | undefined,
  namesMax: number = Number.POSITIVE_INFINITY,
): boolean {
  if (typeof value !== 'object' || value === null) return measure(value, 0) >= 0
  if (value === known) return true
  if (depthMax === 0) return false
  if (isArray(value)) {
    const items = known !== undefined && isArray(known) ? known : noItems
    const moved = items.length - value.length
    for (let at = 0; at < value.length; at++) {
      const item = value[at] as JsonValue
      if (typeof item === 'object' && (item === items[at] || item === items[at + moved])) continue
      // A new item of a list is measured, which needs fewer look-ups.
      if (measure(item, depthMax - 1, namesMax) < 0) return false
    }
    return true
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return false
  // An inherited property is never identical to a part of the value.
  const fields = typeof known === 'object' && known !== null ? (known as JsonObject) : noFields
  let left = namesMax
  for (const name in value) {
    const item = value[name] as JsonValue
    if (!isName(name) || --left < 0) return false
    // The previous value is looked up only if that may save a walk.
    const isLeaf = typeof item !== 'object' || item === null
    if (isLeaf ? measure(item, 0) < 0 : !isCanonical(item, depthMax - 1, fields[name], namesMax)) return false
  }
  return true
}

const noItems: readonly JsonValue[] = []
const noFields: JsonObject = {}

/** Escapes `~` and `/` of a name in a pointer (RFC 6901, section 3). */
export function escapePointer(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1')
}

/** @returns whether two JSON values are equal; identical references are not walked */
export function sameJson(a: JsonValue, b: JsonValue): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (isArray(a)) {
    return isArray(b) && a.length === b.length && a.every((item, i) => sameJson(item, b[i] as JsonValue))
  }
  if (isArray(b)) return false
  const names = Object.keys(a)
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && sameJson(a[name] as JsonValue, b[name] as JsonValue))
  )
}

/** `Array.isArray`, for readonly arrays too. */
export function isArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value)
}

/** @returns whether it is a plain object, of any realm: not an instance of a class */
export function isPlain(object: object): boolean {
  const prototype: object | null = Object.getPrototypeOf(object)
  return prototype === Object.prototype || prototype === null || Object.getPrototypeOf(prototype) === null
}

/** @returns the length of the value's JSON text in UTF-8, exactly. Bytes. */
export function jsonBytes(value: JsonValue): number {
  return Buffer.byteLength(JSON.stringify(value))
}

/** @returns whether arrays and objects are nested in `value` more than `levels` deep; stops there. */
export function deeperThan(levels: number, value: JsonValue): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (levels <= 0) return true
  if (isArray(value)) return value.some((item) => deeperThan(levels - 1, item))
  for (const name in value) if (deeperThan(levels - 1, value[name] as JsonValue)) return true
  return false
}

/** @returns the fields of an object; an empty object for any other value */
export function fieldsOf(data: JsonValue | undefined): JsonObject {
  return typeof data === 'object' && data !== null && !isArray(data) ? data : {}
}

/** @returns the fields before the one with that name, for an object that is copied from there on */
export function fieldsBefore(name: string, object: JsonObject): Record<string, JsonValue> {
  const fields: Record<string, JsonValue> = {}
  for (const earlier in object) {
    if (earlier === name) break
    fields[earlier] = object[earlier] as JsonValue
  }
  return fields
}
