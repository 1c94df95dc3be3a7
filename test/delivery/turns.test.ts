import t from 'tap'
import type { Chunk } from '../../src/codec/codec.js'
import type { Connection } from '../../src/delivery/connection.js'
import { catchUpBytesPerTurn } from '../../src/delivery/pace.js'
import type { Hub } from '../../src/hub/hub.js'
import type { Subscribe } from '../../src/protocol/frames.js'
import { everything, Permissions } from '../../src/protocol/permissions.js'
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

t.test('all who follow the same with the same codec are handed the same bytes, not equal ones', async (t) => {
  for (const codec of ['json', 'msgpack', 'sse'] as const) {
    const { hub, clock } = setUp()
    const follow = (frame: Partial<Subscribe> = {}): Chunk[] => {
      const chunks: Chunk[] = []
      const link = codec === 'sse' ? hub.codecs.sse('data', 'one') : hub.codecs[codec]
      const { link: near } = memoryLink(link, {
        clock,
        backpressureMax: 1_000,
        receive: (chunk) => void chunks.push(chunk),
        drained: () => undefined,
        closed: () => undefined,
      })
      hub.connect(near).receive({ type: 'subscribe', sub: 1, topic: 'sessions/a', ...frame })
      return chunks
    }
    const shared = (all: readonly (readonly Chunk[])[], what: string): void => {
      clock.runTurn()
      const [first, ...others] = all.map((chunks) => chunks.filter(hasNotes))
      t.ok(first !== undefined && first.length > 0, `${codec}: ${what} came`)
      for (const other of others) {
        t.equal(other.length, first?.length)
        t.ok(
          other.every((chunk, at) => chunk === first?.[at]),
          `${codec}: ${what} is shared`,
        )
      }
    }
    const live = [follow(), follow(), follow()]
    clock.runTurn()
    hub.publish('sessions/a', [{ type: 'note', data: 'live' }])
    shared(live, 'what is live')
    shared([follow({ replay: 'all' }), follow({ replay: 'all' })], 'what is replayed')
    hub.publish('sessions/a', [{ type: 'client_input_requested', data: 'note' }])
    clock.runTurn()
    shared([follow(), follow()], 'what is replayed by its traits')
    hub.close()
    clock.runTurn()
  }
})

function hasNotes(chunk: Chunk): boolean {
  return chunk instanceof Uint8Array && Buffer.from(chunk).includes('note')
}

t.test('a feed that matches nothing tells its position after 256 offsets, and not before', async (t) => {
  const { hub, client, clock } = setUp()
  const one = client()
  one.subscribe('sessions/a', { types: ['wanted'] })
  clock.runTurn()
  one.frames.length = 0
  const publish = (count: number): void => {
    hub.publish(
      'sessions/a',
      Array.from({ length: count }, () => ({ type: 'unwanted' })),
    )
    clock.runTurn()
  }
  publish(255)
  t.strictSame(one.frames, [])
  publish(1)
  t.match(one.frames, [{ type: 'events', after: 0, last: 256, events: [] }])
  one.frames.length = 0
  publish(255)
  t.strictSame(one.frames, [], 'counted from what was told last')
})

t.test('hundreds of feeds of many patterns do not hold up who follows simply', (t) => {
  const { hub, clock, client } = setUp()
  const heavy = Array.from({ length: 9 }, () => client(100_000))
  for (const [at, one] of heavy.entries()) {
    for (let feed = 0; feed < 100; feed += 1) {
      const types = Array.from({ length: 63 }, (_, n) => `${'p'.repeat(n + 1)}${at}-${feed}*`)
      one.subscribe('sessions/s', { types: [...types, 'end'] })
    }
  }
  const simple = client(100_000)
  simple.subscribe('sessions/s')
  clock.runTurn()
  simple.take()
  const types = Array.from({ length: 1_000 }, (_, n) => `${'p'.repeat(100)}${n}`)
  hub.publish('sessions/s', [...types.map((type) => ({ type })), { type: 'end' }])
  hub.flush()
  t.equal(simple.take().length, 1_001, 'it gets all of it at once')
  const { lagging } = hub.stats()
  t.ok(lagging > 500 && lagging < 900, `${lagging} of 900 go on in later turns`)
  for (let turn = 0; hub.stats().lagging > 0 && turn < 5_000; turn += 1) clock.runTurn()
  t.equal(hub.stats().lagging, 0)
  for (const one of heavy) {
    const came = one.take()
    t.equal(came.length, 100, 'each feed gets what it is due')
    t.ok(came.every((event) => event === '1001 end'))
  }
  t.equal(hub.stats().gaps.size, 0)
  t.end()
})

t.test(
  'a link that fills in the middle of a flush gets the rest later, once, and it is counted once',
  async (t) => {
    const { hub, clock, client } = setUp()
    const topics = ['sessions/a', 'sessions/b', 'sessions/c']
    for (const topic of topics) hub.publish(topic, [{ type: 'before', data: topic }])
    const slow = client(1)
    for (const topic of topics) slow.subscribe(topic, { replay: false })
    clock.runTurn()
    t.same(slow.take(), [])
    slow.peer.stall()
    for (const topic of topics) hub.publish(topic, [{ type: 'new' }])
    clock.runTurn()
    t.equal(slow.peer.waiting, 2, 'the frame with which it was full, and none after it')
    t.equal(slow.connection.events, 2)
    t.equal(hub.stats().lagging, 3)
    slow.peer.resume()
    clock.runTurn()
    t.same(slow.take(), ['2 new', '2 new', '2 new'])
    t.equal(slow.connection.events, 3)
    t.equal(hub.stats().lagging, 0)
  },
)

t.test('bytes that did not fit into a full link count when they are sent, once', async (t) => {
  const { hub, clock } = setUp()
  const topics = ['sessions/a', 'sessions/b', 'sessions/c']
  for (const topic of topics) hub.publish(topic, [{ type: 'before' }])
  let bytes = 0
  const opened: { connection?: Connection } = {}
  const { link, peer } = memoryLink(hub.codecs.json, {
    clock,
    backpressureMax: 1,
    receive: (chunk) => {
      if (Buffer.from(chunk as Uint8Array).includes('"type":"events"')) bytes += (chunk as Uint8Array).length
    },
    drained: () => opened.connection?.drained(),
    closed: () => undefined,
  })
  const connection = hub.connect(link)
  opened.connection = connection
  for (const [sub, topic] of topics.entries())
    connection.receive({ type: 'subscribe', sub, topic, replay: false })
  clock.runTurn()
  peer.stall()
  for (const topic of topics) hub.publish(topic, [{ type: 'new' }])
  clock.runTurn()
  peer.resume()
  clock.runTurn()
  t.ok(bytes > 0)
  t.same([connection.events, connection.bytes], [3, bytes])
})

t.test('who joins a feed that nobody was in step with gets frames that follow its position', async (t) => {
  const { hub, clock, client } = setUp()
  const slow = client(1)
  slow.subscribe('sessions/a', { replay: false })
  clock.runTurn()
  slow.peer.stall()
  for (let count = 0; count < 5; count++) {
    hub.publish('sessions/a', [{ type: 'note' }])
    clock.runTurn()
  }
  const late = client()
  late.subscribe('sessions/a', { replay: false })
  hub.publish('sessions/a', [{ type: 'note' }])
  clock.runTurn()
  t.equal(hub.stats().feeds, 1, 'both have one feed')
  t.match(late.frames.at(-1), { type: 'events', after: 5, last: 6 })
})

t.test('a new token with the same permissions joins nothing again', async (t) => {
  const { hub, clock, client } = setUp()
  hub.publish('sessions/a', [{ type: 'note' }])
  const one = client()
  for (const topic of ['hub', 'sessions/a']) one.subscribe(topic, { slices: ['*'] })
  clock.runTurn()
  one.frames.length = 0
  one.connection.permit(everything, 'another token')
  clock.runTurn()
  t.same(one.frames, [])
  one.connection.permit(new Permissions({ subscribe: ['sessions/a'] }), 'a lesser token')
  clock.runTurn()
  t.same(
    one.frames.map((frame) => [frame.type, 'sub' in frame && frame.sub]),
    [
      ['subscribed', 0],
      ['live', 0],
    ],
    'only the list of sessions is another one',
  )
})

t.test('a connection that lasts as long as its sessions ends when the last of them is removed', async (t) => {
  const { hub, clock } = setUp()
  for (const topic of ['sessions/a', 'sessions/b']) hub.publish(topic, [{ type: 'note' }])
  const endings: string[] = []
  const { link } = memoryLink(hub.codecs.object, {
    clock,
    backpressureMax: 10,
    receive: () => undefined,
    drained: () => undefined,
    closed: ({ kind }) => void endings.push(kind),
  })
  const connection = hub.connect(link, { endsWithSessions: true })
  for (const [sub, topic] of ['sessions/a', 'sessions/b'].entries())
    connection.receive({ type: 'subscribe', sub, topic })
  await hub.removeSession('a')
  clock.runTurn()
  t.same(endings, [])
  await hub.removeSession('b')
  clock.runTurn()
  t.same(endings, ['ended'])
})

t.test('a reader in process whose connection is closed is told why, after what came', async (t) => {
  const { hub, clock } = setUp()
  hub.publish('sessions/s', [{ type: 'a' }])
  const reader = hub.subscribe('sessions/s', { replay: 'all' })
  hub.publish('sessions/s', [{ type: 'b' }])
  clock.runTurn()
  hub.close()
  t.equal((await reader.next()).value?.type, 'a')
  t.equal((await reader.next()).value?.type, 'b')
  await t.rejects(reader.next(), { message: /^closed: shutdown: / })
})

t.test('a session says how many follow it, and how many of them lag', async (t) => {
  const { hub, client, clock } = setUp()
  hub.publish('sessions/s', [{ type: 'a' }])
  const counts = () => {
    const { subscriptions, lagging } = hub.measure('s')
    return [subscriptions, lagging]
  }
  t.strictSame(counts(), [0, 0])
  const one = client()
  one.subscribe('sessions/s')
  one.subscribe('sessions/s/**', { types: ['b'] })
  const slow = client(1)
  slow.subscribe('sessions/s')
  clock.runTurn()
  t.strictSame(counts(), [3, 0])
  slow.peer.stall()
  for (const type of ['b', 'c', 'd']) {
    hub.publish('sessions/s', [{ type }])
    clock.runTurn()
  }
  t.strictSame(counts(), [3, 1])
  one.connection.closed()
  slow.connection.closed()
  t.strictSame(counts(), [0, 0])
})

t.test('who has no room is written nothing until there is some', async (t) => {
  const { hub, client, clock } = setUp()
  for (let event = 0; event < 3_000; event++) hub.publish('sessions/s', [{ type: 'a' }])
  const slow = client(1)
  slow.peer.stall()
  slow.subscribe('sessions/s', { replay: 'all' })
  for (let turn = 0; turn < 50; turn++) clock.runTurn()
  t.ok(slow.peer.waiting <= 2, `${slow.peer.waiting} frames`)
  slow.peer.resume()
  for (let turn = 0; turn < 50; turn++) clock.runTurn()
  t.equal(slow.take().length, 1_000, 'all that is retained')
})

t.test('answers that are not read have a bound', async (t) => {
  const { hub } = setUp({ limits: { answerBytesMax: 10 * 1_024 } })
  const closed: string[] = []
  const connection = hub.connect({
    codec: hub.codecs.object,
    waiting: 0,
    write: () => false,
    cork: (writes) => writes(),
    end: () => undefined,
    close: (code, reason) => closed.push(code, reason),
  })
  // Behind the welcome; a frame that is not encoded counts as a kilobyte.
  for (let said = 0; said < 10; said++) connection.say({ type: 'pong' })
  t.strictSame(closed, [])
  connection.say({ type: 'pong' })
  t.strictSame(closed, ['lagging', 'the client sends requests and does not read the answers'])
})

t.test('slices go on for one when another leaves that had none, and are not made for nobody', async (t) => {
  const { hub, client, clock } = setUp()
  const topic = 'sessions/s'
  hub.session('s').worker('w').publish({ type: 'a' })
  const [watching, other] = [client(), client()]
  watching.subscribe(topic, { slices: ['$workers'], types: ['none'] })
  other.subscribe(topic)
  clock.runTurn()
  other.connection.closed()
  clock.runTurn()
  watching.frames.splice(0)
  hub.session('s').worker('w').publish({ type: 'b' })
  clock.runTurn()
  t.match(watching.take(), [/ state\.update$/])
  watching.connection.closed()
  const { offset } = hub.find('s') ?? {}
  hub.session('s').worker('w').publish({ type: 'c' })
  clock.runTurn()
  t.equal(hub.find('s')?.offset, (offset ?? 0) + 1, 'no offset was taken for the slice')
})

t.test('a connection has as many subscriptions as it may, and of a topic', async (t) => {
  const { client } = setUp({ limits: { subscriptionsMax: 3, topicSubscriptionsMax: 2 } })
  const one = client()
  one.subscribe('sessions/s', { types: ['a'] })
  one.subscribe('sessions/s', { types: ['b'] })
  t.throws(() => one.subscribe('sessions/s', { types: ['c'] }), { code: 'conflict' })
  one.subscribe('sessions/other')
  t.throws(() => one.subscribe('sessions/third'), { code: 'conflict' })
  one.connection.receive({ type: 'unsubscribe', sub: 0 })
  one.subscribe('sessions/s', { types: ['d'] })
  t.throws(() => one.subscribe('sessions/third'), { code: 'conflict' })
})
