import { type Merge, type MergeText, mergeTextOf, withTextAt } from '../catalog/merge.js'
import { isArray, isObject, type JsonObject, type JsonValue, sameJson } from '../lib/json.js'
import type { Attempt, HubEvent } from '../protocol/frames.js'
import { Entry } from './entry.js'

// As long as one part of a replay, so that one event gets through a link that is cut every few seconds. An answer of 5,000
// tokens is shorter.
const textLengthMax = 32 * 1024

/**
 * Joins the texts of adjacent events that differ only in them (trait `merge`). Only for events that have not been delivered;
 * the result means the same as the single events.
 *
 * @param entries in offset order, adjacent for their reader
 * @returns the same list if nothing could be joined
 */
export function conflate(entries: readonly Entry[]): readonly Entry[] {
  let joined: Entry[] | undefined
  for (let i = 0; i < entries.length; ) {
    const run = runLength(entries, i)
    if (run > 1) joined ??= entries.slice(0, i)
    joined?.push(run > 1 ? join(entries.slice(i, i + run)) : (entries[i] as Entry))
    i += run
  }
  return joined ?? entries
}

function runLength(entries: readonly Entry[], from: number): number {
  const first = entries[from] as Entry
  const { merge } = first.traits
  const found = merge && mergeTextOf(merge, first.event.data)
  if (merge === undefined || found === undefined) return 1
  let length = found.text.length
  let run = 1
  for (let i = from + 1; i < entries.length; i++) {
    const next = entries[i] as Entry
    if (!alike(first, next)) break
    const text = mergeTextOf(merge, next.event.data)
    length += text?.text.length ?? 0
    if (length > textLengthMax || !sameBut(first.event.data, next.event.data, found.path, merge.ignore ?? []))
      break
    run++
  }
  return run
}

function join(run: readonly Entry[]): Entry {
  const last = run[run.length - 1] as Entry
  const merge = last.traits.merge as Merge
  const { path } = mergeTextOf(merge, last.event.data) as MergeText
  const text = run.map(({ event: { data } }) => mergeTextOf(merge, data)?.text).join('')
  // The ids belong to the single events, so the joined one has none.
  const { id: _, ...event }: HubEvent = last.event
  const bytes = run.reduce((sum, entry) => sum + entry.bytes, 0)
  return new Entry({ ...event, data: withTextAt(last.event.data, path, text) }, last.traits, bytes, {
    force: last.force,
  })
}

function alike(a: Entry, b: Entry): boolean {
  return (
    a.event.type === b.event.type &&
    a.event.worker === b.event.worker &&
    a.event.key === b.event.key &&
    a.force === b.force &&
    sameAttempt(a.event.attempt, b.event.attempt)
  )
}

function sameAttempt(a: Attempt | undefined, b: Attempt | undefined): boolean {
  return a === b || (a?.step === b?.step && a?.number === b?.number)
}

/** @returns whether two values are equal except for a text at that path and ignored fields */
function sameBut(a: JsonValue, b: JsonValue, path: readonly string[], ignored: readonly string[]): boolean {
  const [name, ...rest] = path
  if (name === undefined) return typeof a === 'string' && typeof b === 'string'
  if (isArray(a) && isArray(b)) {
    const same = (item: JsonValue, at: number): boolean =>
      String(at) === name ? sameBut(item, b[at] as JsonValue, rest, []) : sameJson(item, b[at] as JsonValue)
    return a.length === b.length && a.every(same)
  }
  if (!isObject(a) || !isObject(b)) return false
  const [before, after] = [kept(a, ignored), kept(b, ignored)]
  return (
    before.length === after.length &&
    before.every((field) => {
      if (!Object.hasOwn(b, field)) return false
      const [one, other] = [a[field] as JsonValue, b[field] as JsonValue]
      return field === name ? sameBut(one, other, rest, []) : sameJson(one, other)
    })
  )
}

function kept(object: JsonObject, ignored: readonly string[]): readonly string[] {
  const names = Object.keys(object)
  return ignored.length === 0 ? names : names.filter((name) => !ignored.includes(name))
}
