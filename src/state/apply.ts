import { deeperThan, escapePointer, isArray, isObject, type JsonValue, sameJson } from '../lib/json.js'
import { ProtocolError, quote, type RequestCode } from '../protocol/codes.js'
import type { PatchOperation } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import { parsePointer } from './pointer.js'

export type PatchBounds = Pick<
  Limits,
  'patchOperationsMax' | 'patchWorkMax' | 'patchCopiedBytesMax' | 'depthMax'
>

/** The values of a patch are nested within its operations. */
export const levelsInPatch = 2

/** For patches made by the hub, which has already applied its bounds. */
export const unbounded: PatchBounds = {
  patchOperationsMax: Number.POSITIVE_INFINITY,
  patchWorkMax: Number.POSITIVE_INFINITY,
  patchCopiedBytesMax: Number.POSITIVE_INFINITY,
  depthMax: Number.POSITIVE_INFINITY,
}

/**
 * Applies a JSON patch (RFC 6902), completely or not at all.
 *
 * @returns the new value, which shares with `value` all parts that the paths do not touch; `value` is not changed
 * @throws ProtocolError `conflict` when an operation does not fit the value, `badFrame` when it never could; the message and
 *   the pointer (into the patch) name the operation
 */
export function applyPatch(
  value: JsonValue,
  patch: readonly PatchOperation[],
  bounds: PatchBounds = unbounded,
): JsonValue {
  if (patch.length > bounds.patchOperationsMax) {
    throw new ProtocolError(
      'badFrame',
      `patch: expected at most ${bounds.patchOperationsMax} operations, got ${patch.length}`,
    )
  }
  const draft = new Draft(value, bounds)
  patch.forEach((operation, index) => {
    draft.apply(operation, index)
  })
  return draft.value
}

/** Work is counted in shifted items of an array. Copying one item of a large array, or one member of a large object, takes about as long as shifting this many. */
const itemWork = 8
const memberWork = 1_024

type Container = JsonValue[] | Record<string, JsonValue>

/** What is known of a value that is not changed in place any more. */
interface Shared {
  /** About the bytes of its JSON text. */
  readonly bytes: number
  /** Levels of arrays and objects. */
  readonly height: number
}

/** A value that is being changed: containers on a path are copied once, the rest is shared. */
class Draft {
  value: JsonValue
  readonly #bounds: PatchBounds
  /** The copies made so far; each is reachable by one path only. Below a container that is not in it none is in it. */
  readonly #own = new Set<JsonValue>()
  /** Containers that are not changed in place any more, so that none is measured twice. */
  readonly #shared = new Map<JsonValue, Shared>()
  /** Array items shifted, and what else takes time by `itemWork` and `memberWork`: bounds the work of a small patch. */
  #work = 0
  #copiedBytes = 0
  /** Containers may have to be copied again and again, so that is charged from now on. */
  #again = false
  #index = 0
  #operation: PatchOperation | undefined

  constructor(value: JsonValue, bounds: PatchBounds) {
    this.value = value
    this.#bounds = bounds
  }

  apply(operation: PatchOperation, index: number): void {
    this.#operation = operation
    this.#index = index
    const path = this.#path(operation.path, 'path')
    switch (operation.op) {
      case 'add':
        return this.#add(path, operation.value)
      case 'remove':
        this.#remove(path)
        return
      case 'replace':
        return this.#replace(path, operation.value)
      case 'move': {
        const from = this.#path(operation.from, 'from')
        if (path.length > from.length && from.every((name, at) => name === path[at])) {
          this.#fail('badFrame', 'a value cannot be moved into itself')
        }
        const moved = this.#at(from)
        if (from.length === 0) return
        // A value that goes no deeper is nested no deeper than before.
        if (path.length > from.length) this.#lookAt(path, this.#share(moved))
        this.#remove(from)
        return this.#put(path, moved)
      }
      case 'copy': {
        const copied = this.#at(this.#path(operation.from, 'from'))
        const shared = this.#share(copied)
        this.#copiedBytes += shared.bytes
        if (this.#copiedBytes > this.#bounds.patchCopiedBytesMax) {
          this.#fail('badFrame', `the patch copies more than ${this.#bounds.patchCopiedBytesMax} bytes`)
        }
        this.#lookAt(path, shared)
        return this.#put(path, copied)
      }
      case 'test':
        if (!sameJson(this.#at(path), operation.value)) this.#fail('conflict', 'the value is another')
        return
      default:
        return this.#fail('badFrame', 'expected one of add, remove, replace, move, copy, test')
    }
  }

  /** The value is going to be reachable by two paths, so copies inside it must not be changed in place any more. */
  #share(value: JsonValue): Shared {
    if (typeof value !== 'object' || value === null) return { bytes: leafBytes(value), height: 0 }
    const known = this.#shared.get(value)
    if (known !== undefined) return known
    this.#again = true
    this.#own.delete(value)
    let [bytes, height] = [2, 0]
    const add = (item: JsonValue, more: number): void => {
      if (typeof item !== 'object' || item === null) {
        bytes += leafBytes(item) + more
        return
      }
      const shared = this.#share(item)
      bytes += shared.bytes + more
      height = Math.max(height, shared.height)
    }
    if (isArray(value)) {
      this.#charge(itemWork * value.length)
      for (const item of value) add(item, 1)
    } else {
      const names = Object.keys(value)
      this.#charge(memberWork * names.length)
      for (const name of names) add(value[name] as JsonValue, name.length + 4)
    }
    const shared = { bytes, height: height + 1 }
    this.#shared.set(value, shared)
    return shared
  }

  #add(path: readonly string[], value: JsonValue): void {
    this.#look(path, value)
    this.#put(path, value)
  }

  /** @param value nested no deeper than it may be */
  #put(path: readonly string[], value: JsonValue): void {
    if (path.length === 0) {
      this.value = value
      return
    }
    const parent = this.#writable(path)
    const name = path.at(-1) as string
    if (isList(parent)) {
      const at = name === '-' ? parent.length : this.#itemOf(parent, name, parent.length)
      this.#charge(parent.length - at)
      parent.splice(at, 0, value)
    } else {
      parent[name] = value
    }
  }

  #remove(path: readonly string[]): void {
    if (path.length === 0) this.#fail('badFrame', 'the whole value cannot be removed by a patch')
    this.#at(path)
    const parent = this.#writable(path)
    const name = path.at(-1) as string
    if (isList(parent)) {
      this.#charge(parent.length - Number(name))
      parent.splice(Number(name), 1)
    } else {
      delete parent[name]
    }
  }

  #replace(path: readonly string[], value: JsonValue): void {
    this.#look(path, value)
    this.#at(path)
    if (path.length === 0) {
      this.value = value
      return
    }
    const parent = this.#writable(path)
    const name = path.at(-1) as string
    if (isList(parent)) parent[Number(name)] = value
    else parent[name] = value
  }

  /** @returns the value at the path */
  #at(path: readonly string[]): JsonValue {
    return path.reduce((value, name) => this.#child(value, name), this.value)
  }

  #child(parent: JsonValue, name: string): JsonValue {
    if (typeof parent === 'object' && parent !== null) {
      if (isArray(parent)) return parent[this.#itemOf(parent, name, parent.length - 1)] as JsonValue
      const child: unknown = parent[name]
      // A path has none of the `unsafeNames`, so all else that an object inherits are functions, which no JSON value is.
      if (child !== undefined && typeof child !== 'function') return child as JsonValue
    }
    return this.#fail('conflict', `there is no ${quote(name)}`)
  }

  /**
   * @returns the array or object that contains the end of the path; containers on the path are copied unless they already were
   */
  #writable(path: readonly string[]): Container {
    let parent = this.#copied(this.value, '')
    this.value = parent
    for (const name of path.slice(0, -1)) {
      const child = this.#copied(this.#child(parent, name), name)
      if (isList(parent)) parent[Number(name)] = child
      else parent[name] = child
      parent = child
    }
    return parent
  }

  #copied(value: JsonValue, name: string): Container {
    if (typeof value !== 'object' || value === null) {
      return this.#fail(
        'conflict',
        `${name === '' ? 'the value' : quote(name)} is neither an object nor an array`,
      )
    }
    if (this.#own.has(value)) return value as Container
    if (this.#again) {
      this.#charge(isArray(value) ? itemWork * value.length : memberWork * Object.keys(value).length)
    }
    const copy: Container = isArray(value) ? value.slice() : { ...value }
    this.#own.add(copy)
    return copy
  }

  #itemOf(list: readonly JsonValue[], name: string, last: number): number {
    if (!/^(?:0|[1-9]\d*)$/.test(name) || Number(name) > last) {
      this.#fail('conflict', `there is no item ${quote(name)} in an array of ${list.length}`)
    }
    return Number(name)
  }

  #look(path: readonly string[], value: JsonValue): void {
    if (value === undefined) this.#fail('badFrame', 'expected a value')
    if (deeperThan(this.#bounds.depthMax - path.length, value)) this.#failDepth()
  }

  #lookAt(path: readonly string[], { height }: Shared): void {
    if (height > this.#bounds.depthMax - path.length) this.#failDepth()
  }

  #failDepth(): never {
    this.#fail('badFrame', `nested more than ${this.#bounds.depthMax} levels deep`)
  }

  #charge(work: number): void {
    this.#work += work
    if (this.#work > this.#bounds.patchWorkMax) this.#fail('badFrame', 'the patch is too much work')
  }

  #path(pointer: string, field: 'path' | 'from'): string[] {
    const path = parsePointer(pointer, () => `/${this.#index}/${field}`)
    if (path.length > this.#bounds.depthMax) {
      this.#fail('badFrame', `expected a path of at most ${this.#bounds.depthMax} names`)
    }
    return path
  }

  #fail(code: RequestCode, reason: string): never {
    const { op, path } = this.#operation as PatchOperation
    throw new ProtocolError(code, `operation ${this.#index} (${op} ${quote(path)}): ${reason}`, {
      pointer: `/${this.#index}`,
    })
  }
}

/** @returns about the bytes of a value that is neither an array nor an object */
function leafBytes(value: JsonValue): number {
  return typeof value === 'string' ? value.length + 2 : 8
}

function isList(value: Container): value is JsonValue[] {
  return Array.isArray(value)
}

/**
 * Applies a JSON merge patch (RFC 7386).
 *
 * @returns the new value, which shares with `value` the parts that the patch does not name; `value` itself if nothing changes
 * @param at where `merge` is in the whole patch, as a pointer
 * @throws ProtocolError `badFrame` if the patch names a prototype
 */
export function applyMerge(value: JsonValue | undefined, merge: JsonValue, at = ''): JsonValue {
  if (!isObject(merge)) return merge
  const target = isObject(value) ? value : {}
  let merged: Record<string, JsonValue> | undefined
  for (const [name, change] of Object.entries(merge)) {
    if (name === '__proto__') {
      throw new ProtocolError('badFrame', 'merge: expected no field __proto__', {
        pointer: `${at}/__proto__`,
      })
    }
    const old = Object.hasOwn(target, name) ? (target[name] as JsonValue) : undefined
    if (change === null) {
      if (old === undefined) continue
      merged ??= { ...target }
      delete merged[name]
    } else {
      const next = isObject(change) ? applyMerge(old, change, `${at}/${escapePointer(name)}`) : change
      if (next === old) continue
      merged ??= { ...target }
      merged[name] = next
    }
  }
  return merged ?? target
}
