import { generateKeyPairSync } from 'node:crypto'
import { get } from 'node:http'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type { AuthOptions } from '../../../src/server/access/tokens.js'
import { SimulatedClock } from '../../kit/clock.js'
import { issuer, jwk } from '../../kit/issuer.js'
import { dial, openStream, type Served, served } from '../../kit/served.js'
import { mint, secret } from '../../kit/tokens.js'
import { until } from '../../kit/wait.js'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })

// A hub whose server has a simulated clock

const hour = 3_600

interface Locked extends Served {
  readonly clock: SimulatedClock
}

async function locked(t: Test, auth: AuthOptions = { secrets: [secret] }): Promise<Locked> {
  const clock = new SimulatedClock(1_700_000_000_000)
  // Nobody is to be closed for being silent.
  const hub = { limits: { heartbeatMs: 10 * hour * 1_000 } }
  return { ...(await served(t, { hub, serve: { auth, clock } })), clock }
}

function inSeconds({ clock }: Locked, seconds: number): number {
  return Math.floor(clock.now() / 1_000) + seconds
}

t.test('a WebSocket without a good token is closed with 4501', async (t) => {
  const it = await locked(t)
  for (const token of [undefined, 'x', await mint({ exp: 1 }), await mint({ subscribe: ['x'] })]) {
    const client = await dial(t, it.url, ['runcast.v1.json', ...(token ? [`bearer.${token}`] : [])])
    t.match(await client.closed, { code: 4501, reason: /token/i })
    t.equal(await client.next(), undefined, 'not a word before')
  }
  const token = await mint({ subscribe: ['**'], exp: inSeconds(it, hour) })
  const ways = [
    new WebSocket(`${it.url.replace('http', 'ws')}/api/ws?token=${token}`),
    new WebSocket(`${it.url.replace('http', 'ws')}/api/ws`, {
      headers: { authorization: `bearer   ${token}` },
    }),
    new WebSocket(`${it.url.replace('http', 'ws')}/api/ws`, ['runcast.v1.json', `bearer.${token}`]),
  ]
  const welcomes = ways.map(
    (socket) =>
      new Promise((resolve) => socket.once('message', (data: Buffer) => resolve(JSON.parse(String(data))))),
  )
  for (const [way, socket] of ways.entries()) {
    t.teardown(() => socket.terminate())
    t.match(await welcomes[way], { type: 'welcome' })
    t.ok(['', 'runcast.v1.json'].includes(socket.protocol), 'the token is never chosen')
  }
})

t.test('frames do what the token allows, and nothing else', async (t) => {
  const it = await locked(t)
  const token = await mint({
    subscribe: ['sessions/a'],
    publish: ['sessions/a/workers/w'],
    exp: inSeconds(it, hour),
  })
  const client = await dial(t, it.url, ['runcast.v1.json', `bearer.${token}`])
  t.match(await client.expect('authorized'), { expiresInMs: hour * 1_000 + 5_000 })
  const ask = async (frame: object) => {
    client.send({ ref: 1, ...frame })
    for (;;) {
      const answer = await client.next()
      if (answer?.type === 'error') return String(answer.code)
      if (answer !== undefined && ['subscribed', 'published', 'updated'].includes(String(answer.type)))
        return 'done'
    }
  }
  const events = [{ type: 'start' }]
  const change = { topic: 'sessions/a', slice: 'plan' }
  const cases: readonly [frame: object, answer: string][] = [
    [{ type: 'subscribe', ref: undefined, sub: 1, topic: 'sessions/a' }, 'done'],
    [{ type: 'subscribe', ref: undefined, sub: 2, topic: 'sessions/a/**' }, 'forbidden'],
    [{ type: 'subscribe', ref: undefined, sub: 3, topic: 'sessions/a/workers/w' }, 'forbidden'],
    [{ type: 'subscribe', ref: undefined, sub: 4, topic: 'sessions/b' }, 'forbidden'],
    [{ type: 'publish', topic: 'sessions/a/workers/w', events }, 'done'],
    [{ type: 'publish', topic: 'sessions/a', events }, 'forbidden'],
    [{ type: 'publish', topic: 'sessions/b', events }, 'forbidden'],
    [{ type: 'set', ...change, topic: 'sessions/a/workers/w', value: 1 }, 'done'],
    [{ type: 'set', ...change, value: 1 }, 'forbidden'],
    [{ type: 'patch', ...change, patch: [] }, 'forbidden'],
    [{ type: 'merge', ...change, merge: {} }, 'forbidden'],
  ]
  for (const [frame, answer] of cases) t.equal(await ask(frame), answer, JSON.stringify(frame))
  t.match(it.hub.stats(), { published: 1, subscriptions: 1 })
  t.equal(it.hub.find('b'), undefined)
})

t.test('what a token allows ends with it, unless it is renewed in time', async (t) => {
  const it = await locked(t)
  const claims = { subscribe: ['sessions/a/**'], publish: ['sessions/a/**'] }
  const short = await mint({ ...claims, exp: inSeconds(it, 10) })
  const [kept, lost] = await Promise.all(
    [0, 1].map(() => dial(t, it.url, ['runcast.v1.json', `bearer.${short}`])),
  )
  const stream = await openStream(t, `${it.url}/api/sessions/a/events?token=${short}`)
  const many = await openStream(t, `${it.url}/api/stream?topic=sessions/a/**`, {
    authorization: `Bearer ${short}`,
  })
  const { connection } = JSON.parse((await many.until(({ event }) => event === 'hub.open')).data ?? '')
  for (const client of [kept, lost]) {
    client?.send({ type: 'subscribe', sub: 1, topic: 'sessions/a' })
    await client?.expect('live')
  }
  const long = await mint({ ...claims, exp: inSeconds(it, hour) })
  kept?.send({ type: 'authorize', token: 'x.y.z' })
  t.match(await kept?.expect('error'), { code: 'unauthorized' })
  kept?.send({ type: 'authorize', token: long })
  t.match(await kept?.expect('authorized'), { expiresInMs: hour * 1_000 + 5_000 })
  const renewed = await fetch(`${it.url}/api/stream/${connection}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${short}` },
    body: JSON.stringify([
      { type: 'authorize', token: long },
      { type: 'subscribe', sub: 2, topic: 'sessions/a' },
    ]),
  })
  t.same(await renewed.json(), { applied: 2 })
  const body = new TransformStream<Uint8Array, Uint8Array>()
  const writer = body.writable.getWriter()
  const publishing = fetch(`${it.url}/api/sessions/a/events?token=${short}`, {
    method: 'POST',
    body: body.readable,
    duplex: 'half',
    headers: { 'content-type': 'application/x-ndjson' },
  })
  await writer.write(Buffer.from('{"type":"start"}\n'))
  await until('it is published', () => it.hub.stats().published === 1)

  it.clock.advance(14_999)
  t.equal(it.hub.stats().connections, 4)
  it.clock.advance(1)
  t.match(await lost?.closed, { code: 4501, reason: 'The token has expired.' })
  t.match((await stream.rest()).slice(-1), [{ event: 'hub.close', data: /"code":4501/ }])
  await writer.write(Buffer.from('{"type":"step-end"}\n'))
  const refused = await publishing
  t.equal(refused.status, 401)
  t.match(await refused.json(), { detail: /expired/, accepted: 1 })
  await writer.abort().catch(() => undefined)

  t.equal(it.hub.stats().connections, 2)
  it.hub.session('a').publish({ type: 'step-start' })
  t.match(await kept?.expect('events'), { events: [{ type: 'start' }] })
  t.match(await kept?.expect('events'), { events: [{ type: 'step-start' }] })
  await many.until(({ event }) => event === 'step-start')
  it.clock.advance(hour * 1_000)
  t.match(await kept?.closed, { code: 4501 })
  await many.until(({ event }) => event === 'hub.close')
})

t.test('another token ends what it does not allow, and shows other sessions', async (t) => {
  const it = await locked(t)
  for (const id of ['a', 'b']) it.hub.session(id).publish({ type: 'start' })
  const exp = inSeconds(it, hour)
  const client = await dial(t, it.url, [
    'runcast.v1.json',
    `bearer.${await mint({ subscribe: ['sessions/a/**'], exp })}`,
  ])
  client.send({ type: 'subscribe', sub: 1, topic: 'sessions/a' })
  client.send({ type: 'subscribe', sub: 2, topic: 'hub', slices: ['sessions'] })
  let list = await client.expect('subscribed')
  if (list.sub === 1) list = await client.expect('subscribed')
  t.same(Object.keys((list.slices as { sessions: object }).sessions), ['a'])
  it.hub.session('b').end()
  it.hub.session('a').worker('w').publish({ type: 'start' })
  const update = await client.expect('events')
  t.match(update, { feed: list.feed, events: [{ type: 'state.update', data: { slice: 'sessions' } }] })
  t.notMatch(JSON.stringify(update), '"b"')
  client.send({ type: 'authorize', token: await mint({ subscribe: ['sessions/b'], exp }) })
  t.match(await client.expect('unsubscribed'), { sub: 1, code: 'forbidden' })
  const other = await client.expect('subscribed')
  t.match(other, { sub: 2, topic: 'hub', resumed: false, slices: { sessions: { b: { status: 'ended' } } } })
  t.not(other.epoch, list.epoch)
  t.match(await client.expect('authorized'), {})
  t.equal(it.hub.stats().subscriptions, 1)
})

t.test('a withdrawn key takes its tokens along', async (t) => {
  const keys = await issuer(t)
  keys.keys = [jwk(rsa.publicKey, { kid: 'old' }), jwk(ec.publicKey, { kid: 'new' })]
  const it = await locked(t, { jwksUrl: keys.url })
  const claims = { subscribe: ['**'], exp: inSeconds(it, hour) }
  const old = await mint(claims, { key: rsa.privateKey, alg: 'RS256', kid: 'old' })
  const young = await mint(claims, { key: ec.privateKey, alg: 'ES256', kid: 'new' })
  const clients = await Promise.all(
    [old, young].map((token) => dial(t, it.url, ['runcast.v1.json', `bearer.${token}`])),
  )
  for (const client of clients) {
    client.send({ type: 'subscribe', sub: 1, topic: 'sessions/a' })
    await client.expect('live')
  }
  const answer = await fetch(`${it.url}/api/ticket`, {
    method: 'POST',
    headers: { authorization: `Bearer ${old}` },
  })
  const { ticket } = (await answer.json()) as { ticket: string }
  keys.keys = [jwk(ec.publicKey, { kid: 'new' })]
  it.clock.advance(60_000)
  t.match(await clients[0]?.closed, { code: 4501, reason: /has been withdrawn/ })
  t.equal((await fetch(`${it.url}/api/sessions?token=${old}`)).status, 401)
  t.equal((await fetch(`${it.url}/api/stream?ticket=${ticket}`)).status, 401)
  t.equal((await fetch(`${it.url}/api/sessions?token=${young}`)).status, 200)
  t.equal(it.hub.stats().subscriptions, 1)
})

t.test('keys that cannot be read again stay as they were', async (t) => {
  const keys = await issuer(t)
  keys.keys = [jwk(rsa.publicKey, { kid: 'a' })]
  const clock = new SimulatedClock(1_700_000_000_000)
  const reported: unknown[] = []
  const report = (error: unknown) => reported.push(error)
  const it = { ...(await served(t, { serve: { auth: { jwksUrl: keys.url }, clock, report } })), clock }
  const token = await mint({ exp: inSeconds(it, hour) }, { key: rsa.privateKey, alg: 'RS256', kid: 'a' })
  keys.down = true
  clock.advance(60_000)
  await until('it is reported', () => reported.length === 1)
  t.match(reported, [{ message: /jwks.json: expected a JWK set: HTTP 500/ }])
  t.equal((await fetch(`${it.url}/api/sessions?token=${token}`)).status, 200)
})

t.test('a ticket opens one stream, soon, and changes nothing', async (t) => {
  const it = await locked(t)
  it.hub.session('a').publish({ type: 'start' })
  const token = await mint({ subscribe: ['sessions/a'], publish: ['sessions/a'], exp: inSeconds(it, hour) })
  const headers = { authorization: `Bearer ${token}` }
  const ask = async (): Promise<string> => {
    const answer = await fetch(`${it.url}/api/ticket`, { method: 'POST', headers })
    t.equal(answer.headers.get('cache-control'), 'no-store')
    const { ticket, expiresInMs } = (await answer.json()) as { ticket: string; expiresInMs: number }
    t.equal(expiresInMs, 30_000)
    return ticket
  }
  const [first, second] = [await ask(), await ask()]
  const url = `${it.url}/api/sessions/a/events?replay=all&ticket=`
  const stream = await openStream(t, url + first)
  await stream.until(({ event }) => event === 'start')
  stream.close()
  t.equal((await fetch(url + first)).status, 401, 'it is used up')
  t.equal((await fetch(`${it.url}/api/sessions/b/events?ticket=${await ask()}`)).status, 403)
  t.equal((await fetch(url + (await ask()), { method: 'POST', body: '{"type":"start"}' })).status, 401)
  it.clock.advance(30_000)
  t.equal((await fetch(url + second)).status, 401, 'it is too old')
  t.equal((await fetch(`${it.url}/api/ticket`, { method: 'POST' })).status, 401)
})

t.test('a hub on loopback is called by no name but its own', async (t) => {
  const open = await served(t, { serve: { hosts: ['Runcast.example'] } })
  const locked = await served(t, { serve: { auth: { secrets: [secret] } } })
  const status = (url: string, host: string, headers: Record<string, string> = {}) =>
    new Promise<number | undefined>((resolve, reject) => {
      get(`${url}/healthz`, { headers: { host, ...headers }, agent: false }, (response) => {
        response.resume()
        resolve(response.statusCode)
      }).on('error', reject)
    })
  const { port } = open.server
  for (const host of [
    'localhost',
    `localhost:${port}`,
    '127.0.0.1',
    `[::1]:${port}`,
    'app.localhost',
    '10.1.2.3',
    `RUNCAST.example:${port}`,
  ]) {
    t.equal(await status(open.url, host), 200, host)
  }
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    '127.0.0.1.evil.example',
    'localhost.evil.example',
  ]) {
    t.equal(await status(open.url, host), 403, `"${host}"`)
  }
  const rebound = `http://evil.example:${port}`
  t.equal(
    await status(open.url, `evil.example:${port}`, { origin: rebound }),
    403,
    'though its origin is the host',
  )
  const socket = new WebSocket(`${open.url.replace('http', 'ws')}/api/ws`, {
    headers: { host: 'evil.example' },
    origin: 'http://evil.example',
  })
  const refused = await new Promise((resolve) =>
    socket.on('unexpected-response', (_, { statusCode }) => resolve(statusCode)),
  )
  t.equal(refused, 403)
  t.equal(await status(locked.url, 'any.example'), 200, 'where a token is needed, a name alone opens nothing')
})
