import type { JsonValue } from '../lib/json.js'
import type { PatchOperation } from '../protocol/frames.js'

/**
 * Applies a JSON patch (RFC 6902) and leaves `value` as it was: what the patch does not touch is shared
 * between the two.
 *
 * @throws Error when an operation does not fit, or a `test` fails
 */
export function applyPatch(value: JsonValue, patch: readonly PatchOperation[]): JsonValue {
  let root = value
  for (const operation of patch) root = applyOne(root, operation)
  return root
}

function applyOne(root: JsonValue, operation: PatchOperation): JsonValue {
  const path = tokens(operation.path)
  switch (operation.op) {
    case 'add':
    case 'replace':
      return change(root, path, 0, { op: operation.op, path: operation.path, value: operation.value })
    case 'remove':
      return change(root, path, 0, operation)
    case 'copy':
      return change(root, path, 0, { op: 'add', path: operation.path, value: read(root, operation.from) })
    case 'move': {
      const value = read(root, operation.from)
      const without = change(root, tokens(operation.from), 0, { op: 'remove', path: operation.from })
      return change(without, path, 0, { op: 'add', path: operation.path, value })
    }
    case 'test':
      if (!equal(read(root, operation.path), operation.value)) throw misfit(operation.path)
      return root
  }
}

type Change =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: JsonValue }
  | { readonly op: 'remove'; readonly path: string }

function change(at: JsonValue, path: readonly string[], depth: number, operation: Change): JsonValue {
  const token = path[depth]
  if (token === undefined) return operation.op === 'remove' ? null : operation.value
  const last = depth === path.length - 1
  if (Array.isArray(at)) {
    const items = [...(at as readonly JsonValue[])]
    const index = token === '-' && last && operation.op === 'add' ? items.length : Number(token)
    const end = last && operation.op === 'add' ? items.length : items.length - 1
    if (!/^(0|[1-9]\d*|-)$/.test(token) || !(index <= end)) throw misfit(operation.path)
    if (!last) items[index] = change(items[index] as JsonValue, path, depth + 1, operation)
    else if (operation.op === 'remove') items.splice(index, 1)
    else items.splice(index, operation.op === 'add' ? 0 : 1, operation.value)
    return items
  }
  if (typeof at !== 'object' || at === null) throw misfit(operation.path)
  const fields = new Map(Object.entries(at))
  if (!fields.has(token) && !(last && operation.op === 'add')) throw misfit(operation.path)
  if (!last) fields.set(token, change(fields.get(token) as JsonValue, path, depth + 1, operation))
  else if (operation.op === 'remove') fields.delete(token)
  else fields.set(token, operation.value)
  // `fromEntries` defines fields: a name like `__proto__` is a field as any other.
  return Object.fromEntries(fields)
}

function read(root: JsonValue, pointer: string): JsonValue {
  let at = root
  for (const token of tokens(pointer)) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, token)) throw misfit(pointer)
    if (Array.isArray(at) && token === 'length') throw misfit(pointer)
    at = (at as Readonly<Record<string, JsonValue>>)[token] as JsonValue
  }
  return at
}

/** @returns the parts of a JSON pointer (RFC 6901). */
function tokens(pointer: string): string[] {
  if (pointer === '') return []
  if (!pointer.startsWith('/')) throw misfit(pointer)
  return pointer
    .slice(1)
    .split('/')
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function equal(one: JsonValue, other: JsonValue): boolean {
  if (one === other) return true
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false
  if (Array.isArray(one) !== Array.isArray(other)) return false
  const fields = Object.entries(one)
  return (
    fields.length === Object.keys(other).length &&
    fields.every(
      ([name, value]) =>
        Object.hasOwn(other, name) &&
        equal(value, (other as Readonly<Record<string, JsonValue>>)[name] as JsonValue),
    )
  )
}

function misfit(path: string): Error {
  return new Error(`the patch does not fit at ${JSON.stringify(path)}`)
}
