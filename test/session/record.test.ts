// What a session tells the store, the lists and those who want notices.

import t from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { type JsonObject, measure } from '../../src/lib/json.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { NewEvent } from '../../src/protocol/frames.js'
import { Needs } from '../../src/session/needs.js'
import type { Notice } from '../../src/session/notice.js'
import { Watching } from '../../src/session/watching.js'
import { memoryStore } from '../../src/store/memory.js'
import { setUp } from '../hub/hub-kit.js'
import { SimulatedClock } from '../kit/clock.js'

const at = 1 as Offset
const token = `ghp_${'a1B2c3D4e5'.repeat(4).slice(0, 36)}`

async function committed(hub: Hub, clock: SimulatedClock): Promise<void> {
  clock.runTurn()
  await hub.committed('s')
}

/** A hub, and another one on the same store, as after a restart. */
function twice() {
  const store = memoryStore()
  const clock = new SimulatedClock()
  const again = () => createHub({ store, clock, masking: { key: 'k'.repeat(32) } })
  return { store, clock, before: again(), again }
}

t.test('the record of a session has what it has, and nothing that is empty', async (t) => {
  const { store, clock, before } = twice()
  before.createSession('s')
  await committed(before, clock)
  const startedAt = clock.now()
  const record = (await store.load('s'))?.record
  t.strictSame(record, {
    session: 's',
    epoch: record?.epoch,
    status: 'running',
    mode: 'full',
    metadata: {},
    startedAt,
  })
  before
    .session('s')
    .worker('w')
    .publish({ type: 'client_input_requested', data: { request_id: 'q' } })
  before
    .session('s')
    .worker('v')
    .publish({ type: 'process.exited', data: { code: 1 } })
  before.publish('sessions/s', [{ type: 'command.cancel', data: { ttlMs: 5_000 } }])
  before.setState('sessions/s', 'plan', 1)
  const removed = before.removeState('sessions/s', 'plan')
  await committed(before, clock)
  t.match((await store.load('s'))?.record, {
    needsTotal: 1,
    failed: 1,
    commandsDue: clock.now() + 5_000,
    slicesRemovedAt: removed.offset,
  })
})

t.test('commands of a session and of its workers are stored as they are', async (t) => {
  const { clock, before, again } = twice()
  before.session('s').worker('w').publish({ type: 'process.started' })
  const topics = ['sessions/s', 'sessions/s/workers/w']
  for (const topic of topics) before.publish(topic, [{ type: 'command.pause', data: { ttlMs: 60_000 } }])
  await committed(before, clock)
  for (const topic of topics) before.subscribe(topic, { types: ['command.*'] })
  await committed(before, clock)
  const statesOf = (hub: Hub, topic: string) =>
    Object.values((hub.state(topic, ['$commands']).slices['$commands'] ?? {}) as JsonObject).map(
      (command) => (command as JsonObject)['state'],
    )
  for (const topic of topics) {
    t.strictSame(statesOf(before, topic), ['delivered'], topic)
    t.strictSame(statesOf(again(), topic), ['delivered'], `${topic} after a restart`)
  }
  before.close()
})

t.test('a command that is done is not given to an agent after a restart', async (t) => {
  const { clock, store, before } = twice()
  const topic = 'sessions/s/workers/w'
  before.session('s').worker('w').publish({ type: 'process.started' })
  const { first } = before.publish(topic, [
    { type: 'command.pause', data: { ttlMs: 60_000 } },
    { type: 'command.cancel', data: { ttlMs: 60_000 } },
  ])
  before.publish(topic, [{ type: 'command.done', data: { offset: first, state: 'applied' } }])
  const cancel = before.history(topic).events.find(({ type }) => type === 'command.cancel')
  await committed(before, clock)
  const { client } = setUp({ store, clock })
  const agent = client()
  agent.subscribe(topic, { types: ['command.*'] })
  for (let turn = 0; turn < 20; turn++) {
    clock.runTurn()
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.strictSame(agent.take(), [`${cancel?.offset} command.cancel`])
})

t.test('a command has no more time after a restart than it had', async (t) => {
  const { clock, before, again } = twice()
  before.session('s').publish([{ type: 'process.started' }])
  const { first } = before.publish('sessions/s', [{ type: 'command.pause', data: { ttlMs: 60_000 } }])
  await committed(before, clock)
  clock.advance(40_000)
  const after = again()
  // It reads from the store which sessions have commands.
  while (Object.keys(after.state('hub').slices['sessions'] as object).length === 0)
    await new Promise((resolve) => setImmediate(resolve))
  const stateOf = () =>
    (after.state('sessions/s', ['$commands']).slices['$commands'] as Readonly<Record<string, JsonObject>>)[
      String(first)
    ]?.['state']
  t.equal(stateOf(), 'queued')
  clock.advance(19_000)
  t.equal(stateOf(), 'queued')
  clock.advance(2_000)
  t.equal(stateOf(), 'expired')
})

t.test('the end of a session that was loaded again is in each of its topics', async (t) => {
  const { clock, before, again } = twice()
  before.session('s').worker('w').publish({ type: 'note' })
  before.session('s').worker('w').publish({ type: 'other' })
  before.endSession('s')
  await committed(before, clock)
  const after = again()
  const typesOf = (topic: string) => after.history(topic).events.map(({ type }) => type)
  t.strictSame(typesOf('sessions/s'), ['complete'])
  t.strictSame(typesOf('sessions/s/workers/w'), ['note', 'other', 'complete'])
})

t.test('what was masked stays masked after a restart', async (t) => {
  const { clock, before, again } = twice()
  before.session('s').publish({ type: 'note', data: token })
  await committed(before, clock)
  const after = again()
  after.session('s').publish({ type: 'note', data: token })
  const [first, second] = after.history('sessions/s').events
  t.match(first?.data, /^\[secret:/)
  t.equal(second?.data, first?.data, 'with the same mark')
})

t.test('a notice has the title of its session, and none that is empty or no text', async (t) => {
  for (const [title, shown] of [
    ['Release', 'Release'],
    ['', undefined],
    [5, undefined],
  ] as const) {
    const hub = createHub({ clock: new SimulatedClock() })
    const told: Notice[] = []
    hub.onNotice((notice) => told.push(notice))
    hub.createSession('s', { metadata: { title } })
    hub.endSession('s')
    t.equal(told.length, 1)
    t.equal(told[0]?.title, shown)
    t.equal('title' in (told[0] as Notice), shown !== undefined)
  }
})

t.test('workers that are only followed take a place until nobody follows them', async (t) => {
  const { hub, client, clock } = setUp({ limits: { workersMax: 2 } })
  hub.publish('sessions/s', [{ type: 'a' }])
  for (let time = 0; time < 4; time++) {
    const one = client()
    one.subscribe(`sessions/s/workers/w${time}`)
    one.subscribe(`sessions/s/workers/v${time}`)
    t.throws(() => one.subscribe('sessions/s/workers/third'), /worker/)
    one.connection.closed()
    clock.runTurn()
  }
  const one = client()
  one.subscribe('sessions/s/workers/w')
  one.subscribe('sessions/s/workers/v')
  hub.session('s').worker('w').publish({ type: 'a' })
  one.subscribe('sessions/s/workers/u', {})
  t.throws(() => one.subscribe('sessions/s/workers/third'), /worker/)
})

t.test('a worker is shown as it is, also where only its status has changed', async (t) => {
  const { hub, client, clock } = setUp()
  client().subscribe('sessions/s', { slices: ['$workers'] })
  const worker = hub.session('s').worker('w')
  const statusOf = () =>
    (hub.state('sessions/s').slices['$workers'] as Readonly<Record<string, JsonObject>>)['w']?.['status']
  for (const [type, status] of [
    ['execution_started', 'running'],
    ['execution_paused', 'paused'],
    ['process.resumed', 'running'],
    ['execution_completed', 'ended'],
  ] as const) {
    worker.publish({ type })
    clock.runTurn()
    t.equal(statusOf(), status)
  }
})

t.test('what a change is made unless of has its form', async (t) => {
  const hub = createHub({ clock: new SimulatedClock() })
  const set = (unless: unknown) => () =>
    hub.setState('sessions/s', 'plan', 1, { unless: unless as { absent: true } })
  for (const wrong of [5, null, [], {}, { changedSince: 5 }]) t.throws(set(wrong), { code: 'badFrame' })
  t.throws(set({ absent: true }), { code: 'preconditionFailed' })
  hub.setState('sessions/s', 'plan', 0)
  t.ok(set({ absent: true })().changed)
})

t.test('who is lost is named by what it is', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock })
  const told: Notice[] = []
  hub.onNotice((notice) => told.push(notice))
  hub.session('s').worker('w').publish({ type: 'process.started' })
  hub.session('s').worker('w').lease(1_000)
  hub.session('s').lease(2_000)
  clock.advance(5_000)
  t.strictSame(
    told.filter(({ kind }) => kind === 'lost').map(({ type, worker }) => [type, worker]),
    [
      ['worker.lost', 'w'],
      ['session.lost', undefined],
    ],
  )
})

t.test('an event of the session itself is a sign of life in its slices and in the list', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock })
  const shown = () => {
    const listed = (hub.state('hub').slices['sessions'] as Readonly<Record<string, JsonObject>>)['s']
    const session = hub.state('sessions/s').slices['$session'] as JsonObject
    return [listed?.['lastAt'], session['lastAt']]
  }
  hub.session('s').publish({ type: 'note' })
  t.strictSame(shown(), [clock.now(), clock.now()])
  clock.advance(6_000)
  hub.session('s').publish({ type: 'note' })
  t.strictSame(shown(), [clock.now(), clock.now()])
})

t.test('only texts are labels, and without any there are none', async (t) => {
  const hub = createHub({ clock: new SimulatedClock() })
  const listed = () => hub.state('hub').slices['sessions'] as Readonly<Record<string, JsonObject>>
  hub.createSession('a', { metadata: { title: '', labels: [] } })
  hub.createSession('c', { metadata: { title: 'C', labels: 'ci' } })
  hub.createSession('b', { metadata: { title: 'B', labels: { env: 'ci', count: 2, more: {} } } })
  t.notOk('labels' in (listed()['a'] as JsonObject))
  t.notOk('title' in (listed()['a'] as JsonObject))
  t.notOk('labels' in (listed()['c'] as JsonObject))
  t.match(listed()['b'], { title: 'B', labels: ['env=ci', 'count=2'] })
})

t.test('a run has its bounds', async (t) => {
  const hub = createHub({ clock: new SimulatedClock() })
  const worker = hub.session('s').worker('w')
  const publish = (...types: string[]) => {
    for (const type of types) worker.publish({ type })
    return hub.run('s', 'w')
  }
  t.equal(publish('note'), undefined)
  t.strictSame(publish('execution_started', 'note'), { from: 2 })
  t.strictSame(publish('execution_paused', 'process.resumed'), { from: 2 }, 'it goes on')
  t.strictSame(publish('execution_completed', 'note'), { from: 2, until: 6 })
  t.strictSame(publish('process.resumed'), { from: 8 }, 'nothing was paused')
  const say = (status: string) => {
    worker.publish({ type: 'execution.status', data: { status } })
    return hub.run('s', 'w')
  }
  t.strictSame(say('running'), { from: 8 }, 'it is repeated')
  t.strictSame(say('completed'), { from: 8, until: 10 })
  t.strictSame(say('running'), { from: 11 }, 'it begins again')
})

t.test('values that JSON has no place for are told of, or changed, in each event of a list', async (t) => {
  const hub = createHub({ clock: new SimulatedClock() })
  hub.publish('sessions/s', [
    { type: 'note', data: { at: new Date(0), n: 1 } },
    { type: 'note', data: { at: new Date(1), n: 2 } },
  ] as unknown as NewEvent[])
  t.strictSame(
    hub.history('sessions/s').events.map(({ data }) => data),
    [
      { at: '1970-01-01T00:00:00.000Z', n: 1 },
      { at: '1970-01-01T00:00:00.001Z', n: 2 },
    ],
  )
  t.throws(() => hub.publish('sessions/s', 'note' as unknown as NewEvent[]), {
    code: 'badFrame',
    message: 'events: expected a list of at most 10000 events, got "note"',
  })
  for (const wrong of [null, undefined, 5, 'note', []])
    t.throws(() => hub.publish('sessions/s', [wrong as unknown as NewEvent]), { code: 'badFrame' })
})

t.test('a command has as many bytes as it may have', async (t) => {
  const data = { ttlMs: 5, text: 'x' }
  const bytes = measure(data, 10, 10)
  for (const [commandBytesMax, isTaken] of [
    [bytes, true],
    [bytes - 1, false],
  ] as const) {
    const hub = createHub({ clock: new SimulatedClock(), limits: { commandBytesMax } })
    hub.session('s').worker('w').publish({ type: 'process.started' })
    const send = () => hub.publish('sessions/s/workers/w', [{ type: 'command.pause', data }])
    if (isTaken) t.equal(send().accepted, 1)
    else t.throws(send, { code: 'frameTooLarge' })
  }
})

t.test('questions are asked once, and count by their text', async (t) => {
  let bytes = 0
  const needs = new Needs({ add: (more) => void (bytes += more) })
  const ask = (key: string) => needs.ask({ kind: 'input', key, text: 'the password?', offset: at, time: 1 })
  t.ok(ask('a'))
  t.notOk(ask('a'))
  t.ok(ask('b'))
  const before = bytes
  t.notOk(needs.replaceTexts((text) => text))
  t.equal(bytes, before)
  t.ok(needs.replaceTexts((text) => text.replace('password', 'p')))
  t.equal(before - bytes, 2 * 7)
  t.strictSame(
    needs.open.map(({ text }) => text),
    ['the p?', 'the p?'],
  )
  t.ok(needs.answer('input', 'a'))
  t.notOk(needs.answer('input', 'a'))
  t.ok(needs.clear())
  t.notOk(needs.clear())
  t.equal(bytes, 0)
})

t.test('watchers of a hub that was never counted are no change', async (t) => {
  const watching = new Watching()
  const none = { hub: 'a', count: 0, asks: false }
  t.notOk(watching.set(undefined, none))
  t.ok(watching.set(undefined, { hub: 'a', count: 1, asks: true }))
  t.notOk(watching.set(undefined, { hub: 'a', count: 1, asks: true }))
  t.notOk(watching.set(undefined, { ...none, hub: 'b' }))
  t.ok(watching.set(undefined, none))
  t.ok(watching.isEmpty)
})
