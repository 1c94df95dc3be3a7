import t from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { JsonObject } from '../../src/lib/json.js'
import { memoryStore } from '../../src/store/memory.js'
import { setUp } from '../hub/hub-kit.js'
import { SimulatedClock } from '../kit/clock.js'

const topic = 'sessions/s/workers/w'
const delta = (content: string, number: number, step = 'write') => ({
  type: 'llm_reasoning_delta',
  data: { content },
  attempt: { step, number },
})
const contents = (events: readonly { data: unknown }[]) =>
  events.map(({ data }) => (data as JsonObject | null)?.['content']).filter((one) => one !== undefined)

t.test(
  'a new attempt takes the place of what the former one published, for everyone who joins',
  async (t) => {
    const { hub, client } = setUp()
    const watcher = client(100)
    watcher.subscribe(topic)
    hub.publish(topic, [delta('half an ans', 1), { type: 'note' }, delta('other', 1, 'read')])
    hub.flush()
    hub.publish(topic, [delta('The answer', 2), delta(' is 42', 2)])
    hub.flush()
    const told = watcher.frames.flatMap((frame) => (frame.type === 'events' ? frame.events : []))
    t.strictSame(
      told.map(({ type }) => type),
      [
        'llm_reasoning_delta',
        'note',
        'llm_reasoning_delta',
        'attempt.superseded',
        'llm_reasoning_delta',
        'llm_reasoning_delta',
      ],
    )
    t.strictSame(told[3]?.data, { step: 'write', number: 2, offsets: [1] })
    t.strictSame(told[4]?.attempt, { step: 'write', number: 2 })
    const late = client(100)
    late.subscribe(topic)
    const joined = late.frames.flatMap((frame) => (frame.type === 'events' ? frame.events : []))
    t.strictSame(contents(joined), ['other', 'The answer is 42'])
    const resumed = client(100)
    resumed.subscribe('sessions/s/**', { after: `${hub.find('s')?.epoch}:0` as never })
    t.match(resumed.take(), [/note/, /llm/, /attempt\.superseded/, /llm/])
    t.strictSame(contents(hub.history(topic).events), ['other', 'The answer', ' is 42'])

    const { first } = hub.publish(topic, [delta('too late', 1)])
    t.equal(first, hub.find('s')?.offset, 'what the former attempt still publishes takes an offset')
    t.strictSame(contents(hub.history(topic).events), ['other', 'The answer', ' is 42'], 'and nobody gets it')
  },
)

t.test('what was published and superseded in one turn is delivered to nobody', async (t) => {
  const { hub, client } = setUp()
  const watcher = client(100)
  watcher.subscribe(topic)
  hub.publish(topic, [delta('a', 1), delta('b', 2)])
  hub.flush()
  t.match(watcher.take(), [/attempt\.superseded/, /llm/])
})

t.test('texts of two attempts are never joined, nor halves of characters', async (t) => {
  const { hub, client } = setUp()
  hub.publish(topic, [
    delta('a', 1, 'one'),
    delta('b', 1, 'two'),
    delta('c\ud83d', 1, 'two'),
    delta('d', 2, 'two'),
  ])
  const late = client(100)
  late.subscribe(topic)
  const joined = late.frames.flatMap((frame) => (frame.type === 'events' ? frame.events : []))
  t.strictSame(contents(joined), ['a', 'd'])
})

t.test('an attempt is checked at the door', async (t) => {
  const hub = createHub()
  for (const attempt of [
    {},
    { step: 's' },
    { step: '', number: 1 },
    { step: 's', number: -1 },
    { step: 's', number: 1, x: 1 },
    'a',
  ]) {
    t.throws(() => hub.publish(topic, [{ type: 'note', attempt: attempt as never }]), {
      code: 'badFrame',
      message: /attempt/,
      place: { pointer: /^\/0\/attempt/ },
    })
  }
})

t.test('what the store has of a former attempt is given to nobody either, after a restart too', async (t) => {
  const store = memoryStore()
  const clock = new SimulatedClock()
  const limits = { restoredEventsMax: 3, laneEventsMax: 3 }
  const before = createHub({ store, clock, limits })
  for (let n = 0; n < 10; n++) before.publish(topic, [delta(`old ${n} `, 1), { type: 'note', data: n }])
  clock.runTurn()
  await before.committed('s')
  const read = async (hub: Hub) => contents((await hub.readHistory(topic)).events)
  const asked = read(before)
  clock.runTurn()
  t.equal((await asked).length, 10)
  before.publish(topic, [delta('new', 2)])
  clock.runTurn()
  await before.committed('s')
  t.strictSame(await read(before), ['new'])
  const after = createHub({ store, clock, limits })
  t.strictSame(await read(after), ['new'])
  after.publish(topic, [delta('late', 1), delta('er', 2)])
  clock.runTurn()
  await after.committed('s')
  t.strictSame(await read(after), ['new', 'er'])
})

const stalledOf = (hub: Hub) => hub.find('s')?.workers[0] as unknown as { stalled?: JsonObject }
const call = (id: string, input = 'x') => ({
  type: 'tool_call_started',
  data: { tool_use_id: id, tool_name: 'grep', tool_input: input },
})
const result = (id: string) => ({ type: 'tool_call_completed', data: { tool_use_id: id, tool_name: 'grep' } })

t.test('a call that stays open is told once, and its result clears it', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock, limits: { stalledCallMs: 60_000 } })
  const worker = hub.session('s').worker('w')
  const since = clock.now()
  worker.publish([call('1'), { ...call('2'), data: { ...call('2').data, tool_name: 'bash' } }])
  worker.publish(result('2'))
  clock.advance(59_999)
  worker.publish({ type: 'note' })
  t.notOk(stalledOf(hub).stalled)
  clock.advance(1)
  t.strictSame(stalledOf(hub).stalled, { since, why: 'call' })
  t.match(hub.history('sessions/s').events.at(-1), {
    type: 'worker.stalled',
    worker: 'w',
    data: { why: 'call', since, tool: 'grep' },
  })
  worker.publish({ type: 'note' })
  clock.advance(600_000)
  t.ok(stalledOf(hub).stalled, 'another event is no result')
  t.equal(hub.stats().published, 6, 'it is said once')
  worker.publish(result('1'))
  t.notOk(stalledOf(hub).stalled)
  t.equal(clock.timers, 0)
})

t.test('silence is told of who promised to be heard of, not of who waits or is paused', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock, limits: { stalledSilenceMs: 60_000 } })
  const worker = hub.session('s').worker('w')
  worker.publish({ type: 'execution_started' })
  clock.advance(100_000)
  t.notOk(stalledOf(hub).stalled, 'who promised nothing may be silent')
  worker.lease(3_600_000)
  const lease = (ms: number) => {
    for (let left = ms; left > 0; left -= 30_000) {
      clock.advance(30_000)
      worker.lease(3_600_000)
    }
  }
  clock.advance(1)
  t.match(stalledOf(hub).stalled, { why: 'silence', since: clock.now() - 100_001 })
  worker.publish({ type: 'client_input_requested', data: { request_id: 'r', prompt: '?' } })
  t.notOk(stalledOf(hub).stalled)
  lease(300_000)
  t.notOk(stalledOf(hub).stalled, 'who waits for a person is not stuck')
  worker.publish({ type: 'client_input_received', data: { request_id: 'r' } })
  worker.publish({ type: 'execution_paused' })
  lease(300_000)
  t.notOk(stalledOf(hub).stalled, 'nor who is paused')
  worker.publish({ type: 'execution_started' })
  lease(150_000)
  t.match(stalledOf(hub).stalled, { why: 'silence' })
  worker.publish({ type: 'execution_completed' })
  t.notOk(stalledOf(hub).stalled)
  const events = hub.history(topic).events.filter(({ type }) => type === 'worker.stalled')
  t.equal(events.length, 2)
})

t.test('a wall clock that is set makes nobody stalled, and nobody for longer', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock, limits: { stalledSilenceMs: 60_000, stalledCallMs: 100_000 } })
  const worker = hub.session('s').worker('w')
  worker.publish({ type: 'execution_started' })
  worker.lease(3_600_000)
  clock.advance(30_000)
  worker.publish(call('1'))
  clock.jump(7_200_000)
  // What waits for the silence before the call looks again now.
  clock.advance(59_999)
  t.notOk(stalledOf(hub).stalled)
  worker.publish({ type: 'note' })
  clock.jump(-14_400_000)
  clock.advance(40_000)
  t.notOk(stalledOf(hub).stalled)
  clock.advance(1)
  t.match(stalledOf(hub).stalled, { why: 'call' }, '100 s after the call')
  worker.publish(result('1'))
  clock.advance(59_999)
  t.notOk(stalledOf(hub).stalled)
  clock.advance(1)
  t.match(stalledOf(hub).stalled, { why: 'silence', since: clock.now() - 60_000 })
})

t.test('a lease given up and taken again counts the silence from the last event', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock, limits: { stalledSilenceMs: 60_000 } })
  const worker = hub.session('s').worker('w')
  worker.lease(3_600_000)
  worker.publish({ type: 'execution_started' })
  worker.lease(0)
  clock.advance(10_000)
  worker.publish({ type: 'note' })
  clock.advance(10_000)
  worker.lease(3_600_000)
  clock.advance(49_999)
  t.notOk(stalledOf(hub).stalled)
  clock.advance(1)
  t.match(stalledOf(hub).stalled, { why: 'silence', since: clock.now() - 60_000 })
})

t.test('the same call in a row is told, another one clears it; 0 turns all of it off', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock, limits: { stalledRepeats: 3 } })
  const worker = hub.session('s').worker('w')
  for (const id of ['1', '2', '3', '4']) {
    worker.publish([call(id), result(id)])
    clock.advance(1)
  }
  t.match(stalledOf(hub).stalled, { why: 'repeat' })
  t.equal(hub.history(topic).events.filter(({ type }) => type === 'worker.stalled').length, 1)
  worker.publish(call('5', 'y'))
  t.notOk(stalledOf(hub).stalled)
  const limits = { stalledRepeats: 0, stalledCallMs: 0, stalledSilenceMs: 0 }
  const off = createHub({ clock, limits })
  off.session('s').worker('w').lease(3_600_000)
  for (let n = 0; n < 50; n++) off.session('s').worker('w').publish(call('1'))
  clock.advance(3_000_000)
  t.notOk(stalledOf(off).stalled)
})

t.test('what is open, and what is stuck, survives a restart', async (t) => {
  const store = memoryStore()
  const clock = new SimulatedClock()
  const before = createHub({ store, clock, limits: { stalledCallMs: 60_000 } })
  before
    .session('s')
    .worker('w')
    .publish([call('1'), call('2', 'y')])
  clock.advance(60_000)
  await before.committed('s')
  const after = createHub({ store, clock, limits: { stalledCallMs: 60_000 } })
  t.match(stalledOf(after).stalled, { why: 'call' })
  after.session('s').worker('w').publish(result('1'))
  clock.advance(1)
  t.match(stalledOf(after).stalled, { why: 'call' }, 'the other one is open as long')
  after.session('s').worker('w').publish(result('2'))
  t.notOk(stalledOf(after).stalled)
  await after.committed('s')
  after.session('s').worker('w').publish(call('3'))
  clock.advance(20_000)
  await after.committed('s')
  const third = createHub({ store, clock, limits: { stalledCallMs: 60_000 } })
  third.session('s').worker('w').publish(call('4', 'y'))
  clock.jump(7_200_000)
  clock.advance(39_999)
  t.notOk(stalledOf(third).stalled)
  clock.advance(1)
  t.match(stalledOf(third).stalled, { why: 'call' }, 'it is open since the run before')
})
