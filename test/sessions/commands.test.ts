import t from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { JsonObject } from '../../src/lib/json.js'
import type { NewEvent } from '../../src/protocol/frames.js'
import { memoryStore } from '../../src/store/memory.js'
import { setUp } from '../hub/hub-kit.js'
import { SimulatedClock } from '../kit/clock.js'

const topic = 'sessions/s/workers/w'

function started(options: Parameters<typeof createHub>[0] = {}) {
  const it = setUp(options)
  it.hub.session('s').worker('w').publish({ type: 'process.started' })
  return it
}

function commandsOf(hub: Hub, of = topic): Readonly<Record<string, JsonObject>> {
  return (hub.state(of, ['$commands']).slices['$commands'] ?? {}) as Readonly<Record<string, JsonObject>>
}

const statesOf = (hub: Hub, of = topic) => Object.values(commandsOf(hub, of)).map(({ state }) => state)

t.test('a command waits for its agent, is delivered, and has one final state', async (t) => {
  const { hub, clock, client } = started()
  const viewer = client()
  viewer.subscribe(topic, { slices: ['$commands'], types: ['none'] })
  const { first } = hub.publish(topic, [{ type: 'command.cancel', id: 'c', data: { reason: 'too slow' } }])
  t.strictSame(commandsOf(hub)[first], {
    type: 'command.cancel',
    state: 'queued',
    time: clock.now(),
    expiresAt: clock.now() + 3_600_000,
    id: 'c',
    text: 'too slow',
  })
  const agent = client()
  agent.subscribe(topic, { types: ['command.*'] })
  t.strictSame(agent.take(), [`${first} command.cancel`], 'who comes late is given what is under way')
  t.strictSame(statesOf(hub), ['delivered'])
  const done = hub.publish(topic, [{ type: 'command.done', data: { offset: first, state: 'applied' } }])
  t.match(commandsOf(hub)[first], { state: 'applied', doneAt: clock.now() })
  const again = hub.publish(topic, [
    { type: 'command.done', data: { offset: first, state: 'refused', reason: 'no' } },
  ])
  t.strictSame(
    [again.first, again.duplicates],
    [done.first, 1],
    'the first word counts, the others are duplicates',
  )
  t.strictSame(statesOf(hub), ['applied'])
  const late = client()
  late.subscribe(topic, { types: ['command.*'] })
  t.strictSame(late.take(), [], 'and nobody is given it again')
  hub.flush()
  const told = viewer.frames.flatMap((frame) => (frame.type === 'events' ? frame.events : []))
  t.strictSame(
    told.map(({ type, data }) => [type, JSON.stringify(data).match(/queued|delivered|applied/)?.[0]]),
    [
      ['state.update', 'queued'],
      ['state.update', 'delivered'],
      ['state.update', 'applied'],
    ],
    'every viewer sees what becomes of it',
  )
  hub.publish(topic, [{ type: 'command.pause', data: { ttlMs: 1_000 } }])
  clock.advance(1_000)
  t.strictSame(hub.stats().commands, { sent: 2, delivered: 2, applied: 1, refused: 0, expired: 1 })
})

t.test('who only watches is given no old command; who asks for commands by name is', async (t) => {
  const { hub, client } = started()
  hub.publish(topic, [{ type: 'command.pause' }])
  const given = (filter: object) => {
    const one = client()
    one.subscribe(topic, filter)
    return one.take().filter((event) => event.includes('command')).length
  }
  t.equal(given({}), 0)
  t.equal(given({ types: ['*'] }), 0)
  t.equal(given({ types: ['!note'] }), 0)
  t.equal(given({ types: ['command.*', '!command.pause'] }), 0)
  t.strictSame(statesOf(hub), ['queued'], 'and none of them is an agent')
  t.equal(given({ types: ['command.*'], replay: false }), 0)
  t.strictSame(statesOf(hub), ['queued'])
  t.equal(given({ types: ['command.pause'] }), 1)
  t.strictSame(statesOf(hub), ['delivered'])
})

t.test('an agent that follows all of a session is an agent of each worker', async (t) => {
  const { hub, client } = started()
  hub.publish(topic, [{ type: 'command.pause' }])
  client().subscribe('sessions/s/**', { types: ['command.*'] })
  t.strictSame(statesOf(hub), ['delivered'])
  hub.publish(topic, [{ type: 'command.resume' }])
  hub.publish('sessions/s', [{ type: 'command.cancel' }])
  t.strictSame(statesOf(hub), ['delivered', 'delivered'], 'at once, as it is there')
  t.strictSame(statesOf(hub, 'sessions/s'), ['delivered'])
})

t.test('a resumed agent is given what came after its position, and nothing twice', async (t) => {
  const { hub, client } = started()
  const agent = client()
  agent.subscribe(topic, { types: ['command.*'] })
  const first = hub.publish(topic, [{ type: 'command.pause' }])
  hub.flush()
  t.equal(agent.take().length, 1)
  agent.connection.closed()
  hub.publish(topic, [{ type: 'command.resume' }])
  t.strictSame(statesOf(hub), ['delivered', 'queued'])
  const back = client()
  back.subscribe(topic, { types: ['command.*'], after: `${hub.find('s')?.epoch}:${first.last}` as never })
  t.match(back.take(), [/command\.resume$/])
  t.strictSame(statesOf(hub), ['delivered', 'delivered'])
})

t.test('a command that nobody answers in time expires, and who runs late is told nothing else', async (t) => {
  const { hub, clock } = started()
  const first = hub.publish(topic, [{ type: 'command.cancel', data: { ttlMs: 5_000 } }]).first
  hub.publish(topic, [{ type: 'command.pause', data: { ttlMs: 60_000 } }])
  clock.advance(4_999)
  t.strictSame(statesOf(hub), ['queued', 'queued'])
  clock.advance(1)
  t.strictSame(statesOf(hub), ['expired', 'queued'])
  t.match(hub.history(topic).events.at(-1), {
    type: 'command.done',
    data: { offset: first, state: 'expired' },
  })
  const { duplicates } = hub.publish(topic, [
    { type: 'command.done', data: { offset: first, state: 'applied' } },
  ])
  t.equal(duplicates, 1)
  t.strictSame(statesOf(hub), ['expired', 'queued'])
  hub.endSession('s')
  t.strictSame(statesOf(hub), ['expired', 'expired'], 'the end of the session is the end of all')
  t.match(hub.history(topic).events.at(-2), { data: { state: 'expired', reason: 'the session has ended' } })
  clock.advance(100_000)
  t.equal(clock.timers, 1, 'nothing waits but the session for its removal')
})

t.test('a wall clock that jumps expires no command, and lets none live longer', (t) => {
  const { hub, clock } = started()
  hub.publish(topic, [
    { type: 'command.cancel', data: { ttlMs: 5_000 } },
    { type: 'command.pause', data: { ttlMs: 60_000 } },
  ])
  clock.jump(3_600_000)
  clock.advance(5_000)
  t.strictSame(statesOf(hub), ['expired', 'queued'])
  hub.publish(topic, [{ type: 'command.resume', data: { ttlMs: 10_000 } }])
  clock.advance(9_999)
  t.strictSame(statesOf(hub), ['expired', 'queued', 'queued'])
  clock.advance(1)
  t.strictSame(statesOf(hub), ['expired', 'queued', 'expired'])
  clock.jump(-7_200_000)
  clock.advance(44_999)
  t.strictSame(statesOf(hub), ['expired', 'queued', 'expired'])
  clock.advance(1)
  t.strictSame(statesOf(hub), ['expired', 'expired', 'expired'])
  t.end()
})

t.test('commands are no sign of life and no work of the worker', async (t) => {
  const { hub, clock } = started()
  const worker = hub.session('s').worker('w')
  worker.lease(10_000)
  clock.advance(9_000)
  hub.publish(topic, [{ type: 'command.pause' }])
  hub.publish('sessions/s', [{ type: 'command.pause' }])
  clock.advance(1_000)
  t.match(hub.find('s')?.workers[0], { result: 'lost', events: 2 })
  hub.publish(topic, [{ type: 'command.resume' }])
  t.match(hub.find('s')?.workers[0], { result: 'lost' }, 'a command brings nobody back to life')
})

t.test('a command begins nothing', async (t) => {
  const { hub, client } = started()
  client().subscribe('sessions/other', { types: ['command.*'] })
  for (const of of ['sessions/none', 'sessions/other', 'sessions/s/workers/none']) {
    t.throws(() => hub.publish(of, [{ type: 'command.cancel' }]), { code: 'notFound' }, of)
  }
  t.notOk(hub.find('none'))
  t.equal(hub.find('s')?.workers.length, 1)
  hub.endSession('s')
  t.throws(() => hub.publish(topic, [{ type: 'command.cancel' }]), { code: 'conflict' })
})

t.test(
  'what is no command, or no receipt, is refused with its place, and nothing of it is done',
  async (t) => {
    const { hub } = started()
    const sent = hub.publish(topic, [{ type: 'command.cancel' }]).first
    const wrong: [NewEvent, string, string][] = [
      [{ type: 'command.cancel', data: 'now' }, 'badFrame', '/1/data'],
      [{ type: 'command.cancel', data: { ttlMs: 0 } }, 'badFrame', '/1/data/ttlMs'],
      [{ type: 'command.cancel', data: { ttlMs: 604_800_001 } }, 'badFrame', '/1/data/ttlMs'],
      [{ type: 'command.input', data: { key: 7 } }, 'badFrame', '/1/data/key'],
      [{ type: 'command.done', data: { state: 'applied' } }, 'badFrame', '/1/data/offset'],
      [{ type: 'command.done', data: { offset: sent, state: 'expired' } }, 'badFrame', '/1/data/state'],
      [
        { type: 'command.done', data: { offset: sent, state: 'applied', more: 1 } },
        'badFrame',
        '/1/data/more',
      ],
      [{ type: 'command.done', data: { offset: 999, state: 'applied' } }, 'conflict', '/1/data/offset'],
      [{ type: 'command.input', data: { text: 'x'.repeat(70_000) } }, 'frameTooLarge', '/1/data'],
      [{ type: 'worker.stalled' }, 'badFrame', '/1/type'],
      [{ type: 'attempt.superseded' }, 'badFrame', '/1/type'],
    ]
    const before = hub.stats().published
    for (const [event, code, pointer] of wrong) {
      t.throws(
        () => hub.publish(topic, [{ type: 'note' }, event]),
        { code, place: { pointer } },
        `${pointer} ${code}`,
      )
    }
    t.equal(hub.stats().published, before)
  },
)

t.test('input with a key answers what was asked, of a worker or of any of a session', async (t) => {
  const { hub } = started()
  const needs = () => hub.find('s')?.workers[0]?.needs?.map(({ key }) => key) ?? []
  const ask = (request_id: string) =>
    hub.publish(topic, [{ type: 'data-permission-request', data: { request_id, action: 'delete' } }])
  ask('a')
  ask('b')
  hub.publish(topic, [{ type: 'command.input', data: { text: 'yes' } }])
  hub.publish(topic, [{ type: 'command.input', data: { value: true, key: 'none' } }])
  t.strictSame(needs(), ['a', 'b'], 'not without its key')
  hub.publish(topic, [{ type: 'command.input', data: { value: true, key: 'a' } }])
  t.strictSame(needs(), ['b'])
  hub.publish('sessions/s', [{ type: 'command.input', data: { value: true, key: 'b' } }])
  t.strictSame(needs(), [])
})

t.test('neither chatter nor other critical events push out what is under way', async (t) => {
  const { hub, client } = started({ limits: { laneEventsMax: 10, pinnedMax: 5 } })
  const { first } = hub.publish(topic, [{ type: 'command.cancel' }])
  for (let n = 0; n < 50; n++) hub.publish(topic, [{ type: 'note' }, { type: 'execution_started' }])
  const agent = client()
  agent.subscribe(topic, { types: ['command.*'] })
  t.strictSame(agent.take(), [`${first} command.cancel`])
  const resumed = client()
  resumed.subscribe(topic, { types: ['command.*'], after: `${hub.find('s')?.epoch}:1` as never })
  t.strictSame(resumed.take(), [`${first} command.cancel`])
  hub.publish(topic, [{ type: 'command.done', data: { offset: first, state: 'applied' } }])
  const late = client()
  late.subscribe(topic, { types: ['command.*'] })
  t.strictSame(late.take(), [])
})

t.test('a session whose mode carries nothing still carries commands and receipts', async (t) => {
  const { hub, client } = started()
  hub.createSession('s', { mode: 'silent' })
  const agent = client()
  agent.subscribe(topic, { types: ['command.*'] })
  const { first } = hub.publish(topic, [{ type: 'command.cancel' }])
  hub.publish(topic, [{ type: 'command.done', data: { offset: first, state: 'applied' } }])
  hub.flush()
  t.match(agent.take(), [/command\.cancel/, /command\.done/])
})

t.test('a restart with the store keeps what is under way, its time and what was done', async (t) => {
  const store = memoryStore()
  const clock = new SimulatedClock()
  const before = createHub({ store, clock })
  before.session('s').worker('w').publish({ type: 'process.started' })
  const sent = before.publish(topic, [
    { type: 'command.pause', data: { ttlMs: 60_000 } },
    { type: 'command.cancel', data: { ttlMs: 90_000 } },
    { type: 'command.resume' },
  ])
  const [pause, cancel, resume] = Object.keys(commandsOf(before)).map(Number)
  t.equal(pause, sent.first)
  before.publish(topic, [
    { type: 'command.done', data: { offset: resume as number, state: 'refused', reason: 'no' } },
  ])
  // More than a session brings back into memory.
  for (let n = 0; n < 30; n++) before.publish(topic, [{ type: 'note' }])
  clock.runTurn()
  await before.committed('s')

  const { hub, client } = setUp({ store, clock, limits: { restoredEventsMax: 5 } })
  while (Object.keys(hub.state('hub').slices['sessions'] as object).length === 0) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  clock.advance(60_000)
  t.strictSame(statesOf(hub), ['expired', 'queued', 'refused'], 'time goes on, whether anybody looks or not')
  t.match(commandsOf(hub)[String(resume)], { reason: 'no' })
  const agent = client()
  agent.subscribe(topic, { types: ['command.*'] })
  for (let turn = 0; turn < 20; turn++) {
    clock.runTurn()
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.strictSame(agent.take(), [`${cancel} command.cancel`])
  const twice = hub.publish(topic, [
    { type: 'command.done', data: { offset: pause as number, state: 'applied' } },
  ])
  t.equal(twice.duplicates, 1, 'what is final stays so')
})

t.test('in process, each command comes once, and says itself what became of it', async (t) => {
  const { hub } = started()
  const worker = hub.session('s').worker('w')
  hub.publish(topic, [{ type: 'command.input', data: { text: 'hello' } }])
  const done: string[] = []
  const agent = (async () => {
    for await (const command of worker.commands()) {
      const { text } = command.data
      done.push(typeof text === 'string' ? `${command.name} ${text}` : command.name)
      if (command.name === 'pause') command.refused('cannot')
      else command.applied()
      if (command.name === 'cancel') break
    }
  })()
  await new Promise((resolve) => setImmediate(resolve))
  hub.publish(topic, [{ type: 'command.pause' }, { type: 'command.cancel' }, { type: 'command.resume' }])
  hub.flush()
  await agent
  t.strictSame(done, ['input hello', 'pause', 'cancel'])
  t.strictSame(statesOf(hub), ['applied', 'refused', 'applied', 'delivered'])
  t.equal(hub.stats().subscriptions, 0, 'who leaves the loop follows no more')
  const last = hub.session('s').commands()
  hub.publish('sessions/s', [{ type: 'command.cancel' }])
  hub.flush()
  const { value } = await last.next()
  hub.endSession('s')
  value?.applied()
  hub.flush()
  t.strictSame(statesOf(hub, 'sessions/s'), ['expired'])
  t.equal((await last.next()).done, true)
})

t.test('a type of the user’s own can be a command', async (t) => {
  const { hub, client } = started({ catalog: { 'acme.drain': { command: 'request' } } })
  t.match(hub.catalog.traitsOf('acme.drain'), { critical: true, level: 'control' })
  hub.publish(topic, [{ type: 'acme.drain', data: { gently: true } }])
  t.strictSame(statesOf(hub), ['queued'])
  const agent = client()
  agent.subscribe(topic, { types: ['acme.drain'] })
  t.match(agent.take(), [/acme\.drain/])
})
