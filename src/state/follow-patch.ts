import { type JsonValue, sameJson } from '../lib/json.js'
import type { PatchOperation } from '../protocol/frames.js'

/**
 * Applies a JSON patch (RFC 6902) for a client that follows the hub. The new value shares with the old one all parts that the
 * patch does not touch; the old one is not changed.
 *
 * `applyPatch` does the same for patches of producers, with bounds and detailed errors. Here a patch either applies or the
 * client needs a snapshot, so this function, which browsers load, is a third of its size.
 *
 * @throws Error when an operation does not apply
 */
export function followPatch(value: JsonValue, patch: readonly PatchOperation[]): JsonValue {
  return patch.reduce(follow, value)
}

function follow(root: JsonValue, operation: PatchOperation): JsonValue {
  const path = tokens(operation.path)
  switch (operation.op) {
    case 'add':
    case 'replace':
      return change(root, path, operation.op, operation.value)
    case 'remove':
      return change(root, path, 'remove', null)
    case 'copy':
      return change(root, path, 'add', read(root, tokens(operation.from)))
    case 'move': {
      const from = tokens(operation.from)
      return change(change(root, from, 'remove', null), path, 'add', read(root, from))
    }
    case 'test':
      if (!sameJson(read(root, path), operation.value)) throw misfit(path)
      return root
  }
}

function change(
  at: JsonValue,
  path: readonly string[],
  op: 'add' | 'replace' | 'remove',
  value: JsonValue,
): JsonValue {
  const [token, ...rest] = path
  if (token === undefined) return value
  const last = rest.length === 0
  if (Array.isArray(at)) {
    const items: JsonValue[] = [...(at as readonly JsonValue[])]
    const adds = last && op === 'add'
    const index = adds && token === '-' ? items.length : indexOf(token)
    if (!(index < items.length + (adds ? 1 : 0))) throw misfit(path)
    if (!last) items[index] = change(items[index] as JsonValue, rest, op, value)
    else if (op === 'remove') items.splice(index, 1)
    else items.splice(index, adds ? 0 : 1, value)
    return items
  }
  if (typeof at !== 'object' || at === null) throw misfit(path)
  const fields = new Map(Object.entries(at))
  if (!fields.has(token) && !(last && op === 'add')) throw misfit(path)
  if (last && op === 'remove') fields.delete(token)
  else fields.set(token, last ? value : change(fields.get(token) as JsonValue, rest, op, value))
  // `fromEntries` defines fields, so `__proto__` becomes an ordinary field.
  return Object.fromEntries(fields)
}

function read(root: JsonValue, path: readonly string[]): JsonValue {
  return path.reduce((at, token) => {
    const known =
      typeof at === 'object' &&
      at !== null &&
      Object.hasOwn(at, token) &&
      !(Array.isArray(at) && Number.isNaN(indexOf(token)))
    if (!known) throw misfit(path)
    return (at as Readonly<Record<string, JsonValue>>)[token] as JsonValue
  }, root)
}

/** @returns the index, or NaN */
function indexOf(token: string): number {
  return /^(0|[1-9]\d*)$/.test(token) ? Number(token) : Number.NaN
}

/** @returns the parts of a JSON pointer (RFC 6901). */
function tokens(pointer: string): string[] {
  const [first, ...rest] = pointer.split('/')
  if (first !== '') throw misfit([pointer])
  return rest.map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function misfit(path: readonly string[]): Error {
  return new Error(`nothing fits ${path.join('/')}`)
}
