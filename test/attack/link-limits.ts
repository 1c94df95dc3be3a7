import { SimulatedClock, settle } from '../kit/clock.js'
import { RawClient } from '../kit/raw-http.js'
import { dial, openStream, type Served, served } from '../kit/served.js'
import { until } from '../kit/wait.js'
import { type LimitTests, limited, ndjson, ping, statusOf, still } from './limits-kit.js'

/** Of connections, and of the rates of what comes on them. */
export const linkLimits = {
  async connectionsMax(t) {
    const hub = await limited(t, { connectionsMax: 2 })
    await dial(t, hub.url)
    await openStream(t, `${hub.url}/api/stream`)
    t.equal(await statusOf(hub, 'GET', '/api/stream'), 503)
    await t.rejects(dial(t, hub.url), { message: /503/ })
  },

  async connectionsPerAddressMax(t) {
    const hub = await served(t, {
      hub: { limits: { connectionsPerAddressMax: 2 } },
      serve: { trustedProxies: ['127.0.0.1'] },
    })
    const status = async (from: string) => {
      const stream = await openStream(t, `${hub.url}/api/stream`, { 'x-forwarded-for': `10.9.9.9, ${from}` })
      return { status: stream.response.status, stream }
    }
    const first = await status('10.0.0.1')
    t.equal((await status('10.0.0.1')).status, 200)
    t.equal((await status('10.0.0.1')).status, 429)
    t.equal((await status('10.0.0.2')).status, 200)
    first.stream.close()
    await until('it has gone', () => hub.hub.stats().connections === 2)
    t.equal((await status('10.0.0.1')).status, 200)
  },

  async idleLinksMax(t) {
    const hub = await limited(t, { connectionsMax: 1, idleLinksMax: 2 })
    const clients: RawClient[] = []
    const open = () => {
      const client = new RawClient(hub.server.port)
      t.teardown(() => client.socket.destroy())
      clients.push(client)
      return client
    }
    for (let count = 0; count < 3; count += 1) open().send('GET /healthz HTTP/1.1\nhost: 127.0.0.1\n\n')
    await until('three are answered', () => clients.every(({ text }) => text.includes('200 OK')))
    const fourth = open()
    await until('the fourth is cut', () => fourth.closed)
    t.equal(fourth.bytes, 0)
    clients[0]?.socket.destroy()
    const socket = async () => {
      const client = open()
      client.send(
        'GET /api/ws HTTP/1.1\nhost: 127.0.0.1\nupgrade: websocket\nconnection: upgrade\nsec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n\n',
      )
      await until('it is answered or cut', () => client.closed || client.text.includes('101 Switching'))
      return client
    }
    let websocket = await socket()
    while (websocket.closed) websocket = await socket()
    for (let round = 0; round < 5; round += 1) {
      websocket.socket.destroy()
      await until('it has gone', () => hub.hub.stats().connections === 0)
      websocket = await socket()
      t.equal(websocket.closed, false, 'one that was a WebSocket gives its place back')
    }
  },

  async frameBurstMax(t) {
    const { client } = await still(t, { frameBurstMax: 3 })
    await ping(client, 3)
    client.send({ type: 'ping' })
    t.match(await client.closed, { code: 4004, reason: /5000 frames a second; try again in 1 ms/ })
    const other = await still(t, { frameBurstMax: 3 })
    for (let sent = 0; sent < 2; sent += 1) other.client.socket.ping()
    other.client.socket.pong()
    await new Promise((resolve) => other.client.socket.once('pong', resolve))
    other.client.socket.ping()
    t.match(await other.client.closed, { code: 4004 }, 'pings and pongs of WebSockets count too')
  },

  async frameRateMax(t) {
    const { client, clock } = await still(t, { frameBurstMax: 1, frameRateMax: 10 })
    await ping(client, 1)
    clock.advance(100)
    await ping(client, 1)
    clock.advance(99)
    client.send({ type: 'ping' })
    t.match(await client.closed, { code: 4004, reason: /10 frames/ })
  },

  async pulseBurstMax(t) {
    const { client } = await still(t, { pulseBurstMax: 3 })
    for (let sent = 0; sent < 2; sent += 1) client.socket.ping()
    client.socket.pong()
    await new Promise((resolve) => client.socket.once('pong', resolve))
    await ping(client, 3)
    client.socket.ping()
    t.match(await client.closed, { code: 4004, reason: /100 pings and pongs a second/ })
  },

  async pulseRateMax(t) {
    const { client, clock } = await still(t, { pulseBurstMax: 1, pulseRateMax: 10 })
    const pong = () => new Promise((resolve) => client.socket.once('pong', resolve))
    client.socket.ping()
    await pong()
    clock.advance(100)
    client.socket.ping()
    await pong()
    clock.advance(99)
    client.socket.ping()
    t.match(await client.closed, { code: 4004, reason: /10 pings and pongs/ })
  },

  async byteBurstMax(t) {
    const { client } = await still(t, { byteBurstMax: 45 })
    await ping(client, 3)
    client.send({ type: 'ping' })
    t.match(await client.closed, { code: 4004, reason: /bytes a second/ })
    const other = await still(t, { byteBurstMax: 44 })
    await ping(other.client, 2)
    other.client.send({ type: 'ping' })
    t.match(await other.client.closed, { code: 4004 })
  },

  async byteRateMax(t) {
    const { client, clock } = await still(t, { byteBurstMax: 15, byteRateMax: 150 })
    await ping(client, 1)
    clock.advance(100)
    await ping(client, 1)
    clock.advance(99)
    client.send({ type: 'ping' })
    t.match(await client.closed, { code: 4004, reason: /150 bytes/ })
  },

  async bodyBurstMax(t) {
    const clock = new SimulatedClock()
    const hub = await served(t, {
      hub: { limits: { bodyBurstMax: 32, bodyRateMax: 16, bodyWaitMs: 0 } },
      serve: { clock },
    })
    t.equal((await post(hub, 'a', oneEvent)).status, 200)
    t.equal((await post(hub, 'b', oneEvent)).status, 200, 'two of 16 bytes')
    t.equal((await post(hub, 'c', `${oneEvent} `)).status, 200, 'there was nothing to make up for')
    const response = await post(hub, 'd', oneEvent)
    t.equal(response.status, 429)
    t.equal(response.headers.get('retry-after'), '2')
    t.match(await response.json(), { detail: /^bodies: expected at most 16 bytes a second/ })
    t.equal(await statusOf(hub, 'GET', '/healthz'), 200)
  },

  async bodyWaitMs(t) {
    const clock = new SimulatedClock()
    const limits = { bodyBurstMax: 16, bodyRateMax: 16, bodyWaitMs: 1_000 }
    const hub = await served(t, { hub: { limits }, serve: { clock } })
    t.equal((await post(hub, 'a', `${oneEvent}${' '.repeat(16)}`)).status, 200)
    const { timers } = clock
    const waiting = post(hub, 'b', `${oneEvent} `)
    await until('it waits', () => clock.timers > timers)
    t.equal(hub.hub.find('b'), undefined)
    clock.advance(1_000)
    t.equal((await waiting).status, 200, 'it waits as long as it may')
    t.equal((await post(hub, 'a', oneEvent)).status, 429, 'it would wait for 1,063 ms')
  },

  async bodyRateMax(t) {
    const clock = new SimulatedClock()
    const hub = await served(t, {
      hub: { limits: { bodyBurstMax: 16, bodyRateMax: 16, bodyWaitMs: 0 } },
      serve: { clock },
    })
    t.equal((await post(hub, 'a', oneEvent)).status, 200)
    t.equal((await post(hub, 'a', oneEvent)).status, 200)
    clock.advance(999)
    t.equal((await post(hub, 'a', oneEvent)).status, 429)
    clock.advance(1)
    // Lines are never refused: their sender is held up, and nothing is lost.
    const answer = post(hub, 'b', `${oneEvent}\n`.repeat(3), lines)
    await until('they are published', () => hub.hub.find('b')?.offset === 3)
    for (let second = 0; second <= 3; second += 1) {
      t.equal(await Promise.race([answer, settle()]), undefined, `held up for more than ${second} s`)
      clock.advance(1_000)
    }
    t.match(await (await answer).json(), { accepted: 3 })
  },

  async requestBurstMax(t) {
    const clock = new SimulatedClock()
    const hub = await served(t, { hub: { limits: { requestBurstMax: 3 } }, serve: { clock } })
    for (let asked = 0; asked < 3; asked += 1) t.equal(await statusOf(hub, 'GET', '/healthz'), 200)
    const response = await fetch(`${hub.url}/healthz`)
    t.equal(response.status, 429)
    t.equal(response.headers.get('retry-after'), '1')
    t.match(await response.json(), { type: 'urn:runcast:rateExceeded', detail: /20000 requests and frames/ })
    await t.rejects(dial(t, hub.url), { message: /429/ })
  },

  async requestRateMax(t) {
    const clock = new SimulatedClock()
    const hub = await served(t, {
      hub: { limits: { requestBurstMax: 2, requestRateMax: 10 } },
      serve: { clock },
    })
    const client = await dial(t, hub.url)
    await ping(client, 1)
    clock.advance(100)
    t.equal(await statusOf(hub, 'GET', '/healthz'), 200, 'frames and requests of one address count together')
    clock.advance(99)
    t.equal(await statusOf(hub, 'GET', '/healthz'), 429)
    client.send({ type: 'ping' })
    t.match(await client.closed, { code: 4004, reason: /10 requests and frames/ })
  },

  async ratedMax(t) {
    const statuses = async (ratedMax: number) => {
      const hub = await served(t, {
        hub: { limits: { ratedMax, requestBurstMax: 1 } },
        serve: { clock: new SimulatedClock(), trustedProxies: ['127.0.0.1'] },
      })
      const found: number[] = []
      for (const from of ['10.0.0.1', '10.0.0.2', '10.0.0.1']) {
        const response = await fetch(`${hub.url}/healthz`, { headers: { 'x-forwarded-for': from } })
        found.push(response.status)
      }
      return found
    }
    t.strictSame(await statuses(2), [200, 200, 429])
    t.strictSame(await statuses(1), [200, 200, 200], 'the first one is forgotten')
  },
} satisfies LimitTests

/** 16 bytes. */
const oneEvent = '{"type":"abcde"}'
const lines = { 'content-type': ndjson }

function post(
  { url }: Served,
  session: string,
  body: string,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(`${url}/api/sessions/${session}/events`, { method: 'POST', body, headers })
}
