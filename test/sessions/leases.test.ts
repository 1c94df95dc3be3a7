import t from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { JsonObject } from '../../src/lib/json.js'
import { memoryStore } from '../../src/store/memory.js'
import { SimulatedClock } from '../kit/clock.js'

function workersOf(hub: Hub): Readonly<Record<string, JsonObject>> {
  return hub.state('sessions/s').slices['$workers'] as Readonly<Record<string, JsonObject>>
}

const typesOf = (hub: Hub, topic = 'sessions/s/**') => hub.history(topic).events.map(({ type }) => type)

t.test('a worker that is not heard of is lost, and lives again with its next event', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock })
  const worker = hub.session('s').worker('w')
  worker.publish({ type: 'process.started' })
  worker.publish({ type: 'client_input_requested', data: { request_id: 'r' } })
  worker.lease(10_000)
  clock.advance(9_999)
  t.match(workersOf(hub)['w'], { status: 'running' })
  clock.advance(1)
  t.match(workersOf(hub)['w'], {
    status: 'ended',
    result: 'lost',
    reason: /sign of life/,
    endedAt: clock.now(),
  })
  t.notOk(workersOf(hub)['w']?.['needs'], 'nobody waits for an answer any more')
  t.strictSame(typesOf(hub), ['process.started', 'client_input_requested', 'worker.lost'])
  t.ok(typesOf(hub, 'sessions/s').includes('worker.lost'), 'its session is told')
  clock.advance(1_000_000)
  t.equal(hub.stats().published, 3, 'it is said once')
  worker.publish({ type: 'note' })
  t.match(workersOf(hub)['w'], { status: 'running' })
  t.notOk('result' in (workersOf(hub)['w'] ?? {}))
})

t.test('events, further calls and a connection renew a lease; 0 and the end give it up', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock })
  const worker = hub.session('s').worker('w')
  const lost = () => workersOf(hub)['w']?.['result'] === 'lost'
  worker.lease(2_000)
  for (let n = 0; n < 5; n++) {
    clock.advance(1_500)
    worker.publish({ type: 'note' })
  }
  for (let n = 0; n < 5; n++) {
    clock.advance(1_500)
    worker.lease(2_000)
  }
  t.notOk(lost())
  const holder = {}
  hub.lease('sessions/s/workers/w', 2_000, holder)
  clock.advance(100_000)
  t.notOk(lost(), 'as long as the connection lives')
  hub.releaseLeases(holder)
  clock.advance(1_999)
  t.notOk(lost())
  clock.advance(1)
  t.ok(lost(), 'then it runs')

  worker.publish({ type: 'note' })
  worker.lease(2_000)
  worker.lease(0)
  clock.advance(10_000)
  t.notOk(lost())
  worker.lease(2_000)
  worker.publish({ type: 'execution_completed' })
  clock.advance(10_000)
  t.match(workersOf(hub)['w'], { result: 'succeeded' }, 'who has ended is not lost')
  hub.session('s').lease(2_000)
  hub.endSession('s')
  clock.advance(10_000)
  t.equal(hub.find('s')?.result, 'succeeded')
  t.throws(() => hub.session('s').lease(2_000), { code: 'conflict' })
  for (const ms of [-1, 1, 999, 3_600_001, 1.5, Number.NaN]) {
    t.throws(() => hub.session('t').lease(ms), {
      code: 'badFrame',
      message: /^lease\.ms: expected 1000 to 3600000/,
    })
  }
  t.throws(() => hub.lease('hub', 2_000), { code: 'badFrame' })
})

t.test('a session that is lost shows as ended, takes events, and has no complete', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock })
  hub.session('s').publish({ type: 'execution_started' })
  hub.session('s').lease(1_000)
  clock.advance(1_000)
  t.strictSame(hub.stats().leases, { held: 0, lost: { sessions: 1, workers: 0 } })
  t.match(hub.state('sessions/s').slices['$session'], { status: 'ended', result: 'lost' })
  t.match((hub.state('hub').slices['sessions'] as JsonObject)['s'], { status: 'ended', result: 'lost' })
  t.match(hub.find('s'), { status: 'ended', result: 'lost' })
  t.strictSame(typesOf(hub), ['execution_started', 'session.lost'])
  hub.session('s').publish({ type: 'note' })
  t.match(hub.find('s'), { status: 'running' })
  hub.endSession('s')
  t.match(hub.find('s'), { status: 'ended', result: 'succeeded' })
})

t.test('a wall clock that jumps makes no lease run out, and none last longer', (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock })
  const worker = hub.session('s').worker('w')
  worker.lease(10_000)
  clock.advance(5_000)
  worker.publish({ type: 'note' })
  clock.jump(3_600_000)
  clock.advance(9_999)
  t.match(workersOf(hub)['w'], { status: 'running' }, 'it was heard of 10 s ago, whatever the clock says')
  worker.publish({ type: 'note' })
  clock.jump(-7_200_000)
  clock.advance(9_999)
  t.match(workersOf(hub)['w'], { status: 'running' })
  clock.advance(1)
  t.match(workersOf(hub)['w'], { status: 'ended', result: 'lost' })
  t.end()
})

t.test('a lease that ran out while the hub was down is lost after one more period', async (t) => {
  const store = memoryStore()
  const clock = new SimulatedClock()
  const before = createHub({ store, clock })
  before.session('s').worker('w').publish({ type: 'process.started' })
  before.session('s').worker('w').lease(10_000)
  before.session('s').lease(20_000)
  clock.runTurn()
  await before.committed('s')
  const later = new SimulatedClock()
  later.advance(clock.now() - later.now() + 60_000)
  const after = createHub({ store, clock: later })
  while (Object.keys(after.state('hub').slices['sessions'] as object).length === 0) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  later.advance(9_999)
  t.match(workersOf(after)['w'], { status: 'running' })
  later.advance(1)
  t.match(workersOf(after)['w'], { status: 'ended', result: 'lost' })
  later.advance(9_999)
  t.match(after.find('s'), { status: 'running' }, 'the loss of a worker is no sign of life of its session')
  later.advance(1)
  t.match(after.find('s'), { status: 'ended', result: 'lost' })
})
