import t from 'tap'
import type { Connection } from '../../src/delivery/connection.js'
import { catchUpBytesPerTurn } from '../../src/delivery/pace.js'
import type { Hub } from '../../src/hub/hub.js'
import type { Subscribe } from '../../src/protocol/frames.js'
import { memoryLink } from '../../src/transport/memory.js'
import { setUp } from '../hub/hub-kit.js'
import type { SimulatedClock } from '../kit/clock.js'

/** A connection in JSON that reads everything, and tells how much of it are events. */
function connectSized(hub: Hub, clock: SimulatedClock, receive: (chunk: Uint8Array) => void): Connection {
  const { link } = memoryLink(hub.codecs.json, {
    clock,
    backpressureMax: 1_000_000,
    receive: (chunk) => {
      if (!(chunk instanceof Uint8Array)) throw new Error('expected bytes')
      if (Buffer.from(chunk).includes('"type":"events"')) receive(chunk)
    },
    drained: () => undefined,
    closed: () => undefined,
  })
  return hub.connect(link)
}

t.test('counts what each connection was given, without a step for each delivery', async (t) => {
  const { hub, clock, client } = setUp()
  const bytes = { json: 0 }
  const sized = connectSized(hub, clock, (chunk) => (bytes.json += chunk.length))
  const [early, slow] = [client(), client(1)]
  for (const one of [early, slow]) one.subscribe('sessions/a')
  sized.receive({ type: 'subscribe', sub: 1, topic: 'sessions/a' })
  sized.receive({ type: 'subscribe', sub: 2, topic: 'sessions/b' })
  clock.runTurn()
  bytes.json = 0
  slow.peer.stall()
  for (const type of ['one', 'two', 'three', 'four']) {
    hub.publish('sessions/a', [{ type }, { type }])
    hub.publish('sessions/b', [{ type }])
    clock.runTurn()
  }
  slow.peer.resume()
  clock.runTurn()
  hub.close()
  clock.runTurn()
  t.equal(early.connection.events, 8)
  t.equal(slow.connection.events, 8, 'what came from history counts, and nothing twice')
  t.equal(sized.events, 12)
  t.equal(sized.bytes, bytes.json)
  t.same(hub.stats().delivered, 28)
  t.equal(hub.stats().deliveredBytes, bytes.json)
  t.match(hub.stats().flushEvents, { sum: 12 })
})

t.test(
  'a crowd that joins gets what is retained over several turns, and what is live in between',
  async (t) => {
    const { hub, clock } = setUp()
    const events = Array.from({ length: 300 }, () => ({ type: 'execution_started', data: 'x'.repeat(900) }))
    hub.publish('sessions/a', events)
    const came: string[] = []
    const follow = (name: string, frame: Partial<Subscribe>): Connection => {
      const connection = connectSized(hub, clock, () => came.push(name))
      connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/a', ...frame })
      return connection
    }
    follow('live', { replay: false })
    clock.runTurn()
    came.length = 0
    const crowd = Array.from({ length: 20 }, () => follow('crowd', {}))
    const sent = crowd.reduce((sum, { bytes }) => sum + bytes, 0)
    t.ok(sent >= catchUpBytesPerTurn && sent < 2 * catchUpBytesPerTurn, `${sent} bytes in the turn itself`)
    hub.publish('sessions/a', [{ type: 'note' }])
    clock.runTurn()
    t.ok(came.indexOf('live') < came.length / 2, 'what is live does not wait for all of them')
    t.equal(hub.stats().lagging, 0)
    hub.close()
    t.ok(crowd.every(({ events: given }) => given === 301))
  },
)

t.test('a crowd that joins gets no more of a turn than its time, however little it is sent', async (t) => {
  const { hub, clock } = setUp()
  hub.publish('sessions/a', [{ type: 'execution_started' }])
  clock.runTurn()
  let now = 0
  // Whatever is done takes a fifth of what a turn has.
  clock.elapsed = () => (now += 0.1)
  let came = 0
  const crowd = Array.from({ length: 20 }, () => {
    const connection = connectSized(hub, clock, () => (came += 1))
    connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/a' })
    return connection
  })
  t.ok(came > 0 && came <= 5, `${came} in the turn itself`)
  clock.runTurn()
  t.ok(crowd.every(({ events: given }) => given === 1))
})
