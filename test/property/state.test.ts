import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import jsonpatch from 'fast-json-patch'
import { applyPatch as applyElsewhere, type Operation } from 'rfc6902'
import t from 'tap'
import { type JsonValue, jsonBytes } from '../../src/lib/json.js'
import { type Offset, start } from '../../src/protocol/cursor.js'
import type { PatchOperation, StateUpdate } from '../../src/protocol/frames.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { applyPatch } from '../../src/state/apply.js'
import { compare } from '../../src/state/compare.js'
import { followPatch } from '../../src/state/follow-patch.js'
import { emptyMirror, StateMirror } from '../../src/state/mirror.js'
import { noCounts, TopicState } from '../../src/state/topic-state.js'
import { python, withoutPython } from '../kit/python.js'

const plainNames = [
  'a',
  'b',
  '',
  '0',
  '1',
  '-',
  '/',
  '~',
  '~1',
  'ä/ö~é',
  '🦊',
  'constructor',
  'prototype',
  'length',
  '-1',
  '01',
  '~0~1',
  ' ',
  'a\u2028b',
  'toString',
  'hasOwnProperty',
  'valueOf',
  '__proto',
]
const wildNames = [...plainNames, '__proto__']

function values(names: readonly string[]): fc.Arbitrary<JsonValue> {
  const name = fc.oneof(fc.constantFrom(...names), fc.string({ maxLength: 3, unit: 'grapheme' }))
  const safe = names.includes('__proto__') ? name : name.filter((text) => text !== '__proto__')
  return fc.letrec<{ value: JsonValue }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      fc.constantFrom<JsonValue>(null, true, false, 0, 1, '', 'x'),
      fc.integer(),
      fc.string(),
      fc.array(tie('value'), { maxLength: 8 }),
      fc.array(fc.tuple(safe, tie('value')), { maxLength: 6 }).map(objectOf),
    ),
  })).value
}

/** Names are own properties whatever they are, as `JSON.parse` makes them. */
function objectOf(entries: readonly (readonly [string, JsonValue])[]): JsonValue {
  const object = {}
  for (const [name, value] of entries) {
    Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true })
  }
  return object
}

/** A chain of edits of a value; each shares with the one before what it does not change. */
const edited = (names: readonly string[]) =>
  fc
    .tuple(values(names), fc.array(fc.tuple(fc.nat(), fc.nat(), values(names)), { maxLength: 6 }))
    .map(([first, edits]) => {
      const chain = [first]
      for (const [where, how, value] of edits) chain.push(edit(chain.at(-1) as JsonValue, where, how, value))
      return chain
    })

function edit(target: JsonValue, where: number, how: number, value: JsonValue): JsonValue {
  if (how % 11 === 0 || typeof target !== 'object' || target === null) return value
  if (Array.isArray(target)) {
    const list = [...(target as JsonValue[])]
    const at = where % (list.length + 1)
    if (how % 5 === 0) list.splice(at, 0, value)
    else if (how % 5 === 1) list.splice(at, 2)
    else if (how % 5 === 2) list.push(...list.splice(at, 1))
    else if (how % 5 === 3) list.reverse()
    else if (at < list.length) list[at] = edit(list[at] as JsonValue, where >> 3, how >> 2, value)
    return list
  }
  const entries = Object.entries(target)
  const at = entries.length === 0 ? 0 : where % entries.length
  if (how % 4 === 0) entries.push([plainNames[where % plainNames.length] as string, value])
  else if (how % 4 === 1) entries.splice(at, 1)
  else if (how % 4 === 2 && entries.length > 1)
    entries.push([plainNames[at] as string, entries[at]?.[1] ?? null])
  else if (entries.length > 0) {
    const [name, old] = entries[at] as [string, JsonValue]
    entries[at] = [name, edit(old, where >> 3, how >> 2, value)]
  }
  return objectOf(entries)
}

const same = (a: JsonValue, b: JsonValue) => isDeepStrictEqual(plain(a), plain(b))
const plain = (value: JsonValue): JsonValue => JSON.parse(JSON.stringify(value))
const bytesOf = (value: unknown) => Buffer.byteLength(JSON.stringify(value))

t.test('the patch between any two values leads from one to the other, and knows the growth', async () => {
  fc.assert(
    fc.property(values(wildNames), values(wildNames), (before, after) => {
      const copies = [plain(before), plain(after)]
      const { patch, growthBytes } = compare(before, after)
      return (
        same(applyPatch(before, patch), after) &&
        bytesOf(after) - bytesOf(before) === growthBytes &&
        same(before, copies[0] as JsonValue) &&
        same(after, copies[1] as JsonValue) &&
        compare(after, plain(after)).patch.length === 0
      )
    }),
    { numRuns: 1_000 },
  )
})

t.test('every update leads an exact mirror and two other implementations to the new value', async (t) => {
  let patches = 0
  fc.assert(
    fc.property(edited(plainNames), (chain) => {
      const state = new TopicState(defaultLimits, noCounts())
      let mirror = emptyMirror
      let elsewhere: { value: JsonValue } = { value: null }
      let third: { value: JsonValue } = { value: null }
      for (const [index, value] of chain.entries()) {
        const change = state.set('s', value, { offset: (index + 1) as Offset, time: 0 })
        if (change.kind === 'changed') {
          const update = change.entry.event.data as StateUpdate
          const applied = mirror.apply(change.entry.event)
          if (applied.kind !== 'applied') throw new Error(applied.reason)
          mirror = applied.mirror
          if ('patch' in update) {
            patches++
            if (bytesOf(update.patch) >= bytesOf(value))
              throw new Error('the patch is no smaller than the value')
            third = jsonpatch.applyPatch(
              third,
              prefixed(update.patch) as jsonpatch.Operation[],
              true,
            ).newDocument
            const failed = applyElsewhere(elsewhere, prefixed(update.patch)).find((error) => error !== null)
            if (failed) throw failed
          } else if ('value' in update) {
            elsewhere = { value: plain(update.value) }
            third = { value: plain(update.value) }
          }
        }
        if (!same(mirror.slices.s as JsonValue, value)) throw new Error('our mirror differs')
        if (!same(elsewhere.value, value)) throw new Error('rfc6902 differs')
        if (!same(third.value, value)) throw new Error('fast-json-patch differs')
        if (state.bytes !== jsonBytes(value)) throw new Error('the bytes are counted wrongly')
      }
      return true
    }),
    { numRuns: 1_000 },
  )
  t.ok(patches > 100, `${patches} updates were patches`)
})

const statesMin = Number(process.env['RUNCAST_STATES'] ?? 10_000)

t.test(
  `${statesMin} states end the same in our mirror, in rfc6902 and in Python’s jsonpatch`,
  { skip: withoutPython('jsonpatch') ?? false },
  async (t) => {
    let states = 0
    let patches = 0
    const lines: string[] = []
    for (let seed = 1; states < statesMin; seed += 1) {
      for (const chain of fc.sample(edited(plainNames), { numRuns: 500, seed })) {
        const state = new TopicState(defaultLimits, noCounts())
        let mirror = emptyMirror
        let elsewhere: { value: JsonValue } = { value: null }
        for (const [index, value] of chain.entries()) {
          states += 1
          const change = state.set('s', value, { offset: (index + 1) as Offset, time: 0 })
          if (change.kind === 'unchanged') continue
          const update = change.entry.event.data as StateUpdate
          const applied = mirror.apply(change.entry.event)
          if (applied.kind !== 'applied') throw new Error(applied.reason)
          mirror = applied.mirror
          if ('patch' in update) {
            patches += 1
            const patch = prefixed(update.patch)
            lines.push(JSON.stringify({ patch, state: value }))
            const failed = applyElsewhere(elsewhere, patch).find((error) => error !== null)
            if (failed) throw failed
          } else if ('value' in update) {
            lines.push(JSON.stringify({ value: update.value, state: value }))
            elsewhere = { value: plain(update.value) }
          }
          if (!same(mirror.slices.s as JsonValue, value)) throw new Error(`our mirror differs, seed ${seed}`)
          if (!same(elsewhere.value, value)) throw new Error(`rfc6902 differs, seed ${seed}`)
        }
      }
    }
    const script = fileURLToPath(new URL('states.py', import.meta.url))
    const { status, stdout, stderr } = spawnSync(python, [script], { input: lines.join('\n') })
    t.equal(status, 0, String(stderr))
    t.equal(Number(String(stdout)), patches, `${patches} of ${states} states came as patches`)
    t.ok(patches > 1_000)
  },
)

t.test('a change of a member named - is one that all implementations take', async (t) => {
  const state = new TopicState(defaultLimits, noCounts())
  const long = 'x'.repeat(100)
  const values: JsonValue[] = [
    { '-': 1, long },
    { '-': 2, long },
    { long },
    { '-': { '-': [1] }, long },
    { '-': { '-': [2] }, long },
  ]
  const operations = values.map((value, index) => {
    const change = state.set('s', value, { offset: (index + 1) as Offset, time: 0 })
    const update = change.kind === 'changed' ? (change.entry.event.data as StateUpdate) : undefined
    return update !== undefined && 'patch' in update
      ? update.patch.map(({ op, path }) => `${op} ${path}`)
      : []
  })
  t.strictSame(operations.slice(1), [['add /-'], ['remove /-'], ['add /-'], ['replace /-/-/0']])
})

/** The others keep the value in an object, because a patch cannot replace its own root in rfc6902. */
function prefixed(patch: readonly PatchOperation[]) {
  const copies = plain(patch) as unknown as Operation[]
  return copies.map((operation) => ({ ...operation, path: `/value${operation.path}` }))
}

t.test('what since gives leads a mirror from any earlier moment to the current state', async () => {
  const change = fc.record({
    slice: fc.constantFrom('a', 'b', 'c'),
    value: values(plainNames),
    remove: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      const state = new TopicState({ ...defaultLimits, slicesMax: 3 }, noCounts())
      const moments: [Offset, StateMirror][] = [[start, emptyMirror]]
      for (const [index, { slice, value, remove }] of changes.entries()) {
        const moment = { offset: (index + 1) as Offset, time: 0 }
        if (remove) state.remove(slice, moment)
        else state.set(slice, value, moment)
        moments.push([
          moment.offset,
          StateMirror.of(
            state.snapshot(() => true),
            moment.offset,
          ),
        ])
      }
      return moments.every(([offset, then]) => {
        const updates = state.since(offset, () => true)
        const now = updates.reduce((mirror, { event }) => {
          const applied = mirror.apply(event)
          return applied.kind === 'applied' ? applied.mirror : mirror
        }, then)
        return (
          same(
            now.slices,
            state.snapshot(() => true),
          ) && updates.length <= 3
        )
      })
    }),
  )
})

const messages = Array.from({ length: 2_000 }, (_, index) => ({
  id: `msg-${index}`,
  role: index % 2 === 0 ? 'user' : 'assistant',
  content: `This is what was said at turn ${index} of a long conversation.`,
}))

t.test('inserting or removing k items anywhere in a long list costs about k operations', async (t) => {
  const fresh = (index: number) => ({ id: `new-${index}`, role: 'user', content: `A new message ${index}.` })
  fc.assert(
    fc.property(
      fc.nat(messages.length),
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom('insert', 'remove', 'slide'),
      fc.boolean(),
      (where, k, how, shared) => {
        const after = shared ? [...messages] : (plain(messages) as unknown as typeof messages)
        const items = Array.from({ length: k }, (_, index) => fresh(index))
        if (how === 'insert') after.splice(where, 0, ...items)
        if (how === 'remove') after.splice(Math.min(where, messages.length - k), k)
        if (how === 'slide') {
          after.splice(0, k)
          after.push(...items)
        }
        const { patch } = compare(messages, after)
        return (
          patch.length === (how === 'slide' ? 2 * k : k) &&
          (k > 1 || bytesOf(patch) < 200) &&
          same(applyPatch(messages, patch), after)
        )
      },
    ),
    { numRuns: 60 },
  )
  for (const after of [
    [...messages, fresh(1)],
    [fresh(1), ...messages],
    messages.slice(1),
    messages.slice(0, -1),
    [...messages.slice(0, 1_000), ...messages.slice(1_001)],
  ]) {
    const state = new TopicState(defaultLimits, noCounts())
    state.set('messages', messages, { offset: 1 as Offset, time: 0 })
    const change = state.set('messages', after, { offset: 2 as Offset, time: 0 })
    t.ok(change.kind === 'changed' && bytesOf(change.entry.event) < 300)
  }
})

t.test('a list in which everything moved is still led to the new value', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 400 }),
      fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 400 }),
      (before, after) => same(applyPatch(before, compare(before, after).patch), after),
    ),
    { numRuns: 60 },
  )
})

t.test('followPatch makes of the patches of another library what they lead to', async () => {
  fc.assert(
    fc.property(values(plainNames), values(plainNames), (from, to) => {
      const [before, after] = [{ value: from }, { value: to }]
      const made = followPatch(before, jsonpatch.compare(before, after) as readonly PatchOperation[])
      return isDeepStrictEqual(made, after)
    }),
  )
})
