import t from 'tap'
import { memoryStore } from '../../src/store/memory.js'
import { setUp } from '../hub/hub-kit.js'
import { FaultyStore } from '../kit/faulty-store.js'
import { aHub, dataOf, notes, publishAll } from './committing-kit.js'

const damaged = { code: 'damaged', message: /Session bad is damaged/ }

t.test('a session that cannot be loaded answers so, and the others are none the worse', async (t) => {
  const store = new FaultyStore(memoryStore())
  const before = aHub(t, { store })
  for (const id of ['bad', 'good']) await publishAll(before, id, notes(1, 3))
  store.damage('bad')
  const told: (string | undefined)[] = []
  const found: string[] = []
  const hub = aHub(t, {
    store,
    onStore: (fault) => told.push(fault),
    onDamaged: (session, reason) => found.push(`${session}: ${reason}`),
  })
  t.equal(hub.damagedSessions, 0, 'nobody has asked for it yet')
  t.throws(() => hub.find('bad'), damaged)
  t.throws(() => hub.session('bad').publish(notes(4, 1)), damaged)
  t.throws(() => hub.state('sessions/bad'), damaged)
  t.throws(() => hub.endSession('bad'), damaged)
  t.throws(() => hub.createSession('bad'), damaged)
  await t.rejects(hub.readHistory('sessions/bad'), damaged)
  t.throws(() => hub.subscribe('sessions/bad'), damaged)
  t.equal(hub.damagedSessions, 1)
  t.match(hub.stats().store, { damagedSessions: 1, failing: false })
  hub.session('good').publish(notes(4, 1))
  await hub.committed('good')
  t.strictSame(dataOf((await hub.readHistory('sessions/good')).events), [1, 2, 3, 4])
  const { sessions } = await hub.listSessions('', 10)
  t.strictSame(
    sessions.map(({ id }) => id),
    ['good'],
  )
  t.strictSame(told, [], 'the store as a whole is well')
  t.strictSame(found, ['bad: Session bad is damaged.'])
  await hub.removeSession('bad')
  t.equal(hub.damagedSessions, 0)
  t.equal(hub.find('bad'), undefined)
  hub.session('bad').publish(notes(1, 1))
  await hub.committed('bad')
})

for (const what of ['all', 'unnamed'] as const) {
  t.test(`a session that breaks a commit is taken out of it (${what})`, async (t) => {
    const store = new FaultyStore(memoryStore())
    const told: (string | undefined)[] = []
    const hub = aHub(t, { store, onStore: (fault) => told.push(fault) })
    const ids = ['a', 'bad', 'c', 'd']
    for (const id of ids) await publishAll(hub, id, notes(1, 1))
    store.damage('bad', what)
    for (const id of ids) hub.session(id).publish(notes(2, 1))
    const settled = await Promise.allSettled(ids.map((id) => hub.committed(id)))
    t.strictSame(
      settled.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    )
    for (const id of ['a', 'c', 'd']) t.equal((await store.load(id))?.stored, 2, `${id} is kept`)
    t.throws(() => hub.session('bad').publish(notes(3, 1)), { code: 'damaged' })
    t.match(hub.stats().store, { damagedSessions: 1, failing: false, waitingSessions: 0, waitingBytes: 0 })
    for (const id of ['a', 'c', 'd']) hub.session(id).publish(notes(3, 1))
    await Promise.all(['a', 'c', 'd'].map((id) => hub.committed(id)))
    t.strictSame(told, [])
    t.equal(hub.fault, undefined)
  })
}

t.test(
  'a subscription that needs what is damaged ends, and the others of its connection go on',
  async (t) => {
    const store = new FaultyStore(memoryStore())
    const limits = { laneEventsMax: 10, restoredEventsMax: 10 }
    const { clock, hub, client } = setUp({ store, limits })
    for (const id of ['bad', 'good']) hub.session(id).publish(notes(1, 50))
    const turns = async (isOver: () => boolean) => {
      while (!isOver()) {
        clock.runTurn()
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    let isStored = false
    void hub.committed('bad').then(() => (isStored = true))
    await turns(() => isStored)
    store.damage('bad', 'events')
    const { frames, endings, subscribe } = client(1_000_000)
    for (const id of ['bad', 'good'])
      subscribe(`sessions/${id}`, { after: `${hub.find(id)?.epoch}:5` as never })
    const events = () =>
      frames.flatMap((frame) => (frame.type === 'events' ? frame.events.map(({ data }) => data) : []))
    await turns(() => events().includes(50) && frames.some(({ type }) => type === 'unsubscribed'))
    t.match(
      frames.find(({ type }) => type === 'unsubscribed'),
      { sub: 0, code: 'damaged' },
    )
    t.equal(hub.stats().subscriptions, 1)
    t.strictSame(endings, [])
    hub.session('good').publish(notes(51, 1))
    hub.session('bad').publish(notes(51, 1))
    clock.runTurn()
    t.equal(events().at(-1), 51, 'and what is not damaged is still published')
    subscribe('sessions/bad', { replay: false })
    clock.runTurn()
    hub.session('bad').publish(notes(52, 1))
    clock.runTurn()
    t.equal(events().at(-1), 52)
  },
)

t.test('what the store notices by itself makes the hub refuse publishing until it is over', async (t) => {
  const store = new FaultyStore(memoryStore())
  const told: (string | undefined)[] = []
  const hub = aHub(t, { store, onStore: (fault) => told.push(fault) })
  await publishAll(hub, 's', notes(1, 1))
  store.notice('The directory is gone.')
  t.equal(hub.fault, 'The directory is gone.')
  t.throws(() => hub.session('s').publish(notes(2, 1)), {
    code: 'unavailable',
    message: 'The directory is gone.',
  })
  store.notice()
  t.equal(hub.fault, undefined)
  await publishAll(hub, 's', notes(2, 1))
  t.strictSame(told, ['The directory is gone.', undefined])
})

t.test('what retention takes between asking the store and its answer is told as a gap', async (t) => {
  const store = new FaultyStore(memoryStore())
  const { clock, hub, client } = setUp({ store, limits: { laneEventsMax: 10 } })
  const turns = async (isOver: () => boolean) => {
    while (!isOver()) {
      clock.runTurn()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  for (let first = 1; first <= 600; first += 200) {
    hub.session('s').publish(notes(first, 200))
    let isStored = false
    void hub.committed('s').then(() => (isStored = true))
    await turns(() => isStored)
  }
  store.holdReads()
  const { frames, subscribe } = client(1_000_000)
  subscribe('sessions/s', { after: `${hub.find('s')?.epoch}:5` as never })
  clock.runTurn()
  t.match(frames.at(-1), { type: 'subscribed', resumed: true }, 'nothing is missing yet')
  while ((await store.trim({ sessionEvents: 100 }, clock.now(), () => true)).more);
  store.releaseReads()
  await turns(() => frames.some(({ type }) => type === 'live'))
  t.match(
    frames.find(({ type }) => type === 'gap' || type === 'events'),
    { type: 'gap', after: 5, offset: 400 },
  )
  const events = frames.flatMap((frame) => (frame.type === 'events' ? frame.events : []))
  t.equal(events[0]?.offset, 401)
})
