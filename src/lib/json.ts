/** Any JSON value (RFC 8259). Values are treated as immutable once they are handed over. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue }

export type JsonObject = { readonly [name: string]: JsonValue }

/** What keeps a value from being JSON, and where. */
export interface JsonFault {
  /** RFC 6901; empty for the value itself. */
  readonly pointer: string
  readonly problem: string
}

/**
 * Estimates the size of a value, and sees whether it is JSON at all, in one walk.
 *
 * @returns about the bytes of its JSON text, or −1 when it is no JSON value or nested deeper than
 *   `depthMax`; `explainFault` says why
 */
export function measure(value: JsonValue, depthMax: number): number {
  switch (typeof value) {
    case 'string':
      return value.length + 2
    case 'number':
      return Number.isFinite(value) ? 8 : -1
    case 'boolean':
      return 5
    case 'object':
      if (value === null) return 4
      if (depthMax === 0) return -1
      return isArray(value) ? measureArray(value, depthMax - 1) : measureObject(value, depthMax - 1)
    default:
      return -1
  }
}

function measureArray(items: readonly JsonValue[], depthMax: number): number {
  let bytes = 2
  for (let i = 0; i < items.length; i++) {
    const size = measure(items[i] as JsonValue, depthMax)
    if (size < 0) return -1
    bytes += size + 1
  }
  return bytes
}

function measureObject(object: JsonObject, depthMax: number): number {
  if (!isPlain(object)) return -1
  let bytes = 2
  // `for in` would also visit what is inherited; a plain object inherits nothing enumerable.
  for (const name in object) {
    const size = measure(object[name] as JsonValue, depthMax)
    if (size < 0) return -1
    bytes += name.length + size + 4
  }
  return bytes
}

/** @returns the first fault of a value that `measure` refused. */
export function explainFault(value: JsonValue, depthMax: number, pointer = ''): JsonFault {
  if (typeof value === 'number') return { pointer, problem: `expected a finite number, got ${value}` }
  if (typeof value !== 'object' || value === null) {
    return { pointer, problem: `expected a JSON value, got ${typeof value}` }
  }
  if (depthMax === 0) return { pointer, problem: 'nested too deeply' }
  if (!isArray(value) && !isPlain(value)) {
    return { pointer, problem: `expected a plain object, got ${value.constructor?.name ?? 'another kind'}` }
  }
  for (const [name, item] of Object.entries(value)) {
    if (measure(item, depthMax - 1) < 0) {
      return explainFault(item, depthMax - 1, `${pointer}/${escapePointer(name)}`)
    }
  }
  return { pointer, problem: 'expected a JSON value' }
}

/** RFC 6901 section 3: `~` and `/` of a name in a pointer. */
export function escapePointer(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1')
}

/** @returns whether two JSON values are the same; identical references cost nothing. */
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

function isPlain(object: JsonObject): boolean {
  const prototype: object | null = Object.getPrototypeOf(object)
  return prototype === Object.prototype || prototype === null
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
