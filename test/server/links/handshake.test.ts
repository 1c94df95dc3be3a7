import { generateKeyPairSync } from 'node:crypto'
import t, { type Test } from 'tap'
import type { Limits } from '../../../src/protocol/limits.js'
import { SimulatedClock } from '../../kit/clock.js'
import { type Issuer, issuer } from '../../kit/issuer.js'
import { opcodes, RawWebSocket } from '../../kit/raw-websocket.js'
import { type Dialogue, dial, loads, type Served, served } from '../../kit/served.js'
import { mint, secret } from '../../kit/tokens.js'
import { deferred, until } from '../../kit/wait.js'

const [old, young] = ['old', 'young'].map((kid) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const token = mint({ subscribe: ['**'] }, { key: privateKey, alg: 'ES256', kid })
  return { token, jwk: { ...publicKey.export({ format: 'jwk' }), kid } }
}) as [Signer, Signer]

interface Signer {
  readonly token: Promise<string>
  readonly jwk: object
}

interface Waiting extends Served {
  readonly keys: Issuer
  readonly reported: unknown[]
  /** Opens a WebSocket with a token that cannot be verified yet. */
  arrive(): Promise<Dialogue>
  /** Waits until there are so many WebSockets, those that wait included. */
  untilLinks(count: number): Promise<void>
  /** The keys are there. */
  release(): void
}

/** A hub that waits for the keys of whoever comes. */
async function waiting(t: Test, limits: Partial<Limits> = {}): Promise<Waiting> {
  const keys = await issuer(t)
  keys.keys = [old.jwk]
  const clock = new SimulatedClock(Date.now())
  const reported: unknown[] = []
  const it = await served(t, {
    hub: { limits: { heartbeatMs: 1e8, ...limits } },
    serve: { auth: { jwksUrl: keys.url }, clock, report: (error) => reported.push(error) },
  })
  const held = deferred<void>()
  keys.held = held.promise
  keys.keys = [old.jwk, young.jwk]
  // A set of keys that was read just now is not asked for again.
  clock.advance(10_000)
  const [token, known] = await Promise.all([young.token, old.token])
  return {
    ...it,
    keys,
    reported,
    arrive: () => dial(t, it.url, ['runcast.v1.json', `bearer.${token}`]),
    async untilLinks(count) {
      const line = `runcast_connections{transport="websocket"} ${count}\n`
      const headers = { authorization: `Bearer ${known}` }
      await until(line, async () =>
        (await (await fetch(`${it.url}/metrics`, { headers })).text()).includes(line),
      )
    },
    release: () => held.resolve(),
  }
}

t.test('what comes before the token is verified is done after it, in order', async (t) => {
  const it = await waiting(t)
  const client = await it.arrive()
  client.send({ type: 'subscribe', sub: 1, topic: 'sessions/a' })
  client.send({ type: 'ping', ref: 'x' })
  client.socket.ping()
  await new Promise((resolve) => client.socket.once('pong', resolve))
  t.equal(it.hub.stats().connections, 0, 'the hub does not know it yet')
  it.release()
  const types = [await client.next(), await client.next(), await client.next()].map((frame) => frame?.type)
  t.strictSame(types.slice(0, 2), ['welcome', 'authorized'])
  t.equal(types[2], 'subscribed')
  t.match(await client.expect('pong'), { ref: 'x' })
  t.equal(it.hub.stats().subscriptions, 1)
  client.send({ type: 'ping', ref: 'y' })
  t.match(await client.expect('pong'), { ref: 'y' })
})

t.test('who waits may send one frame, however large, and not much more', async (t) => {
  const it = await waiting(t, { frameBytesMax: 100_000 })
  const large = { type: 'ping', ref: 'x'.repeat(256), padding: 'x'.repeat(99_700) }
  const [good, bad, huge] = [await it.arrive(), await it.arrive(), await it.arrive()]
  good.send(large)
  for (let i = 0; i < 1_000; i++) bad.send({ type: 'ping', ref: i })
  t.match(await bad.closed, { code: 4004, reason: 'expected at most 100000 bytes before the welcome' })
  huge.send({ ...large, more: 'x'.repeat(1_000) })
  t.match(await huge.closed, { code: 4504, reason: /at most 100000 bytes/ })
  await it.untilLinks(1)
  it.release()
  t.match(await good.expect('error'), { ref: large.ref, code: 'badFrame' })
})

t.test('who waits has room among the bodies, and gives it back', async (t) => {
  const it = await waiting(t, { bodiesBytesMax: 10_000 })
  const clients = [await it.arrive(), await it.arrive()]
  for (const client of clients) client.send({ type: 'ping', ref: 'x', padding: 'x'.repeat(6_000) })
  const closed = await Promise.race(clients.map((client) => client.closed))
  t.match(closed, { code: 4004, reason: /holds 10000 bytes/ })
  const third = await it.arrive()
  for (const client of clients) client.socket.terminate()
  await it.untilLinks(1)
  third.send({ type: 'ping', ref: 'y', padding: 'x'.repeat(6_000) })
  it.release()
  t.match(await third.expect('error'), { ref: 'y', code: 'badFrame' })
})

t.test('who waits counts as a connection, goes unnoticed, and is turned away with a code', async (t) => {
  const it = await waiting(t, { connectionsPerAddressMax: 2 })
  const [gone, refused] = [await it.arrive(), await it.arrive()]
  await t.rejects(it.arrive(), { message: /429/ })
  gone.socket.terminate()
  await it.untilLinks(1)
  const late = await it.arrive()
  it.keys.keys = [old.jwk]
  it.release()
  for (const client of [refused, late]) {
    t.match(await client.closed, { code: 4501, reason: 'The token is not signed with a key of this hub.' })
    t.equal(await client.next(), undefined, 'not a word before')
  }
  await it.untilLinks(0)
  t.strictSame(it.reported, [])
})

t.test('who waits when the hub goes away is sent away', async (t) => {
  const it = await waiting(t)
  const client = await it.arrive()
  await Promise.all([it.server.close(), t.resolves(client.closed)])
  t.match(await client.closed, { code: 4000 })
  it.release()
})

t.test('who has waited stays: no link is cut for how its handshake was answered', async (t) => {
  // Others open no WebSocket for a request that says `Connection: close`: RFC 6455, section 4.2.1.
  if (!(await loads(t, 'uws'))) return
  const { server, hub } = await served(t, { serve: { transport: 'uws', auth: { secrets: [secret] } } })
  const clients = await Promise.all(
    Array.from({ length: 50 }, async (_, sub) => {
      const token = await mint({ sub: String(sub), subscribe: ['**'] })
      // With this header uWebSockets.js would close all those that it takes for requests with an answer.
      const headers = { Connection: 'close', Authorization: `Bearer ${token}` }
      const client = await RawWebSocket.open(server.port, '/api/ws', headers)
      t.teardown(() => client.socket.destroy())
      client.send({ opcode: opcodes.text, payload: '{"type":"ping","ref":"x"}' })
      return client
    }),
  )
  await until('all are answered', () =>
    clients.every(({ frames, closed }) => closed || String(frames.at(-1)?.payload).includes('pong')),
  )
  t.equal(clients.filter(({ closed }) => closed).length, 0)
  t.equal(hub.stats().connections, 50)
})
