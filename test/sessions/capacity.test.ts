import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import { levelOf } from '../../src/lib/level.js'
import type { ProtocolError } from '../../src/protocol/codes.js'
import { memoryStore } from '../../src/store/memory.js'
import { SimulatedClock } from '../kit/clock.js'

t.test('the level takes from the heaviest alone', (t) => {
  t.equal(levelOf([10, 1, 1], 3), 7)
  t.equal(levelOf([10, 8, 1], 4), 7)
  t.equal(levelOf([5, 5, 5], 6), 3)
  t.equal(levelOf([5, 5], 100), 0)
  t.equal(levelOf([], 1), 0)
  t.end()
})

t.test('who publishes more than fits empties nobody else’s history', (t) => {
  const hub = createHub({
    limits: { memoryBytesMax: 4_000_000, historyBytesMax: 1_000_000 },
    catalog: { urgent: { critical: true } },
  })
  hub.publish('sessions/ended', [{ type: 'note', data: 'x'.repeat(1_000) }])
  hub.endSession('ended')
  for (let at = 0; at < 1_000; at += 1) {
    hub.publish('sessions/modest', [{ type: at % 2 === 0 ? 'note' : 'urgent', data: at }])
  }
  const data = 'x'.repeat(10_000)
  for (let at = 0; at < 2_000; at += 1) {
    hub.publish(`sessions/greedy/workers/w${at % 20}`, [{ type: 'urgent', data }])
  }
  t.equal(hub.history('sessions/modest', { limit: 1_000 }).events.length, 1_000)
  t.equal(hub.find('ended')?.status, 'ended', 'nor does an ended session go for it')
  t.ok(hub.stats().memoryBytes <= 4_100_000)
  t.end()
})

t.test(
  'many sessions that hold much pay before one that holds little, and before one that has ended',
  (t) => {
    const hub = createHub({ limits: { memoryBytesMax: 4_000_000 }, catalog: { urgent: { critical: true } } })
    for (const id of ['modest', 'ended']) {
      for (let at = 0; at < 500; at += 1) hub.publish(`sessions/${id}`, [{ type: 'urgent', data: at }])
    }
    hub.endSession('ended')
    const data = 'x'.repeat(10_000)
    // None of them holds an eighth.
    for (let at = 0; at < 2_000; at += 1)
      hub.publish(`sessions/greedy-${at % 20}`, [{ type: 'urgent', data }])
    for (const id of ['modest', 'ended']) {
      const { events } = hub.history(`sessions/${id}`, { limit: 1_000, types: ['urgent'] })
      t.equal(events.filter(({ type }) => type === 'urgent').length, 500, id)
    }
    t.ok(hub.stats().memoryBytes <= 4_100_000)
    t.end()
  },
)

t.test('each session keeps its share of history and of state, whatever the others take', (t) => {
  const memoryBytesMax = 4_000_000
  const count = 10
  const hub = createHub({ limits: { memoryBytesMax }, catalog: { pin: { replay: 'latest' } } })
  const name = (session: number) => `sessions/s${session}`
  const value = 'v'.repeat(20_000)
  const fill = (session: number): string => {
    for (let at = 0; at < 1_000; at += 1) {
      const worker = `${name(session)}/workers/w${at}`
      try {
        hub.setState(worker, 'a', value)
      } catch (error) {
        return (error as ProtocolError).code
      }
    }
    return 'none'
  }
  const chatter = (session: number): void => {
    for (let at = 0; at < 200; at += 1) {
      hub.publish(name(session), [{ type: 'pin', key: `${at}`, data: 'x'.repeat(5_000) }])
    }
  }
  t.equal(fill(0), 'unavailable', 'state does not take all')
  for (let session = 1; session < count; session += 1) chatter(session)
  t.equal(fill(1), 'unavailable', 'who comes later takes no more than a share of what is left')
  for (let session = 0; session < count; session += 1) {
    const left = memoryBytesMax / 8 / count - (session === 1 ? 45_000 : 100)
    if (session > 0) hub.setState(name(session), 'own', 'v'.repeat(left))
    chatter(session)
  }
  // 31/32 of the memory less 5/8 for state, over all sessions.
  const share = (memoryBytesMax * (31 / 32 - 5 / 8)) / count
  for (let session = 0; session < count; session += 1) {
    const { history } = hub.measure(`s${session}`)
    t.ok(history.bytes >= share - 6_000, `s${session} keeps ${history.bytes} bytes of ${share}`)
  }
  t.ok(hub.stats().memoryBytes <= memoryBytesMax + 6_000, 'pinned events are counted')
  t.end()
})

t.test('what is kept of sessions and workers counts, until they go', async (t) => {
  const hub = createHub({ limits: { memoryBytesMax: 1_000_000 } })
  const before = hub.stats().memoryBytes
  hub.createSession('a', { metadata: { title: 'x'.repeat(10_000) } })
  t.ok(hub.stats().memoryBytes > before + 10_000)
  hub.publish('sessions/a/workers/w', [{ type: 'note' }])
  t.ok(hub.stats().memoryBytes > before + 12_000)
  hub.setState('sessions/a', 'x', 'y'.repeat(480_000))
  t.throws(() => hub.createSession('b', { metadata: { title: 'x'.repeat(200_000) } }), {
    code: 'unavailable',
  })
  t.equal(hub.find('b'), undefined, 'what is refused begins nothing')
  const many = Array.from({ length: 100 }, (_, at) => ({ worker: `w${at}` }))
  t.throws(
    () =>
      hub.publishTo(
        'a',
        many.map(({ worker }) => worker),
        many.map(() => ({ type: 'note' })),
      ),
    { code: 'unavailable' },
  )
  hub.endSession('a', 'z'.repeat(10_000))
  await hub.removeSession('a')
  t.equal(hub.stats().memoryBytes, before)
  t.end()
})

t.test('looking at what is in the store takes no room', async (t) => {
  const store = memoryStore()
  const hub = createHub({ store, limits: { idleSessionsMax: 1 } })
  t.teardown(() => hub.closeStore())
  for (const id of ['a', 'b', 'c']) {
    hub.setState(`sessions/${id}`, 'x', 'y'.repeat(10_000))
    await hub.committed(id)
  }
  const before = hub.stats().memoryBytes
  const { sessions } = await hub.listSessions('', 10)
  t.equal(sessions.length, 3)
  t.equal(hub.stats().memoryBytes, before)
})

t.test('retention does not believe a clock that jumps', async (t) => {
  const dayMs = 86_400_000
  const clock = new SimulatedClock()
  const store = memoryStore()
  const hub = createHub({ clock, store, retention: { ageMs: dayMs } })
  t.teardown(() => hub.closeStore())
  hub.publish('sessions/a', [{ type: 'note' }])
  hub.endSession('a')
  const committed = hub.committed('a')
  await clock.pass(0)
  await committed
  clock.jump(60 * dayMs)
  await clock.pass(120_000)
  t.equal(store.size().sessions, 1, 'no day has passed, whatever the clock says')
  for (let hour = 0; hour < 25; hour += 1) await clock.pass(dayMs / 24)
  t.equal(store.size().sessions, 0)
})

t.test('what events leave behind counts as long as it is there, and goes with its session', (t) => {
  const hub = createHub({ limits: { publishIdsMax: 50, laneEventsMax: 1, historyBytesMax: 10_000 } })
  const topic = 'sessions/s/workers/w'
  const grown = (what: () => void): number => {
    const before = hub.stats().memoryBytes
    what()
    return hub.stats().memoryBytes - before
  }
  const one = [{ type: 'note' }]
  hub.publish(topic, one)

  const ids = grown(() => {
    for (let at = 0; at < 50; at += 1) hub.publish(topic, [{ type: 'note', id: `${at}`.padEnd(200, 'i') }])
  })
  t.ok(ids > 50 * 200, `ids: ${ids}`)
  const window = grown(() => {
    for (let at = 50; at < 100; at += 1) hub.publish(topic, [{ type: 'note', id: `${at}`.padEnd(200, 'i') }])
  })
  t.ok(window < 50 * 100, `of those that have left the window a hash is kept: ${window}`)

  const asked = grown(() => {
    for (let at = 0; at < 20; at += 1) {
      const data = { prompt: 'p'.repeat(400) }
      hub.publish(topic, [{ type: 'client_input_requested', data, key: `k${at}` }])
    }
  })
  t.ok(asked > 20 * 400, `questions: ${asked}`)
  const answered = grown(() => {
    for (let at = 0; at < 20; at += 1)
      hub.publish(topic, [{ type: 'client_input_received', key: `k${at}`, data: {} }])
  })
  t.ok(answered < -20 * 400, `answered ones: ${answered}`)

  const attempts = grown(() => {
    for (let at = 0; at < 20; at += 1) {
      hub.publish(topic, [{ type: 'note', attempt: { step: `${at}`.padEnd(200, 's'), number: 1 } }])
      hub.publish(topic, [{ type: 'note', attempt: { step: `${at}`.padEnd(200, 's'), number: 2 } }])
    }
  })
  t.ok(attempts > 20 * 200 && attempts < 20 * 400, `each step once: ${attempts}`)

  const types = grown(() => {
    for (let at = 0; at < 300; at += 1) hub.publish(topic, [{ type: `${at}`.padEnd(100, 't') }])
  })
  t.ok(types > 256 * 100, `types of which something was evicted: ${types}`)

  void hub.removeSession('s')
  t.equal(hub.stats().memoryBytes, 0)
  t.end()
})

t.test('a session that asks and names without end leaves the others their room', (t) => {
  const hub = createHub({ limits: { memoryBytesMax: 4_000_000 } })
  hub.publish('sessions/modest', [{ type: 'execution_started' }])
  let refused: ProtocolError | undefined
  for (let at = 0; at < 20_000 && refused === undefined; at += 1) {
    const event = {
      type: 'client_input_requested',
      id: `${at}`.padEnd(200, 'i'),
      key: `${at}`,
      data: { prompt: 'p'.repeat(400) },
    }
    try {
      hub.publish(`sessions/greedy/workers/w${at % 5}`, [event])
    } catch (error) {
      refused = error as ProtocolError
    }
  }
  t.equal(refused?.code, 'unavailable')
  t.equal(hub.setState('sessions/modest', 'plan', 'x'.repeat(100_000)).changed, true)
  t.equal(hub.history('sessions/modest').events.length, 1)
  t.end()
})

t.test('what is remembered of evicted types makes room as well', (t) => {
  const hub = createHub({ limits: { memoryBytesMax: 400_000, laneEventsMax: 1 } })
  for (let worker = 0; worker < 40; worker += 1) {
    for (let at = 0; at < 200; at += 1)
      hub.publish(`sessions/greedy/workers/w${worker}`, [{ type: `${at}`.padEnd(100, 't') }])
  }
  t.ok(hub.stats().memoryBytes <= 410_000, `${hub.stats().memoryBytes}`)
  t.end()
})
