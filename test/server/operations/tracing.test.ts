import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as api from '@opentelemetry/api'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base'
import t from 'tap'
import { WebSocket } from 'ws'
import { connect } from '../../../src/client.js'
import { createHub } from '../../../src/hub/hub.js'
import { systemClock } from '../../../src/lib/clock.js'
import { systemRandom } from '../../../src/lib/random.js'
import { MemoryLog } from '../../../src/log/memory-log.js'
import type { HubEvent, NewEvent } from '../../../src/protocol/frames.js'
import { openTelemetry } from '../../../src/server/operations/open-telemetry.js'
import { openLmdb } from '../../../src/store/lmdb.js'
import { memoryStore } from '../../../src/store/memory.js'
import { FaultyStore } from '../../kit/faulty-store.js'
import { dial, openStream, served } from '../../kit/served.js'
import { until } from '../../kit/wait.js'

const trace = (n: number) => `00-${String(n).padStart(32, '0')}-${String(n).padStart(16, '0')}-01`

async function publish(url: string, body: string, headers: Record<string, string> = {}): Promise<number> {
  const type = body.includes('\n') ? 'application/x-ndjson' : 'application/json'
  const answer = await fetch(url, { method: 'POST', body, headers: { 'content-type': type, ...headers } })
  return answer.status
}

t.test('the trace of a publish goes with its events, over every transport and a restart', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'runcast-trace-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const { hub, url } = await served(t, { hub: { store: openLmdb({ directory }) } })
  const socket = await dial(t, url)
  socket.send({ type: 'subscribe', sub: 1, topic: 'sessions/s' })
  await socket.expect('live')
  const client = connect(url, { codec: 'msgpack', WebSocket })
  t.teardown(() => client.close())
  const unpacked: HubEvent[] = []
  client.subscribe({ topic: 'sessions/s', replay: 'all' }, { onEvent: (event) => unpacked.push(event) })
  const stream = await openStream(t, `${url}/api/sessions/s/events`)
  const events = `${url}/api/sessions/s/events`
  const traced = { traceparent: trace(1), tracestate: 'rojo=00f067aa0ba902b7,tenant@congo= a:b \t, ,' }
  const tracestate = traced.tracestate.trim()
  const own = [
    { type: 'a' },
    { type: 'b', trace: trace(2) },
    { type: 'b2', trace: trace(2), tracestate: 'b=2' },
  ]
  t.equal(await publish(events, JSON.stringify(own), traced), 200)
  t.equal(await publish(events, '{"type":"c"}\n{"type":"d","tracestate":"d=1"}\n', traced), 200)
  const untraced = JSON.stringify({ type: 'd2', tracestate: 'd=2' })
  t.equal(await publish(events, untraced, { tracestate }), 200, 'a tracestate alone counts for nothing')
  for (const wrong of ['nonsense', 'A=1', 'a=1=2', `a=${'1'.repeat(511)}`, ','.repeat(32)]) {
    t.equal(await publish(events, '{"type":"d3"}', { ...traced, tracestate: wrong }), 200, wrong)
  }
  for (const wrong of [
    '',
    'nonsense',
    trace(0),
    trace(1).replace('00-', 'ff-'),
    trace(1).toUpperCase() + 'X',
  ]) {
    const headers = { ...traced, traceparent: wrong }
    t.equal(await publish(events, '{"type":"e"}', headers), 200, 'a header that is not valid')
  }
  t.equal(await publish(events, '{"type":"f","trace":"nonsense"}'), 400)
  t.throws(() => hub.publish('sessions/s', [{ type: 'f', trace: 'nonsense' }]), {
    message: /^event\.trace: expected a traceparent/,
  })
  t.equal(await publish(events, `{"type":"f","trace":"${trace(1)}","tracestate":"nonsense"}`), 400)
  t.throws(() => hub.publish('sessions/s', [{ type: 'f', trace: trace(1), tracestate: 'a=' }]), {
    message: /^event\.tracestate: expected a tracestate/,
    place: { pointer: '/0/tracestate' },
  })
  const told = [
    ['a', trace(1), tracestate],
    ['b', trace(2), undefined],
    ['b2', trace(2), 'b=2'],
    ['c', trace(1), tracestate],
    ['d', trace(1), tracestate],
    ['d2', undefined, undefined],
    ...Array.from({ length: 5 }, () => ['d3', trace(1), undefined]),
    ['e', undefined, undefined],
  ]
  const tracesOf = (list: readonly HubEvent[]) =>
    list.slice(0, told.length).map((event) => [event.type, event.trace, event.tracestate])
  const overSocket: HubEvent[] = []
  while (overSocket.length < told.length) {
    overSocket.push(...((await socket.expect('events'))['events'] as HubEvent[]))
  }
  t.same(tracesOf(overSocket), told)
  await until('the client has them', () => unpacked.length >= told.length)
  t.same(tracesOf(unpacked), told)
  const block = await stream.until(({ event }) => event === 'b2')
  t.match(JSON.parse(block.data ?? ''), { trace: trace(2), tracestate: 'b=2' })
  t.equal((await stream.until(({ event }) => event === 'e')).data?.includes('trace'), false)
  await hub.closeStore()
  const next = createHub({ store: openLmdb({ directory }) })
  t.same(tracesOf((await next.readHistory('sessions/s')).events), told)
  await next.closeStore()
})

/** A provider whose spans the test reads, registered with nobody. */
function recorder(): { readonly spans: () => ReadableSpan[]; readonly api: typeof api } {
  const exporter = new InMemorySpanExporter()
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
  const own = Object.assign(Object.create(api.trace) as typeof api.trace, {
    getTracer: (name: string) => provider.getTracer(name),
  })
  return { spans: () => exporter.getFinishedSpans(), api: { ...api, trace: own } }
}

t.test('spans of OpenTelemetry lead from a publish to its commit and its flush', async (t) => {
  const { spans, api } = recorder()
  const store = new FaultyStore(memoryStore())
  const hub = createHub({ store, tracer: openTelemetry(api) })
  const subscription = hub.subscribe('sessions/s')
  const note: NewEvent = { type: 'note', trace: trace(7), tracestate: 'rojo=7' }
  hub.publish('sessions/s', [note, note])
  await subscription.next()
  await hub.committed('s')
  const byName = (name: string) => spans().filter((span) => span.name === name)
  const [one] = byName('runcast.publish')
  t.match(one, {
    kind: api.SpanKind.PRODUCER,
    parentSpanContext: { spanId: '0000000000000007', isRemote: true },
    attributes: {
      'runcast.topic': 'sessions/s',
      'runcast.accepted': 2,
      'runcast.first': 1,
      'runcast.last': 2,
    },
  })
  t.equal(one?.spanContext().traceId, '7'.padStart(32, '0'))
  for (const [name, attributes] of [
    ['runcast.commit', { 'runcast.sessions': 1, 'runcast.bytes': Number }],
    ['runcast.flush', { 'runcast.sessions': 1, 'runcast.events': 2 }],
  ] as const) {
    const [span] = byName(name)
    t.match(span, { attributes, parentSpanContext: { spanId: one?.spanContext().spanId } }, name)
    t.equal(span?.spanContext().traceState?.serialize(), 'rojo=7', 'and goes on with the tracestate')
  }

  hub.publish('sessions/s', [{ type: 'note' }])
  hub.publish('sessions/t', [{ type: 'note', trace: trace(8) }])
  for (let n = 0; n < 2; n++) await subscription.next()
  await Promise.all(['s', 't'].map((id) => hub.committed(id)))
  const [, flush] = byName('runcast.flush')
  t.equal(flush?.parentSpanContext, undefined, 'of several it is part of none')
  t.same(
    flush?.links.map(({ context }) => context.spanId),
    byName('runcast.publish')
      .slice(1)
      .map((span) => span.spanContext().spanId),
  )

  t.throws(() => hub.publish('sessions/s', [{ type: 'not a type' }]))
  t.match(byName('runcast.publish').at(-1), {
    status: { code: api.SpanStatusCode.ERROR, message: /^type: / },
  })
  const before = spans().length
  hub.setState('sessions/u', 'plan', 1)
  await hub.committed('u')
  t.equal(spans().length, before, 'nothing is told of what nobody traces')
  store.fail('failed')
  hub.publish('sessions/s', [{ type: 'note' }])
  await t.rejects(hub.committed('s'))
  t.match(byName('runcast.commit').at(-1), { status: { code: api.SpanStatusCode.ERROR } })
  subscription.close()
  await hub.closeStore()
})

t.test('over a log spans lead from a publish to its flush at the same hub', async (t) => {
  const { spans, api } = recorder()
  const log = new MemoryLog(systemClock, systemRandom)
  const hub = createHub({ log: log.link(), tracer: openTelemetry(api) })
  t.teardown(() => hub.closeStore())
  await hub.open('sessions/s')
  const subscription = hub.subscribe('sessions/s')
  const note: NewEvent = { type: 'note', trace: trace(7) }
  await hub.submit('sessions/s', [note, note])
  for (let n = 0; n < 2; n++) await subscription.next()
  const byName = (name: string) => spans().filter((span) => span.name === name)
  await until('both have ended', () => byName('runcast.flush').length + byName('runcast.publish').length >= 2)
  const [one] = byName('runcast.publish')
  t.match(one, {
    parentSpanContext: { spanId: '0000000000000007' },
    attributes: { 'runcast.topic': 'sessions/s', 'runcast.accepted': 2 },
  })
  t.match(byName('runcast.flush')[0], { parentSpanContext: { spanId: one?.spanContext().spanId } })
  await t.rejects(hub.submit('sessions/s', [{ type: 'not a type' }]))
  t.match(byName('runcast.publish').at(-1), {
    status: { code: api.SpanStatusCode.ERROR, message: /^type: / },
  })
  subscription.close()
})

t.test('a session tells how many follow it, who lags, and what memory holds', async (t) => {
  const { hub, url } = await served(t)
  const socket = await dial(t, url)
  for (const [sub, topic] of ['sessions/s', 'sessions/s/**', 'sessions/s/workers/w'].entries()) {
    socket.send({ type: 'subscribe', sub, topic })
    await socket.expect('live')
  }
  const slow = hub.subscribe('sessions/s')
  hub.publish('sessions/s/workers/w', [{ type: 'a' }, { type: 'execution_completed', data: 'in both' }])
  const read = async () => (await fetch(`${url}/api/sessions/s`)).json()
  t.match(await read(), { subscriptions: 4, lagging: 0, history: { events: 3, bytes: Number } })
  for (let n = 0; n < 3; n++) {
    hub.publish(
      'sessions/s',
      Array.from({ length: 900 }, () => ({ type: 'note' })),
    )
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.match(await read(), { subscriptions: 4, lagging: 1 })
  slow.close()
  t.match(await read(), { subscriptions: 3, lagging: 0 })
})
