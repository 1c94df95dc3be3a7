import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { memoryStore } from '../../src/store/memory.js'
import { StoreError } from '../../src/store/store.js'
import { FaultyStore } from '../kit/faulty-store.js'
import { until } from '../kit/wait.js'
import { aDirectory, aHub, dataOf, historyOf, notes, publishAll, range, take } from './committing-kit.js'

t.test('a store that cannot load a session at once is refused', async (t) => {
  const store = new Proxy(memoryStore(), {
    get: (of, name) => (name === 'now' ? undefined : Reflect.get(of, name)),
  })
  t.throws(() => createHub({ store }), { message: /Store\.now/ })
})

t.test('an acknowledgement waits for the commit, delivery does not', async (t) => {
  const store = new FaultyStore(memoryStore())
  const hub = aHub(t, { store })
  store.hold()
  const got = take(hub, 'sessions/s', 3)
  hub.session('s').publish(notes(1, 3))
  let acknowledged = false
  const committed = hub.committed('s').then(() => {
    acknowledged = true
  })
  t.strictSame(dataOf((await got).events), [1, 2, 3])
  t.notOk(acknowledged)
  store.release()
  await committed
  t.equal((await store.load('s'))?.stored, 3)
})

t.test('what is published while a commit is under way goes into one commit after it', async (t) => {
  const store = new FaultyStore(memoryStore())
  const hub = aHub(t, { store })
  store.hold()
  hub.session('s').publish(notes(1, 1))
  await until('the first is under way', () => store.commits === 1)
  for (let turn = 0; turn < 20; turn++) {
    hub.session(`s${turn}`).publish(notes(1, 1))
    hub.session('s').publish(notes(2 + turn, 1))
    await new Promise((resolve) => setImmediate(resolve))
  }
  store.release()
  await hub.committed('s')
  t.equal(store.commits, 2)
  t.equal((await store.load('s'))?.stored, 21)
  t.equal(store.size().sessions, 21)
})

t.test('a failing store refuses publishing with its reason, serves what it has, and recovers', async (t) => {
  const store = new FaultyStore(memoryStore())
  const hub = aHub(t, { store })
  await publishAll(hub, 's', notes(1, 3))
  const live = take(hub, 'sessions/s', 3, { replay: false })
  store.fail('full')
  hub.session('s').publish(notes(4, 1, { id: 'four' }))
  const refusal = { code: 'unavailable', message: /no room/ }
  await t.rejects(hub.committed('s'), refusal)
  t.match(hub.fault, /no room/)
  t.throws(() => hub.session('s').publish(notes(5, 1)), refusal)
  t.throws(() => hub.session('new').publish(notes(1, 1)), refusal)
  t.equal(hub.find('new'), undefined, 'what is refused begins nothing')
  t.throws(() => hub.endSession('s'), refusal)
  t.strictSame(dataOf(hub.history('sessions/s').events), [1, 2, 3, 4])
  t.match(hub.stats().store, { failing: true, waitingSessions: 1, kept: { events: 3 } })
  t.ok(hub.stats().store.failures > 0 && hub.stats().store.waitingBytes > 0)
  store.heal()
  while (hub.fault !== undefined) await new Promise((resolve) => setImmediate(resolve))
  const { commitMs, ...now } = hub.stats().store
  t.match(now, { failing: false, waitingSessions: 0, waitingBytes: 0, kept: { sessions: 1, events: 4 } })
  t.equal(
    commitMs.counts.reduce((sum, count) => sum + count, 0),
    store.commits,
    'each commit was timed',
  )
  const again = hub.session('s').publish(notes(4, 1, { id: 'four' }))
  t.match(again, { accepted: 0, duplicates: 1, first: 4 }, 'what had been taken is not taken again')
  hub.session('s').publish(notes(5, 2))
  await hub.committed('s')
  t.strictSame(dataOf((await live).events), [4, 5, 6])
  t.strictSame(dataOf((await store.read('s', 0 as never)).events), [1, 2, 3, 4, 5, 6])
})

t.test('publishing is refused while too much waits for the store', async (t) => {
  const store = new FaultyStore(memoryStore())
  const hub = aHub(t, { store, limits: { uncommittedBytesMax: 10_000 } })
  store.hold()
  const text = 'x'.repeat(6_000)
  hub.session('s').publish({ type: 'note', data: text })
  hub.session('s').publish({ type: 'note', data: text })
  t.throws(() => hub.session('s').publish({ type: 'note', data: text }), { code: 'unavailable' })
  store.release()
  await hub.committed('s')
  hub.session('s').publish({ type: 'note', data: text })
  const { limits } = aHub(t, { limits: { unkeptBytesMax: 20_000 } })
  t.equal(limits.uncommittedBytesMax, 20_000, 'the limit is known by its former name, too')
})

t.test('a session goes on after a restart', async (t) => {
  const directory = aDirectory(t)
  const before = createHub({ store: openLmdb({ directory }) })
  before.createSession('s', { metadata: { by: 'ci' } })
  for (let index = 1; index <= 6_000; index += 3) {
    before.session('s').publish([
      { type: 'note', data: index },
      { type: 'execution_started', data: index + 1 },
    ])
    before
      .session('s')
      .worker('w')
      .publish({ type: 'note', data: index + 2, id: `id-${index}` })
    if (index % 900 === 1) await before.committed('s')
  }
  before.session('s').publish({ type: 'trigger_available', key: 'k', data: { trigger_id: 'k' } })
  const summary = before.find('s')
  const cursor = `${summary?.epoch}:3000`
  before.close()
  await before.closeStore()

  const store = openLmdb({ directory })
  t.match(store.found, { clean: true, sessions: 1, events: 6_001 })
  const hub = aHub(t, { store })
  t.strictSame(hub.find('s'), summary)
  t.equal(hub.session('s').worker('w').publish({ type: 'note', id: 'id-5998' }).first, 6_000)
  t.equal(hub.session('s').worker('w').publish({ type: 'note', id: 'id-1' }).first, 3)

  t.strictSame(
    dataOf(await historyOf(hub, 'sessions/s/**', 700, ['note', 'execution_started'])),
    range(1, 6_000),
  )
  const ofWorker = range(1, 6_000).filter((data) => data % 3 === 0)
  t.strictSame(dataOf(await historyOf(hub, 'sessions/s/workers/w', 100)), ofWorker)
  const ofSession = range(1, 6_000).filter((data) => data % 3 !== 0)
  t.strictSame(dataOf(await historyOf(hub, 'sessions/s', 999, ['!trigger_available'])), ofSession)

  const resumed = await take(hub, 'sessions/s/**', 3_001, { after: cursor })
  t.strictSame(resumed.gaps, [])
  t.strictSame(
    resumed.events.map((event) => event.offset),
    range(3_001, 6_001),
  )
  const worker = await take(hub, 'sessions/s/workers/w', 1_000, { after: cursor })
  t.strictSame([dataOf(worker.events), worker.gaps], [ofWorker.slice(1_000), []])
  const all = await take(hub, 'sessions/s/**', 6_001, { replay: 'all' })
  t.strictSame(
    all.events.map((event) => event.offset),
    range(1, 6_001),
  )

  const live = take(hub, 'sessions/s', 4_001, {
    after: `${summary?.epoch}:1`,
    types: ['note', 'execution_started'],
  })
  const { last } = hub.session('s').publish([{ type: 'note', data: 'live' }, { type: 'note' }])
  t.equal(last, 6_003)
  const followed = await live
  t.strictSame(dataOf(followed.events).slice(-3), [...ofSession.slice(-1), 'live', null])
  t.strictSame(followed.gaps, [])
})

t.test('state goes on after a restart, and its updates build on what was stored', async (t) => {
  const directory = aDirectory(t)
  const before = createHub({ store: openLmdb({ directory }) })
  const items: number[] = []
  for (let index = 0; index < 100; index++) {
    items.push(index)
    before.session('s').setState('plan', { title: 'x'.repeat(200), items: [...items] })
    before.session('s').worker('w').setState('own', index)
    if (index % 7 === 0) await before.committed('s')
  }
  before.session('s').setState('gone', 1)
  before.session('s').removeState('gone')
  before.close()
  const state = before.state('sessions/s')
  await before.closeStore()
  const hub = aHub(t, { store: openLmdb({ directory }) })
  t.strictSame(hub.state('sessions/s').slices, state.slices)
  t.equal(hub.state('sessions/s').epoch, state.epoch)
  t.match(hub.state('sessions/s/workers/w').slices, { own: 99 })
  const update = take(hub, 'sessions/s', 1, { replay: false, slices: ['plan'] })
  // A turn has only so much time for what joins; the rest of it would have the whole value.
  await until('it is in step', () => hub.stats().lagging === 0)
  hub.session('s').setState('plan', { title: 'x'.repeat(200), items: [...items, 100] })
  t.match((await update).events[0]?.data, {
    slice: 'plan',
    base: 199,
    patch: [{ op: 'add', path: '/items/100' }],
  })
})

t.test('a session that could not be removed comes back, and its offsets go on', async (t) => {
  const store = new FaultyStore(memoryStore())
  const hub = aHub(t, { store })
  await publishAll(hub, 's', notes(1, 3))
  const epoch = hub.find('s')?.epoch
  store.fail('failed')
  hub.session('s').publish(notes(4, 2))
  await t.rejects(hub.removeSession('s'), { code: 'unavailable' })
  store.heal()
  while (hub.fault !== undefined) await new Promise((resolve) => setImmediate(resolve))
  t.match(
    hub.find('s'),
    { epoch, offset: 5 },
    'what was delivered is lost, and its offsets are not given out again',
  )
  t.equal(hub.session('s').publish(notes(6, 1)).first, 6)
  await hub.committed('s')
})

t.test('what waited for the store when its session could not be removed is not acknowledged', async (t) => {
  const failing = memoryStore()
  const remove = (): Promise<void> => Promise.reject(new StoreError('failed', 'The disk cannot be written.'))
  const hub = aHub(t, { store: Object.assign(failing, { remove }) })
  await publishAll(hub, 's', notes(1, 1))
  hub.session('s').publish(notes(2, 1))
  const acknowledged = t.rejects(hub.committed('s'), { code: 'unavailable' })
  await t.rejects(hub.removeSession('s'), { code: 'unavailable' })
  await acknowledged
  t.equal((await hub.readHistory('sessions/s')).events.length, 1)
  const gone = aHub(t, { store: memoryStore() })
  gone.session('s').publish(notes(1, 1))
  const kept = gone.committed('s')
  await gone.removeSession('s')
  await t.resolves(kept, 'what went with its session is what was asked for')
})

t.test('a store that works again is noticed when all that it did not keep is gone', async (t) => {
  const store = new FaultyStore(memoryStore())
  const hub = aHub(t, { store })
  await publishAll(hub, 's', notes(1, 1))
  store.fail('failed')
  hub.session('s').publish(notes(2, 1))
  await t.rejects(hub.committed('s'), { code: 'unavailable' })
  await t.rejects(hub.removeSession('s'), { code: 'unavailable' })
  store.heal()
  while (hub.fault !== undefined) await new Promise((resolve) => setImmediate(resolve))
  hub.session('other').publish(notes(1, 1))
  await hub.committed('other')
})
