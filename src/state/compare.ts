import { escapePointer, isArray, type JsonObject, type JsonValue, jsonBytes, sameJson } from '../lib/json.js'
import type { PatchOperation } from '../protocol/frames.js'
import { findEdits, type Hunk } from './edits.js'
import { unsafeNames } from './pointer.js'

export interface Comparison {
  /** Transforms the first value into the second (RFC 6902): only `add`, `remove` and `replace`. Empty: no difference. */
  readonly patch: readonly PatchOperation[]
  /** The growth of the JSON text of the value. Bytes, may be negative. */
  readonly growthBytes: number
}

/**
 * Compares two canonical values. Unchanged parts should be shared, because identical references are not walked.
 *
 * @param workMax maximum of operations in the patch and of list items examined; a larger patch is not worth the time
 * @returns undefined beyond that: the values differ, and the update carries the whole value
 */
export function compareWithin(before: JsonValue, after: JsonValue, workMax: number): Comparison | undefined {
  const difference = new Difference(workMax)
  try {
    difference.values(before, after, '')
    return difference
  } catch (error) {
    if (error === tooMuch) return undefined
    throw error
  }
}

/** Thrown from within the walk to its beginning. */
const tooMuch = new Error('there is more to compare than may be')

/**
 * Compares two canonical values without a bound on the work.
 *
 * Arrays are compared as lists, so that inserting or removing k items anywhere takes about k operations. fast-json-patch
 * compares them by index, so removing the first of 200 items takes 399 operations.
 */
export function compare(before: JsonValue, after: JsonValue): Comparison {
  const difference = new Difference(Number.POSITIVE_INFINITY)
  difference.values(before, after, '')
  return difference
}

class Difference implements Comparison {
  readonly patch: PatchOperation[] = []
  growthBytes = 0
  #workLeft: number

  constructor(workMax: number) {
    this.#workLeft = workMax
  }

  values(before: JsonValue, after: JsonValue, path: string): void {
    if (before === after) return
    if (typeof before !== 'object' || typeof after !== 'object' || before === null || after === null) {
      return this.#replace(before, after, path)
    }
    if (isArray(before)) {
      if (isArray(after)) return this.#lists(before, after, path)
    } else if (!isArray(after)) {
      return this.#objects(before, after, path)
    }
    this.#replace(before, after, path)
  }

  #objects(before: JsonObject, after: JsonObject, path: string): void {
    const newNames = Object.keys(after)
    if (newNames.length > this.#workLeft && hasNoneOf(before, newNames)) throw tooMuch
    const names = Object.keys(before)
    if (changesUnsafely(before, after)) return this.#replace(before, after, path)
    let kept = 0
    for (const name of names) {
      const [old, now] = [before[name] as JsonValue, after[name]]
      // An inherited property never equals an own one, and equal values need no path.
      if (old === now || Object.hasOwn(after, name)) {
        kept++
        if (old !== now) this.values(old, now as JsonValue, `${path}/${escapePointer(name)}`)
      } else {
        this.#grow(-memberBytes(name, old))
        this.#say({ op: 'remove', path: `${path}/${escapePointer(name)}` })
      }
    }
    for (const name of kept === newNames.length ? [] : newNames) {
      if (Object.hasOwn(before, name)) continue
      const value = after[name] as JsonValue
      this.#add(value, `${path}/${escapePointer(name)}`)
      this.#grow(memberBytes(name, value))
    }
    this.#grow(commas(newNames.length) - commas(names.length))
  }

  #lists(before: readonly JsonValue[], after: readonly JsonValue[], path: string): void {
    // The patch has already transformed everything to the left, so indexes are those of the new list.
    for (const { before: old, after: at, removed, inserted } of hunksOf(before, after, (items) =>
      this.#work(items / itemsPerUnit),
    )) {
      const paired = Math.min(removed, inserted)
      for (let item = 0; item < paired; item++) {
        this.values(before[old + item] as JsonValue, after[at + item] as JsonValue, `${path}/${at + item}`)
      }
      for (let item = paired; item < removed; item++) {
        this.#grow(-jsonBytes(before[old + item] as JsonValue))
        this.#say({ op: 'remove', path: `${path}/${at + paired}` })
      }
      for (let item = paired; item < inserted; item++) {
        const value = after[at + item] as JsonValue
        this.#add(value, `${path}/${at + item}`)
        this.#grow(jsonBytes(value))
      }
    }
    this.#grow(commas(after.length) - commas(before.length))
  }

  #replace(before: JsonValue, after: JsonValue, path: string): void {
    if (sameJson(before, after)) return
    this.#grow(jsonBytes(after) - jsonBytes(before))
    // In an object `add` replaces as well (RFC 6902, 4.1), and some implementations refuse to replace a member named `-`.
    this.#say({ op: path.endsWith('/-') ? 'add' : 'replace', path, value: after })
  }

  #add(value: JsonValue, path: string): void {
    this.#say({ op: 'add', path, value })
  }

  #say(operation: PatchOperation): void {
    this.#work(1)
    this.patch.push(operation)
  }

  #work(units: number): void {
    this.#workLeft -= units
    if (this.#workLeft < 0) throw tooMuch
  }

  #grow(bytes: number): void {
    this.growthBytes += bytes
  }
}

/** This many names are enough to tell whether two objects have anything in common. */
const sampledNames = 64

/** Reading all names of a large object takes milliseconds; a sample shows whether the patch would be too large. */
function hasNoneOf(object: JsonObject, names: readonly string[]): boolean {
  for (let at = 0; at < sampledNames; at++) {
    const name = names[Math.floor((at * names.length) / sampledNames)] as string
    if (Object.hasOwn(object, name)) return false
  }
  return true
}

/** A path must not contain such a name, so an object in which one changes is replaced as a whole. */
function changesUnsafely(before: JsonObject, after: JsonObject): boolean {
  for (const name of unsafeNames) {
    const [was, is] = [Object.hasOwn(before, name), Object.hasOwn(after, name)]
    if (was !== is || (was && !sameJson(before[name] as JsonValue, after[name] as JsonValue))) return true
  }
  return false
}

function memberBytes(name: string, value: JsonValue): number {
  return jsonBytes(name) + 1 + jsonBytes(value)
}

function commas(items: number): number {
  return Math.max(0, items - 1)
}

/** Beyond this many edits a list is compared by index, because the patch would hardly be smaller than the value. */
const editsMax = 200

/** Longer lists are compared by index. Items of both lists together, without the common ones at both ends. */
const itemsMax = 20_000

/** Examining this many list items takes about as long as writing an operation. */
const itemsPerUnit = 8

function hunksOf(
  before: readonly JsonValue[],
  after: readonly JsonValue[],
  work: (items: number) => void,
): readonly Hunk[] {
  const shorter = Math.min(before.length, after.length)
  let head = 0
  while (head < shorter && sameJson(before[head] as JsonValue, after[head] as JsonValue)) head++
  let tail = 0
  while (
    tail < shorter - head &&
    sameJson(before[before.length - 1 - tail] as JsonValue, after[after.length - 1 - tail] as JsonValue)
  ) {
    tail++
  }
  const removed = before.length - head - tail
  const inserted = after.length - head - tail
  const whole = { before: head, after: head, removed, inserted }
  if (removed === 0 || inserted === 0 || removed + inserted === 2 || removed + inserted > itemsMax)
    return [whole]
  work(removed + inserted)
  const [old, now] = classify(before.slice(head, head + removed), after.slice(head, head + inserted))
  const hunks = findEdits(old, now, editsMax)
  return hunks?.map((hunk) => ({ ...hunk, before: hunk.before + head, after: hunk.after + head })) ?? [whole]
}

/** Numbers the items of both lists so that equal items have the same number, in one pass. */
function classify(before: readonly JsonValue[], after: readonly JsonValue[]): [number[], number[]] {
  const classes = new Map<JsonValue, number>()
  const texts = new Map<string, number>()
  const shared = new Set(before)
  const sharedToo = new Set(after)
  let next = 0
  const classOf = (item: JsonValue): number => {
    const known = classes.get(item)
    if (known !== undefined) return known
    let number = next
    // Items that the lists do not share by reference are compared by their text.
    if (typeof item === 'object' && item !== null && !(shared.has(item) && sharedToo.has(item))) {
      const text = JSON.stringify(item)
      number = texts.get(text) ?? next
      texts.set(text, number)
    }
    if (number === next) next++
    classes.set(item, number)
    return number
  }
  return [before.map(classOf), after.map(classOf)]
}
