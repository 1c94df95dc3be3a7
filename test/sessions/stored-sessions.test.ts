import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import type { HubEvent } from '../../src/protocol/frames.js'
import { listedMax, StoredSessions } from '../../src/sessions/lists/stored-sessions.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { memoryStore } from '../../src/store/memory.js'
import { SimulatedClock } from '../kit/clock.js'
import { aDirectory, aHub, dataOf, historyOf, notes, publishAll, range, take } from './committing-kit.js'

t.test('idle sessions leave memory and come back when they are asked for', async (t) => {
  const store = openLmdb({ directory: aDirectory(t) })
  const hub = aHub(t, { store, limits: { idleSessionsMax: 10 } })
  const followed = take(hub, 'sessions/s0', 3, { replay: false })
  for (let session = 0; session < 200; session++) {
    hub.session(`s${session}`).publish(notes(1, 2, { key: 'k' }))
    hub.session(`s${session}`).publish({ type: 'note', data: 3, id: 'three' })
    if (session % 2 === 1) hub.endSession(`s${session}`, { ok: true })
    await hub.committed(`s${session}`)
  }
  t.ok(hub.stats().sessions <= 12, `${hub.stats().sessions} sessions are in memory`)
  t.equal(store.size().sessions, 200)
  t.strictSame(dataOf((await followed).events), [1, 2, 3])
  t.match(hub.session('s4').publish({ type: 'note', data: 3, id: 'three' }), { duplicates: 1, first: 3 })
  t.equal(hub.session('s4').publish(notes(4, 1)).first, 4)
  t.throws(() => hub.session('s5').publish(notes(4, 1)), { code: 'conflict' })
  t.match(hub.find('s7'), { status: 'ended', outcome: { ok: true }, offset: 4 })
  const ended: HubEvent[] = []
  for await (const event of hub.subscribe('sessions/s7', { replay: 'all' })) ended.push(event)
  t.strictSame(
    ended.map((event) => event.type),
    ['note', 'note', 'note', 'complete'],
  )
  await hub.committed('s4')
  t.strictSame(dataOf(await historyOf(hub, 'sessions/s4', 2)), [1, 2, 3, 4])
})

t.test('a session that is removed is gone from the store', async (t) => {
  const store = openLmdb({ directory: aDirectory(t) })
  const hub = aHub(t, { store })
  await publishAll(hub, 's', notes(1, 10))
  const epoch = hub.find('s')?.epoch
  const removal = hub.removeSession('s')
  t.equal(hub.find('s'), undefined)
  hub.session('s').publish(notes(1, 2))
  await removal
  await hub.committed('s')
  t.not(hub.find('s')?.epoch, epoch)
  t.match(await store.load('s'), { stored: 2, events: 2 })
})

t.test(
  'retention removes ended sessions from the store and from memory, and tells who follows',
  async (t) => {
    const store = memoryStore()
    const clock = new SimulatedClock()
    const hub = aHub(t, { store, clock, retention: { ageMs: 1_000 } })
    hub.session('old').publish(notes(1, 1))
    hub.session('live').publish(notes(1, 1))
    hub.endSession('old')
    const reader = hub.subscribe('sessions/live', { replay: false })
    clock.runTurn()
    await hub.committed('old')
    t.equal(store.size().sessions, 2)
    clock.advance(60_001)
    while (hub.find('old') !== undefined) await new Promise((resolve) => setImmediate(resolve))
    t.equal(hub.find('old'), undefined)
    t.equal(hub.find('live')?.offset, 1)
    reader.close()
  },
)

t.test('where memory is short, sessions that the store has whole leave it and come back', async (t) => {
  const hub = aHub(t, { store: memoryStore(), limits: { memoryBytesMax: 20_000 } })
  const follower = hub.subscribe('sessions/followed')
  t.teardown(() => follower.close())
  for (const id of ['followed', 'first', 'second', 'third', 'fourth']) {
    await publishAll(hub, id, notes(1, 100))
    t.ok(hub.stats().memoryBytes < 30_000, `${hub.stats().memoryBytes} bytes are held`)
  }
  t.ok(hub.stats().sessions < 5)
  t.ok(
    hub.sessions().some(({ id }) => id === 'followed'),
    'one that is followed stays',
  )
  for (const id of ['first', 'second', 'third', 'fourth', 'followed']) {
    t.same(dataOf(await historyOf(hub, `sessions/${id}`, 1_000)), range(1, 100), id)
  }
})

t.test('where memory is short and no store has them, history is evicted and readers are told', async (t) => {
  const hub = aHub(t, { limits: { memoryBytesMax: 20_000 } })
  const gaps: unknown[] = []
  for (const id of ['a', 'b', 'c', 'd']) hub.publish(`sessions/${id}`, notes(1, 100))
  hub.publish('sessions/d', notes(101, 1))
  t.ok(hub.stats().memoryBytes < 20_000)
  t.equal(hub.stats().sessions, 4, 'none of them has ended')
  const { epoch } = hub.find('a') ?? {}
  const late = hub.subscribe('sessions/a', { after: `${epoch}:0`, onGap: (gap) => gaps.push(gap) })
  t.teardown(() => late.close())
  t.match(gaps, [{ reason: 'evicted', after: 0, offset: Number }], 'each has lost a part')
  for (let slice = 0; ; slice += 1) {
    try {
      hub.setState('sessions/a', `s${slice}`, 'x'.repeat(1_000))
    } catch (error) {
      t.match(error, { code: 'unavailable', message: /the state of all sessions takes 10000 bytes/ })
      break
    }
  }
  await hub.removeSession('a')
  hub.publish('sessions/b', notes(1, 1))
})

t.test('a worker that only repeats what was published leaves nothing behind', async (t) => {
  const hub = aHub(t, { limits: { workersMax: 1 } })
  hub.publish('sessions/s/workers/a', [{ type: 'note', id: 'once' }])
  const { duplicates } = hub.publish('sessions/s/workers/a', [{ type: 'note', id: 'once' }])
  t.equal(duplicates, 1)
  hub.publish('sessions/s', [])
  // There is room for one that is followed and has not begun.
  hub.subscribe('sessions/s/workers/d').close()
})

t.test('the list of sessions is followed with a store, and not kept in it', async (t) => {
  const store = memoryStore()
  const hub = aHub(t, { store })
  const list = hub.subscribe('hub', { slices: ['*'] })
  t.teardown(() => list.close())
  for (const id of ['a', 'b']) {
    await publishAll(hub, id, notes(1, 1))
    t.match(await list.next(), { value: { type: 'state.update', data: { slice: 'sessions' } } })
  }
  await publishAll(hub, 'b', notes(2, 1))
  t.equal(hub.fault, undefined)
  const { sessions } = await store.sessions('', 10)
  t.same(
    sessions.map(({ record }) => record.session),
    ['a', 'b'],
  )
})

t.test('the list of sessions has those that only the store has', async (t) => {
  const directory = aDirectory(t)
  const before = createHub({ store: openLmdb({ directory }) })
  for (const id of ['done', 'runs']) await publishAll(before, id, notes(1, 1))
  before.endSession('done')
  await before.closeStore()
  const hub = aHub(t, { store: openLmdb({ directory }), limits: { idleSessionsMax: 1 } })
  const list = hub.subscribe('hub', { slices: ['*'] })
  t.teardown(() => list.close())
  const listed = () =>
    Object.entries(hub.state('hub').slices['sessions'] as Record<string, { status: string }>)
  const statuses = () => listed().map(([id, { status }]) => `${id} ${status}`)
  while (listed().length < 2) await list.next()
  t.same(statuses().toSorted(), ['done ended', 'runs running'])
  t.equal(hub.stats().sessions, 0, 'none of them is in memory for it')
  hub.find('runs')
  t.match(hub.state('hub').slices, { sessions: { runs: { status: 'running', workers: 0 } } })
  hub.find('done')
  t.equal(hub.stats().sessions, 1, 'one has left memory for the other')
  t.same(statuses().toSorted(), ['done ended', 'runs running'], 'and is still listed')
  await hub.removeSession('runs')
  t.same(statuses(), ['done ended'])
})

t.test('a session that retention takes from the store alone leaves the list', async (t) => {
  const clock = new SimulatedClock()
  const store = memoryStore()
  const hub = aHub(t, { store, clock, retention: { ageMs: 1_000 }, limits: { idleSessionsMax: 1 } })
  for (const id of ['first', 'second']) {
    hub.session(id).publish(notes(1, 1))
    hub.endSession(id)
    clock.runTurn()
    await hub.committed(id)
  }
  t.equal(hub.stats().sessions, 1)
  const listed = () => Object.keys(hub.state('hub').slices['sessions'] as object)
  t.same(listed().toSorted(), ['first', 'second'])
  clock.advance(60_001)
  while (listed().length > 0) await new Promise((resolve) => setImmediate(resolve))
  t.equal(store.size().sessions, 0)
})

t.test('the list of sessions keeps those that a person looks at first', (t) => {
  const clock = new SimulatedClock()
  const stored = new StoredSessions(clock)
  for (let place = 0; place < 2 * listedMax; place++) {
    const running = place % 4 === 0
    stored.add(`s${place}`, {
      status: running ? 'running' : 'ended',
      startedAt: place,
      ...(!running && { endedAt: place }),
    })
  }
  const kept = stored.entries(undefined)
  t.equal(kept.length, listedMax)
  t.equal(kept.filter(([, about]) => about['status'] === 'running').length, listedMax / 2, 'all that run')
  t.ok(
    kept.every(([, about]) => about['status'] === 'running' || Number(about['endedAt']) > listedMax),
    'and those that ended last',
  )
  t.end()
})
