import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocketServer } from 'ws'
import { createHub, type HubOptions, type MountOptions, mount } from '../../src/index.js'
import type { Authorize, AuthorizeRequest } from '../../src/server/access/authorize.js'
import { fetchServer } from '../kit/fetch-server.js'
import { RawClient } from '../kit/raw-http.js'
import { dial, openStream } from '../kit/served.js'
import { until } from '../kit/wait.js'

const byCookie: Authorize = ({ cookies }) => {
  const user = cookies.get('user')
  return user === undefined
    ? undefined
    : { subscribe: ['**'], publish: [`sessions/${user}/**`], subject: user }
}
const ann = { cookie: 'user=ann' }

async function listening(t: Test, server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function mounted(t: Test, options: MountOptions, hubOptions: HubOptions = {}) {
  const hub = createHub(hubOptions)
  const live = mount(hub, { report: (error) => t.error(error, 'nothing is reported'), ...options })
  t.teardown(async () => {
    await live.close({ graceMs: 1_000 })
    const { connections, subscriptions, feeds } = hub.stats()
    assert.deepEqual({ connections, subscriptions, feeds }, { connections: 0, subscriptions: 0, feeds: 0 })
  })
  return { hub, live }
}

/** An application of `node:http` with a route and a WebSocket of its own, which leaves the rest to the hub or gets it. */
async function application(t: Test, options: MountOptions) {
  const { hub, live } = mounted(t, options)
  const server = createServer((req, res) => {
    live.handle(req, res, () => {
      if (req.url === '/own' || req.url === '/livelihood') res.end('the application')
      else res.writeHead(404).end('not here, says the application')
    })
  })
  server.on('upgrade', live.upgrade)
  const sockets = new WebSocketServer({ noServer: true })
  server.on('upgrade', (req, socket, head) => {
    if (req.url === '/chat') sockets.handleUpgrade(req, socket, head, (ws) => ws.send('{"type":"hello"}'))
  })
  t.teardown(() => {
    for (const ws of sockets.clients) ws.terminate()
  })
  return { hub, live, origin: await listening(t, server) }
}

/** What a hub does under a prefix, whoever answers for it. */
async function expectHub(t: Test, origin: string, prefix: string): Promise<void> {
  const url = origin + prefix
  const publish = (headers: Record<string, string>, session = 'ann') =>
    fetch(`${url}/api/sessions/${session}/events`, {
      method: 'POST',
      body: '{"type":"start","data":"x"}',
      headers: { 'content-type': 'application/json', ...headers },
    })
  t.equal((await publish({})).status, 401)
  t.equal((await publish(ann, 'bob')).status, 403)
  t.match(await (await publish(ann)).json(), { accepted: 1 })
  const stream = await openStream(t, `${url}/api/sessions/ann/events?replay=all`, ann)
  t.match(await stream.until(({ event }) => event === 'start'), { data: /"x"/ }, 'replayed')
  await publish(ann)
  t.match(await stream.until(({ event }) => event === 'start'), { data: /"x"/ }, 'live')
  t.equal((await fetch(`${url}/api/nothing`, { headers: ann })).status, 404)
  const head = await fetch(`${url}/healthz`, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.equal(await head.text(), '')
}

t.test('mount wants to know who may do what, and where', async (t) => {
  const hub = createHub()
  const said = /^mount: expected auth or authorize, .+ or open: true/
  t.throws(() => mount(hub, {}), { message: said })
  t.throws(() => mount(hub, { prefix: '/live' }), { message: said })
  t.throws(() => mount(hub, { open: true, authorize: byCookie }), { message: said })
  t.throws(() => mount(hub, { auth: {} }), /at least one key/)
  for (const prefix of ['live', '/a//b', '/a b', '/*', '//', 'http://x/']) {
    t.throws(() => mount(hub, { open: true, prefix }), {
      name: 'TypeError',
      message: /^prefix: expected a path/,
    })
  }
  for (const [prefix, is] of [
    ['', ''],
    ['/', ''],
    ['/live', '/live'],
    ['/live/', '/live'],
    ['/a/b.c', '/a/b.c'],
  ] as const) {
    t.equal(mount(hub, { open: true, prefix }).prefix, is)
  }
})

t.test('handle and upgrade take what is under the prefix, and leave the rest', async (t) => {
  const { origin } = await application(t, { prefix: '/live', authorize: byCookie })
  await expectHub(t, origin, '/live')
  for (const [path, status, text] of [
    ['/own', 200, 'the application'],
    ['/livelihood', 200, 'the application'],
    ['/api/sessions', 404, 'not here, says the application'],
    ['/', 404, 'not here, says the application'],
  ] as const) {
    const answer = await fetch(origin + path)
    t.same([answer.status, await answer.text()], [status, text], path)
  }
  const client = await dial(t, `${origin}/live`, ['runcast.v1.json'], ann)
  client.send({ type: 'publish', ref: 1, topic: 'sessions/ann', events: [{ type: 'a' }] })
  t.match(await client.expect('published'), { ref: 1 })
  t.match(await (await dial(t, `${origin}/live`)).closed, { code: 4501 })
  await t.rejects(dial(t, `${origin}/live/else`), /404/, 'no other WebSocket under the prefix')
  await t.rejects(
    dial(t, `${origin}/live`, ['runcast.v1.json'], { ...ann, origin: 'https://evil.example' }),
    /403/,
  )
  const chat = new RawClient(Number(new URL(origin).port))
  t.teardown(() => chat.socket.destroy())
  chat.send(
    'GET /chat HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n',
  )
  await until('the application’s own WebSocket is open', () => chat.text.includes('{"type":"hello"}'))
})

t.test('upgrade answers false for what is not its own', async (t) => {
  const { live } = mounted(t, { prefix: '/live', open: true })
  const asks = { upgrade: 'websocket', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' }
  for (const [url, headers] of [
    ['/chat', asks],
    ['/live-chat', asks],
    ['/api/ws', asks],
    ['/live/api/ws', { upgrade: 'h2c' }],
  ] as const) {
    const untouched = new Proxy({}, { get: () => t.fail('the socket is untouched') })
    t.equal(
      live.upgrade({ method: 'GET', url, headers } as never, untouched as never, Buffer.alloc(0)),
      false,
      url,
    )
  }
})

t.test('at the root it has its own paths, and leaves the others', async (t) => {
  const { origin } = await application(t, { authorize: byCookie })
  await expectHub(t, origin, '').catch((error) => t.error(error))
  t.equal(await (await fetch(`${origin}/own`)).text(), 'the application')
  const lost = await fetch(`${origin}/api/nothing`)
  t.equal(await lost.text(), 'not here, says the application')
  t.match(await (await dial(t, origin, ['runcast.v1.json'], ann)).next(), { type: 'welcome' })
})

t.test('the page’s address ends in a slash, whatever a proxy has put before it', async (t) => {
  const { origin } = await application(t, { prefix: '/a/live', open: true })
  for (const [path, to] of [
    ['/a/live', '/a/live/'],
    ['/a/live?types=tool_*#token=x', '/a/live/?types=tool_*'],
  ] as const) {
    const answer = await fetch(origin + path, { redirect: 'manual' })
    t.equal(answer.status, 308)
    t.equal(new URL(answer.headers.get('location') ?? '', origin + path).href, origin + to)
    const behind = new URL(answer.headers.get('location') ?? '', `https://app.example/tools${path}`)
    t.equal(behind.href, `https://app.example/tools${to}`)
  }
})

t.test(
  'a durable stream is told where it is: under the prefix, and over TLS if its proxy says so',
  async (t) => {
    const { live, origin } = await application(t, { prefix: '/live', open: true })
    const locationOf = async (answer: Promise<Response>) => (await answer).headers.get('location')
    const put = (name: string, headers = {}) =>
      [`/live/v1/stream/${name}`, { method: 'PUT', headers }] as const
    const at = (name: string, headers?: object) => {
      const [path, request] = put(name, headers)
      return locationOf(fetch(origin + path, request))
    }
    const host = new URL(origin).host
    t.equal(await at('a/b'), `${origin}/live/v1/stream/a/b`)
    t.equal(
      await at('c', { 'x-forwarded-proto': 'https, http' }),
      `https://${host}/live/v1/stream/c`,
      'the proxy that the client has reached',
    )
    const [path, request] = put('d')
    const asked = live.fetch(new Request(`https://localhost${path}`, request))
    t.equal(await locationOf(asked), 'https://localhost/live/v1/stream/d')
  },
)

t.test('fetch answers what is under the prefix, SSE and HTTP', async (t) => {
  const { live } = mounted(t, { prefix: '/live', authorize: byCookie })
  const origin = await listening(
    t,
    fetchServer((request, address) => live.fetch(request, { address })),
  )
  await expectHub(t, origin, '/live')
  const other = await live.fetch(new Request('http://app.example/own'))
  t.equal(other.status, 404)
  t.match(await other.json(), { type: 'urn:runcast:notFound' })
  const noSocket = await live.fetch(
    new Request('http://app.example/live/api/ws', { headers: { ...ann, upgrade: 'websocket' } }),
  )
  t.equal(noSocket.status, 400)
  t.match(await noSocket.json(), { detail: /is for WebSockets/ })
  const page = await live.fetch(new Request('http://app.example/live'))
  t.same([page.status, page.headers.get('location')], [308, 'live/'])
})

t.test('who asks by fetch is known by what the server says, and is bounded by it', async (t) => {
  const seen: string[] = []
  const authorize: Authorize = ({ address }) => {
    seen.push(address)
    return { subscribe: ['**'] }
  }
  const { live } = mounted(
    t,
    { authorize },
    { limits: { requestBurstMax: 2, requestRateMax: 0.001, connectionsPerAddressMax: 1 } },
  )
  const ask = async (more?: { readonly address?: string }) => {
    const answer = await live.fetch(new Request('http://app.example/api/sessions'), more)
    return answer.status
  }
  const known = { address: '192.0.2.1' }
  t.same([await ask(known), await ask(known), await ask(known)], [200, 200, 429])
  t.same([await ask(), await ask(), await ask(), await ask({ address: {} } as never)], [200, 200, 200, 200])
  t.same(seen, ['192.0.2.1', '192.0.2.1', '', '', '', ''])
  for (let n = 0; n < 3; n++) {
    const stream = await live.fetch(new Request('http://app.example/api/sessions/a/events'))
    t.equal(stream.status, 200)
    t.teardown(() => stream.body?.cancel())
  }
})

t.test('authorize gets the request of the server around it, unless its cookies do not count', async (t) => {
  const seen: AuthorizeRequest[] = []
  const { live } = mounted(t, {
    prefix: '/live',
    authorize(request) {
      seen.push(request)
      return { subscribe: ['**'] }
    },
  })
  const origin = await listening(
    t,
    createServer((req, res) => {
      // As the middleware of a framework does.
      Object.assign(req, { session: { user: 'ann' } })
      live.handle(req, res)
    }),
  )
  await fetch(`${origin}/live/api/sessions`)
  await fetch(`${origin}/live/api/sessions`, { headers: { 'sec-fetch-site': 'cross-site' } })
  const request = new Request(`${origin}/live/api/sessions`)
  await live.fetch(request)
  t.match(seen[0], { path: '/api/sessions', raw: { session: { user: 'ann' } } })
  t.equal(seen[1]?.raw, undefined)
  t.equal(seen[2]?.raw, request)
  await dial(t, `${origin}/live`).catch(() => undefined)
})

t.test('what a framework has taken off of the URL is put back', async (t) => {
  const { live } = mounted(t, { prefix: '/live', open: true })
  const origin = await listening(
    t,
    createServer((req, res) => {
      const stripped = (req.url ?? '').slice('/live'.length)
      live.handle(Object.assign(req, { originalUrl: req.url, url: stripped === '' ? '/' : stripped }), res)
    }),
  )
  t.equal((await fetch(`${origin}/live/api/sessions?limit=1`)).status, 200)
  t.equal((await fetch(`${origin}/live/api/sessions?limit=x`)).status, 400, 'the query is there')
  t.equal((await fetch(`${origin}/live`, { redirect: 'manual' })).status, 308)
})

t.test('a body that somebody else has read is the server’s mistake, and said so', async (t) => {
  const reported: string[] = []
  const { live, hub } = mounted(t, {
    open: true,
    report: (error) => void reported.push((error as Error).message),
  })
  const readFirst = async (req: IncomingMessage, res: ServerResponse) => {
    for await (const _ of req);
    live.handle(req, res)
  }
  const origin = await listening(
    t,
    createServer((req, res) => void readFirst(req, res)),
  )
  const publish = () => fetch(`${origin}/api/sessions/a/events`, { method: 'POST', body: '{"type":"a"}' })
  t.equal((await publish()).status, 500)
  t.match(reported, [
    /^mount: the body of POST \/api\/sessions\/a\/events was read before the request reached the hub/,
  ])
  t.equal((await fetch(`${origin}/api/sessions`)).status, 200, 'what has no body is answered')
  const request = new Request('http://127.0.0.1/api/sessions/a/events', {
    method: 'POST',
    body: '{"type":"a"}',
  })
  await request.text()
  t.equal((await live.fetch(request)).status, 500)
  t.match(reported[1], /was read before it reached the hub/)
  t.equal(hub.find('a'), undefined)
})

t.test('without next, what is not its own is not found', async (t) => {
  const { live } = mounted(t, { prefix: '/live', open: true })
  const origin = await listening(
    t,
    createServer((req, res) => live.handle(req, res)),
  )
  for (const path of ['/', '/api/sessions', '/healthz'])
    t.equal((await fetch(origin + path)).status, 404, path)
  t.equal((await fetch(`${origin}/live/healthz`)).status, 200)
})

t.test('an open hub answers to names of this machine alone, as one that listens', async (t) => {
  const { live } = mounted(t, { open: true })
  const ask = async (at: string) => (await live.fetch(new Request(`${at}/api/sessions`))).status
  t.equal(await ask('http://127.0.0.1'), 200)
  t.equal(await ask('http://app.example'), 403)
  const named = mounted(t, { open: true, hosts: ['app.example'] })
  t.equal((await named.live.fetch(new Request('http://app.example/api/sessions'))).status, 200)
})

t.test('close tells everybody, cuts who does not read, and leaves server and hub as they are', async (t) => {
  const { hub, live, origin } = await application(t, { prefix: '/live', open: true })
  const client = await dial(t, `${origin}/live`)
  await client.expect('welcome')
  const stream = await openStream(t, `${origin}/live/api/sessions/a/events`)
  const unread = await live.fetch(new Request('http://127.0.0.1/live/api/sessions/a/events'))
  await stream.until(({ event }) => event === 'hub.live')
  await until('all are there', () => hub.stats().connections === 3)
  await live.close({ graceMs: 200 })
  t.match(await client.closed, { code: 4000 })
  t.match(await stream.until(({ event }) => event === 'hub.close'), { data: /4000/ })
  await t.rejects(async () => {
    for await (const _ of unread.body ?? []);
  }, /closed this response/)
  t.equal((await fetch(`${origin}/live/api/sessions`)).status, 503)
  t.equal((await live.fetch(new Request('http://127.0.0.1/live/api/sessions'))).status, 503)
  await t.rejects(dial(t, `${origin}/live`), /503/)
  t.equal(await (await fetch(`${origin}/own`)).text(), 'the application')
  t.equal(hub.publish('sessions/a', [{ type: 'a' }]).duplicates, 0)
})
