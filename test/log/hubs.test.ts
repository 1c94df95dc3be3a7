import t, { type Test } from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import type { HubFrame } from '../../src/protocol/frames.js'
import { memoryLink } from '../../src/transport/memory.js'
import { SimulatedClock } from '../kit/clock.js'
import { SeededRandom } from '../kit/random.js'

function setUp(t: Test, count = 2) {
  const clock = new SimulatedClock()
  const random = new SeededRandom(7)
  const log = new MemoryLog(clock, random.fork())
  const hubs = Array.from({ length: count }, () =>
    createHub({ clock, random: random.fork(), log: log.link() }),
  )
  t.teardown(() => Promise.all(hubs.map((hub) => hub.closeStore())))
  /** Lets a promise settle under the simulated clock. */
  async function done<T>(promise: Promise<T>): Promise<T> {
    let settled = false
    const mark = (): void => void (settled = true)
    promise.then(mark, mark)
    for (let i = 0; !settled && i < 1_000; i++) await clock.pass(1)
    return promise
  }
  async function follow(hub: Hub, topic: string, after?: string) {
    const frames: HubFrame[] = []
    const { link } = memoryLink(hub.codecs.object, {
      clock,
      backpressureMax: 1e9,
      receive: (chunk) => void frames.push(chunk as unknown as HubFrame),
      drained: () => {},
      closed: () => {},
    })
    const connection = hub.connect(link)
    const subscribe = () =>
      connection.receive({ type: 'subscribe', sub: 1, topic, slices: ['*'], ...(after && { after }) })
    await done(Promise.resolve(hub.open(topic, after)).then(subscribe))
    return { frames, connection }
  }
  const events = (frames: readonly HubFrame[]) =>
    frames.flatMap((frame) =>
      frame.type === 'events' ? frame.events.map(({ offset, type }) => `${offset} ${type}`) : [],
    )
  return { clock, log, hubs: hubs as [Hub, Hub, ...Hub[]], done, follow, events }
}

t.test('what is published at one hub is watched at another, with one order', async (t) => {
  const { hubs, done, follow, events, clock } = setUp(t)
  const [a, b] = hubs
  const at = await follow(b, 'sessions/s')
  t.strictSame(await done(a.submit('sessions/s', [{ type: 'x', id: '1' }, { type: 'y' }])), {
    first: 1,
    last: 2,
    accepted: 2,
    duplicates: 0,
  })
  const both = [done(a.submit('sessions/s', [{ type: 'z' }])), done(b.submit('sessions/s/workers/w', [{ type: 'execution_completed', id: '1' }]))]
  t.strictSame((await Promise.all(both)).map(({ first }) => first), [5, 8])
  t.match(await done(b.submit('sessions/s', [{ type: 'x', id: '1' }])), { first: 1, duplicates: 1 })
  await clock.pass(10)
  t.strictSame(events(at.frames), ['1 x', '2 y', '3 state.update', '4 state.update', '5 z', '8 execution_completed', '10 state.update'])
})
