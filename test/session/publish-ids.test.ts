import t from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { FormerIds } from '../../src/lib/former-ids.js'
import { hashOf } from '../../src/lib/hash.js'
import { Oldest } from '../../src/lib/oldest.js'
import type { Offset } from '../../src/protocol/cursor.js'
import { idBytes, PublishIds } from '../../src/session/publish-ids.js'
import { openStore } from '../../src/store/open.js'

/** Publishes one event with the id `1` to the session and to two workers, and says which were new. */
function publishAll(hub: Hub): number[] {
  return [undefined, 'a', 'b'].map((worker) => hub.publishTo('s', worker, [{ type: 'x', id: '1' }]).accepted)
}

t.test('the id of an event counts within its topic', async (t) => {
  const hub = createHub()
  t.strictSame(publishAll(hub), [1, 1, 1])
  t.strictSame(publishAll(hub), [0, 0, 0])
  t.match(hub.session('s').worker('b').publish({ type: 'x', id: '1' }), { first: 3, last: 3, duplicates: 1 })
  const both = [
    { type: 'x', id: '1' },
    { type: 'x', id: '1' },
  ]
  t.match(hub.publishTo('s', ['a', 'c'], both), { first: 2, last: 4, accepted: 1 }, 'each has its own worker')
  t.equal(
    hub.session('s').publish({ type: 'x', id: 'a/1' }).accepted,
    1,
    'an id that looks like one of a worker',
  )

  hub.endSession('s')
  t.match(
    hub.publishTo('s', 'b', [{ type: 'x', id: '1' }]),
    { first: 3, duplicates: 1 },
    'also after the end',
  )
  t.throws(() => hub.publishTo('s', 'd', [{ type: 'x', id: '1' }]), { code: 'conflict' })
})

t.test('a restart keeps the ids of each topic', async (t) => {
  const directory = t.testdir()
  const run = async () => {
    const hub = createHub({ store: await openStore({ directory }) })
    const accepted = publishAll(hub)
    await hub.committed('s')
    hub.close()
    await hub.closeStore()
    return accepted
  }
  t.strictSame(await run(), [1, 1, 1])
  t.strictSame(await run(), [0, 0, 0])
})

t.test('ids that an earlier version has stored count for all topics of their session', async (t) => {
  const directory = t.testdir()
  const store = await openStore({ directory })
  const record = { session: 's', epoch: 'e', status: 'running', startedAt: 1 } as const
  const last = 1 as Offset
  const events = [{ offset: last, type: 'x', time: 1, id: '1', data: null }]
  await store.commit({
    at: 1,
    sessions: [{ session: 's', record, last, events, ids: [{ id: '1', offset: last }] }],
  })
  await store.close()

  const hub = createHub({ store: await openStore({ directory }) })
  t.teardown(() => hub.closeStore())
  t.strictSame(publishAll(hub), [0, 0, 0])
  t.equal(hub.publishTo('s', 'a', [{ type: 'x', id: '2' }]).accepted, 1)
  t.equal(hub.publishTo('s', 'b', [{ type: 'x', id: '2' }]).accepted, 1)
})

/** Publishes `count` events with ids of their own, a hundred at a time, and says what came of each call. */
function publishRun(hub: Hub, count: number, worker?: string): (number | string)[] {
  const outcomes = new Set<number | string>()
  for (let from = 0; from < count; from += 100) {
    const length = Math.min(100, count - from)
    const events = Array.from({ length }, (_, i) => ({ type: 'x', id: `run-${from + i}` }))
    try {
      const { accepted, duplicates } = hub.publishTo('s', worker, events)
      outcomes.add(accepted === 0 ? 'known' : duplicates === 0 ? 'new' : 'both')
    } catch (error) {
      outcomes.add((error as { code: string }).code)
    }
  }
  return [...outcomes]
}

t.test('a run of ids that is longer than the window is not published twice', async (t) => {
  for (const count of [10_758, 40_000]) {
    const hub = createHub()
    t.strictSame(publishRun(hub, count), ['new'])
    t.strictSame(
      publishRun(hub, count),
      ['conflict', 'known'],
      'what left the window is refused, the rest known',
    )
    t.equal(hub.find('s')?.offset, count)
    t.strictSame(publishRun(hub, 100, 'w'), ['new'], 'ids of a worker are ids of their own')
  }
})

t.test('the oldest key is found, whatever was added, deleted and moved to the end meanwhile', async (t) => {
  const map = new Map<number, string>()
  const oldest = new Oldest(map)
  let number = 0
  for (let round = 0; round < 3; round++) {
    for (; number < (round + 1) * 1_000; number++) {
      map.set(number, 'new')
      if (number % 7 === 0) map.delete(number - 3)
      if (number % 11 === 0 && map.delete(number - 5)) map.set(number - 5, 'moved')
      if (map.size <= 100) continue
      const [expected] = map.keys()
      const found = oldest.next()
      if (found !== expected) t.equal(found, expected)
      map.delete(found as number)
    }
    t.equal(map.size, 100)
    while (map.size > 0) {
      const [expected] = map.keys()
      if (oldest.next() !== expected) t.fail(`expected ${expected}`)
      map.delete(expected as number)
    }
    t.equal(oldest.next(), undefined, 'an empty map has none; then it is filled again')
  }
})

t.test('a list that repeats what it would push out of the window is published once', async (t) => {
  const hub = createHub({ limits: { publishIdsMax: 3 } })
  const publish = (...ids: string[]) =>
    hub.publishTo(
      's',
      undefined,
      ids.map((id) => ({ type: 'x', id })),
    )
  publish('a', 'b', 'c')
  t.match(publish('d', 'e', 'f', 'a', 'b'), { first: 4, last: 6, accepted: 3, duplicates: 2 })
  t.match(publish('e'), { first: 5, duplicates: 1 })
  t.throws(() => publish('g', 'a'), { code: 'conflict', message: /^events\[1\]\.id: "a"/ })
  t.match(publish('g'), { first: 7, accepted: 1 }, 'nothing of what was refused is published')
})

t.test('a restart keeps what has left the window', async (t) => {
  const directory = t.testdir()
  const run = async (repeats: boolean) => {
    const hub = createHub({ store: await openStore({ directory }), limits: { publishIdsMax: 200 } })
    const outcomes = publishRun(hub, 5_000)
    await hub.committed('s')
    hub.close()
    await hub.closeStore()
    t.strictSame(outcomes, repeats ? ['conflict', 'known'] : ['new'])
  }
  await run(false)
  await run(true)
  await run(true)
})

t.test('of the ids that have left the window, a bounded number is remembered', async (t) => {
  const former = new FormerIds()
  for (let i = 0; i < 128_100; i++) former.add(`/run-${i}`)
  const restored = new FormerIds()
  restored.restore(former.stored())
  for (const each of [former, restored]) {
    for (let i = 128_100; i < 256_100; i++) each.add(`/run-${i}`)
    const found = [...Array(256_100).keys()].filter((i) => each.has(`/run-${i}`))
    t.strictSame(found.slice(0, 100), [...Array(100).keys()], 'the first ones are all known')
    t.strictSame(
      found.slice(100),
      Array.from({ length: 2_000 }, (_, i) => 100 + i * 128),
      'of the others every 128th is',
    )
    t.notOk([...Array(256_100).keys()].some((i) => each.has(`/other-${i}`)))
  }
  t.strictSame(restored.stored(), former.stored())
  t.ok(former.stored().every((hash) => hash >= 0 && hash < 2 ** 53))
})

t.test('the hash of an id is the same for ever: it is stored', async (t) => {
  t.strictSame(
    ['', 'a', '/run-1', 'w/run-1', '\u{1f600}'].map(hashOf),
    [
      2_158_405_409_489_448, 8_737_434_411_838_239, 3_562_778_758_513_018, 7_839_994_503_801_701,
      83_781_428_093_603,
    ],
  )
})

t.test('ids weigh what their names take, each once, until they have left the window', async (t) => {
  let weighed = 0
  const ids = new PublishIds(2, {
    add: (bytes) => {
      weighed += bytes
    },
  })
  const add = (...names: string[]) => {
    for (const id of names) ids.add({ id, worker: 'w', offset: 1 as Offset })
    return ids.shrink()
  }
  t.equal(ids.shrink(), false)
  t.equal(add('a', 'a'), false)
  t.equal(weighed, 'w/a'.length + idBytes)
  t.equal(add('bc'), false)
  t.equal(weighed, 'w/aw/bc'.length + 2 * idBytes)
  t.equal(ids.hasFormer, false)
  t.equal(add('d'), true)
  t.equal(weighed, 'w/bcw/d'.length + 2 * idBytes + 48, 'a hash of the one that has left')
  t.equal(ids.hasLeft('a', 'w'), true)
  t.equal(ids.hasLeft('bc', 'w'), false)
  const restored = new PublishIds(2, {
    add: (bytes) => {
      weighed -= bytes
    },
  })
  restored.restore(
    ['bc', 'd'].map((id) => ({ id, worker: 'w', offset: 1 as Offset })),
    ids.former,
  )
  t.equal(weighed, 0, 'as much after a restart')
  t.equal(restored.hasLeft('a', 'w'), true)
})
