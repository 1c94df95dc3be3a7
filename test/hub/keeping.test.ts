import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createHub, type Hub, type HubOptions } from '../../src/hub/hub.js'
import type { LocalOptions } from '../../src/hub/local.js'
import { listedMax, RestingSessions, startOf } from '../../src/hub/resting.js'
import { type Clock, systemClock } from '../../src/lib/clock.js'
import type { Cursor } from '../../src/protocol/cursor.js'
import type { HubEvent, NewEvent } from '../../src/protocol/frames.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { memoryStore } from '../../src/store/memory.js'
import type { Store } from '../../src/store/store.js'
import { SimulatedClock } from '../kit/clock.js'
import { FaultyStore } from '../kit/faulty-store.js'
import { SeededRandom } from '../kit/random.js'

function aDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'runcast-keeping-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function aHub(t: Test, options: HubOptions): Hub {
  const hub = createHub(options)
  t.teardown(async () => {
    hub.close()
    await hub.closeStore()
  })
  return hub
}

const notes = (first: number, count: number, more: Partial<NewEvent> = {}): NewEvent[] =>
  Array.from({ length: count }, (_, index) => ({ type: 'note', data: first + index, ...more }))

/** Publishes in several turns, each acknowledged. */
async function publishAll(hub: Hub, session: string, events: readonly NewEvent[]): Promise<void> {
  for (let from = 0; from < events.length; from += 500) {
    hub.session(session).publish(events.slice(from, from + 500))
    await hub.committed(session)
  }
}

/** Reads as many events as are due, and what gaps there were. */
async function take(hub: Hub, topic: string, count: number, options: LocalOptions = {}) {
  const gaps: string[] = []
  const events: HubEvent[] = []
  const subscription = hub.subscribe(topic, { ...options, onGap: ({ reason }) => gaps.push(reason) })
  for await (const event of subscription) {
    events.push(event)
    if (events.length === count) break
  }
  return { events, gaps }
}

async function historyOf(hub: Hub, topic: string, limit: number, types?: string[]): Promise<HubEvent[]> {
  const events: HubEvent[] = []
  let after: Cursor | undefined
  do {
    const page = await hub.readHistory(topic, { limit, ...(types && { types }), ...(after && { after }) })
    events.push(...page.events)
    after = page.next
  } while (after !== undefined)
  return events
}

const dataOf = (events: readonly HubEvent[]) => events.map((event) => event.data)
const range = (first: number, last: number) =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index)

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
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  t.equal(store.commits, 1)
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
  const hub = aHub(t, { store, limits: { unkeptBytesMax: 10_000 } })
  store.hold()
  const text = 'x'.repeat(6_000)
  hub.session('s').publish({ type: 'note', data: text })
  hub.session('s').publish({ type: 'note', data: text })
  t.throws(() => hub.session('s').publish({ type: 'note', data: text }), { code: 'unavailable' })
  store.release()
  await hub.committed('s')
  hub.session('s').publish({ type: 'note', data: text })
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
  hub.session('s').setState('plan', { title: 'x'.repeat(200), items: [...items, 100] })
  t.match((await update).events[0]?.data, {
    slice: 'plan',
    base: 199,
    patch: [{ op: 'add', path: '/items/100' }],
  })
})

t.test('a reader that falls behind what memory holds goes on from the store', async (t) => {
  const store = openLmdb({ directory: aDirectory(t) })
  const hub = aHub(t, { store, limits: { laneEventsMax: 100 } })
  hub.session('s').publish(notes(0, 1))
  const gaps: string[] = []
  const subscription = hub.subscribe('sessions/s', {
    replay: false,
    onGap: ({ reason }) => gaps.push(reason),
  })
  const events = range(1, 5_000).map((data) => ({
    type: data % 2 === 0 ? 'note' : 'execution_started',
    data,
  }))
  await publishAll(hub, 's', events)
  const got: HubEvent[] = []
  for await (const event of subscription) {
    got.push(event)
    if (got.length === 5_000) break
  }
  t.strictSame(dataOf(got), range(1, 5_000))
  t.strictSame(gaps, [])
  t.equal(hub.stats().closed.size, 0)
})

t.test('a fresh join replays by the traits what memory holds no more', async (t) => {
  const directory = aDirectory(t)
  const limits = { laneEventsMax: 100, restoredEventsMax: 100 }
  const events = range(1, 3_000).map((data): NewEvent => {
    if (data % 3 === 0) return { type: 'assistant', data }
    // Two keys, each with a newest one: the one long gone from memory, the other in it.
    if (data === 50) return { type: 'trigger_updated', data: { trigger_id: 'old', at: data } }
    return data % 7 === 0
      ? { type: 'trigger_updated', data: { trigger_id: 'new', at: data } }
      : { type: 'note', data }
  })
  const due = events.flatMap(({ type, data }, index) =>
    type === 'assistant' || index === 49 || index === 2_995 ? [data] : [],
  )
  const check = async (hub: Hub, topic: string): Promise<void> => {
    const read = async (options: LocalOptions, count: number) => {
      const { events, gaps } = await take(hub, topic, count + 1, options)
      t.strictSame(gaps, [])
      t.equal(events.at(-1)?.type, 'complete', 'and nothing more')
      return dataOf(events.slice(0, -1))
    }
    t.strictSame(await read({}, due.length), due)
    t.strictSame(
      await read({ types: ['assistant', 'complete'] }, 1_000),
      range(1, 1_000).map((n) => n * 3),
    )
    t.strictSame(await read({ types: ['note'] }, 0), [])
    t.equal((await read({ replay: 'all' }, 3_000)).length, 3_000)
    t.strictSame(await read({ replay: false }, 0), [])
  }
  const before = aHub(t, { store: openLmdb({ directory }), limits })
  await publishAll(before, 's', events)
  before.endSession('s')
  await before.committed('s')
  for (const topic of ['sessions/s', 'sessions/s/**']) await check(before, topic)
  await before.closeStore()

  const after = aHub(t, { store: openLmdb({ directory }), limits })
  for (const topic of ['sessions/s', 'sessions/s/**']) await check(after, topic)
})

/** @returns how often `read` of the store has been called since. */
function countReads(store: Store): () => number {
  let reads = 0
  const { read } = store
  store.read = (...asked) => {
    reads++
    return read.apply(store, asked)
  }
  return () => reads
}

t.test('those who join while a session goes on share what is read of the store', async (t) => {
  const store = openLmdb({ directory: aDirectory(t) })
  const timers: (() => void)[] = []
  const clock: Clock = {
    ...systemClock,
    after(_, task) {
      timers.push(task)
      return { cancel: () => undefined }
    },
  }
  const hub = aHub(t, { store, clock, limits: { laneEventsMax: 100 } })
  await publishAll(hub, 's', notes(1, 4_000))
  const reads = countReads(store)
  const join = async (count: number) => {
    const before = reads()
    const { events, gaps } = await take(hub, 'sessions/s', count, { replay: 'all' })
    t.strictSame(dataOf(events), range(1, count))
    t.strictSame(gaps, [])
    return reads() - before
  }
  // Its feed, which frames name, goes with the last who follows it.
  const follower = hub.subscribe('sessions/s', { replay: false })
  const alone = await join(4_000)
  t.ok(alone >= 16, `${alone} reads for one`)
  const both = await Promise.all([join(4_000), join(4_000)])
  t.strictSame(both, [0, 0], 'none for those who join at the same offset')
  await publishAll(hub, 's', notes(4_001, 500))
  const later = await join(4_500)
  t.ok(later > 0 && later <= 4, `${later} reads for one who joins later: what the first one found at the end`)
  for (let round = 0; round < 2; round++) for (const task of timers.splice(0)) task()
  t.ok((await join(4_500)) > alone, 'what nobody asks for any more is forgotten')
  await follower.return?.()
})

t.test('whenever one joins a session that goes on, everything comes once', async (t) => {
  const seed = Number(process.env.RUNCAST_FUZZ_SEED ?? Math.floor(Math.random() * 1e9))
  t.comment(`seed ${seed}`)
  const random = new SeededRandom(seed)
  const store = openLmdb({ directory: aDirectory(t) })
  const hub = aHub(t, { store, limits: { laneEventsMax: 20, historyBytesMax: 8_192 } })
  const events = range(1, 3_000).map(
    (data): NewEvent => ({
      type: random.chance(0.02) ? 'note' : 'assistant',
      data,
    }),
  )
  const filters = [['*'], ['note'], ['assistant']]
  const joins: Promise<void>[] = []
  const join = async () => {
    const types = random.pick(filters)
    const due = events.filter(({ type }) => types.includes('*') || types.includes(type))
    const got = await take(hub, 'sessions/s', due.length, { replay: 'all', types })
    t.strictSame(
      dataOf(got.events),
      dataOf(due as HubEvent[]),
      `${types.join()} since ${got.events[0]?.offset}`,
    )
    t.strictSame(got.gaps, [])
  }
  for (let from = 0; from < events.length; ) {
    const some = events.slice(from, from + random.integer(1, 40))
    hub.session('s').publish(some)
    from += some.length
    if (random.chance(0.3)) await hub.committed('s')
    else await new Promise((resolve) => setImmediate(resolve))
    if (random.chance(0.5)) joins.push(join())
  }
  await Promise.all(joins)
  t.ok(joins.length > 20)
})

t.test('one who joins later is not replayed what has been replaced meanwhile', async (t) => {
  const hub = aHub(t, { store: openLmdb({ directory: aDirectory(t) }), limits: { laneEventsMax: 100 } })
  const trigger = (at: number): NewEvent => ({ type: 'trigger_updated', data: { trigger_id: 'one', at } })
  const logged = range(1, 3_000).map((data): NewEvent => ({ type: 'assistant', data }))
  await publishAll(hub, 's', [trigger(1), ...logged])
  const first = await take(hub, 'sessions/s', 3_001)
  t.strictSame(first.events[0]?.data, trigger(1).data)
  await publishAll(hub, 's', [trigger(2)])
  const later = await take(hub, 'sessions/s', 3_001)
  t.strictSame(dataOf(later.events), [...range(1, 3_000), trigger(2).data])
})

t.test('what is published while a join reads the store comes after it, once', async (t) => {
  const store = new FaultyStore(memoryStore())
  const hub = aHub(t, { store, limits: { laneEventsMax: 50 } })
  const events = range(1, 2_500).map((data) => ({ type: 'assistant', data }))
  await publishAll(hub, 's', events)
  const subscription = hub.subscribe('sessions/s')
  const got: unknown[] = []
  let next = 2_501
  for await (const { data } of subscription) {
    got.push(data)
    // More than memory holds, while the first pages are on their way.
    if (next <= 3_000) hub.session('s').publish({ type: 'assistant', data: next++ })
    if (got.length === 3_000) break
  }
  t.strictSame(got, range(1, 3_000))
})

t.test('what retention has trimmed is a gap', async (t) => {
  const store = memoryStore()
  const hub = aHub(t, { store, limits: { laneEventsMax: 100 } })
  const pinned = { type: 'trigger_updated', data: { trigger_id: 'old' } }
  await publishAll(hub, 's', [pinned, ...notes(2, 1_999)])
  await store.trim({ sessionEvents: 500 }, 0, () => true)
  const trimmed = (await store.load('s'))?.trimmed ?? 0
  t.ok(trimmed > 1_000)
  const other = aHub(t, { store, limits: { laneEventsMax: 100 } })
  const cursor = `${other.find('s')?.epoch}:200`
  const resumed = await take(other, 'sessions/s', 2_000 - trimmed, { after: cursor })
  t.strictSame(resumed.gaps, ['evicted'])
  t.strictSame(dataOf(resumed.events), range(trimmed + 1, 2_000))

  // The newest of its key is kept apart; the first of what the store has follows it.
  const all = await take(other, 'sessions/s', 2, { replay: 'all' })
  t.strictSame(dataOf(all.events), [pinned.data, trimmed + 1])
})

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
  t.match(gaps, [{ reason: 'evicted', after: 0, offset: 100 }])
  for (let slice = 0; ; slice += 1) {
    try {
      hub.setState('sessions/a', `s${slice}`, 'x'.repeat(1_000))
    } catch (error) {
      t.match(error, { code: 'unavailable', message: /20000 bytes of state/ })
      break
    }
  }
  await hub.removeSession('a')
  hub.publish('sessions/b', notes(1, 1))
})

t.test('a worker that only repeats what was published leaves nothing behind', async (t) => {
  const hub = aHub(t, { limits: { workersMax: 1 } })
  hub.publish('sessions/s', [{ type: 'note', id: 'once' }])
  for (const worker of ['a', 'b']) {
    const { duplicates } = hub.publish(`sessions/s/workers/${worker}`, [{ type: 'note', id: 'once' }])
    t.equal(duplicates, 1)
  }
  hub.publish('sessions/s/workers/c', [])
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

t.test('the list of sessions has those that started last', (t) => {
  const resting = new RestingSessions()
  for (let place = 0; place < 2 * listedMax; place++) resting.add(`s${place}`, { startedAt: place })
  t.equal(resting.entries(undefined).length, listedMax)
  t.ok(resting.entries(undefined).every((entry) => startOf(entry) >= listedMax))
  t.end()
})
