import t from 'tap'
import type { Entry } from '../../src/history/entry.js'
import type { JsonValue } from '../../src/lib/json.js'
import { ProtocolError } from '../../src/protocol/codes.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { PatchOperation, StateUpdate } from '../../src/protocol/frames.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { applyMerge, applyPatch } from '../../src/state/apply.js'
import { compareWithin } from '../../src/state/compare.js'
import { followPatch } from '../../src/state/follow-patch.js'
import { emptyMirror, StateMirror } from '../../src/state/mirror.js'
import { type Change, noCounts, type StateLimits, TopicState } from '../../src/state/topic-state.js'

const all = () => true
const at = (offset: number) => ({ offset: offset as Offset, time: 1_000 + offset })

function stateOf(slices: Record<string, JsonValue> = {}, limits: Partial<StateLimits> = {}) {
  const counts = noCounts()
  const state = new TopicState({ ...defaultLimits, ...limits }, counts)
  let offset = 0
  for (const [name, value] of Object.entries(slices)) state.set(name, value, at(++offset))
  return { state, counts }
}

function eventOf(change: Change) {
  if (change.kind !== 'changed') throw new Error('expected a change')
  return change.entry.event
}

function updateOf(change: Change): StateUpdate {
  return eventOf(change).data as StateUpdate
}

function updatesSince(state: TopicState, offset: number, accepts: (name: string) => boolean = all) {
  return state.since(offset as Offset, accepts)
}

function refusal(task: () => unknown): { code: string; message: string; pointer: string | undefined } {
  try {
    task()
  } catch (error) {
    if (error instanceof ProtocolError) {
      return { code: error.code, message: error.message, pointer: error.place.pointer }
    }
    throw error
  }
  throw new Error('expected a refusal')
}

const long = 'a text that is long enough for a patch to be smaller than the value it leads to'

t.test(
  'set says a change as a patch with its base and cause, and nothing where nothing changes',
  async (t) => {
    const { state, counts } = stateOf()
    const cause = { type: 'planned', id: 'a1', payload: { by: 'ci' } }
    t.same(updateOf(state.set('plan', { long, done: 0 }, { ...at(4), cause })), {
      slice: 'plan',
      base: 0,
      value: { long, done: 0 },
      cause,
    })
    t.same(state.set('plan', { done: 0, long }, at(5)), { kind: 'unchanged', offset: 4 })
    t.same(eventOf(state.set('plan', { long, done: 1 }, at(5))), {
      offset: 5,
      type: 'state.update',
      time: 1_005,
      data: { slice: 'plan', base: 4, patch: [{ op: 'replace', path: '/done', value: 1 }] },
    })
    t.same(counts, {
      comparisons: 3,
      patches: 1,
      values: 1,
      removals: 0,
      patchBytes: JSON.stringify([{ op: 'replace', path: '/done', value: 1 }]).length,
      valueBytes: JSON.stringify({ long, done: 0 }).length,
    })
  },
)

t.test(
  'set says the full value when a side is null, the kind changes, or a patch is no smaller',
  async (t) => {
    const values: JsonValue[] = [
      null,
      { long },
      null,
      [long],
      { long },
      long,
      `${long}!`,
      1,
      2,
      { a: 1 },
      { a: 2 },
    ]
    const { state } = stateOf({ s: false })
    for (const [index, value] of values.entries()) {
      t.same(updateOf(state.set('s', value, at(index + 2))), { slice: 's', base: index + 1, value })
    }
  },
)

t.test('the updates of a worker’s topic name the worker', async (t) => {
  const state = new TopicState(defaultLimits, noCounts(), 'lint')
  t.match(eventOf(state.set('s', 1, at(3))), { worker: 'lint', offset: 3 })
  t.match(updatesSince(state, 0), [{ event: { worker: 'lint' } }])
})

t.test('patch and merge change a slice through the same comparison', async (t) => {
  const { state, counts } = stateOf({ s: { long, list: [1, 2], gone: true } })
  const patch: PatchOperation[] = [
    { op: 'test', path: '/list/0', value: 1 },
    { op: 'add', path: '/list/-', value: 3 },
    { op: 'remove', path: '/gone' },
  ]
  t.same(updateOf(state.patch('s', patch, at(2))), {
    slice: 's',
    base: 1,
    patch: [
      { op: 'add', path: '/list/2', value: 3 },
      { op: 'remove', path: '/gone' },
    ],
  })
  t.same(updateOf(state.merge('s', { list: null, more: { yes: 1, no: null } }, at(3))), {
    slice: 's',
    base: 2,
    patch: [
      { op: 'remove', path: '/list' },
      { op: 'add', path: '/more', value: { yes: 1 } },
    ],
  })
  t.same(state.merge('s', { more: { yes: 1 } }, at(4)), { kind: 'unchanged', offset: 3 })
  t.same(updateOf(state.merge('fresh', { a: 1, b: null }, at(4))), {
    slice: 'fresh',
    base: 0,
    value: { a: 1 },
  })
  t.equal(counts.comparisons, 5)
})

t.test('a patch that does not apply names its operation and changes nothing', async (t) => {
  const value = { a: { b: [1, 2] }, '': 0 }
  const { state } = stateOf({ s: value })
  const good: PatchOperation = { op: 'add', path: '/a/b/0', value: 'x' }
  const cases: [PatchOperation, string, RegExp][] = [
    [
      { op: 'test', path: '/a/b/0', value: 1 },
      'conflict',
      /^operation 1 \(test "\/a\/b\/0"\): the value is another$/,
    ],
    [{ op: 'remove', path: '/a/c' }, 'conflict', /there is no "c"$/],
    [{ op: 'replace', path: '/toString', value: 1 }, 'conflict', /there is no "toString"$/],
    [{ op: 'add', path: '/a/b/4', value: 1 }, 'conflict', /there is no item "4" in an array of 3$/],
    [{ op: 'add', path: '/a/b/01', value: 1 }, 'conflict', /there is no item "01"/],
    [{ op: 'remove', path: '/a/b/-' }, 'conflict', /there is no item "-"/],
    [{ op: 'add', path: '/a/b/0/c', value: 1 }, 'conflict', /"0" is neither an object nor an array$/],
    [{ op: 'move', from: '/a', path: '/a/b/0' }, 'badFrame', /cannot be moved into itself/],
    [{ op: 'copy', from: '/none', path: '/a/x' }, 'conflict', /there is no "none"/],
    [{ op: 'remove', path: '' }, 'badFrame', /the whole value cannot be removed/],
    [{ op: 'add', path: '/__proto__/x', value: 1 }, 'badFrame', /expected a path without __proto__/],
    [
      { op: 'add', path: '/constructor/prototype/x', value: 1 },
      'badFrame',
      /expected a path without __proto__/,
    ],
    [{ op: 'move', from: '/__proto__', path: '/x' }, 'badFrame', /expected a path without __proto__/],
    [{ op: 'add', path: 'a', value: 1 }, 'badFrame', /expected a JSON pointer, got "a"/],
    [{ op: 'add', path: '/a~2', value: 1 }, 'badFrame', /expected a JSON pointer/],
  ]
  for (const [operation, code, message] of cases) {
    const refused = refusal(() => state.patch('s', [good, operation], at(2)))
    t.match(refused, { code, message, pointer: /^\/1/ }, message.source)
  }
  t.match(
    refusal(() => state.patch('none', [good], at(2))),
    { code: 'notFound' },
  )
  t.match(
    refusal(() => state.merge('s', JSON.parse('{"__proto__":1}'), at(2))),
    { code: 'badFrame' },
  )
  t.equal(state.get('s'), value)
  t.same(value, { a: { b: [1, 2] }, '': 0 })
  t.equal(state.offsetOf('s'), 1)
  t.equal(({} as Record<string, unknown>).x, undefined)
})

t.test('a patch copies what lies on its paths once, and shares the rest', async (t) => {
  const before = { changed: { list: [1], deep: { kept: {} } }, kept: { a: 1 } }
  const after = applyPatch(before, [
    { op: 'add', path: '/changed/list/-', value: 2 },
    { op: 'copy', from: '/changed', path: '/copy' },
    { op: 'replace', path: '/copy/list/0', value: 9 },
    { op: 'move', from: '/kept/a', path: '/a' },
    { op: 'replace', path: '/changed/list/1', value: 8 },
  ]) as unknown as { changed: typeof before.changed; copy: typeof before.changed }
  t.same(after, {
    changed: { list: [1, 8], deep: { kept: {} } },
    copy: { list: [9, 2], deep: { kept: {} } },
    kept: {},
    a: 1,
  })
  t.same(before, { changed: { list: [1], deep: { kept: {} } }, kept: { a: 1 } })
  t.equal(after.changed.deep, before.changed.deep)
  t.equal(after.copy.deep, before.changed.deep)
})

t.test('a merge patch gives what RFC 7386 shows', async (t) => {
  const examples: [JsonValue, JsonValue, JsonValue][] = [
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'b' }, ['c'], ['c']],
    [{ a: 'foo' }, null, null],
    [{ a: 'foo' }, 'bar', 'bar'],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ]
  for (const [value, merge, merged] of examples) t.same(applyMerge(value, merge), merged)
})

t.test('values out of bounds are refused and change nothing', async (t) => {
  const limits = { depthMax: 4, sliceBytesMax: 100, slicesMax: 3, stateBytesMax: 200, patchOperationsMax: 3 }
  const { state } = stateOf({ a: 'x'.repeat(90), b: [[[[]]]] }, limits)
  const deep: JsonValue = [[[[[]]]]]
  const four = Array<PatchOperation>(4).fill({ op: 'test', path: '', value: 1 })
  const refusals: [() => unknown, string, RegExp][] = [
    [() => state.set('a', 'x'.repeat(99), at(3)), 'frameTooLarge', /at most 100 bytes in a slice, got 101$/],
    [() => state.set('b', deep, at(3)), 'badFrame', /nested too deeply/],
    [() => state.set('c', deep, at(3)), 'badFrame', /nested too deeply/],
    [
      () => state.patch('b', [{ op: 'add', path: '/0/0/-', value: [[]] }], at(3)),
      'badFrame',
      /more than 4 levels/,
    ],
    [() => state.merge('b', { a: { b: { c: { d: {} } } } }, at(3)), 'badFrame', /nested too deeply/],
    [() => state.patch('b', four, at(3)), 'badFrame', /at most 3 operations, got 4$/],
    [
      () => state.set('c', 'x'.repeat(98), at(3)) && state.set('b', 'x'.repeat(30), at(4)),
      'conflict',
      /200 bytes/,
    ],
    [() => state.set('d', 1, at(4)), 'conflict', /slicesMax = 3/],
  ]
  for (const [task, code, message] of refusals) t.match(refusal(task), { code, message })
  t.same(state.snapshot(all), { a: 'x'.repeat(90), b: [[[[]]]], c: 'x'.repeat(98) })
  t.equal(state.bytes, 92 + 8 + 100)
})

t.test('a patch that doubles a value over and over is refused before it costs much', async (t) => {
  const { state } = stateOf({ s: { a: 1 } })
  const doubling = Array.from({ length: 60 }, (_, index): PatchOperation => {
    return { op: 'copy', from: '', path: `/k${index}` }
  })
  t.match(
    refusal(() => state.patch('s', doubling, at(2))),
    { code: 'badFrame', message: /copies more than/ },
  )
  t.same(state.get('s'), { a: 1 })
})

t.test(
  'since gives one update with the newest value for each slice that changed, and removals',
  async (t) => {
    const { state } = stateOf({ a: { long, n: 0 }, b: 1, c: 1 })
    for (let offset = 4; offset < 10_004; offset++) state.set('a', { long, n: offset }, at(offset))
    const cause = { type: 'tidied' }
    t.same(updateOf(state.remove('b', { ...at(10_004), cause })), {
      slice: 'b',
      base: 2,
      removed: true,
      cause,
    })
    t.same(state.remove('b', at(10_005)), { kind: 'unchanged', offset: 0 })
    const updates = updatesSince(state, 3)
    t.same(
      updates.map(({ event }) => [event.offset, event.data]),
      [
        [10_003, { slice: 'a', base: 0, value: { long, n: 10_003 } }],
        [10_004, { slice: 'b', base: 0, removed: true, cause }],
      ],
    )
    t.equal(updatesSince(state, 3, (name) => name === 'a')[0], updates[0], 'and makes it once for everyone')
    t.same(updatesSince(state, 10_004), [])
    t.match(updateOf(state.set('b', 2, at(10_005))), { base: 0, value: 2 })
    t.match(updatesSince(state, 10_004), [{ event: { data: { slice: 'b', value: 2 } } }])
  },
)

t.test('a client from before a forgotten removal is told that only a snapshot helps', async (t) => {
  const { state } = stateOf({ a: 1, b: 1 }, { slicesMax: 2 })
  state.remove('a', at(10))
  state.remove('b', at(11))
  state.set('c', 1, at(12))
  state.remove('c', at(13))
  t.equal(state.forgotten, 10)
  t.equal(updatesSince(state, 10).length, 2)
})

t.test('a mirror follows from a snapshot, and notices what it missed', async (t) => {
  const { state } = stateOf({ a: { long, n: 0 } })
  const snapshot = StateMirror.of(state.snapshot(all), 5 as Offset)
  const first = eventOf(state.set('a', { long, n: 1 }, at(6)))
  const applied = snapshot.apply(first)
  if (applied.kind !== 'applied') return t.fail(applied.reason)
  let { mirror } = applied
  t.same(mirror.slices, { a: { long, n: 1 } })
  t.same(snapshot.slices, { a: { long, n: 0 } })
  t.equal(mirror.apply(first).kind, 'applied', 'and takes what comes twice')

  state.set('a', { long, n: 2 }, at(7))
  const third = eventOf(state.set('a', { long, n: 3 }, at(8)))
  t.match(mirror.apply(third), {
    kind: 'mismatch',
    slice: 'a',
    reason: /for the value at 7, .* at 6 is known/,
  })
  t.match(snapshot.apply(third), {
    kind: 'mismatch',
    slice: 'a',
    reason: /for the value at 7, .* at 5 is known/,
  })
  t.match(emptyMirror.apply(third), { kind: 'mismatch', slice: 'a', reason: /not known/ })
  const offset = 9 as Offset
  t.match(mirror.apply({ offset, data: { slice: 'a' } }), { kind: 'mismatch', reason: /not a state.update/ })
  const unfit = { slice: 'a', base: 6, patch: [{ op: 'remove', path: '/none' }] }
  t.match(mirror.apply({ offset, data: unfit }), { kind: 'mismatch', reason: /nothing fits none/ })

  const caughtUp = mirror.apply((updatesSince(state, 6)[0] as Entry).event)
  t.match(caughtUp, { kind: 'applied', mirror: { slices: { a: { long, n: 3 } } } })
  if (caughtUp.kind === 'applied') mirror = caughtUp.mirror
  const without = mirror.apply(eventOf(state.remove('a', at(9))))
  t.same(without.kind === 'applied' && without.mirror.slices, {})
})

t.test('a mirror of a whole session keeps the workers’ slices apart', async (t) => {
  const event = { offset: 3 as Offset, worker: 'lint', data: { slice: 'plan', base: 0, value: 1 } }
  const mirrored = StateMirror.of({ plan: 0 }, 2 as Offset).apply(event, true)
  t.match(mirrored, { kind: 'applied', mirror: { slices: { plan: 0, 'workers/lint/plan': 1 } } })
})

t.test('followPatch obeys RFC 6902, and refuses what does not fit', async (t) => {
  const value: JsonValue = { list: [1, 2], 'a/b': { '~': 1 }, none: null }
  const refused: PatchOperation[] = [
    { op: 'add', path: '/list/3', value: 0 },
    { op: 'add', path: '/list/01', value: 0 },
    { op: 'add', path: '/list/x', value: 0 },
    { op: 'add', path: '/list/-/x', value: 0 },
    { op: 'remove', path: '/list/2' },
    { op: 'remove', path: '/list/-' },
    { op: 'replace', path: '/missing', value: 0 },
    { op: 'remove', path: '/missing' },
    { op: 'add', path: '/missing/deep', value: 0 },
    { op: 'add', path: '/none/deep', value: 0 },
    { op: 'add', path: 'list', value: 0 },
    { op: 'copy', from: '/list/length', path: '/list/0' },
    { op: 'copy', from: '/toString', path: '/list/0' },
    { op: 'test', path: '/list', value: [1, 2, 3] },
    { op: 'test', path: '/list', value: { 0: 1, 1: 2 } },
  ]
  for (const operation of refused) {
    t.throws(() => followPatch(value, [operation]), /nothing fits/, JSON.stringify(operation))
  }
  const before = JSON.stringify(value)
  const after = followPatch(value, [
    { op: 'test', path: '/a~1b', value: { '~': 1 } },
    { op: 'replace', path: '/a~1b/~0', value: 2 },
    { op: 'move', from: '/list/0', path: '/list/1' },
    { op: 'copy', from: '/list', path: '/none' },
    { op: 'add', path: '/__proto__', value: { polluted: true } },
  ])
  t.equal(JSON.stringify(after), '{"list":[2,1],"a/b":{"~":2},"none":[2,1],"__proto__":{"polluted":true}}')
  t.equal(JSON.stringify(value), before)
  t.equal(({} as { polluted?: true }).polluted, undefined)
})

t.test(
  'of a large object that has nothing in common with the one before no more is read than shows it',
  (t) => {
    const named = (prefix: string): Record<string, JsonValue> =>
      Object.fromEntries(Array.from({ length: 20_000 }, (_, n) => [`${prefix}${n}`, n]))
    let listed = 0
    const looked = new Set<string>()
    const before = new Proxy(named('a'), {
      ownKeys(target) {
        listed++
        return Reflect.ownKeys(target)
      },
      getOwnPropertyDescriptor(target, name) {
        looked.add(String(name))
        return Reflect.getOwnPropertyDescriptor(target, name)
      },
    })
    t.equal(compareWithin(before, named('b'), 5_000), undefined)
    t.equal(listed, 0)
    t.ok(looked.size <= 64)
    const { a0: _, ...others } = named('a')
    t.same(compareWithin(before, { ...others, b0: 0 }, 5_000)?.patch, [
      { op: 'remove', path: '/a0' },
      { op: 'add', path: '/b0', value: 0 },
    ])
    t.end()
  },
)
