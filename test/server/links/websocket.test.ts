import { pack, unpack } from 'msgpackr'
import t from 'tap'
import { WebSocket } from 'ws'
import type { Hub } from '../../../src/hub/hub.js'
import { defaultLimits } from '../../../src/protocol/limits.js'
import { SimulatedClock } from '../../kit/clock.js'
import { exact } from '../../kit/over-log.js'
import { dial, served } from '../../kit/served.js'
import { until } from '../../kit/wait.js'

/** @returns the status and the body of the answer to a handshake that is refused */
async function refused(url: string, protocols: string[], headers: Record<string, string> = {}) {
  const socket = new WebSocket(url.replace('http', 'ws'), protocols, { headers })
  return await new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
    socket.on('open', () => reject(new Error('expected a refusal')))
    socket.on('error', reject)
    socket.on('unexpected-response', (_, response) => {
      let body = ''
      response.on('data', (piece) => {
        body += piece
      })
      response.on('end', () => resolve({ status: response.statusCode, body }))
    })
  })
}

t.test('a handshake refuses a query parameter that there is not, as other routes do', async (t) => {
  const { url } = await served(t)
  const { status, body } = await refused(`${url}/api/ws?types=a`, [])
  t.equal(status, 400)
  t.match(JSON.parse(body), {
    detail: 'query: expected no parameter but receiveBytesMax, token, ticket, got "types"',
  })
  await dial(t, url, undefined, {}, '?receiveBytesMax=65536')
})

t.test('welcomes, subscribes, publishes and answers a ping', async (t) => {
  const { url } = await served(t)
  const dialogue = await dial(t, url)
  t.match(await dialogue.next(), {
    type: 'welcome',
    connection: /^[\w-]{21}$/,
    version: 1,
    heartbeatMs: 25_000,
    limits: { frameBytesMax: defaultLimits.frameBytesMax },
  })
  dialogue.send({ type: 'subscribe', sub: 7, topic: 'sessions/s' })
  t.match(await dialogue.next(), {
    type: 'subscribed',
    sub: 7,
    feed: Number,
    topic: 'sessions/s',
    offset: 0,
    resumed: false,
  })
  t.match(await dialogue.next(), { type: 'live', sub: 7, offset: 0 })
  dialogue.send({
    type: 'publish',
    ref: 'r',
    topic: 'sessions/s',
    events: [
      { type: 'a', id: '1' },
      { type: 'a', id: '1' },
    ],
  })
  const frames = [await dialogue.next(), await dialogue.next()]
  t.match(
    frames.find((frame) => frame?.type === 'published'),
    { ref: 'r', first: 1, last: 1, duplicates: 1 },
  )
  t.match(
    frames.find((frame) => frame?.type === 'events'),
    { after: 0, last: exact(1), events: [{ offset: 1, type: 'a' }] },
  )
  dialogue.send({ type: 'update', sub: 7, types: ['b'] })
  t.match(await dialogue.next(), { type: 'subscribed', sub: 7, offset: exact(1), resumed: true })
  dialogue.send({ type: 'unsubscribe', sub: 7 })
  t.match(await dialogue.expect('unsubscribed'), { sub: 7, code: 'asked' })
  dialogue.send({ type: 'ping', ref: 3 })
  t.match(await dialogue.next(), { type: 'pong', ref: 3 })
})

t.test('speaks MessagePack to those who ask for it, and JSON to those who ask for nothing', async (t) => {
  const { url } = await served(t)
  const socket = new WebSocket(`${url.replace('http', 'ws')}/api/ws`, [
    'other',
    'runcast.v1.msgpack',
    'runcast.v1.json',
  ])
  t.teardown(() => socket.terminate())
  const message = () =>
    new Promise<Buffer>((resolve) => socket.once('message', (data: Buffer) => resolve(data)))
  t.match(unpack(await message()), { type: 'welcome' })
  t.equal(socket.protocol, 'runcast.v1.msgpack')
  socket.send(pack({ type: 'ping', ref: 1 }))
  t.same(unpack(await message()), { type: 'pong', ref: 1 })

  const plain = await dial(t, url, [])
  t.equal(plain.socket.protocol, '')
  t.match(await plain.next(), { type: 'welcome' })
})

t.test('refuses a handshake that it cannot follow', async (t) => {
  const { url } = await served(t, { hub: { limits: { connectionsMax: 1 } } })
  const path = `${url}/api/ws`
  t.match(await refused(path, ['graphql-ws']), { status: 400, body: /runcast\.v1\.json/ })
  t.match(await refused(`${url}/ws`, []), { status: 404, body: /it is at \/api\/ws/ })
  const plain = await fetch(path)
  t.match([plain.status, await plain.text()], [400, /is for WebSockets.*\/api\/stream/])
  t.match(await refused(path, [], { origin: 'https://evil.example' }), {
    status: 403,
    body: /evil.*--origin/,
  })
  await dial(t, url)
  t.match(await refused(path, []), { status: 503, body: /connections/ })
})

t.test('answers a frame that it cannot do with an error, and lives on', async (t) => {
  const { hub, url } = await served(t)
  const dialogue = await dial(t, url)
  await dialogue.next()
  const cases: readonly [frame: object | string, error: object][] = [
    ['7', { code: 'badFrame', message: 'frame: expected an object, got 7' }],
    ['null', { code: 'badFrame' }],
    [{ type: 'shout' }, { code: 'badFrame', message: 'frame.type: expected one of subscribe,' }],
    [
      { type: 'subscribe', sub: 1, topic: 5 },
      { sub: 1, code: 'badFrame', message: 'subscribe.topic: expected' },
    ],
    [
      { type: 'subscribe', sub: 1, topic: 'sessions/a', after: 'x' },
      { sub: 1, message: 'subscribe.after: expected a cursor' },
    ],
    [
      { type: 'update', sub: 9 },
      { sub: 9, code: 'notFound' },
    ],
    [
      { type: 'unsubscribe', sub: 9 },
      { sub: 9, code: 'notFound' },
    ],
    [
      { type: 'publish', ref: 'r', topic: 'hub', events: [] },
      { ref: 'r', code: 'badFrame' },
    ],
    [
      { type: 'publish', ref: 2, topic: 'sessions/s', events: [{ type: 'a' }, { type: '' }] },
      { ref: 2, message: 'publish.events[1].type: ' },
    ],
    [
      { type: 'ping', ref: {} },
      { code: 'badFrame', message: 'ping.ref: expected' },
    ],
  ]
  for (const [frame, error] of cases) {
    dialogue.send(frame)
    t.match(await dialogue.next(), { type: 'error', ...error })
  }
  t.equal(hub.stats().published, 0)
  dialogue.send({ type: 'ping' })
  t.match(await dialogue.next(), { type: 'pong' })
})

t.test('closes with the code when a frame cannot be read at all', async (t) => {
  const { hub, url } = await served(t, { hub: { limits: { frameBytesMax: 4_000 } } })
  const unreadable = async (
    data: string | Buffer,
    code: number,
    reason: string,
    protocol = 'runcast.v1.json',
  ) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/ws`, protocol)
    t.teardown(() => socket.terminate())
    socket.on('open', () => socket.send(data))
    const closed = await new Promise((resolve) =>
      socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })),
    )
    t.match(closed, { code, reason })
  }
  await unreadable('{"type":"pi', 4500, 'expected JSON: ')
  await unreadable(Buffer.from('{"type":"ping"}'), 4500, 'expected text frames')
  await unreadable('{"type":"ping"}', 4500, 'expected binary frames', 'runcast.v1.msgpack')
  await unreadable(Buffer.from([0x92, 0x01]), 4500, 'expected MessagePack: ', 'runcast.v1.msgpack')
  await unreadable(Buffer.alloc(3_000, 0x91), 4500, 'expected MessagePack: ', 'runcast.v1.msgpack')
  await unreadable('x'.repeat(4_001), 4504, 'expected frames of at most 4000 bytes')
  t.same(
    [...hub.stats().closed],
    [
      ['badFrame', 5],
      ['frameTooLarge', 1],
    ],
  )
})

t.test('pings a client that is silent, and closes with 4002 when it stays so', async (t) => {
  const clock = new SimulatedClock()
  const { url } = await served(t, { serve: { clock } })
  const alive = await dial(t, url)
  const dead = new WebSocket(`${url.replace('http', 'ws')}/api/ws`, { autoPong: false })
  t.teardown(() => dead.terminate())
  await new Promise((resolve) => dead.on('message', resolve))
  const pinged = Promise.all(
    [alive.socket, dead].map((socket) => new Promise((resolve) => socket.once('ping', resolve))),
  )
  const closed = new Promise((resolve) => dead.on('close', resolve))
  clock.advance(25_000)
  await pinged
  // The pong has been read once the hub has answered what was sent after it.
  alive.send({ type: 'ping' })
  await alive.expect('pong')
  clock.advance(25_000)
  t.equal(await closed, 4002)
  alive.send({ type: 'ping' })
  t.match(await alive.expect('pong'), { type: 'pong' })
})

t.test('tells clients that the hub goes away, after what was published', async (t) => {
  const { hub, server, url } = await served(t)
  const dialogue = await dial(t, url)
  dialogue.send({ type: 'subscribe', sub: 1, topic: 'sessions/s' })
  await dialogue.expect('live')
  hub.publish('sessions/s', [{ type: 'last' }])
  await server.close()
  t.match(await dialogue.expect('events'), { events: [{ type: 'last' }] })
  const closing = await dialogue.expect('closing')
  t.match(closing, { code: 4000, retryMs: Number })
  t.ok((closing['retryMs'] as number) >= 1_000 && (closing['retryMs'] as number) <= 3_000)
  t.match(await dialogue.closed, { code: 4000, reason: /shutting down/ })
  await t.rejects(dial(t, url))
})

/** @returns the figures of `/metrics`, by name and labels */
async function figures(url: string): Promise<Record<string, number>> {
  const response = await fetch(`${url}/metrics`)
  const lines = (await response.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]),
  )
}

async function delivered(hub: Hub, events: number): Promise<void> {
  while (hub.stats().delivered < events) await new Promise((resolve) => setImmediate(resolve))
}

t.test('counts what it does', async (t) => {
  const { hub, url } = await served(t)
  const one = await dial(t, url)
  const two = await dial(t, url)
  for (const dialogue of [one, two]) {
    dialogue.send({ type: 'subscribe', sub: 1, topic: 'sessions/s' })
    await dialogue.expect('live')
  }
  const stream = await fetch(`${url}/api/sessions/s/events?types=a`)
  hub.publish('sessions/s', [{ type: 'a', id: '1' }, { type: 'b' }, { type: 'a', id: '1' }])
  await delivered(hub, 5)
  one.send('nonsense')
  await one.closed
  t.match(await figures(url), {
    runcast_events_published_total: 2,
    runcast_events_duplicate_total: 1,
    runcast_events_delivered_total: 5,
    'runcast_encodings_total{codec="json"}': 2,
    'runcast_encodings_total{codec="sse"}': 1,
    'runcast_encodings_total{codec="msgpack"}': 0,
    'runcast_connections{transport="websocket"}': 1,
    'runcast_connections{transport="sse"}': 1,
    runcast_subscriptions: 2,
    runcast_feeds: 2,
    runcast_sessions: 1,
    runcast_backpressure_bytes: 0,
    runcast_history_events: 2,
    runcast_flush_events_sum: 2,
    runcast_flush_events_count: 1,
    'runcast_flush_events_bucket{le="1"}': 0,
    'runcast_flush_events_bucket{le="2"}': 1,
    'runcast_flush_events_bucket{le="+Inf"}': 1,
    runcast_flush_seconds_count: 1,
    'runcast_connections_opened_total{transport="websocket"}': 2,
    'runcast_errors_total{cost="connection"}': 0,
    'runcast_closed_total{code="4500"}': 1,
    process_resident_memory_bytes: Number,
    nodejs_eventloop_lag_p99_seconds: Number,
  })
  await stream.body?.cancel()
  const again = await dial(t, url)
  again.send({ type: 'subscribe', sub: 1, topic: 'sessions/s', after: 'gone:5' })
  await again.expect('live')
  t.match(await figures(url), {
    'runcast_gaps_total{reason="epoch"}': 1,
    'runcast_answers_total{status="200"}': 1,
  })
})

t.test('a large frame is done in a turn of its own, and what follows it after it', async (t) => {
  const { hub, url } = await served(t)
  const dialogue = await dial(t, url)
  await dialogue.expect('welcome')
  const topic = 'sessions/s'
  const value = Array.from({ length: 60_000 }, (_, n) => n)
  dialogue.send({ type: 'set', ref: 0, topic, slice: 'a', value })
  dialogue.send({ type: 'publish', ref: 1, topic, events: [{ type: 'one' }] })
  dialogue.send({ type: 'set', ref: 2, topic, slice: 'a', value: [...value, 'last'] })
  dialogue.send({ type: 'publish', ref: 3, topic, events: [{ type: 'two' }] })
  dialogue.send({ type: 'publish', ref: 4, topic, events: [{ type: 'three', data: 'x'.repeat(70_000) }] })
  // What was sent before the end is done.
  dialogue.socket.close()
  await dialogue.closed
  await until('all is done', () => hub.stats().published === 3)
  t.strictSame(
    hub.history(topic).events.map(({ type }) => type),
    ['one', 'two', 'three'],
  )
  t.equal((hub.state(topic, ['a']).slices['a'] as unknown[]).length, 60_001)
})
