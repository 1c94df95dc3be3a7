import { createHub } from '../../src/hub/hub.js'
import type { Limits } from '../../src/protocol/limits.js'
import { serve } from '../../src/server/serve.js'
import { memoryStore } from '../../src/store/memory.js'
import type { TransportName } from '../../src/transport/choice.js'
import { SimulatedClock } from '../kit/clock.js'
import { FaultyStore } from '../kit/faulty-store.js'
import { RawClient } from '../kit/raw-http.js'
import { openStream, served, transportNow } from '../kit/served.js'
import { until } from '../kit/wait.js'
import { type LimitTests, limited, ndjson, ping, still, topic } from './limits-kit.js'

/** Begun at once, for they take ten seconds of real time: what a transport decides has no other clock. */
const slowHead = ofEach((transport) =>
  trickle(transport, 'GET /healthz HTTP/1.1\nhost: 127.0.0.1\nconnection: close\nx: ', 'y', '\n\n'),
)
const slowBody = ofEach((transport) =>
  trickle(
    transport,
    `POST /api/sessions/s/events HTTP/1.1\nhost: 127.0.0.1\nconnection: close\ncontent-type: application/json\ncontent-length: 20\n\n`,
    ' ',
    '{"type":"a"}',
  ),
)
const silentBodies = ofEach(silence)

/** Of time. */
export const timeLimits = {
  async handshakeMs(t) {
    const { quick, slow } = await slowHead()
    t.match(quick, 'HTTP/1.1 200')
    // Node itself answers before it cuts.
    t.match(slow, transportNow() === 'uws' ? /^$/ : /^HTTP\/1\.1 408 [^]*\r\n\r\n$/)
  },

  async bodyRateMin(t) {
    const { quick, slow } = await slowBody()
    t.match(quick, 'HTTP/1.1 200')
    t.equal(slow, '', 'cut without an answer')
  },

  async heartbeatMs(t) {
    const { client, clock, hub } = await still(t, { heartbeatMs: 1_000 })
    let pings = 0
    client.socket.on('ping', () => void (pings += 1))
    await ping(client, 1)
    clock.advance(999)
    await ping(client, 1)
    t.equal(pings, 0)
    clock.advance(1_000)
    await until('the ping has come', () => pings === 1)
    client.send({ type: 'ping' })
    await client.expect('pong')
    clock.advance(1_999)
    t.equal(hub.stats().connections, 1)
    clock.advance(1)
    t.match(await client.closed, { code: 4002, reason: 'no sign of life for 2000 ms' })
  },

  async longPollMs(t) {
    const clock = new SimulatedClock()
    const { hub, url } = await served(t, { hub: { limits: { longPollMs: 1_000 } }, serve: { clock } })
    await fetch(`${url}/v1/stream/slow`, { method: 'PUT' })
    let status = 0
    const asked = fetch(`${url}/v1/stream/slow?offset=-1&live=long-poll`).then((answer) => {
      ;({ status } = answer)
    })
    await until('it waits', () => hub.stats().connections === 1)
    clock.advance(999)
    await fetch(`${url}/healthz`)
    t.equal(status, 0, 'it still waits')
    clock.advance(1)
    await asked
    t.equal(status, 204)
  },

  async durableSseMs(t) {
    const clock = new SimulatedClock()
    const { hub, url } = await served(t, { hub: { limits: { durableSseMs: 1_000 } }, serve: { clock } })
    await fetch(`${url}/v1/stream/told`, { method: 'PUT' })
    const answer = await fetch(`${url}/v1/stream/told?offset=-1&live=sse`)
    const text = answer.text()
    await until('it follows', () => hub.stats().connections === 1)
    clock.advance(999)
    await fetch(`${url}/healthz`)
    t.equal(hub.stats().connections, 1, 'it goes on')
    clock.advance(1)
    t.match(await text, /event: control\ndata:\{.*"upToDate":true\}/)
  },

  async bodySilenceMs(t) {
    const { short, long } = await silentBodies()
    t.equal(short, '', 'cut without an answer')
    t.match(long, /^HTTP\/1.1 200 [^]*"accepted":2/)
  },

  async stalledMs(t) {
    const clock = new SimulatedClock()
    const hub = await served(t, {
      hub: { clock, limits: { stalledMs: 1_000, backpressureBytesMax: 1_024 } },
      serve: { clock, keepaliveMs: 10_000 },
    })
    const reader = new RawClient(hub.server.port)
    t.teardown(() => reader.socket.destroy())
    reader.socket.pause()
    reader.send('GET /api/sessions/s/events HTTP/1.1\nhost: 127.0.0.1\n\n')
    await until('it is subscribed', () => hub.hub.stats().subscriptions === 1)
    while (hub.hub.stats().lagging === 0) {
      hub.hub.publish(topic, [{ type: 'a', data: 'x'.repeat(500_000) }])
      clock.runTurn()
    }
    clock.advance(999)
    t.equal(hub.hub.stats().connections, 1)
    clock.advance(1)
    t.equal(hub.hub.stats().connections, 0)
    t.equal(hub.hub.stats().closed.get('heartbeatMissed'), 1)
    reader.socket.resume()
    await until('the link is cut', () => reader.closed)
    t.equal(clock.timers, 0)
  },

  async shutdownMs(t) {
    const clock = new SimulatedClock()
    const store = new FaultyStore(memoryStore())
    const hub = await served(t, { hub: { store, limits: { shutdownMs: 1_000 } }, serve: { clock } })
    store.hold()
    const client = new RawClient(hub.server.port)
    client.send('PUT /api/sessions/s/state/a HTTP/1.1\nhost: 127.0.0.1\ncontent-length: 1\n\n1')
    await until('the request waits for the store', () => hub.hub.stats().state.values > 0)
    let closed = false
    const closing = hub.server.close().then(() => void (closed = true))
    await clock.pass(999)
    t.equal(closed, false)
    clock.advance(1)
    await closing
    store.release()
    await hub.hub.closeStore()
  },

  async spreadMs(t) {
    const left = async (spreadMs: number) => {
      const clock = new SimulatedClock()
      const hub = await served(t, { hub: { limits: { spreadMs } }, serve: { clock } })
      for (let opened = 0; opened < 60; opened += 1) await openStream(t, `${hub.url}/api/stream`)
      const closing = hub.server.close()
      const { connections } = hub.hub.stats()
      await clock.pass(50)
      await closing
      return connections
    }
    t.equal(await left(50), 0, 'all are told at once')
    t.equal(await left(51), 30, 'half of them are told later')
  },

  async retryMs(t) {
    for (const retryMs of [10, 10_000]) {
      const { url } = await limited(t, { retryMs })
      const ratio = Number((await (await openStream(t, `${url}/api/stream`)).next())?.retry) / retryMs
      t.ok(ratio >= 0.5 && ratio <= 1.5, `${ratio}`)
    }
  },

  async heartbeatEventMs(t) {
    const clock = new SimulatedClock()
    const limits = { heartbeatEventMs: 1_000, keepaliveMs: 60_000 }
    const { url } = await served(t, { hub: { limits }, serve: { clock } })
    const stream = await openStream(t, `${url}/stream/actions`)
    await stream.until(({ comment }) => comment?.startsWith('hub.live') === true)
    clock.advance(999)
    clock.advance(1)
    t.match(await stream.next(), { id: '1', event: 'heartbeat' })
    clock.advance(999)
    clock.advance(1)
    t.match(await stream.next(), { id: '2', event: 'heartbeat' }, 'one in each interval')
  },

  async keepaliveMs(t) {
    const clock = new SimulatedClock()
    const { url } = await served(t, { hub: { limits: { keepaliveMs: 1_000 } }, serve: { clock } })
    const stream = await openStream(t, `${url}/api/sessions/s/events`)
    await stream.until(({ event }) => event === 'hub.live')
    clock.advance(999)
    clock.advance(1)
    t.match(await stream.next(), { comment: 'keep-alive' })
    clock.advance(999)
    clock.advance(1)
    t.match(await stream.next(), { comment: 'keep-alive' }, 'one in each silence')
  },
} satisfies LimitTests

/** Does something over each transport, all at once. @returns what came of it over the one that has its turn */
function ofEach<Outcome>(run: (transport: TransportName) => Promise<Outcome>): () => Promise<Outcome> {
  const outcomes = new Map((['uws', 'node'] as const).map((name) => [name, run(name)]))
  // One that does not load is asked for by nobody.
  for (const outcome of outcomes.values()) outcome.catch(() => undefined)
  return () => outcomes.get(transportNow() as 'uws' | 'node') as Promise<Outcome>
}

interface Trickled {
  readonly quick: string
  readonly slow: string
}

/** Sends a request at once, and one that comes byte by byte for as long as the link is open. */
async function trickle(
  transport: TransportName,
  begin: string,
  byte: string,
  end: string,
): Promise<Trickled> {
  const server = await serve(createHub(), { port: 0, transport })
  const { port } = server
  const quick = new RawClient(port)
  quick.send(begin + byte.repeat(8) + end)
  const slow = new RawClient(port)
  slow.send(begin)
  const timer = setInterval(() => slow.socket.write(byte), 700)
  await until('both are done', () => slow.closed && quick.text.includes('\r\n\r\n'), 30_000)
  clearInterval(timer)
  quick.socket.destroy()
  await server.close()
  return { quick: quick.text, slow: slow.text }
}

/** Sends a line and then nothing, to a hub that waits for a second and to one that waits longer; the end to that. */
async function silence(transport: TransportName): Promise<{ readonly short: string; readonly long: string }> {
  const quiet = async (limits: Partial<Limits>) => {
    const server = await serve(createHub({ limits }), { port: 0, transport })
    const client = new RawClient(server.port)
    client.send(
      `POST /api/sessions/s/events HTTP/1.1\nhost: 127.0.0.1\nconnection: close\ncontent-type: ${ndjson}\ncontent-length: 28\n\n{"type":"a"}\n`,
    )
    return { server, client }
  }
  const [short, long] = await Promise.all([quiet({ bodySilenceMs: 1_000 }), quiet({})])
  await until('the short one is cut', () => short.client.closed, 30_000)
  long.client.send('{"type":"b"}\n')
  await until('the long one is answered', () => long.client.text.endsWith('}'))
  for (const { server, client } of [short, long]) {
    client.socket.destroy()
    await server.close()
  }
  return { short: short.client.text, long: long.client.text }
}
