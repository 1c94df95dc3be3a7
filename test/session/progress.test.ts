import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import type { JsonObject, JsonValue } from '../../src/lib/json.js'
import { memoryStore } from '../../src/store/memory.js'
import { SimulatedClock } from '../kit/clock.js'

function slicesOf(hub: ReturnType<typeof createHub>, session = 's') {
  const { slices } = hub.state(`sessions/${session}`)
  return {
    session: slices['$session'] as JsonObject,
    workers: slices['$workers'] as Readonly<Record<string, JsonObject>>,
    listed: (hub.state('hub').slices['sessions'] as JsonObject)[session] as JsonObject,
  }
}

t.test('what ends a worker says how, and why', async (t) => {
  const cases: [type: string, data: JsonValue, result: string | undefined, reason?: string][] = [
    ['process.exited', { code: 0, signal: null, durationMs: 5 }, 'succeeded'],
    ['process.exited', { code: 3, signal: null, durationMs: 5 }, 'failed', 'exit 3'],
    ['process.exited', { code: 137, signal: 'SIGKILL' }, 'failed', 'signal SIGKILL'],
    ['process.exited', { code: 127, error: 'spawn x ENOENT' }, 'failed', 'spawn x ENOENT'],
    ['process.exited', { code: 130, signal: 'SIGINT', cancelled: true }, 'cancelled', 'signal SIGINT'],
    ['execution_completed', {}, 'succeeded'],
    ['execution_failed', { error: 'no  money\nleft' }, 'failed', 'no money left'],
    ['execution_failed', { error: { message: 'deep', code: 7 } }, 'failed', 'deep'],
    ['execution_failed', { code: 429 }, 'failed', '429'],
    ['execution_failed', { error: 'x'.repeat(300) }, 'failed', `${'x'.repeat(199)}…`],
    ['data-execution-end', {}, 'succeeded'],
    ['data-execution-failed', { message: 'bad' }, 'failed', 'bad'],
    ['data-execution-cancelled', { reason: 'enough' }, 'cancelled', 'enough'],
    ['data-error', { error: 'broken' }, 'failed', 'broken'],
    ['error', { error: 'broken' }, 'failed', 'broken'],
    ['execution.status', { status: 'failed', error: 'bad' }, 'failed', 'bad'],
    ['execution.status', { status: 'COMPLETED' }, 'succeeded'],
    ['execution.status', { status: 'aborted' }, 'cancelled'],
  ]
  for (const [type, data, result, reason] of cases) {
    const hub = createHub()
    hub.session('s').worker('w').publish({ type, data })
    const { workers, listed } = slicesOf(hub)
    t.match(workers['w'], { status: 'ended', result }, `${type} ${JSON.stringify(data).slice(0, 60)}`)
    t.equal(workers['w']?.['reason'], reason)
    t.equal(listed['failed'], result === 'failed' ? 1 : undefined)
    hub.endSession('s')
    const said = result === 'succeeded' ? undefined : reason === undefined ? 'w' : `w: ${reason}`
    t.equal(hub.find('s')?.result, result, 'a session ends as its worst worker')
    if (reason === undefined || reason.length < 150) t.equal(hub.find('s')?.reason, said)
  }
})

t.test('a status that says nothing of an end is no end', async (t) => {
  const hub = createHub()
  const worker = hub.session('s').worker('w')
  worker.publish({ type: 'execution.status', data: { status: 'paused' } })
  t.match(slicesOf(hub).workers['w'], { status: 'paused' })
  worker.publish({ type: 'execution.status', data: { status: 'thinking' } })
  t.match(slicesOf(hub).workers['w'], { status: 'paused' })
  worker.publish({ type: 'execution.status', data: 'odd' })
  t.notOk(slicesOf(hub).workers['w']?.['result'])
})

t.test('a run that begins again clears how the one before ended', async (t) => {
  const hub = createHub()
  const worker = hub.session('s').worker('w')
  worker.publish({ type: 'execution_failed', data: { error: 'bad' } })
  worker.publish({ type: 'execution_started', data: { parent: 'boss' } })
  const { workers } = slicesOf(hub)
  t.match(workers['w'], { status: 'running', parent: 'boss' })
  t.notOk('result' in (workers['w'] ?? {}) || 'reason' in (workers['w'] ?? {}))
})

t.test('a session ends by what is said, by its workers, by its own last word, or well', async (t) => {
  const ended = (
    publish: (hub: ReturnType<typeof createHub>) => void,
    said?: { result?: 'failed'; reason?: string },
  ) => {
    const hub = createHub()
    hub.session('s').publish({ type: 'note' })
    publish(hub)
    hub.endSession('s', undefined, said)
    const { session, listed } = slicesOf(hub)
    t.equal(listed['result'], session['result'])
    return [session['result'], session['reason']]
  }
  const nothing = (): void => {}
  t.strictSame(ended(nothing), ['succeeded', undefined])
  t.strictSame(ended(nothing, { result: 'failed', reason: 'because' }), ['failed', 'because'])
  t.strictSame(
    ended((hub) => hub.session('s').publish({ type: 'execution_failed', data: { error: 'own' } })),
    ['failed', 'own'],
  )
  t.strictSame(
    ended((hub) => {
      hub.session('s').publish({ type: 'execution_completed' })
      hub.session('s').worker('a').publish({ type: 'data-execution-cancelled' })
      hub
        .session('s')
        .worker('b')
        .publish({ type: 'process.exited', data: { code: 1 } })
      hub.session('s').worker('c').publish({ type: 'execution_completed' })
    }),
    ['failed', 'b: exit 1'],
  )
})

t.test('needs are listed until they are answered, or who asked has ended', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock })
  const worker = hub.session('s').worker('w')
  worker.publish([
    { type: 'client_input_requested', data: { request_id: 'r1', prompt: 'Which?' } },
    { type: 'client_input_requested', data: { questions: [{ question: 'One?' }, 'Two?'] } },
    { type: 'data-permission-request', data: { request_id: 'p', tool_name: 'rm', arguments: { path: '/' } } },
    { type: 'credentials_required', data: { request_id: 'c', message: 'Log in' } },
    { type: 'client_input_requested', data: { request_id: 'r1', prompt: 'Which again?' } },
  ])
  const needs = () => slicesOf(hub).workers['w']?.['needs'] as readonly JsonObject[] | undefined
  t.match(needs(), [
    { kind: 'input', key: 'r1', offset: 1, text: 'Which?' },
    { kind: 'input', key: '2', offset: 2, text: 'One? Two?' },
    { kind: 'permission', key: 'p', text: 'rm {"path":"/"}' },
    { kind: 'credentials', key: 'c', text: 'Log in' },
  ])
  t.equal(slicesOf(hub).listed['needs'], 4)
  worker.publish({ type: 'client_input_received', data: { request_id: 'unknown' } })
  t.equal(needs()?.length, 4, 'an answer to something else answers nothing')
  worker.publish({ type: 'client_input_received', data: { text: 'yes' } })
  t.strictSame(
    needs()?.map(({ key }) => key),
    ['2', 'p', 'c'],
    'without a key the oldest of its kind',
  )
  worker.publish({ type: 'data-permission-response', data: { request_id: 'p', granted: false } })
  worker.publish({ type: 'credentials_provided', data: { request_id: 'c' } })
  t.strictSame(
    needs()?.map(({ key }) => key),
    ['2'],
  )
  worker.publish({ type: 'execution_completed' })
  t.equal(needs(), undefined)
  t.equal(slicesOf(hub).listed['needs'], undefined)

  const many = Array.from({ length: 1_100 }, (_, n) => ({
    type: 'client_input_requested',
    data: { request_id: `q${n}` },
  }))
  hub.session('s').publish(many.slice(0, 600))
  hub.session('s').publish(many.slice(600))
  const { session } = slicesOf(hub)
  t.equal((session['needs'] as readonly JsonValue[]).length, 20)
  t.equal(session['needsMore'], 980, 'a thousand are kept')
})

t.test('what models took is added up for each worker and the session', async (t) => {
  const hub = createHub()
  const turn = { input_tokens: 10, output_tokens: 2, cached_tokens: 4, cost_usd: 0.1 }
  hub
    .session('s')
    .worker('a')
    .publish([
      { type: 'llm_turn_complete', data: turn },
      { type: 'llm_turn_complete', data: turn },
    ])
  hub
    .session('s')
    .publish({ type: 'llm_turn_complete', data: { input_tokens: 1, output_tokens: 'many', cost_usd: -1 } })
  const { workers, session } = slicesOf(hub)
  t.match(workers['a']?.['usage'], { input_tokens: 20, output_tokens: 4, cached_tokens: 8, cost_usd: 0.2 })
  t.match(session['usage'], { input_tokens: 21, output_tokens: 4, cached_tokens: 8, cost_usd: 0.2 })
  for (const [worker, cost] of [
    ['a', 0.4],
    ['b', 0.7],
  ] as const)
    hub
      .session('s')
      .worker(worker)
      .publish({ type: 'llm_turn_complete', data: { cost_usd: cost } })
  const added = slicesOf(hub)
  t.match(added.workers['a']?.['usage'], { cost_usd: 0.6 }, 'not 0.6000000000000001')
  t.match(added.session['usage'], { cost_usd: 1.3 }, 'not 1.2999999999999998')
})

t.test('the time of the last sign is told at most once in five seconds', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock })
  const worker = hub.session('s').worker('w')
  const lastAt = () => slicesOf(hub).workers['w']?.['lastAt']
  worker.publish({ type: 'a' })
  const first = lastAt()
  t.equal(first, clock.now())
  clock.advance(4_000)
  worker.publish({ type: 'a' })
  t.equal(lastAt(), first)
  clock.advance(1_000)
  worker.publish({ type: 'a' })
  t.equal(lastAt(), clock.now())
  t.equal(hub.find('s')?.workers[0]?.lastAt, clock.now())
})

t.test('all of it is there after a restart', async (t) => {
  const store = memoryStore()
  const clock = new SimulatedClock()
  const before = createHub({ store, clock })
  before.createSession('s', { metadata: { title: 'Release', labels: ['ci', 'main'], other: 1 } })
  before
    .session('s')
    .worker('a')
    .publish([
      { type: 'execution_started', data: { parent: 'boss' } },
      { type: 'client_input_requested', data: { request_id: 'r', prompt: 'Go?' } },
      { type: 'llm_turn_complete', data: { input_tokens: 3 } },
    ])
  before
    .session('s')
    .worker('b')
    .publish({ type: 'process.exited', data: { code: 3 } })
  before.session('s').publish({ type: 'client_input_requested', data: { request_id: 'q' } })
  clock.runTurn()
  await before.committed('s')
  const after = createHub({ store, clock })
  while (Object.keys(after.state('hub').slices['sessions'] as object).length === 0) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  const listed = (after.state('hub').slices['sessions'] as JsonObject)['s']
  t.match(listed, { needs: 2, failed: 1, title: 'Release', labels: ['ci', 'main'] }, 'before it is loaded')
  t.strictSame(slicesOf(after), slicesOf(before))
  t.match(slicesOf(after).workers, { a: { parent: 'boss', needs: [{ key: 'r' }] }, b: { result: 'failed' } })
  after
    .session('s')
    .worker('a')
    .publish({ type: 'client_input_received', data: { request_id: 'r' } })
  t.equal(slicesOf(after).listed['needs'], 1)
})

t.test(
  'a session that waits comes back as one that waits, with the newest event of each publisher',
  async (t) => {
    const store = memoryStore()
    const clock = new SimulatedClock()
    const before = createHub({ store, clock })
    before.createSession('s', { metadata: { labels: ['ci', 5, '', null, 'main', { a: 1 }] } })
    const session = before.session('s')
    session.publish({ type: 'execution_started' })
    for (const triggerId of ['a', 'b', 'a']) {
      session.publish({ type: 'trigger_updated', data: { trigger_id: triggerId } })
      session.worker('w').publish({ type: 'trigger_updated', data: { trigger_id: triggerId } })
    }
    session.publish({ type: 'execution_paused' })
    clock.runTurn()
    await before.committed('s')
    const stored = await store.load('s')
    const pinned = stored?.latest.map(({ worker = 'session', key, event }) => [worker, key, event.offset])
    t.same(pinned?.toSorted(), [
      ['session', 'a', 6],
      ['session', 'b', 4],
      ['w', 'a', 7],
      ['w', 'b', 5],
    ])
    const after = createHub({ store, clock })
    t.match(after.find('s'), { status: 'paused', mode: 'full' })
    t.same(slicesOf(after).listed['labels'], ['ci', 'main'])
    after.session('s').worker('w').publish({ type: 'note' })
    t.match(after.find('s'), { status: 'paused' }, 'a worker does not go on for its session')
    after.session('s').publish({ type: 'process.resumed' })
    t.match(after.find('s'), { status: 'running' })
    t.same(after.run('s'), { from: 1 }, 'its run goes on')
  },
)

t.test(
  'the list of sessions shows those first that need someone, and counts what it leaves out',
  async (t) => {
    const clock = new SimulatedClock()
    const hub = createHub({ clock })
    const start = (id: string) => hub.session(id).publish({ type: 'execution_started' })
    start('asking')
    hub.session('asking').publish({ type: 'client_input_requested' })
    start('running')
    for (let n = 0; n < 1_100; n++) {
      start(`ended-${n}`)
      clock.advance(1)
      hub.endSession(`ended-${n}`)
    }
    start('failed')
    hub.session('failed').worker('w').publish({ type: 'execution_failed' })
    hub.endSession('failed')
    const listed = hub.state('hub').slices['sessions'] as JsonObject
    const ids = Object.keys(listed).filter((id) => id !== 'more')
    t.equal(ids.length, 1_000)
    t.equal(listed['more'], 103)
    t.strictSame(ids.slice(0, 3), ['asking', 'failed', 'running'])
    t.equal(ids[3], 'ended-1099', 'those that ended last come before others')
    t.notOk(ids.includes('ended-0'))
  },
)

t.test('workers that were lost count as failed, and a session ends as they did', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock })
  hub.session('s').worker('w').lease(1_000)
  hub.session('s').worker('v').publish({ type: 'execution_cancelled' })
  t.equal(slicesOf(hub).listed['failed'], undefined)
  clock.advance(1_001)
  t.match(slicesOf(hub).workers['w'], { status: 'ended', result: 'lost' })
  t.equal(slicesOf(hub).listed['failed'], 1)
  hub.endSession('s')
  t.match(hub.find('s'), { result: 'lost' })
})

t.test('what memory evicts is counted once for each event, without a store', async (t) => {
  const hub = createHub({ limits: { laneEventsMax: 10 } })
  const session = hub.session('s')
  session.publish(Array.from({ length: 13 }, () => ({ type: 'note' })))
  t.match(hub.measure('s').history, { events: 10, evicted: 3 })
  // Those of a worker that its session shows too are evicted in either topic, and are gone with the worker's.
  session.worker('w').publish(Array.from({ length: 12 }, () => ({ type: 'execution_completed' })))
  t.match(hub.measure('s').history, { evicted: 5 })
})

t.test('the store knows when a slice was removed last, and how long ago nothing was', async (t) => {
  const store = memoryStore()
  const hub = createHub({ store })
  const record = async () => {
    await hub.committed('s')
    return (await store.load('s'))?.record
  }
  hub.setState('sessions/s', 'a', 1)
  t.equal('slicesRemovedAt' in ((await record()) ?? {}), false)
  const { offset } = hub.removeState('sessions/s', 'a')
  t.equal((await record())?.slicesRemovedAt, offset)
  hub.setState('sessions/s', 'a', 2)
  t.equal((await record())?.slicesRemovedAt, offset)
})

t.test('a session weighs as much after a restart as before', async (t) => {
  const store = memoryStore()
  const clock = new SimulatedClock()
  const before = createHub({ store, clock })
  before.createSession('s', { metadata: { title: 'Release', labels: ['ci'] } })
  const session = before.session('s')
  session.setState('plan', { steps: ['a', 'b'] })
  session.publish([
    { type: 'execution_started', id: 'one' },
    { type: 'client_input_requested', data: { request_id: 'q', prompt: 'Go on?' } },
    { type: 'note', attempt: { step: 'build', number: 1 } },
  ])
  session.worker('w').publish([
    { type: 'execution_started', id: 'two', data: { parent: 'boss' } },
    { type: 'client_input_requested', data: { request_id: 'r', prompt: 'Really?' } },
  ])
  session.worker('w').publish({ type: 'command.input', data: { text: 'yes' } })
  session.worker('w').setState('notes', 'x'.repeat(100))
  session.worker('v').publish({ type: 'execution_failed', data: { error: 'no money left' } })
  clock.runTurn()
  await before.committed('s')
  const after = createHub({ store, clock })
  t.equal(after.stats().memoryBytes, 0)
  after.find('s')
  const commands = (hub: ReturnType<typeof createHub>) =>
    hub.state('sessions/s/workers/w', ['$commands']).slices['$commands']
  t.match(Object.values(commands(before) ?? {}), [{ state: 'queued' }])
  t.same(commands(after), commands(before))
  t.equal(after.stats().memoryBytes, before.stats().memoryBytes)
})

t.test(
  'the end of a session ends its workers and leases, and takes no offset for slices that nobody follows',
  async (t) => {
    const [store, clock] = [memoryStore(), new SimulatedClock()]
    const hub = createHub({ store, clock })
    const session = hub.session('s')
    session.lease(60_000)
    session.worker('early').publish({ type: 'execution_completed' })
    session.worker('late').publish({ type: 'note' })
    const endedEarly = clock.now()
    clock.advance(1_000)
    clock.runTurn()
    await hub.committed('s')
    t.same((await store.load('s'))?.record.leases, { '': 60_000 })
    hub.endSession('s')
    t.equal(hub.find('s')?.offset, 3)
    clock.runTurn()
    await hub.committed('s')
    t.equal((await store.load('s'))?.record.leases, undefined)
    const { workers } = slicesOf(hub)
    t.match(workers, { early: { endedAt: endedEarly }, late: { status: 'ended', endedAt: clock.now() } })
  },
)

t.test(
  'what has not changed of a worker stays the same object, so that comparing it costs nothing',
  async (t) => {
    const hub = createHub()
    for (const id of ['a', 'b']) hub.session('s').worker(id).publish({ type: 'note' })
    const before = slicesOf(hub).workers
    hub.session('s').worker('b').publish({ type: 'note' })
    const after = slicesOf(hub).workers
    t.equal(after['a'], before['a'])
    t.not(after['b'], before['b'])
  },
)
