import fc from 'fast-check'
import t from 'tap'
import { SnapshotParts } from '../../src/delivery/snapshot-parts.js'
import { createHub } from '../../src/hub/hub.js'
import type { JsonObject } from '../../src/lib/json.js'
import type { HubFrame, NewEvent, Part } from '../../src/protocol/frames.js'
import { SimulatedClock } from '../kit/clock.js'

t.test('a snapshot in parts is whole wherever it is cut, and no part ends within a character', (t) => {
  const value = fc.oneof(
    fc.jsonValue().map((json) => JSON.parse(JSON.stringify(json))),
    fc.nat(40_000).map((length) => '😀'.repeat(length).slice(length % 2)),
    fc.nat(3).map((length) => ({ list: Array(length).fill('x'.repeat(16_380)) })),
  )
  const slices = fc.dictionary(fc.stringMatching(/^[A-Za-z0-9._:~$/-]{1,12}$/), value, { maxKeys: 5 })
  fc.assert(
    fc.property(slices, fc.nat(), (given, at) => {
      const all = rest(new SnapshotParts(given as JsonObject))
      t.equal(new SnapshotParts(given as JsonObject).count, all.length)
      for (const { text } of all) {
        if (text.length > 16_384 || /[\ud800-\udbff]$/.test(text)) throw new Error(`bad part ${text.length}`)
      }
      const cut = all.length === 0 ? 0 : at % (all.length + 1)
      const came = all.slice(0, cut)
      const last = came.at(-1)
      if (last !== undefined) {
        const own = came.filter(({ slice }) => slice === last.slice)
        const units = own.reduce((sum, { text }) => sum + text.length, 0)
        const parts = new SnapshotParts(given as JsonObject, { slice: last.slice, units })
        const left = rest(parts)
        if (parts.count !== left.length) throw new Error(`${parts.count} parts, ${left.length} came`)
        came.push(...left)
      }
      const found = assembled(last === undefined ? all : came)
      if (JSON.stringify(sorted(found)) !== JSON.stringify(sorted(given as JsonObject)))
        throw new Error('differs')
    }),
    { numRuns: 200 },
  )
  t.end()
})

type Piece = Omit<Part, 'type' | 'sub'>

function rest(parts: SnapshotParts): Piece[] {
  const pieces: Piece[] = []
  while (!parts.done) pieces.push(parts.next())
  return pieces
}

function assembled(pieces: readonly Piece[]): JsonObject {
  const texts = new Map<string, string>()
  for (const { slice, index, text } of pieces) {
    texts.set(slice, index === 0 ? text : (texts.get(slice) ?? '') + text)
  }
  return Object.fromEntries([...texts].map(([slice, text]) => [slice, JSON.parse(text)]))
}

function sorted(slices: JsonObject): [string, unknown][] {
  return Object.entries(slices).sort(([one], [other]) => (one < other ? -1 : 1))
}

/** A connection whose link has room or not as the test says; its frames as they are. */
function setUp(limits: Parameters<typeof createHub>[0] = {}) {
  const clock = new SimulatedClock()
  const hub = createHub({ clock, ...limits })
  const frames: HubFrame[] = []
  const link = {
    codec: hub.codecs.object,
    waiting: 0,
    hasRoom: true,
    closed: [] as string[],
    write(chunk: unknown) {
      frames.push(chunk as HubFrame)
      return link.hasRoom
    },
    cork: (writes: () => void) => writes(),
    end: () => undefined,
    close: (code: string) => void link.closed.push(code),
  }
  const connection = hub.connect(link)
  frames.length = 0
  return { hub, clock, link, connection, frames }
}

t.test('a subscription with a snapshot waits for room, and its state is that of when it is sent', (t) => {
  const { hub, clock, link, connection, frames } = setUp()
  for (const id of ['a', 'b', 'c']) hub.setState(`sessions/${id}`, 'plan', 'old')
  link.hasRoom = false
  const subscribe = (sub: number, id: string) =>
    connection.receive({ type: 'subscribe', sub, topic: `sessions/${id}`, slices: ['plan'] })
  subscribe(1, 'a')
  clock.runTurn()
  subscribe(2, 'b')
  subscribe(3, 'c')
  subscribe(4, 'd')
  connection.receive({ type: 'update', sub: 3, mode: 'summary' })
  connection.receive({ type: 'unsubscribe', sub: 4 })
  clock.runTurn()
  t.match(
    frames.map(({ type }) => type),
    ['subscribed', 'unsubscribed'],
    'one that found room, and one that has gone',
  )
  hub.setState('sessions/b', 'plan', 'new')
  link.hasRoom = true
  connection.drained()
  clock.advance(10)
  t.match(
    frames.slice(2).filter(({ type }) => type === 'subscribed'),
    [
      { sub: 2, offset: 2, resumed: false, slices: { plan: 'new' } },
      { sub: 3, offset: 1, resumed: false, slices: { plan: 'old' } },
    ],
    'one that is changed before it is answered is answered once',
  )
  t.equal(frames.filter(({ type }) => type === 'live').length, 3)
  link.hasRoom = false
  hub.publish('sessions/b', [{ type: 'a' }])
  clock.runTurn()
  connection.receive({ type: 'update', sub: 2, types: ['b'] })
  const told = frames.length
  clock.runTurn()
  t.equal(frames.length, told, 'an update with a snapshot waits as well')
  link.hasRoom = true
  connection.drained()
  clock.advance(10)
  t.match(frames.slice(told), [
    { type: 'subscribed', sub: 2, resumed: true, slices: { plan: 'new' } },
    { type: 'live' },
  ])
  t.same(link.closed, [])
  connection.closed()
  t.end()
})

t.test(
  'what is published while a join waits for room belongs to its snapshot, and does not follow it',
  (t) => {
    const { hub, clock, link, connection, frames } = setUp()
    hub.setState('sessions/a', 'plan', 'old')
    link.hasRoom = false
    connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/full' })
    clock.runTurn()
    connection.receive({ type: 'subscribe', sub: 2, topic: 'sessions/a', slices: ['plan'], replay: false })
    hub.publish('sessions/a', [{ type: 'before' }])
    hub.setState('sessions/a', 'plan', 'new')
    clock.runTurn()
    frames.length = 0
    link.hasRoom = true
    connection.drained()
    clock.advance(10)
    hub.publish('sessions/a', [{ type: 'after' }])
    clock.runTurn()
    t.match(
      frames.filter((frame) => !('sub' in frame) || frame.sub === 2),
      [
        { type: 'subscribed', offset: 3, slices: { plan: 'new' } },
        { type: 'live', offset: 3 },
        { type: 'events', after: 3, events: [{ offset: 4, type: 'after' }] },
      ],
    )
    connection.closed()
    t.end()
  },
)

t.test(
  'a connection that is slow for long is told of each loss once, and texts that are joined are counted',
  (t) => {
    const { hub, clock, link, connection, frames } = setUp({ limits: { laneEventsMax: 5 } })
    const publish = (count: number, event: NewEvent) => {
      for (let n = 0; n < count; n++) hub.publish('sessions/s', [event])
      clock.runTurn()
    }
    connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s' })
    link.hasRoom = false
    publish(1, { type: 'step' })
    for (let round = 0; round < 3; round++) {
      publish(20, { type: 'step' })
      connection.drained()
      clock.runTurn()
    }
    publish(3, { type: 'client_output_delta', data: { content: 'a' } })
    link.hasRoom = true
    connection.drained()
    clock.advance(10)
    const gaps = frames.flatMap((frame) => (frame.type === 'gap' ? frame : []))
    t.ok(gaps.length > 1, `${gaps.length} gaps`)
    const dropped = gaps.reduce((sum, gap) => sum + (gap.dropped ?? 0), 0)
    const events = frames.flatMap((frame) => (frame.type === 'events' ? frame.events : []))
    t.equal(dropped + events.filter(({ type }) => type === 'step').length, 61)
    t.match(events.at(-1), { type: 'client_output_delta', data: { content: 'aaa' } })
    t.equal(hub.stats().conflated, 2)
    connection.closed()
    t.end()
  },
)

t.test(
  'a snapshot in parts that was cut goes on where it was, with its replay unless it came after a gap',
  (t) => {
    const value = 'x'.repeat(20_000)
    for (const [kind, replayed] of [
      ['s', ['assistant']],
      ['g', []],
    ] as const) {
      const { hub, clock, link, connection, frames } = setUp()
      Object.assign(link, { takesParts: true })
      hub.publish('sessions/a', [{ type: 'assistant' }])
      hub.setState('sessions/a', 'plan', value)
      const { epoch, offset } = hub.find('a') ?? {}
      const after = `${epoch}:${offset}~${kind}16384.plan`
      connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/a', slices: ['plan'], after })
      clock.advance(10)
      t.match(
        frames.filter(({ type }) => type !== 'events'),
        [
          { type: 'subscribed', resumed: true, parts: 1 },
          { type: 'part', slice: 'plan', text: JSON.stringify(value).slice(16_384) },
          { type: 'live', offset },
        ],
        kind,
      )
      const events = frames.flatMap((frame) => (frame.type === 'events' ? frame.events : []))
      t.same(
        events.map(({ type }) => type),
        replayed,
        kind,
      )
      connection.closed()
    }
    t.end()
  },
)

t.test('passing through silent and back tells of what was skipped, and of nothing where nothing was', (t) => {
  const { hub, clock, link, connection, frames } = setUp()
  const update = (mode: 'silent' | 'full') => {
    frames.length = 0
    connection.receive({ type: 'update', sub: 1, mode })
    clock.advance(10)
    return frames.filter(({ type }) => type === 'subscribed' || type === 'gap' || type === 'events')
  }
  connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s' })
  update('silent')
  hub.publish('sessions/s', [{ type: 'a' }])
  clock.runTurn()
  t.match(update('full'), [
    { type: 'subscribed', offset: 0, gap: undefined },
    { type: 'events', events: [{ offset: 1 }] },
  ])

  // Something is pending when it becomes silent, and is passed over.
  link.hasRoom = false
  hub.publish('sessions/s', [{ type: 'a' }])
  clock.runTurn()
  hub.publish('sessions/s', [{ type: 'a' }, { type: 'a' }])
  clock.runTurn()
  connection.receive({ type: 'update', sub: 1, mode: 'silent' })
  link.hasRoom = true
  connection.drained()
  clock.advance(10)
  t.match(update('full'), [{ type: 'subscribed', gap: { reason: 'lagging', after: 2, offset: 4 } }])

  // What is forced through moves the position.
  update('silent')
  hub.publish('sessions/s', [{ type: 'a' }, { type: 'b', force: true }])
  clock.runTurn()
  t.match(update('full'), [{ type: 'subscribed', gap: { reason: 'lagging', after: 4, offset: 6 } }])
  t.equal(hub.stats().gaps?.get?.('lagging') ?? 2, 2)

  update('silent')
  t.match(update('full'), [{ type: 'subscribed', gap: undefined }])

  // One that begins silent.
  connection.receive({ type: 'unsubscribe', sub: 1 })
  connection.receive({ type: 'subscribe', sub: 1, topic: 'sessions/s', mode: 'silent' })
  hub.publish('sessions/s', [{ type: 'a' }, { type: 'b', force: true }])
  clock.runTurn()
  t.match(update('full'), [{ type: 'subscribed', gap: { reason: 'lagging', after: 6, offset: 8 } }])
  connection.closed()
  t.end()
})
