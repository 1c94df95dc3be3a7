import fc from 'fast-check'
import t, { type Test } from 'tap'
import { builtInDialects } from '../../../src/dialect/built-in.js'
import { createHub } from '../../../src/hub/hub.js'
import { systemClock } from '../../../src/lib/clock.js'
import { defaultLimits } from '../../../src/protocol/limits.js'
import { RateLimits } from '../../../src/server/access/rate-limits.js'
import type { Context } from '../../../src/server/context.js'
import type { Route } from '../../../src/server/http/routes.js'
import { routesOf } from '../../../src/server/service.js'
import { dial, openStream, type Served, served } from '../../kit/served.js'
import { mint, secret } from '../../kit/tokens.js'

/** Routes as they are, without a server. */
function routes(): readonly Route[] {
  const hub = createHub()
  const { limits, clock } = hub
  return routesOf({
    hub,
    limits,
    clock,
    links: { count: () => 0 },
    closing: () => false,
    dialects: new Map(builtInDialects.map((dialect) => [dialect.name, dialect])),
  } as unknown as Context)
}

const locked = { auth: { secrets: [secret] } }

/** A hub with the session `s` and its worker `w`, in whose answers `s-only` stands. */
async function withSession(t: Test): Promise<Served> {
  const it = await served(t, { serve: locked })
  const session = it.hub.session('s')
  session.publish({ type: 'start', data: 's-only' })
  session.setState('plan', 's-only')
  session.worker('w').publish({ type: 'start', data: 's-only' })
  session.worker('w').setState('plan', 's-only')
  return it
}

interface Asked {
  readonly status: number
  readonly headers: Headers
  readonly body: string
}

/** Where the path names no session, the body does. */
function bodyFor(path: string): string {
  if (path.startsWith('/api/hooks')) return '{"session_id":"s","hook_event_name":"Stop"}'
  if (path === '/ag-ui') return '{"threadId":"s","runId":"r"}'
  return path.includes('stream') ? '{"type":"subscribe","sub":2,"topic":"sessions/s/**"}' : '{"type":"start"}'
}

async function ask(
  url: string,
  { method, path }: Route,
  connection: string,
  token: string | undefined,
): Promise<Asked> {
  const filled = path
    .replace('{session}', 's')
    .replace('{worker}', 'w')
    .replace('{slice}', 'plan')
    .replace('{connection}', connection)
    .replaceAll(/\{\w+\}/g, 's')
  // Routes of dialects name their session so.
  const query = path.startsWith('/api/') ? '' : '?session=s'
  const topic = path === '/api/stream' ? '?topic=sessions/s' : query
  const response = await fetch(`${url}${filled}${topic}`, {
    method,
    headers: {
      'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    },
    ...(method === 'GET' || method === 'DELETE' ? {} : { body: bodyFor(path) }),
    signal: AbortSignal.timeout(5_000),
  })
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true
  const body = isStream ? '' : await response.text()
  if (isStream) await response.body?.cancel()
  return { status: response.status, headers: response.headers, body }
}

/** No cache keeps what needs a token, and no browser guesses what it is. */
function expectGuarded(t: Test, about: string, headers: Headers): void {
  t.match(headers.get('cache-control'), /\bno-store\b/, about)
  t.equal(headers.get('x-content-type-options'), 'nosniff', about)
}

t.test(
  'every route wants a token: none, a wrong one, an old one and one of another session get no further',
  async (t) => {
    const { url, hub } = await withSession(t)
    const owner = await mint({ sub: 'owner', subscribe: ['**'], publish: ['**'] })
    const stream = await openStream(t, `${url}/api/stream`, { authorization: `Bearer ${owner}` })
    const opened = await stream.until(({ event }) => event === 'hub.open')
    const { connection } = JSON.parse(opened.data ?? '')
    const tokens: readonly [name: string, status: number, token: string | undefined][] = [
      ['none', 401, undefined],
      ['garbage', 401, 'x.y.z'],
      ['a wrong signature', 401, `${owner.slice(0, -4)}AAAA`],
      ['expired', 401, await mint({ subscribe: ['**'], publish: ['**'], exp: 1_000 })],
      [
        'of another session',
        403,
        await mint({ subscribe: ['sessions/other/**'], publish: ['sessions/other/**'] }),
      ],
      ['of nothing', 403, await mint({})],
    ]
    let wanted = 0
    for (const route of routes()) {
      const about = `${route.method} ${route.path}`
      if (route.access.kind === 'open') {
        const { status } = await ask(url, route, connection, undefined)
        t.ok(status !== 401 && status !== 403, `${about} is open`)
        continue
      }
      wanted++
      for (const [name, expected, token] of tokens) {
        const { status, headers, body } = await ask(url, route, connection, token)
        expectGuarded(t, about, headers)
        // What any token may ask has no more in it than the token allows.
        const lists = route.access.kind === 'any' && status === 200 && !/"s"|s-only/.test(body)
        t.ok(status === expected || (expected === 403 && lists), `${about}, ${name}: ${status} ${body}`)
        t.notMatch(body, 's-only')
      }
    }
    t.ok(wanted > 15, `${wanted} routes want a token`)
    t.same(
      routes()
        .filter(({ access }) => access.kind === 'open')
        .map(({ path }) => path),
      ['/api/ws', '/healthz', '/readyz', '/', '/s/{session}', '/client.js', '/panels/{file}'],
    )
    t.match(hub.find('s'), { status: 'running', offset: 4 }, 'nothing has changed')
    for (const route of routes().toSorted(
      (one, other) => Number(one.method === 'DELETE') - Number(other.method === 'DELETE'),
    )) {
      const { status, headers } = await ask(url, route, connection, owner)
      if (route.access.kind !== 'open') expectGuarded(t, `${route.method} ${route.path}`, headers)
      t.ok(status !== 401 && status !== 403, `${route.method} ${route.path} with the right token: ${status}`)
    }
    stream.close()
  },
)

// What is delivered is allowed

const sessionIds = ['a', 'b']
const workerIds = ['v', 'w']
const pattern = fc.oneof(
  fc.constantFrom('**', 'hub', 'sessions/*', 'sessions/**', 'sessions/*/workers/*', 'sessions/*/workers/v'),
  fc
    .tuple(
      fc.constantFrom(...sessionIds, 'other'),
      fc.constantFrom('', '', '/**', '/workers/*', '/workers/v', '/workers/w'),
    )
    .map(([session, rest]) => `sessions/${session}${rest}`),
)

/** The meaning of patterns, said once more in another way. */
function isNamed(patterns: readonly string[], topic: string): boolean {
  return patterns.some((text) => {
    const source = text
      .split('/')
      .map((part) => (part === '**' ? '(/[^/]+)*' : part === '*' ? '/[^/]+' : `/${part}`))
    return new RegExp(`^${source.join('')}$`).test(`/${topic}`)
  })
}

/** A mark that stands in an event or a value of state, and the topics that have it. */
interface Marked {
  readonly mark: string
  readonly topics: readonly string[]
}

/** Every session and worker publishes, some of it rolled up, and has state; each with a mark of its own. */
function fill({ hub }: Served): Marked[] {
  const marked: Marked[] = []
  const mark = (...topics: string[]): string => {
    const text = `mark-${marked.length}-`
    marked.push({ mark: text, topics })
    return text
  }
  for (const session of sessionIds) {
    const own = `sessions/${session}`
    const handle = hub.session(session)
    handle.publish({ type: 'client_output_delta', data: { content: mark(own) } })
    handle.setState('plan', mark(own))
    for (const worker of workerIds) {
      const topic = `${own}/workers/${worker}`
      handle.worker(worker).publish({ type: 'client_output_delta', data: { content: mark(topic) } })
      handle.worker(worker).publish({ type: 'subagent_report', data: mark(topic, own) })
      handle.worker(worker).setState('plan', mark(topic))
    }
  }
  return marked
}

const concrete = sessionIds.flatMap((session) => [
  `sessions/${session}`,
  `sessions/${session}/**`,
  ...workerIds.map((worker) => `sessions/${session}/workers/${worker}`),
])

/** Asks every route that reads, for every session and worker, and both kinds of links for every topic. */
async function everythingRead(t: Test, url: string, token: string): Promise<string> {
  const headers = { authorization: `Bearer ${token}` }
  const paths = routes()
    .filter(({ method, access }) => method === 'GET' && access.kind !== 'open')
    .flatMap((route) =>
      sessionIds.flatMap((session) =>
        workerIds.flatMap((worker) => {
          const path = route.path
            .replace('{session}', session)
            .replace('{worker}', worker)
            .replace('{slice}', 'plan')
          const asked = { slices: '*', replay: 'all', all: '1', session: sessionIds[0] as string }
          // A route takes what it knows; those of dialects take anything.
          const known = Object.entries(asked).filter(([name]) => route.query?.includes(name) ?? true)
          const all = new URLSearchParams(known).toString()
          const part = new URLSearchParams(
            known.filter(([name]) => name !== 'all' && name !== 'session'),
          ).toString()
          return [`${path}?${part}`, `${path}?${all}`]
        }),
      ),
    )
  const one = async (path: string, query = ''): Promise<string> => {
    const response = await fetch(url + path + query, { headers })
    if (!response.headers.get('content-type')?.startsWith('text/event-stream')) return response.text()
    await response.body?.cancel()
    return ''
  }
  const texts = await Promise.all([...new Set(paths)].map((path) => one(path)))
  const streams = await Promise.all(concrete.map((topic) => sseText(t, url, topic, headers)))
  const client = await dial(t, url, ['runcast.v1.json', `bearer.${token}`])
  const frames: unknown[] = []
  ;[...concrete, 'hub'].forEach((topic, sub) =>
    client.send({ type: 'subscribe', sub, topic, slices: ['*'], replay: 'all' }),
  )
  client.send({ type: 'ping' })
  let open = concrete.length + 1
  for (let pong = false; open > 0 || !pong; ) {
    const frame = await client.next()
    frames.push(frame)
    if (frame === undefined) break
    if (frame.type === 'live' || frame.type === 'error') open -= 1
    if (frame.type === 'pong') pong = true
  }
  client.socket.terminate()
  return [...texts, ...streams, JSON.stringify(frames)].join('\n')
}

async function sseText(
  t: Test,
  url: string,
  topic: string,
  headers: Record<string, string>,
): Promise<string> {
  const [, session, , worker] = topic.split('/')
  const path =
    worker === undefined ? `sessions/${session}/events` : `sessions/${session}/workers/${worker}/events`
  const stream = await openStream(
    t,
    `${url}/api/${path}?slices=*&replay=all${topic.endsWith('**') ? '&all=1' : ''}`,
    headers,
  )
  if (stream.response.status !== 200) return ''
  let text = ''
  for (;;) {
    const block = await stream.next()
    text += JSON.stringify(block)
    if (block === undefined || block.event === 'hub.live') break
  }
  stream.close()
  return text
}

t.test('what is delivered is what is allowed, whatever the token and over every route', async (t) => {
  const it = await served(t, {
    serve: locked,
    hub: { limits: { requestRateMax: 1_000_000, requestBurstMax: 1_000_000 } },
  })
  const marked = fill(it)
  await fc.assert(
    fc.asyncProperty(fc.array(pattern, { maxLength: 3 }), async (subscribe) => {
      const token = await mint({ subscribe, publish: ['**'] })
      const text = await everythingRead(t, it.url, token)
      for (const { mark, topics } of marked) {
        const may = topics.some((topic) => isNamed(subscribe, topic))
        if (text.includes(mark) !== may) throw new Error(`${mark} of ${topics.join(', ')}: allowed ${may}`)
      }
      for (const id of sessionIds) {
        const listed = new RegExp(`"id":"${id}","status"|"sessions":\\{[^}]*"${id}":`).test(text)
        if (isNamed(subscribe, `sessions/${id}`) && !listed) throw new Error(`${id} is not listed`)
      }
    }),
    { numRuns: 25 },
  )
})

t.test(
  'pages of other origins get nothing unless they are listed, and preflights need no token',
  async (t) => {
    const { url } = await served(t, { serve: { ...locked, origins: ['https://app.example'] } })
    const ask = (method: string, origin: string, headers: Record<string, string> = {}) =>
      fetch(`${url}/api/sessions`, { method, headers: { origin, ...headers } })
    const preflight = {
      'access-control-request-method': 'GET',
      'access-control-request-headers': 'authorization',
    }
    const allowed = await ask('OPTIONS', 'https://app.example', preflight)
    t.equal(allowed.status, 204)
    t.equal(allowed.headers.get('access-control-allow-origin'), 'https://app.example')
    t.match(allowed.headers.get('access-control-allow-headers'), /Authorization/)
    t.equal(allowed.headers.get('access-control-allow-credentials'), null, 'nothing rides on cookies')
    const denied = await ask('OPTIONS', 'https://evil.example', preflight)
    t.match([denied.status, denied.headers.get('access-control-allow-origin')], [403, null])
    const authorization = `Bearer ${await mint({ subscribe: ['**'] })}`
    const read = await ask('GET', 'https://app.example', { authorization })
    t.match([read.status, read.headers.get('access-control-allow-origin')], [200, 'https://app.example'])
    const refused = await ask('GET', 'https://app.example')
    t.match(
      [refused.status, refused.headers.get('access-control-allow-origin')],
      [401, 'https://app.example'],
    )
    t.equal((await ask('GET', 'https://evil.example', { authorization })).status, 403)
  },
)

t.test('of X-Forwarded-For an address counts, however it is written, and nothing else', (t) => {
  const limits = new RateLimits({ limits: defaultLimits, clock: systemClock, trustedProxies: ['127.0.0.1'] })
  const addressOf = (forwarded: string, address = '127.0.0.1') =>
    limits.addressOf({
      method: 'GET',
      path: '/',
      query: '',
      headers: new Map([['x-forwarded-for', forwarded]]),
      address,
    })
  const cases: readonly [string, string][] = [
    ['9.9.9.9', '9.9.9.9'],
    ['9.9.9.9:1001', '9.9.9.9'],
    ['1.1.1.1, 9.9.9.9:1002 ', '9.9.9.9'],
    ['::ffff:9.9.9.9', '9.9.9.9'],
    ['[::ffff:9.9.9.9]:80', '9.9.9.9'],
    ['[2001:DB8::1]:443', '2001:db8::1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['2001:db8:0:0:0:0:0:1', '2001:db8::1'],
  ]
  for (const [forwarded, expected] of cases) t.equal(addressOf(forwarded), expected, forwarded)
  for (const forwarded of [
    '',
    'unknown',
    '_hidden',
    ':1001',
    '9.9.9.9:',
    '9.9.9.9:1:2',
    '999.9.9.9',
    '[::1',
    'fe80::1%1',
  ]) {
    t.equal(addressOf(forwarded), '127.0.0.1', `no address: ${forwarded}`)
  }
  t.equal(addressOf('9.9.9.9', '10.0.0.1'), '10.0.0.1', 'nobody believes whoever is no proxy')
  t.end()
})

t.test(
  'the files of the page come to whatever origin asks, so that a proxy that changes Host shows it',
  async (t) => {
    const { url } = await served(t)
    const elsewhere = { headers: { origin: 'https://runcast.example:8443' } }
    const { status } = await fetch(`${url}/panels/any.js`, elsewhere)
    // 404 says that the origin was not what it failed for.
    t.equal(status, 404)
    t.equal((await fetch(`${url}/panels/any.js`, { ...elsewhere, method: 'POST' })).status, 403)
    t.equal((await fetch(`${url}/api/sessions`, elsewhere)).status, 403)
    const [file] = /panels\/[\w.-]+\.js/.exec(await (await fetch(url)).text()) ?? []
    if (file === undefined) return void t.pass('the page', { skip: 'it is not built here' })
    t.equal((await fetch(`${url}/${file}`, elsewhere)).status, 200)
  },
)
