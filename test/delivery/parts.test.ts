import t from 'tap'
import { defaultTraits } from '../../src/catalog/traits.js'
import { batchEnd, bytesOf, catchUpEnd, replayPart } from '../../src/delivery/batches.js'
import { Pace } from '../../src/delivery/pace.js'
import { positionsOf } from '../../src/delivery/positions.js'
import { Replay } from '../../src/delivery/replay.js'
import { Entry } from '../../src/history/entry.js'
import type { Offset, Position } from '../../src/protocol/cursor.js'
import type { HubEvent } from '../../src/protocol/frames.js'
import { SimulatedClock } from '../kit/clock.js'

const entries = (count: number, bytes: number): Entry[] =>
  Array.from({ length: count }, (_, n) => {
    const event = { offset: n + 1, type: 'note', time: 0, data: null } as unknown as HubEvent
    return new Entry(event, defaultTraits, bytes)
  })
const offsets = (list: readonly Entry[]) => list.map(({ offset }) => offset)

t.test('a frame is bounded by events and by bytes, and has one event at least', async (t) => {
  t.equal(batchEnd(entries(3, 1), 0), 3)
  t.equal(batchEnd(entries(3, 1), 2), 3)
  t.equal(batchEnd(entries(1_500, 1), 0), 1_000)
  t.equal(batchEnd(entries(1_500, 1), 1_000), 1_500)
  t.equal(batchEnd(entries(3, 10_000_000), 1), 2)
  t.equal(catchUpEnd(entries(3, 40 * 1024), 0), 1)
  t.equal(catchUpEnd(entries(3, 32 * 1024), 0), 2)
  t.ok(
    batchEnd(entries(10, 40 * 1024), 0) > catchUpEnd(entries(10, 40 * 1024), 0),
    'what was missed comes in less',
  )
  t.same(offsets(replayPart(entries(3, 1), 1)), [2, 3])
  t.equal(replayPart(entries(150, 1), 0).length, 100)
  t.equal(replayPart(entries(3, 10_000_000), 2).length, 1)
  t.equal(bytesOf(new Uint8Array(7)), 7)
  t.equal(bytesOf({ type: 'pong' }), 0)
})

t.test('what is left of a replay is what follows, and what a filter accepts', async (t) => {
  const replay = new Replay(entries(5, 1))
  t.same(offsets(replay.after(3 as Offset).held(0 as Offset).entries), [4, 5])
  t.same(offsets(replay.after(5 as Offset).held(0 as Offset).entries), [])
  t.same(offsets(replay.filtered(({ offset }) => offset % 2 === 1).held(0 as Offset).entries), [1, 3, 5])
  t.same(offsets(replay.held(2 as Offset).entries), [3, 4, 5], 'not what the store has given already')
  t.equal(replay.held(0 as Offset), replay.held(0 as Offset), 'one page for all who get it')
})

t.test('all connections share what may be written of history in one turn', async (t) => {
  const clock = new SimulatedClock()
  const pace = new Pace(clock)
  t.notOk(pace.isSpent)
  pace.spend(() => 512 * 1024 - 1)
  t.notOk(pace.isSpent)
  pace.spend(() => 1)
  t.ok(pace.isSpent)
  clock.runTurn()
  t.notOk(pace.isSpent, 'and as much in the next')
  pace.spend(() => {
    clock.advance(1)
    return 1
  })
  t.ok(pace.isSpent, 'nor more time than that')
})

t.test('a turn whose time is over to the moment has none left', async (t) => {
  const moments = [0, 0.2]
  const clock = Object.assign(new SimulatedClock(), { elapsed: () => moments.shift() ?? 0.2 })
  const pace = new Pace(clock)
  pace.spend(() => 1)
  t.ok(pace.isSpent)
})

t.test(
  'a client resumes a session from its lowest position, and a topic that is joined by itself',
  async (t) => {
    const at = (offset: number): Position => ({ epoch: 'e', offset: offset as Offset })
    const from = (id: string, name: string, resumption: Position | undefined) =>
      ({ feed: { topic: { name, timeline: { id } } }, resumption }) as unknown as Parameters<
        typeof positionsOf
      >[0][number]
    const positions = (...list: ReturnType<typeof from>[]) => Object.fromEntries(positionsOf(list))
    t.same(positions(), {})
    t.same(positions(from('a', 'sessions/a', at(5)), from('a', 'sessions/a/workers/w', at(3))), { a: at(3) })
    t.same(
      positions(
        from('a', 'sessions/a', at(5)),
        from('b', 'sessions/b', at(7)),
        from('b', 'sessions/b/workers/w', undefined),
      ),
      { a: at(5), 'sessions/b': at(7) },
      'that topic is left out, and the other one has its own',
    )
    const joining = { ...at(5), join: 'r3' }
    const [own, worker] = ['sessions/a', 'sessions/a/workers/w']
    for (const [one, other] of [
      [joining, at(3)],
      [at(3), joining],
    ]) {
      const both = positions(from('a', own, one), from('a', worker, other))
      t.same(both, { [own]: one, [worker]: other }, 'one cursor cannot tell of both')
    }
    const restarted = positions(from('a', own, at(5)), from('a', worker, { ...at(3), epoch: 'f' }))
    t.same(restarted, { [own]: at(5), [worker]: { ...at(3), epoch: 'f' } })
  },
)
