import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import { levelOf } from '../../src/lib/level.js'
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
