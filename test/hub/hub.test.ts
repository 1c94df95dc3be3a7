import fc from 'fast-check'
import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import type { Events, GapNotice, Subscribe } from '../../src/protocol/frames.js'
import { memoryStore } from '../../src/store/memory.js'
import { SeededRandom } from '../kit/random.js'
import { type Client, setUp } from './hub-kit.js'

t.test('joins in one step: what is published in the same turn comes once', async (t) => {
  const { hub, clock, client } = setUp()
  const session = hub.session('a')
  session.publish({ type: 'start' })
  session.publish({ type: 'execution_started' })
  const one = client()
  one.subscribe('sessions/a')
  session.publish({ type: 'next' })
  clock.runTurn()
  t.same(
    one.frames.map(({ type }) => type),
    ['welcome', 'subscribed', 'events', 'live', 'events'],
  )
  t.same(one.take(), ['2 execution_started', '3 next'])
})

t.test('one turn is one frame, and one encoding for each event', async (t) => {
  const { hub, clock, client } = setUp()
  const clients = Array.from({ length: 50 }, () => client())
  for (const one of clients) one.subscribe('sessions/a')
  for (let i = 0; i < 10; i++) hub.session('a').publish({ type: 'step', data: i })
  for (const one of clients) one.frames.length = 0
  clock.runTurn()
  for (const one of clients) t.equal(one.frames.length, 1)
  t.equal(hub.stats().feeds, 1)
  t.equal(hub.stats().delivered, 500)
})

t.test('an id within the window is published once, and answers with its first offset', async (t) => {
  const { hub, clock, client } = setUp({ limits: { publishIdsMax: 3 } })
  const session = hub.session('a')
  const one = client()
  one.subscribe('sessions/a')
  session.publish({ type: 'step', id: 'x' })
  t.same(session.publish({ type: 'step', id: 'x' }), { first: 1, last: 1, accepted: 0, duplicates: 1 })
  session.publish([
    { type: 'step', id: 'y' },
    { type: 'step', id: 'y' },
    { type: 'step', id: 'z' },
    { type: 'step', id: 'v' },
  ])
  clock.runTurn()
  t.same(one.take(), ['1 step', '2 step', '3 step', '4 step'])
  t.throws(() => session.publish({ type: 'step', id: 'x' }), {
    code: 'conflict',
    message: /^events\[0\]\.id: "x" was published before, and more than 3 ids ago/,
  })
})

t.test('publishes all of the events or none', async (t) => {
  const { hub } = setUp()
  const session = hub.session('a')
  const circle: Record<string, unknown> = {}
  circle['self'] = circle
  for (const [data, message] of [
    [circle, /too deeply/],
    [{ a: [1, Number.NaN] }, /finite/],
    [{ a: () => 1 }, /a function/],
    [new Map(), /plain object/],
  ] as const) {
    t.throws(() => session.publish([{ type: 'ok' }, { type: 'bad', data: data as never }]), {
      code: 'badFrame',
      message,
    })
  }
  t.throws(() => session.publish({ type: 'not a type' }), { code: 'badFrame', place: { pointer: '/0/type' } })
  t.throws(() => session.publish({ type: 'x', data: 'y'.repeat(2_000_000) }), { code: 'frameTooLarge' })
  for (const [wrong, message, pointer] of [
    [{ type: 'x', dta: 1 }, /^event\.dta: expected no field but type, data, id, key, time/, '/1/dta'],
    [{ type: 'x', force: 'yes' }, /^event\.force: expected true or false, got "yes"/, '/1/force'],
    [{ type: 'x', id: '' }, /^event\.id: /, '/1/id'],
    [{ type: 'hub.close', id: '1' }, /hub's own/, '/1/type'],
    ['x', /^event: expected an event/, '/1'],
    [null, /^event: expected an event/, '/1'],
  ] as const) {
    const events = [{ type: 'ok' }, wrong] as never
    t.throws(() => session.publish(events), { code: 'badFrame', message, place: { pointer } })
  }
  t.equal(hub.find('a'), undefined)
})

t.test('a worker keeps to its topic, but for what is rolled up', async (t) => {
  const { hub, clock, client } = setUp()
  const [session, worker, all] = [client(), client(), client()]
  session.subscribe('sessions/a')
  worker.subscribe('sessions/a/workers/w')
  all.subscribe('sessions/a/**')
  hub.session('a').publish({ type: 'step' })
  hub
    .session('a')
    .worker('w')
    .publish([{ type: 'step' }, { type: 'subagent_report' }])
  hub.session('a').worker('v').publish({ type: 'step' })
  clock.runTurn()
  t.same(session.take(), ['1 step', '3 subagent_report'])
  t.same(worker.take(), ['2 step', '3 subagent_report'])
  t.same(all.take(), ['1 step', '2 step', '3 subagent_report', '4 step'])
})

t.test('modes carry their levels, and force passes them all', async (t) => {
  const { hub, clock, client } = setUp()
  const one = client()
  one.subscribe('sessions/a', { mode: 'control' })
  const events = [
    { type: 'llm_text_delta' },
    { type: 'llm_text_delta', force: true },
    { type: 'tool_call_started' },
    { type: 'execution_paused' },
  ]
  hub.session('a').publish(events)
  clock.runTurn()
  t.same(one.take(), ['2 llm_text_delta', '4 execution_paused'])
  one.connection.receive({ type: 'update', sub: 0, mode: 'summary', types: ['!tool_*'] })
  hub.session('a').publish(events)
  clock.runTurn()
  t.same(one.take(), ['6 llm_text_delta', '8 execution_paused'])
})

t.test('what is above the mode of a session is neither kept nor delivered', async (t) => {
  const { hub, clock, client } = setUp()
  hub.createSession('a', { mode: 'summary' })
  const one = client()
  one.subscribe('sessions/a')
  hub.session('a').publish([{ type: 'llm_text_delta' }, { type: 'step' }])
  clock.runTurn()
  t.same(one.take(), ['2 step'])
  t.same(
    hub.history('sessions/a').events.map(({ offset }) => offset),
    [2],
  )
})

t.test('a connection that reads again gets the critical events, a gap and joined text', async (t) => {
  const { hub, clock, client } = setUp({ limits: { laneEventsMax: 20 } })
  const one = client(2)
  one.subscribe('sessions/a')
  one.peer.stall()
  for (let i = 0; i < 100; i++) {
    hub.session('a').publish({ type: 'llm_text_delta', data: { content: `${i} ` } })
    if (i % 10 === 0) hub.session('a').publish({ type: 'execution_started', data: i })
    clock.runTurn()
  }
  one.frames.length = 0
  one.peer.resume()
  clock.runTurn()
  const gap = one.frames.find(({ type }) => type === 'gap')
  t.match(gap, { reason: 'lagging', dropped: Number })
  const events = one.frames
    .filter((frame): frame is Events => frame.type === 'events')
    .flatMap((frame) => frame.events)
  t.same(
    events.filter(({ type }) => type === 'execution_started').map(({ data }) => data),
    [0, 10, 20, 30, 40, 50, 60, 70, 80, 90],
  )
  const text = events
    .filter(({ type }) => type === 'llm_text_delta')
    .map(({ data }) => (data as { content: string }).content)
    .join('')
  t.match(text, /80 81 82.* 98 99 $/)
  t.ok(events.length < 30, 'the text was joined')
})

t.test('closes with lagging when a critical event was evicted', async (t) => {
  const { hub, clock, client } = setUp({ limits: { laneEventsMax: 5 } })
  const one = client(2)
  one.subscribe('sessions/a')
  one.peer.stall()
  for (let i = 0; i < 30; i++) {
    hub.session('a').publish({ type: 'execution_started' })
    clock.runTurn()
  }
  one.peer.resume()
  clock.runTurn()
  t.same(one.endings, ['lagging'])
  t.equal(hub.stats().closed.get('lagging'), 1)
  const [last] = one.frames.filter((frame): frame is Events => frame.type === 'events').slice(-1)
  const two = client()
  two.subscribe('sessions/a', { after: `${hub.find('a')?.epoch}:${last?.last}` })
  t.match(two.frames[1], { type: 'subscribed', resumed: false, gap: { reason: 'evicted' } })
})

t.test('tells one who comes back how much was evicted, where it knows', async (t) => {
  for (const store of [undefined, memoryStore()]) {
    const hub = createHub({ limits: { laneEventsMax: 5 }, ...(store && { store }) })
    for (let i = 0; i < 2_000; i++) hub.session('a').publish({ type: 'tool_call_started' })
    for (let i = 0; i < 3; i++) hub.session('a').worker('w').publish({ type: 'tool_call_started' })
    await hub.committed('a')
    await store?.trim({ sessionEvents: 500 }, 0, () => true)
    const trimmed = store && (await store.load('a'))?.trimmed
    if (trimmed !== undefined) t.ok(trimmed > 1_000 && trimmed < 1_995, `${trimmed}`)
    // It learns of it when it next reads.
    if (store !== undefined) await hub.readHistory('sessions/a', { limit: 1 })
    const lossAfter = (offset: number, topic = 'sessions/a') => {
      let loss: unknown = 'none'
      const onGap = ({ reason, dropped }: GapNotice) => (loss = `${reason} ${dropped}`)
      hub.subscribe(topic, { after: `${hub.find('a')?.epoch}:${offset}`, onGap }).close()
      return loss
    }
    t.equal(lossAfter(10), `evicted ${(trimmed ?? 1_995) - 10}`)
    t.equal(lossAfter(10, 'sessions/a/**'), 'evicted undefined')
    t.equal(lossAfter(1_996), 'none')
  }
})

t.test('a slow connection costs the others nothing, and the hub one integer', async (t) => {
  const { hub, clock, client } = setUp()
  const [slow, quick] = [client(2), client()]
  slow.subscribe('sessions/a')
  quick.subscribe('sessions/a')
  slow.peer.stall()
  for (let i = 0; i < 5_000; i++) {
    hub.session('a').publish({ type: 'step' })
    clock.runTurn()
  }
  t.equal(quick.take().length, 5_000)
  t.ok(slow.peer.waiting <= 4, `${slow.peer.waiting} frames wait`)
  t.equal(hub.stats().lagging, 1)
})

t.test('a session that ends tells everybody, and goes in time', async (t) => {
  const { hub, clock, client } = setUp({ limits: { endedRetentionMs: 1_000 } })
  const [session, worker, silent] = [client(), client(), client()]
  session.subscribe('sessions/a')
  worker.subscribe('sessions/a/workers/w')
  silent.subscribe('sessions/a', { mode: 'silent', types: [] })
  hub.session('a').publish({ type: 'step' })
  hub.session('a').end({ code: 0 })
  t.throws(() => hub.session('a').publish({ type: 'step' }), { code: 'conflict' })
  clock.runTurn()
  t.same(session.take(), ['1 step', '2 complete'])
  t.same(worker.take(), ['2 complete'])
  t.same(silent.take(), ['2 complete'])
  const late = client()
  late.subscribe('sessions/a', { replay: false })
  t.same(late.take(), ['2 complete'])
  clock.advance(1_000)
  t.match(session.frames.at(-1), { type: 'unsubscribed', code: 'removed' })
  t.equal(hub.find('a'), undefined)
  t.equal(hub.stats().subscriptions, 0)
})

t.test('placeholders go with their last subscription', async (t) => {
  const { hub, client } = setUp()
  const one = client()
  one.subscribe('sessions/nobody/workers/w')
  t.equal(hub.stats().sessions, 1)
  t.equal(hub.find('nobody'), undefined)
  t.same(hub.sessions(), [])
  one.connection.receive({ type: 'unsubscribe', sub: 0 })
  t.equal(hub.stats().sessions, 0)
  t.equal(hub.stats().feeds, 0)
})

t.test('refuses what cannot be, and changes nothing', async (t) => {
  const { hub, client } = setUp()
  const one = client()
  one.subscribe('sessions/a')
  t.throws(() => one.connection.receive({ type: 'subscribe', sub: 0, topic: 'sessions/b' }), {
    code: 'conflict',
  })
  t.throws(() => one.connection.receive({ type: 'subscribe', sub: 9, topic: 'sessions/a' }), {
    code: 'conflict',
  })
  t.throws(() => one.connection.receive({ type: 'subscribe', sub: 9, topic: 'sessions' }), {
    code: 'badFrame',
  })
  t.throws(() => one.connection.receive({ type: 'subscribe', sub: 9, topic: 'sessions/a', after: 'x' }), {
    code: 'badFrame',
  })
  t.throws(() => one.connection.receive({ type: 'subscribe', sub: 9, topic: 'sessions/a', types: ['a b'] }), {
    code: 'badFrame',
  })
  t.throws(() => one.connection.receive({ type: 'update', sub: 9 }), { code: 'notFound' })
  t.throws(() => hub.publish('sessions/a/**', [{ type: 'x' }]), { code: 'badFrame' })
  t.throws(() => hub.publish('hub', [{ type: 'x' }]), { code: 'badFrame' })
  t.equal(hub.stats().subscriptions, 1)
  t.equal(hub.stats().feeds, 1)
})

t.test('within the process a topic is an async iterable that ends with its session', async (t) => {
  const hub = createHub({ random: new SeededRandom(1) })
  const session = hub.session('a')
  const seen: string[] = []
  const reading = (async () => {
    for await (const { type } of hub.subscribe('sessions/a/**', { types: ['tool_*'] })) seen.push(type)
  })()
  for (let i = 0; i < 3_000; i++) {
    session.publish([{ type: 'tool_call_started', data: i }, { type: 'noise' }])
    if (i % 200 === 0) await new Promise(setImmediate)
  }
  session.end()
  await reading
  t.equal(seen.length, 3_001)
  t.equal(hub.stats().connections, 0)
  t.throws(() => hub.subscribe('nowhere'), { code: 'badFrame' })
  t.equal(hub.stats().connections, 0)
})

t.test('one who reads more slowly than the history lasts is told of the gap', async (t) => {
  const hub = createHub({ random: new SeededRandom(1) })
  const gaps: string[] = []
  const events = hub.subscribe('sessions/a', { onGap: ({ reason }) => gaps.push(reason) })
  for (let i = 0; i < 5_000; i++) hub.session('a').publish({ type: 'tool_call_started', data: i })
  hub.session('a').end()
  const seen: unknown[] = []
  for await (const { data } of events) seen.push(data)
  t.same(gaps, ['lagging'])
  t.equal(seen.at(-2), 4_999)
  t.ok(seen.length > 1_000 && seen.length < 5_000)
})

t.test('one who comes back at any position has what one who was always there has', async () => {
  const types = ['execution_started', 'llm_text_delta', 'tool_call_started', 'execution_paused']
  const step = fc.oneof(
    fc.record({ type: fc.constantFrom(...types), worker: fc.option(fc.constantFrom('w', 'v')) }),
    fc.constant('turn' as const),
    fc.constant('cut' as const),
  )
  const filters: Partial<Subscribe>[] = [
    {},
    { types: ['execution_*'] },
    { mode: 'summary' },
    { types: ['!tool*'] },
  ]
  const topics = ['sessions/a', 'sessions/a/workers/w', 'sessions/a/**']
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.constantFrom(...filters),
      fc.constantFrom(...topics),
      (steps, filter, topic) => {
        const { hub, clock, client } = setUp()
        const there = client()
        there.subscribe(topic, filter)
        let coming = client()
        coming.subscribe(topic, filter)
        const got: string[] = []
        for (const step of steps) {
          if (step === 'turn') clock.runTurn()
          else if (step === 'cut') {
            const after = cursorOf(coming)
            got.push(...coming.take())
            coming.peer.cut()
            coming = client()
            coming.subscribe(topic, { ...filter, after })
          } else {
            const to = step.worker === null ? hub.session('a') : hub.session('a').worker(step.worker)
            to.publish({ type: step.type, data: got.length })
          }
        }
        clock.runTurn()
        clock.runTurn()
        got.push(...coming.take())
        return JSON.stringify(got) === JSON.stringify(there.take())
      },
    ),
  )
})

/** The cursor that the client would come back with. */
function cursorOf({ frames }: Client): string {
  let cursor = ''
  let epoch = ''
  for (const frame of frames) {
    if (frame.type === 'subscribed') epoch = frame.epoch
    if (frame.type === 'subscribed' || frame.type === 'live') cursor = `${epoch}:${frame.offset}`
    if (frame.type === 'events' && frame.last !== undefined) cursor = `${epoch}:${frame.last}`
  }
  return cursor
}

t.test('tells what the histories hold, also when sessions leave', async (t) => {
  const { hub, clock } = setUp({ limits: { laneEventsMax: 3 } })
  const session = hub.session('a')
  session.publish([{ type: 'a' }, { type: 'a' }, { type: 'execution_started' }])
  session.worker('w').publish({ type: 'execution_completed', data: 'in both' })
  const { events, bytes } = hub.stats().history
  t.equal(events, 5)
  t.ok(bytes > 5 * 64)
  session.publish([{ type: 'a' }, { type: 'a' }, { type: 'a' }])
  t.match(hub.stats().history, { events: 6, evictedDroppable: 2, evictedCritical: 0 })
  hub.createSession('b', { mode: 'control' })
  hub.publish('sessions/b', [{ type: 'a' }])
  t.equal(hub.stats().withheld, 1)
  for (const id of ['a', 'b']) await hub.removeSession(id)
  clock.runTurn()
  t.match(hub.stats().history, { events: 0, bytes: 0 })
})
