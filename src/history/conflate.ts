import { type JsonObject, type JsonValue, sameJson } from '../lib/json.js'
import type { HubEvent } from '../protocol/frames.js'
import { Entry } from './entry.js'

// One text may not grow past what a frame can carry.
const textLengthMax = 256 * 1024

/**
 * Joins the texts of adjacent events that differ in nothing else (trait `merge`). Only for events that have not
 * been delivered: what a client gets then means the same as the events one by one.
 *
 * @param entries adjacent as their reader would get them, in offset order
 * @returns the same list when nothing could be joined
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
  const field = first.traits.merge?.text
  if (field === undefined) return 1
  let length = textOf(first, field)?.length ?? Number.POSITIVE_INFINITY
  let run = 1
  for (let i = from + 1; i < entries.length; i++) {
    const next = entries[i] as Entry
    length += textOf(next, field)?.length ?? Number.POSITIVE_INFINITY
    if (length > textLengthMax || !alike(first, next, field)) break
    run++
  }
  return run
}

function join(run: readonly Entry[]): Entry {
  const last = run[run.length - 1] as Entry
  const field = last.traits.merge?.text as string
  const text = run.map((entry) => textOf(entry, field)).join('')
  // The ids named the parts; the whole has none.
  const { id: _, ...event }: HubEvent = last.event
  const bytes = run.reduce((sum, entry) => sum + entry.bytes, 0)
  const data = { ...(last.event.data as JsonObject), [field]: text }
  return new Entry({ ...event, data }, last.traits, bytes, { force: last.force })
}

function textOf({ event: { data } }: Entry, field: string): string | undefined {
  if (!isObject(data)) return undefined
  const text = data[field]
  return typeof text === 'string' ? text : undefined
}

function alike(a: Entry, b: Entry, field: string): boolean {
  if (a.event.type !== b.event.type || a.event.worker !== b.event.worker || a.event.key !== b.event.key) {
    return false
  }
  if (a.force !== b.force || !isObject(a.event.data) || !isObject(b.event.data)) return false
  const before = a.event.data
  const after = b.event.data
  const names = Object.keys(before)
  return (
    names.length === Object.keys(after).length &&
    names.every(
      (name) =>
        name === field ||
        (Object.hasOwn(after, name) && sameJson(before[name] as JsonValue, after[name] as JsonValue)),
    )
  )
}

function isObject(data: JsonValue): data is JsonObject {
  return typeof data === 'object' && data !== null && !Array.isArray(data)
}
