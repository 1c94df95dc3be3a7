import assert from 'node:assert/strict'
import { applyPatch, type Operation } from 'rfc6902'
import type { JsonValue } from '../../src/lib/json.js'
import { unpackEntries } from '../../src/log/entries.js'
import type { NewEvent } from '../../src/protocol/frames.js'
import type { RecordedLog } from '../kit/faulty-log.js'
import type { LogClient } from './log-client.js'
import { Publishers, type Truth } from './log-publishers.js'
import { textType } from './log-writer.js'

/** What the batches of the log mean, worked out without the hubs' code. */
export function truthOf(
  batches: ReturnType<RecordedLog['batches']>,
  changed: (name: string, value: JsonValue | undefined) => void = () => undefined,
): Truth {
  const events = new Map<number, NewEvent>()
  const slices = new Map<string, { value: JsonValue; offset: number }>()
  const perhaps = new Set<number>()
  const publishers = new Publishers(events)
  let last = 0
  for (const batch of batches) {
    last = batch.to
    for (const { place, entry } of unpackEntries(batch)) {
      if (batch.known.includes(place)) continue
      const offset = batch.from + place + 1
      if (entry.kind === 'stalled') perhaps.add(offset)
      if (entry.kind !== 'change') {
        publishers.take(entry, offset)
        continue
      }
      const { update, worker } = entry
      const name = worker === undefined ? update.slice : `workers/${worker}/${update.slice}`
      const held = slices.get(name)
      if ((held?.offset ?? 0) !== update.base) continue
      publishers.changed(offset)
      if ('removed' in update) slices.delete(name)
      else if ('value' in update) slices.set(name, { value: update.value, offset })
      else {
        const root = { value: structuredClone(held?.value ?? null) }
        const operations = update.patch.map((one) => ({ ...one, path: `/value${one.path}` }))
        applyPatch(root, structuredClone(operations) as Operation[])
        slices.set(name, { value: root.value, offset })
      }
      changed(name, slices.get(name)?.value)
    }
  }
  const values = Object.fromEntries([...slices].map(([name, { value }]) => [name, value]))
  return { events, slices: values, last, superseded: publishers.superseded, perhaps }
}

/** Pieces of a text that come late are joined, so what counts is the whole text. */
function checkTexts({ session, seen, gaps, joinedAt }: LogClient, events: Truth['events']): void {
  const partly = new Set<string>()
  const textsOf = (
    all: Iterable<readonly [number, Pick<NewEvent, 'type' | 'key' | 'data'>]>,
  ): Map<string, string> => {
    const texts = new Map<string, string>()
    for (const [offset, { type, key = '', data }] of [...all].sort(([a], [b]) => a - b)) {
      if (type !== textType) continue
      const isTold = gaps.some(({ after, offset: until }) => offset > after && offset <= until)
      if (offset <= joinedAt || isTold) partly.add(key)
      texts.set(key, (texts.get(key) ?? '') + (data as { content: string }).content)
    }
    return texts
  }
  const got = textsOf(seen)
  for (const [key, text] of textsOf(events)) {
    if (!partly.has(key)) assert.equal(got.get(key), text, `${session}: the text ${key}`)
  }
}

/** @throws AssertionError unless the client has what the log has, or was told of what it lacks */
export function checkClient(client: LogClient, { events, slices, superseded, perhaps }: Truth): void {
  const { session, seen, gaps, joinedAt } = client
  const where = (offset: number): string => `${session} at ${offset}, told of ${JSON.stringify(gaps)}`
  checkTexts(client, events)
  for (const [offset, { id, type }] of events) {
    if (offset <= joinedAt || type === textType) continue
    const got = seen.get(offset)
    if (got === undefined) {
      // Whoever comes later is not given what a newer attempt took the place of.
      if (superseded.has(offset)) continue
      // What is evicted, or skipped by who lags, is told too.
      const isTold = gaps.some(({ after, offset: until }) => offset > after && offset <= until)
      assert(isTold, `${where(offset)}: ${type} ${id} is missing, and nothing was said`)
    } else assert.equal(got.id, id, `${where(offset)}: another event`)
  }
  for (const [offset, { id, type }] of seen) {
    if (type === textType) continue
    if (events.get(offset)?.id === id && events.get(offset)?.type === type) continue
    if (perhaps.has(offset)) continue
    const isTold = gaps.some(
      ({ reason, after, offset: until }) => reason === 'epoch' && offset > after && offset <= until,
    )
    assert(isTold, `${where(offset)}: ${id} did not happen, and nothing was said`)
  }
  assert.deepEqual(client.slices(false), slices, `${session}: the mirror is what the log has`)
}

/** @returns whether they are equal, however deep */
export function same(one: JsonValue | undefined, other: JsonValue | undefined): boolean {
  try {
    assert.deepEqual(one, other)
    return true
  } catch {
    return false
  }
}
