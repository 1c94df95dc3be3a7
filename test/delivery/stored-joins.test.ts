import t from 'tap'
import type { Codec } from '../../src/codec/codec.js'
import type { LocalOptions } from '../../src/delivery/local.js'
import type { Hub } from '../../src/hub/hub.js'
import { type Clock, systemClock } from '../../src/lib/clock.js'
import type { HubEvent, HubFrame, NewEvent } from '../../src/protocol/frames.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { memoryStore } from '../../src/store/memory.js'
import type { Store } from '../../src/store/store.js'
import { FaultyStore } from '../kit/faulty-store.js'
import { SeededRandom } from '../kit/random.js'
import { until } from '../kit/wait.js'
import { aDirectory, aHub, dataOf, notes, publishAll, range, take } from '../sessions/committing-kit.js'

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
  t.ok(timers.length < 4, 'one timer forgets all pages')
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

/** A connection whose link has room or not, as the test says, and what it was given. */
function connectTo(hub: Hub, codec: Codec = hub.codecs.object) {
  const got: HubFrame[] = []
  const link = {
    codec,
    waiting: 0,
    hasRoom: true,
    write(chunk: unknown) {
      got.push(chunk as HubFrame)
      return link.hasRoom
    },
    cork: (writes: () => void) => writes(),
    end: () => undefined,
    closed: undefined as string | undefined,
    close: (code: string) => void (link.closed = code),
  }
  const connection = hub.connect(link)
  const events = () => got.flatMap((frame) => (frame.type === 'events' ? frame.events : []))
  return { link, connection, got, events, isLive: () => got.some(({ type }) => type === 'live') }
}

t.test('a filter that changes during a replay from the store holds for the rest of it', async (t) => {
  for (const cutAfter of [0, 100, 700]) {
    const hub = aHub(t, { store: memoryStore(), limits: { laneEventsMax: 50 } })
    const given: NewEvent[] = range(1, 2_500).map((data) => ({
      type: data % 3 === 0 ? 'cost' : 'assistant',
      data,
    }))
    given.unshift({ type: 'trigger_updated', data: { trigger_id: 'pinned' } })
    await publishAll(hub, 's', given)
    const { link, connection, events, isLive } = connectTo(hub)
    // Full after each frame, so that the filter changes between two of them.
    link.hasRoom = false
    connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s', types: ['*'] })
    await until(`${cutAfter} events have come`, () => {
      if (events().length < cutAfter) connection.drained()
      return events().length >= cutAfter
    })
    const before = events().length
    connection.receive({ type: 'update', sub: 1, types: ['cost'] })
    link.hasRoom = true
    connection.drained()
    await until('the rest has come', isLive)
    const seen = given.slice(0, before)
    const rest = given.slice(before).filter(({ type }) => type === 'cost')
    t.same(dataOf(events()), dataOf([...seen, ...rest] as unknown as HubEvent[]), `cut after ${before}`)
    t.equal(connection.events, seen.length + rest.length, 'each counts once')
  }
})

t.test('a page of the store that comes when it is of no use is not sent', async (t) => {
  const store = new FaultyStore(memoryStore())
  const hub = aHub(t, { store, limits: { laneEventsMax: 50 } })
  await publishAll(hub, 's', notes(1, 1_000))
  const after = `${hub.find('s')?.epoch}:0`
  const begin = (how: object) => {
    const one = connectTo(hub)
    one.connection.receive({ type: 'subscribe', sub: 2, topic: 'sessions/other', replay: false })
    store.holdReads()
    one.connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s', ...how })
    return { ...one, came: () => one.events().filter(({ type }) => type === 'note') }
  }
  /** The read that waits, and what is done with it. */
  const release = async () => {
    const { read } = store
    const waiting: Promise<unknown>[] = []
    store.read = (...asked) => {
      const page = read.apply(store, asked)
      waiting.push(page)
      return page
    }
    store.releaseReads()
    await new Promise((resolve) => setImmediate(resolve))
    await Promise.all(waiting)
    store.read = read
  }
  for (const how of [{ after }, { replay: 'all' }]) {
    const full = begin(how)
    full.link.hasRoom = false
    hub.session('other').publish({ type: 'fill' })
    hub.flush()
    await release()
    t.equal(full.came().length, 0, 'the link has become full meanwhile')
    full.link.hasRoom = true
    full.connection.drained()
    await until('all has come', () => full.came().length >= 1_000)
    t.strictSame(dataOf(full.came()), range(1, 1_000))

    const changed = begin(how)
    changed.connection.receive({ type: 'update', sub: 1, types: ['none'] })
    await release()
    await until('it is live', changed.isLive)
    t.equal(changed.came().length, 0, 'its filter has changed meanwhile')
  }
})

t.test('texts in the store are joined as they are replayed, and counted', async (t) => {
  const hub = aHub(t, { store: memoryStore(), limits: { laneEventsMax: 50 } })
  const given = range(1, 2_000).map((n) => ({ type: 'client_output_delta', data: { content: `${n} ` } }))
  await publishAll(hub, 's', given)
  const { events, connection, isLive } = connectTo(hub)
  connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s' })
  await until('all has come', isLive)
  const text = events().map(({ data }) => (data as { content: string }).content)
  t.equal(text.join(''), given.map(({ data }) => data.content).join(''))
  t.ok(text.length < 20, `${text.length} events`)
  t.equal(hub.stats().conflated, given.length - text.length)
})

t.test('a page of the store is shared by clients with one codec, and by no others', async (t) => {
  const store = memoryStore()
  const hub = aHub(t, { store, limits: { laneEventsMax: 50 } })
  await publishAll(hub, 's', notes(1, 1_000))
  const reads = countReads(store)
  const join = async (codec?: Codec) => {
    const before = reads()
    const one = connectTo(hub, codec)
    one.connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s', replay: 'all' })
    await until('all has come', () => one.connection.events === 1_000)
    return { ...one, reads: reads() - before }
  }
  const first = await join()
  t.ok(first.reads > 0)
  t.equal((await join()).reads, 0)
  const other = await join(hub.codecs.json)
  t.equal(other.reads, first.reads)
  t.ok(other.got.every((chunk: unknown) => chunk instanceof Uint8Array))
})

t.test(
  'a replay that goes on under another filter is not shared with one that began under a third',
  async (t) => {
    const hub = aHub(t, { store: memoryStore(), limits: { laneEventsMax: 50 } })
    const kinds = ['a', 'b', 'c']
    await publishAll(
      hub,
      's',
      range(1, 900).map((n) => ({ type: kinds[n % 3] ?? '', data: n })),
    )
    // What it began with, less what the new filter leaves out.
    for (const [begun, due] of [
      [['a', 'b'], 'b'],
      [['a', 'c'], 'c'],
    ] as const) {
      const { link, connection, events, isLive } = connectTo(hub)
      link.hasRoom = false
      connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s', types: begun, replay: 'all' })
      connection.receive({ type: 'update', sub: 1, types: ['b', 'c'] })
      link.hasRoom = true
      connection.drained()
      await until('it is live', isLive)
      const came = events().map(({ type }) => type)
      t.strictSame(came, Array(300).fill(due))
    }
  },
)

t.test('one who comes back far behind is counted each event that came from the store, once', async (t) => {
  const hub = aHub(t, { store: memoryStore(), limits: { laneEventsMax: 50 } })
  const given = range(1, 3_000).map((n) => ({ type: 'note', data: `${n} ${'x'.repeat(1_000)}` }))
  await publishAll(hub, 's', given)
  const { events, connection, isLive } = connectTo(hub)
  const after = `${hub.find('s')?.epoch}:0`
  connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s', after })
  await until('all has come', isLive)
  t.same(dataOf(events()), dataOf(given as unknown as HubEvent[]))
  t.equal(connection.events, 3_000)
})

t.test('a store that cannot be read costs the connection that needs it, and no other', async (t) => {
  const store = memoryStore()
  const hub = aHub(t, { store, limits: { laneEventsMax: 50 }, report: () => undefined })
  await publishAll(hub, 's', notes(1, 1_000))
  store.read = () => Promise.reject(new Error('broken'))
  const [behind, other] = [connectTo(hub), connectTo(hub)]
  const after = `${hub.find('s')?.epoch}:0`
  behind.connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s', after })
  other.connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s', replay: false })
  await until('it is closed', () => behind.link.closed !== undefined)
  t.equal(behind.link.closed, 'internalError')
  hub.session('s').publish(notes(1_001, 1))
  await until('the other one has it', () => other.events().length === 1)
})

t.test('a connection follows a topic by one filter once', async (t) => {
  const hub = aHub(t, {})
  const [one, other] = [connectTo(hub), connectTo(hub)]
  const follow = (connection: typeof one.connection, sub: number, types: readonly string[]) =>
    connection.receive({ type: 'subscribe', sub, topic: 'sessions/s', types })
  const conflict = { code: 'conflict', message: /^sub 1 already follows sessions\/s with the same filter$/ }
  follow(one.connection, 1, ['a'])
  t.throws(() => follow(one.connection, 2, ['a']), conflict, 'it has as many as the feed')
  follow(other.connection, 1, ['a'])
  t.throws(() => follow(one.connection, 2, ['a']), conflict, 'it has fewer than the feed')
  follow(one.connection, 2, ['b'])
  follow(one.connection, 3, ['c'])
  t.throws(() => follow(one.connection, 4, ['a']), conflict, 'it has more than the feed')
  t.throws(() => one.connection.receive({ type: 'update', sub: 2, types: ['a'] }), conflict)
  t.equal(hub.stats().subscriptions, 4)
})
