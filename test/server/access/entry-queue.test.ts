import t from 'tap'
import { EntryQueue } from '../../../src/server/access/entry-queue.js'
import { WorkTurns } from '../../../src/server/access/work-turns.js'
import { SimulatedClock } from '../../kit/clock.js'

/** A queue whose turns end one by one. */
function setUp() {
  const ends: (() => void)[] = []
  const clock = new SimulatedClock()
  clock.defer = (task) => void ends.push(task)
  const queue = new EntryQueue(clock)
  const passed: number[] = []
  const come = async (who: number) => {
    await queue.pass()
    passed.push(who)
  }
  const endTurn = async () => {
    for (const end of ends.splice(0)) end()
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  const endTwo = async () => {
    await endTurn()
    await endTurn()
  }
  return { endTwo, queue, passed, come, endTurn }
}

t.test('of those who come at once two pass in every second turn, in their order', async (t) => {
  const { queue, passed, come, endTurn, endTwo } = setUp()
  const all = Array.from({ length: 4 }, (_, who) => come(who))
  await new Promise<void>((resolve) => setImmediate(resolve))
  t.strictSame(passed, [0, 1])
  await endTurn()
  t.strictSame(passed, [0, 1], 'the end of the turn in which they passed lets nobody else in')
  await endTurn()
  t.strictSame(passed, [0, 1, 2, 3])
  const last = come(4)
  await endTwo()
  await Promise.all([...all, last])
  t.strictSame(passed, [0, 1, 2, 3, 4], 'who comes later passes nobody')
  t.equal(queue.pass(), undefined, 'one of two had passed in that turn')
  await endTwo()
  await endTwo()
  t.equal(queue.pass(), undefined)
})

t.test('who comes alone does not wait', async (t) => {
  const { queue, endTwo } = setUp()
  for (let turn = 0; turn < 3; turn++) {
    for (let who = 0; who < 2; who++) t.equal(queue.pass(), undefined)
    await endTwo()
  }
})

t.test('large work is done at most once in a turn, after a flush, and the senders take turns', async (t) => {
  const ends: (() => void)[] = []
  const clock = new SimulatedClock()
  clock.defer = (task) => void ends.push(task)
  let flushes = 0
  const done: string[] = []
  const turns = new WorkTurns(clock, { flush: () => void (flushes += 1), flushedEvents: 0 })
  const work = async (sender: string, name: string) => {
    await turns.take(sender)
    done.push(name)
    t.equal(flushes, done.length, 'what is live has left')
  }
  for (const name of ['a1', 'a2', 'a3']) void work('a', name)
  for (const name of ['b1', 'b2']) void work('b', name)
  const endTurn = async () => {
    t.ok(ends.length <= 1)
    ends.shift()?.()
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  for (let turn = 1; turn < 5; turn += 1) {
    await endTurn()
    t.equal(done.length, turn, 'not at the end of the same turn, before sockets are read again')
    await endTurn()
    t.equal(done.length, turn + 1)
  }
  t.same(done, ['a1', 'a2', 'b1', 'a3', 'b2'])
  await endTurn()
  await endTurn()
  t.equal(ends.length, 0, 'nothing is asked for where nothing waits')
  t.equal(turns.take('c'), undefined, 'who comes then begins at once')
})

t.test('while events are delivered, a piece is followed by a rest that is as long', async (t) => {
  let now = 0
  let ends: (() => void)[] = []
  const rests: number[] = []
  const clock = {
    now: () => now,
    elapsed: () => now,
    defer: (task: () => void) => void ends.push(task),
    after: (ms: number, task: () => void) => {
      rests.push(ms)
      ends.push(task)
      return { cancel: () => {} }
    },
  }
  const live = { flush: () => {}, flushedEvents: 0 }
  const turns = new WorkTurns(clock, live)
  /** @returns the rest after a piece of so many milliseconds; nothing if there was none */
  const restAfter = async (ms: number): Promise<number | undefined> => {
    rests.length = 0
    t.equal(turns.take('a'), undefined)
    now += ms
    let isNext = false
    const next = Promise.resolve(turns.take('a')).then(() => (isNext = true))
    while (!isNext) {
      const tasks = ends
      ends = []
      for (const task of tasks) task()
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
    await next
    while (ends.length > 0) ends.shift()?.()
    return rests[0]
  }
  t.equal(await restAfter(10), undefined, 'nothing is live')
  live.flushedEvents += 1
  t.equal(await restAfter(7.5), 8)
  t.equal(await restAfter(20), 20, 'as it was a moment ago')
  t.equal(await restAfter(0.5), undefined, 'a short one')
  t.equal(await restAfter(100), undefined, 'nothing was live for long enough')
})
