import t from 'tap'
import type { JsonObject, JsonValue } from '../../src/lib/json.js'
import { Weight } from '../../src/lib/weight.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { PatchOperation, StateUpdate } from '../../src/protocol/frames.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { applyMerge, applyPatch, type PatchBounds, unbounded } from '../../src/state/apply.js'
import { compare } from '../../src/state/compare.js'
import { findEdits } from '../../src/state/edits.js'
import { followPatch } from '../../src/state/follow-patch.js'
import { StateRoom } from '../../src/state/room.js'
import { type Change, noCounts, TopicState } from '../../src/state/topic-state.js'

const at = (offset: number) => ({ offset: offset as Offset, time: 1_000 + offset })

const apply = (value: JsonValue, patch: readonly object[], bounds: Partial<PatchBounds> = {}): JsonValue =>
  applyPatch(value, patch as PatchOperation[], { ...unbounded, ...bounds })

t.test('an operation that cannot be applied is refused with its place and what was expected', async (t) => {
  const faults: readonly [patch: readonly object[], code: string, message: RegExp, pointer?: string][] = [
    [
      [{ op: 'set', path: '/a', value: 1 }],
      'badFrame',
      /expected one of add, remove, replace, move, copy, test/,
    ],
    [[{ op: 'add', path: '/a' }], 'badFrame', /expected a value/],
    [[{ op: 'add', path: '/a/b/c/d/e', value: 1 }], 'badFrame', /expected a path of at most 4 names/],
    [[{ op: 'add', path: '/a/b', value: [[[1]]] }], 'badFrame', /nested more than 4 levels deep/],
    [[{ op: 'test', path: '/a', value: 2 }], 'conflict', /the value is another/],
    [[{ op: 'replace', path: '/list/3', value: 2 }], 'conflict', /there is no item "3" in an array of 2/],
    [[{ op: 'replace', path: '/list/01', value: 2 }], 'conflict', /there is no item "01" in an array of 2/],
    [[{ op: 'add', path: '/text/x', value: 2 }], 'conflict', /"text" is neither an object nor an array/],
    [
      [
        { op: 'test', path: '/text', value: 'x' },
        { op: 'remove', path: '/none' },
      ],
      'conflict',
      /patch\[1\]|none/,
    ],
  ]
  const value = { a: { b: 1 }, list: [1, 2], text: 'x' }
  for (const [patch, code, message] of faults)
    t.throws(() => apply(value, patch, { depthMax: 4 }), { code, message }, JSON.stringify(patch))
  t.same(value, { a: { b: 1 }, list: [1, 2], text: 'x' }, 'and nothing has changed')
  t.same(apply(value, [{ op: 'add', path: '/a/b', value: [[1]] }], { depthMax: 4 }), {
    ...value,
    a: { b: [[1]] },
  })
  t.same(apply({ a: { b: { c: {} } } }, [{ op: 'add', path: '/a/b/c/d', value: 1 }], { depthMax: 4 }), {
    a: { b: { c: { d: 1 } } },
  })
})

t.test('a patch has a bounded number of operations, and of work', async (t) => {
  const add = { op: 'add', path: '/-', value: 1 }
  t.same(apply([], [add, add], { patchOperationsMax: 2 }), [1, 1])
  t.throws(() => apply([], [add, add, add], { patchOperationsMax: 2 }), {
    code: 'badFrame',
    message: 'patch: expected at most 2 operations, got 3',
  })
  // Without `copy`, what lies on a path is copied once, and costs nothing.
  const names = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`n${n}`, n]))
  const change = { op: 'replace', path: '/o/n1', value: 2 }
  const copy = { op: 'copy', from: '/o', path: '/p' }
  const all = { o: names, l: Array.from({ length: 100 }, (_, n) => n) }
  t.ok(apply(all, [change, change], { patchWorkMax: 1 }))
  const work = (patch: readonly object[]): number => {
    let [low, high] = [0, 1e9]
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      try {
        apply(all, patch, { patchWorkMax: middle })
        high = middle
      } catch {
        low = middle + 1
      }
    }
    return low
  }
  const copyText = { op: 'copy', from: '/o/n0', path: '/t' }
  t.equal(work([copyText, change, copyText, change]), 0, 'a copied text costs no work')
  const once = work([copy])
  t.equal(once, 1_024 * (100 + 2), 'a copy costs by its members, and those that are copied afterwards')
  t.equal(work([change, copy, change]), 1_024 * (100 + 100), 'what was copied before it costs nothing')
  const copyList = { op: 'copy', from: '/l', path: '/m' }
  const changeList = { op: 'replace', path: '/l/1', value: 2 }
  t.equal(work([copyList, changeList]) - work([copyList]), 8 * 100, 'or item')
  const deeper = [
    { op: 'move', from: '/o', path: '/l/0' },
    { op: 'move', from: '/l/0', path: '/o' },
  ]
  const shifted = 100 + 101
  t.equal(work([...deeper, ...deeper]) - work(deeper), shifted, 'a value that moves deeper is looked at once')
  t.equal(work([{ op: 'move', from: '/o', path: '/p' }]), 0, 'and not at all if it goes no deeper')
})

t.test('what the copies of a patch copy is bounded, however often it is in the value', async (t) => {
  const value = { text: 'x'.repeat(98), list: [[1], { a: null }], flag: true }
  const copies = (from: string, max: number) =>
    apply(value, [{ op: 'copy', from, path: '/to' }], { patchCopiedBytesMax: max })
  t.same((copies('/text', 100) as JsonObject)['to'], value.text)
  t.throws(() => copies('/text', 99), { code: 'badFrame', message: /copies more than 99 bytes/ })
  t.ok(copies('/flag', 8))
  // The text of a value that contains itself sixty times over would have 2 to the power of 60 characters.
  const doubling = Array.from({ length: 60 }, (_, n) => ({ op: 'copy', from: '', path: `/d${n}` }))
  t.throws(() => apply(value, doubling, { patchCopiedBytesMax: 1_000_000 }), {
    code: 'badFrame',
    message: /operation \d+ \(copy "\/d\d+"\): the patch copies more/,
  })
  const shared = apply(value, [
    { op: 'replace', path: '/list/0/0', value: 2 },
    { op: 'copy', from: '/list', path: '/copy' },
    { op: 'replace', path: '/list/0/0', value: 3 },
    { op: 'add', path: '/copy/0/-', value: 4 },
    { op: 'copy', from: '/copy/0', path: '/again' },
    { op: 'remove', path: '/copy/0/0' },
  ])
  t.same(shared, {
    ...value,
    list: [[3], { a: null }],
    copy: [[4], { a: null }],
    again: [2, 4],
  })
})

t.test('a client refuses a patch that does not fit, and never reads what is inherited', async (t) => {
  const follow = (value: JsonValue, ...patch: object[]) => followPatch(value, patch as PatchOperation[])
  const values: JsonValue[] = [null, 'text', 5, true, { a: null }, { a: [1] }, [1]]
  for (const value of values) {
    for (const path of ['/a/b', '/toString', '/length', '/x', '/00', '/1e0']) {
      t.throws(() => follow(value, { op: 'test', path, value: 1 }), Error, `${JSON.stringify(value)} ${path}`)
      t.throws(() => follow(value, { op: 'copy', from: path, path: '/c' }), Error)
    }
  }
  t.same(follow({ a: [1] }, { op: 'copy', from: '/a/0', path: '/c' }), { a: [1], c: 1 })
  t.same(follow([1], { op: 'test', path: '/0', value: 1 }), [1])
  t.same(follow({ '~/': 1 }, { op: 'replace', path: '/~0~1', value: 2 }), { '~/': 2 })
})

function stateOf() {
  const weight = new Weight()
  const counts = noCounts()
  const state = new TopicState(defaultLimits, counts, undefined, new StateRoom(weight))
  return { state, counts, weight }
}

const updateOf = (change: Change): StateUpdate => {
  if (change.kind !== 'changed') throw new Error('expected a change')
  return change.entry.event.data as StateUpdate
}

const picture = ({ state, weight }: Pick<ReturnType<typeof stateOf>, 'state' | 'weight'>) => ({
  slices: state.snapshot(() => true),
  offset: state.offset,
  bytes: state.bytes,
  weight: weight.bytes,
  size: state.size,
  removed: state.changedAt('gone'),
})

t.test('a draft of a change leaves everything as it was, and gives the update', async (t) => {
  const made = stateOf()
  const { state } = made
  state.set('plan', { a: 1 }, at(1))
  state.set('gone', 1, at(2))
  state.remove('gone', at(3))
  const before = picture(made)
  const drafts: readonly [slice: string, make: (state: TopicState) => Change, update: object][] = [
    ['plan', (state) => state.set('plan', { a: 1, b: [1, 2, 3] }, at(9)), { slice: 'plan', base: 1 }],
    ['plan', (state) => state.remove('plan', at(9)), { slice: 'plan', base: 1, removed: true }],
    ['new', (state) => state.set('new', 'x'.repeat(1_000), at(9)), { slice: 'new', base: 0 }],
    ['gone', (state) => state.set('gone', 5, at(9)), { slice: 'gone', base: 0, value: 5 }],
  ]
  for (const [slice, make, update] of drafts) {
    t.match(updateOf(state.draft(slice, make)), update)
    t.same(picture(made), before, `${slice} ${JSON.stringify(update)}`)
  }
  const wrong = new Error('no')
  const failing = () => {
    state.set('new', 1, at(9))
    throw wrong
  }
  t.throws(() => state.draft('new', failing), wrong)
  t.same(picture(made), before)
})

t.test(
  'a drafted change is followed on its base only, and comes to the same state as making it',
  async (t) => {
    const [first, second] = [stateOf(), stateOf()]
    const changes: ((state: TopicState, moment: ReturnType<typeof at>) => Change)[] = [
      (state, moment) => state.set('plan', { steps: [1, 2, 3], title: 'x'.repeat(100) }, moment),
      (state, moment) => state.set('plan', { steps: [1, 2, 3, 4], title: 'x'.repeat(100) }, moment),
      (state, moment) => state.set('note', null, moment),
      (state, moment) => state.remove('note', moment),
      (state, moment) => state.set('note', 5, moment),
      (state, moment) => state.remove('plan', moment),
    ]
    for (const [index, make] of changes.entries()) {
      const moment = at(index + 1)
      const made = make(first.state, moment)
      const update = updateOf(made)
      t.equal(second.state.follow({ ...update, base: 77 as Offset }, moment), undefined, 'of another base')
      const followed = second.state.follow(update, moment)
      t.same(followed?.event.data, update)
      t.equal(followed?.offset, moment.offset)
      if (made.kind === 'changed' && !('removed' in update)) t.equal(followed?.bytes, made.entry.bytes)
      t.same(picture(second), picture(first), JSON.stringify(update).slice(0, 80))
      t.same(second.state.changedAt('note'), first.state.changedAt('note'))
    }
  },
)

t.test('a change of kind is said as the value, and counted as such', async (t) => {
  const long = 'x'.repeat(200)
  const kinds: JsonValue[] = [null, long, 5, true, [long, 1], { a: long, b: 1 }]
  for (const before of kinds) {
    for (const after of kinds) {
      if (before === after) continue
      const { state, counts } = stateOf()
      state.set('slice', before, at(1))
      t.ok(
        'value' in updateOf(state.set('slice', after, at(2))),
        JSON.stringify([before, after]).slice(0, 60),
      )
      t.equal(counts.patches, 0)
    }
  }
  const { state, counts } = stateOf()
  state.set('slice', { a: long, b: 1 }, at(1))
  t.ok('patch' in updateOf(state.set('slice', { a: long, b: 2 }, at(2))))
  t.ok('patch' in updateOf(state.set('slice', { a: long, b: 2, c: 1 }, at(3))))
  t.same([counts.patches, counts.comparisons], [2, 3])
})

t.test('what two values share is not looked at', async (t) => {
  const shared = new Proxy<Record<string, JsonValue>>(
    { a: 1 },
    {
      ownKeys() {
        throw new Error('looked at')
      },
    },
  )
  t.same(compare(shared, shared).patch, [])
  t.same(compare({ shared, n: 1 }, { shared, n: 2 }).patch, [{ op: 'replace', path: '/n', value: 2 }])
  t.same(compare([shared, 1], [shared, 2]).patch, [{ op: 'replace', path: '/1', value: 2 }])
  const swapped = compare([1, shared, shared, 2], [2, shared, shared, 1])
  t.same(swapped.patch, [
    { op: 'replace', path: '/0', value: 2 },
    { op: 'replace', path: '/3', value: 1 },
  ])
})

t.test('an item before a long list is one operation, and so is one behind it', async (t) => {
  const items = Array.from({ length: 20_001 }, (_, n) => n)
  t.same(compare(items, [-1, ...items]).patch, [{ op: 'add', path: '/0', value: -1 }])
  t.same(compare([-1, ...items], items).patch, [{ op: 'remove', path: '/0' }])
  t.same(compare(items, [...items, -1]).patch, [{ op: 'add', path: '/20001', value: -1 }])
})

t.test('adjacent edits are one hunk', async (t) => {
  t.same(findEdits([1, 2, 3], [4, 5, 3], 10), [{ before: 0, after: 0, removed: 2, inserted: 2 }])
  t.same(findEdits([1, 2, 3, 4], [2, 3, 5], 10), [
    { before: 0, after: 0, removed: 1, inserted: 0 },
    { before: 3, after: 2, removed: 1, inserted: 1 },
  ])
  t.same(findEdits([1], [1], 0), [])
  t.equal(findEdits([1, 2], [3, 4], 3), undefined, 'four edits are too many')
})

t.test('what is moved to its own place stays, and no merge names a prototype', async (t) => {
  for (const path of ['', '/a']) t.same(apply({ a: 1 }, [{ op: 'move', from: path, path }]), { a: 1 }, path)
  const merge = JSON.parse('{"a/b":{"c~":{"__proto__":{"b":1}}}}') as JsonValue
  t.throws(() => applyMerge({ a: {} }, merge), {
    code: 'badFrame',
    message: /no field __proto__/,
    place: { pointer: '/a~1b/c~0/__proto__' },
  })
  t.throws(
    () => followPatch({}, [{ op: 'test', path: '/missing/deep', value: 1 }]),
    /^nothing fits missing\/deep$/,
  )
})

t.test('a patch may replace the whole, and move a value within its parent', async (t) => {
  t.same(apply({ a: 1 }, [{ op: 'add', path: '', value: { b: 2 } }]), { b: 2 })
  t.same(apply({ a: 1 }, [{ op: 'replace', path: '', value: 'whole' }]), 'whole')
  t.same(followPatch({ a: 1 }, [{ op: 'add', path: '', value: { b: 2 } }]), { b: 2 })
  t.same(followPatch({ a: 1 }, [{ op: 'replace', path: '', value: 'whole' }]), 'whole')
  const sibling = [{ op: 'move', from: '/a/b', path: '/a/c/d' }]
  t.same(apply({ a: { b: 1, c: {} } }, sibling), { a: { c: { d: 1 } } })
  for (const path of ['/a/b/c', '/a/b/c/d']) {
    t.throws(
      () => apply({ a: { b: { c: {} } } }, [{ op: 'move', from: '/a/b', path }]),
      { code: 'badFrame', message: /cannot be moved into itself/ },
      path,
    )
  }
  t.throws(() => apply(5, [{ op: 'add', path: '/a', value: 1 }]), {
    code: 'conflict',
    message: /the value is neither an object nor an array/,
  })
})

t.test('what has changed since an offset is in order, and only what is asked for', async (t) => {
  const { state } = stateOf()
  for (const [index, name] of ['early', 'late', 'kept', 'other'].entries())
    state.set(name, index, at(index + 1))
  state.remove('early', at(5))
  state.remove('late', at(6))
  state.set('kept', 'new', at(7))
  state.remove('other', at(8))
  const since = (offset: number, ...names: string[]) =>
    state.since(offset as Offset, (name) => names.includes(name)).map((entry) => entry.offset)
  t.same(since(4, 'early', 'late', 'kept', 'other'), [5, 6, 7, 8])
  t.same(since(5, 'early', 'late', 'kept'), [6, 7], 'not what was removed before')
  t.same(since(4, 'late', 'kept'), [6, 7], 'not what is not asked for')
})

t.test('a change asks for room for what it adds, and one that adds nothing does not ask', async (t) => {
  const asked: [held: number, more: number][] = []
  const room = new StateRoom(new Weight(), (held, more) => void asked.push([held, more]))
  const state = new TopicState(defaultLimits, noCounts(), undefined, room)
  state.set('a', 'x'.repeat(98), at(1))
  state.set('b', 'x'.repeat(48), at(2))
  state.set('a', 'x'.repeat(8), at(3))
  state.set('a', 'x'.repeat(18), at(4))
  t.same(asked, [
    [0, 100],
    [100, 50],
    [60, 10],
  ])
})

t.test('replacing payloads of causes leaves the others as they are', async (t) => {
  const { state } = stateOf()
  const causes = [
    { type: 'click', payload: 'a secret' },
    { type: 'click', payload: 'nothing' },
    { type: 'click' },
  ]
  for (const [index, cause] of causes.entries()) state.set(`s${index}`, index, { ...at(index + 1), cause })
  const before = state.since(0 as Offset, () => true)
  state.replaceCauses((value) => (value === 'a secret' ? ('masked' as typeof value) : value))
  const after = state.since(0 as Offset, () => true)
  t.same(
    after.map(({ event }) => (event.data as StateUpdate).cause),
    [{ type: 'click', payload: 'masked' }, ...causes.slice(1)],
  )
  t.same(
    after.map((entry, index) => entry === before[index]),
    [false, true, true],
    'and their encoded forms are kept',
  )
})

t.test('a released topic weighs nothing any more, and gives what has to be stored of it', async (t) => {
  const { state, weight } = stateOf()
  state.set('plan', 'x'.repeat(100), at(1))
  state.set('$commands', [], at(2))
  t.ok(weight.bytes > 100)
  t.same([...state.kept()], [['plan', 'x'.repeat(100), 1]], 'not the slices of the hub')
  state.release()
  t.equal(weight.bytes, 0)
  state.set('plan', 'x'.repeat(200), at(3))
  t.equal(weight.bytes, 0)
})
