import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import type { ServeOptions } from '../../../src/index.js'
import { defaultLimits } from '../../../src/protocol/limits.js'
import type { Authorize, AuthorizeRequest } from '../../../src/server/access/authorize.js'
import { authorizeByUrl } from '../../../src/server/access/authorize-url.js'
import { SimulatedClock } from '../../kit/clock.js'
import { dial, openStream, type Served, served } from '../../kit/served.js'
import { mint, secret } from '../../kit/tokens.js'
import { until } from '../../kit/wait.js'

/** An application that knows its users by a cookie. */
const byCookie: Authorize = ({ cookies }) => {
  const user = cookies.get('user')
  if (user === undefined) return undefined
  return { subscribe: ['sessions/*/**'], publish: [`sessions/${user}/**`], subject: user }
}

async function opened(t: Test, authorize: Authorize, options: ServeOptions = {}): Promise<Served> {
  const it = await served(t, { serve: { authorize, ...options } })
  it.hub.session('ann').publish({ type: 'start', data: 'first' })
  return it
}

function ask(
  { url }: Served,
  headers: Record<string, string> = {},
  path = '/api/sessions/ann',
): Promise<Response> {
  return fetch(url + path, { headers })
}

function publish({ url }: Served, headers: Record<string, string>, session = 'ann'): Promise<Response> {
  return fetch(`${url}/api/sessions/${session}/events`, {
    method: 'POST',
    body: '{"type":"a"}',
    headers: { 'content-type': 'application/json', ...headers },
  })
}

const ann = { cookie: 'theme=dark; user=ann' }

t.test('what authorize grants holds for HTTP, streams and WebSockets alike', async (t) => {
  const it = await opened(t, byCookie)
  t.equal((await ask(it)).status, 401)
  t.equal((await ask(it, ann)).status, 200)
  t.equal((await publish(it, ann)).status, 200)
  t.equal((await publish(it, { cookie: 'user=bob' })).status, 403)
  t.equal((await publish(it, {})).status, 401)

  const stream = await openStream(t, `${it.url}/api/sessions/ann/events?replay=all`, ann)
  t.match(await stream.until(({ event }) => event === 'start'), { data: /first/ })
  t.equal((await openStream(t, `${it.url}/api/sessions/ann/events`)).response.status, 401)

  const client = await dial(t, it.url, ['runcast.v1.json'], ann)
  client.send({ type: 'publish', ref: 1, topic: 'sessions/ann', events: [{ type: 'b' }] })
  t.match(await client.expect('published'), { ref: 1 })
  client.send({ type: 'publish', ref: 2, topic: 'sessions/bob', events: [{ type: 'b' }] })
  t.match(await client.expect('error'), { ref: 2, code: 'forbidden' })
  t.match(await (await dial(t, it.url)).closed, { code: 4501, reason: /sign in first/ })
})

t.test(
  'a stream over many topics is changed by whoever opened it, and a ticket stands for a cookie',
  async (t) => {
    const it = await opened(t, byCookie)
    const stream = await openStream(t, `${it.url}/api/stream`, ann)
    const { connection } = JSON.parse((await stream.until(({ event }) => event === 'hub.open')).data ?? '')
    const change = async (cookie: string) => {
      const body = '{"type":"subscribe","sub":1,"topic":"sessions/ann"}'
      const headers = { 'content-type': 'application/json', cookie }
      return (await fetch(`${it.url}/api/stream/${connection}`, { method: 'POST', body, headers })).status
    }
    t.equal(await change('user=bob'), 403)
    t.equal(await change('user=ann'), 200)
    const answer = await fetch(`${it.url}/api/ticket`, { method: 'POST', headers: ann })
    const { ticket } = (await answer.json()) as { ticket: string }
    t.equal((await ask(it, {}, `/api/sessions/ann?ticket=${ticket}`)).status, 200)
  },
)

t.test('authorize sees the head of the request, and its cookies decoded', async (t) => {
  const seen: AuthorizeRequest[] = []
  const it = await opened(
    t,
    (request) => {
      seen.push(request)
      return { subscribe: ['**'] }
    },
    { trustedProxies: ['127.0.0.1'] },
  )
  await ask(
    it,
    { cookie: 'a=1; b="x%20y"; a=2; c=%zz; d', 'x-forwarded-for': '192.0.2.7' },
    '/api/sessions/ann?q=1',
  )
  const [{ headers, cookies, ...head }] = seen as [AuthorizeRequest]
  t.strictSame(head, { method: 'GET', path: '/api/sessions/ann', query: 'q=1', address: '192.0.2.7' })
  t.strictSame(
    [...cookies],
    [
      ['a', '1'],
      ['b', 'x y'],
      ['c', '%zz'],
    ],
  )
  t.match(headers.get('x-forwarded-for'), '192.0.2.7')
  await dial(t, it.url)
  t.match(seen.at(-1), { method: 'GET', path: '/api/ws' })
})

t.test(
  'cookies count from the hub’s own pages, from listed origins and from no page, on every door',
  async (t) => {
    const doors: readonly [
      name: string,
      enters: (it: Served, headers: Record<string, string>) => Promise<boolean>,
    ][] = [
      ['HTTP', async (it, headers) => (await ask(it, headers)).status === 200],
      ['publishing', async (it, headers) => (await publish(it, headers)).status === 200],
      [
        'SSE',
        async (it, headers) => {
          const { response } = await openStream(t, `${it.url}/api/sessions/ann/events`, headers)
          return response.status === 200
        },
      ],
      [
        'WebSocket',
        async (it, headers) => {
          try {
            const client = await dial(t, it.url, ['runcast.v1.json'], headers)
            return (await client.next())?.['type'] === 'welcome'
          } catch (error) {
            t.match(String(error), /403/)
            return false
          }
        },
      ],
    ]
    const strict = await opened(t, byCookie, { origins: ['https://app.example'] })
    const all = await opened(t, byCookie, { origins: ['*', 'https://app.example'] })
    const own = ({ url }: Served) => ({ origin: url })
    const cases: readonly [
      name: string,
      counts: boolean,
      headersOf: (it: Served) => Record<string, string>,
    ][] = [
      ['no page', true, () => ({})],
      ['its own page', true, own],
      ['its own page, as browsers tell without an origin', true, () => ({ 'sec-fetch-site': 'same-origin' })],
      ['an address that somebody typed', true, () => ({ 'sec-fetch-site': 'none' })],
      ['a listed origin', true, () => ({ origin: 'https://app.example', 'sec-fetch-site': 'cross-site' })],
      ['another origin', false, () => ({ origin: 'https://evil.example' })],
      ['another port', false, () => ({ origin: 'http://127.0.0.1:1' })],
      ['a page that hides its origin', false, () => ({ origin: 'null' })],
      ['an image of another page', false, () => ({ 'sec-fetch-site': 'cross-site' })],
      ['an image of a page next door', false, () => ({ 'sec-fetch-site': 'same-site' })],
    ]
    for (const it of [strict, all]) {
      for (const [door, enters] of doors) {
        for (const [name, counts, headersOf] of cases) {
          const about = `${door}, ${name}, ${it === all ? 'with *' : 'without *'}`
          t.equal(await enters(it, { ...ann, ...headersOf(it) }), counts, about)
        }
      }
    }
  },
)

t.test('a page of another origin gets its own token through, whatever its cookies', async (t) => {
  const it = await opened(t, byCookie, { origins: ['*'], auth: { secrets: [secret] } })
  const evil = { ...ann, origin: 'https://evil.example' }
  t.equal((await ask(it, evil)).status, 401)
  const authorization = `Bearer ${await mint({ subscribe: ['sessions/ann'] })}`
  const answer = await ask(it, { ...evil, authorization })
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('access-control-allow-credentials'), null, 'and may not send cookies along')
})

t.test('pages of listed origins may send cookies along; where no cookie counts, none may', async (t) => {
  const origin = 'https://app.example'
  const preflight = async ({ url }: Served) => {
    const headers = { origin, 'access-control-request-method': 'POST' }
    const answer = await fetch(`${url}/api/sessions/ann/events`, { method: 'OPTIONS', headers })
    return answer.headers.get('access-control-allow-credentials')
  }
  t.equal(await preflight(await opened(t, byCookie, { origins: [origin] })), 'true')
  t.equal(await preflight(await served(t, { serve: { origins: [origin] } })), null)
})

t.test('beside tokens: a token decides where there is one, otherwise authorize', async (t) => {
  const it = await opened(t, byCookie, { auth: { secrets: [secret] } })
  const token = await mint({ subscribe: ['sessions/ann'] })
  t.equal((await ask(it, { authorization: `Bearer ${token}` })).status, 200)
  t.equal((await ask(it, ann)).status, 200)
  t.equal((await ask(it, { ...ann, authorization: 'Bearer x.y.z' })).status, 401)
  t.equal((await publish(it, { ...ann, authorization: `Bearer ${token}` })).status, 403)
  const client = await dial(t, it.url, ['runcast.v1.json'], ann)
  client.send({ type: 'authorize', token })
  await client.expect('authorized')
  client.send({ type: 'publish', ref: 1, topic: 'sessions/ann', events: [{ type: 'b' }] })
  t.match(await client.expect('error'), { code: 'forbidden' })
})

t.test('a hub that only asks its application takes no token later', async (t) => {
  const it = await opened(t, byCookie)
  const client = await dial(t, it.url, ['runcast.v1.json'], ann)
  client.send({ type: 'authorize', token: await mint({ subscribe: ['**'] }) })
  t.match(await client.expect('error'), { code: 'unauthorized', message: /takes no tokens/ })
})

t.test('authorize may take its time, fail, and say what is no grant', async (t) => {
  const reported: string[] = []
  const answers: Record<string, () => ReturnType<Authorize>> = {
    late: async () => {
      await new Promise((resolve) => setImmediate(resolve))
      return { subscribe: ['**'] }
    },
    nobody: async () => undefined,
    fails: () => {
      throw new Error('the database is away')
    },
    rejects: async () => {
      throw new Error('the database is far away')
    },
    pattern: () => ({ subscribe: ['a/b'] }),
    list: () => ({ publish: 'sessions/ann' }) as never,
    field: () => ({ subscribe: ['**'], admin: true }) as never,
    time: () => ({ subscribe: ['**'], expiresAt: 'tomorrow' }) as never,
    null: () => null as never,
  }
  const it = await opened(t, ({ headers }) => answers[headers.get('x-case') ?? '']?.(), {
    report: (error) => void reported.push((error as Error).message),
  })
  const expected: readonly [name: string, status: number, code: number | undefined, said?: RegExp][] = [
    ['late', 200, undefined],
    ['nobody', 401, 4501],
    ['rejects', 500, 4003, /far away/],
    ['fails', 500, undefined, /is away/],
    ['pattern', 500, undefined, /^grant\.subscribe\[0\]: expected hub or/],
    ['list', 500, undefined, /^grant\.publish: expected a list/],
    ['field', 500, undefined, /^grant: expected no field but .+, got admin/],
    ['time', 500, undefined, /^grant\.expiresAt: expected milliseconds/],
    ['null', 500, undefined, /^grant: expected \{ subscribe/],
  ]
  for (const [name, status, code, said] of expected) {
    reported.length = 0
    const headers = { 'x-case': name }
    const answer = await ask(it, headers)
    t.equal(answer.status, status, name)
    if (status === 500) t.notMatch(await answer.text(), /away|grant/, 'what went wrong stays in the house')
    if (said === undefined) t.same(reported, [], name)
    else t.match(reported[0], said, name)
    if (status === 500 && code === undefined) {
      await t.rejects(dial(t, it.url, ['runcast.v1.json'], headers), /500/, `${name}: no WebSocket either`)
      continue
    }
    const client = await dial(t, it.url, ['runcast.v1.json'], headers)
    if (code === undefined) t.match(await client.next(), { type: 'welcome' })
    else t.match(await client.closed, { code }, name)
  }
})

t.test(
  'a connection is closed when what authorize granted expires, and renewed by coming back',
  async (t) => {
    const clock = new SimulatedClock(1_700_000_000_000)
    const it = await opened(t, () => ({ subscribe: ['**'], expiresAt: clock.now() + 20_000 }), { clock })
    const client = await dial(t, it.url)
    t.match(await client.expect('authorized'), { expiresInMs: 20_000 })
    const stream = await openStream(t, `${it.url}/api/sessions/ann/events`)
    await stream.until(({ event }) => event === 'hub.live')
    clock.advance(20_000)
    t.match(await client.closed, { code: 4501, reason: 'The authorization has expired.' })
    t.match(await stream.until(({ event }) => event === 'hub.close'), { data: /4501/ })
    t.match(await (await dial(t, it.url)).expect('welcome'), {})
  },
)

t.test('a subject is bounded wherever it asks from; who has none, by address', async (t) => {
  const clock = new SimulatedClock()
  const limits = { requestBurstMax: 3 }
  const it = await served(t, {
    hub: { limits },
    serve: {
      clock,
      trustedProxies: ['127.0.0.1'],
      authorize: ({ headers }) => {
        const subject = headers.get('x-subject')
        return { subscribe: ['**'], ...(subject !== undefined && { subject }) }
      },
    },
  })
  it.hub.session('ann').publish({ type: 'a' })
  const from = (address: string, subject?: string) =>
    ask(it, { 'x-forwarded-for': address, ...(subject !== undefined && { 'x-subject': subject }) })
  const statuses = async (...asked: Promise<Response>[]) =>
    (await Promise.all(asked)).map(({ status }) => status)
  const four = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4']
  t.same(
    (await statuses(...four.map((address) => from(address, 'ann')))).toSorted((a, b) => a - b),
    [200, 200, 200, 429],
  )
  t.same(await statuses(...four.map((address) => from(address))), [200, 200, 200, 200])
})

t.test('a hub that asks its application may listen anywhere', async (t) => {
  const it = await served(t, { serve: { host: '0.0.0.0', authorize: byCookie } })
  const url = it.url.replace('0.0.0.0', '127.0.0.1')
  t.equal((await fetch(`${url}/api/sessions`, { headers: { ...ann, host: 'hub.example' } })).status, 200)
})

// Another server is asked

interface Question {
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly address: string
}

async function answering(
  t: Test,
  answer: (question: Question, response: ServerResponse) => void,
): Promise<{ readonly url: string; readonly questions: Question[] }> {
  const questions: Question[] = []
  const server = createServer((request: IncomingMessage, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const question = JSON.parse(Buffer.concat(chunks).toString()) as Question
      t.match([request.method, request.headers['content-type']], ['POST', 'application/json'])
      questions.push(question)
      answer(question, response)
    })
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/may`, questions }
}

function askingOf(t: Test, url: string, clock = new SimulatedClock(1_700_000_000_000)) {
  const reported: string[] = []
  const report = (error: unknown) => void reported.push((error as Error).message)
  const authorize = authorizeByUrl(
    { url, headers: ['Cookie', 'X-Team'] },
    { clock, limits: defaultLimits, report },
  )
  t.teardown(() => assert.equal(clock.timers, 0, 'no timer is left'))
  return { authorize, clock, reported }
}

t.test('another server is told method, path, named headers and address, and its grant holds', async (t) => {
  const { url, questions } = await answering(t, (_, response) => {
    response.end(JSON.stringify({ subscribe: ['sessions/ann/**'], subject: 'ann' }))
  })
  const { authorize, reported } = askingOf(t, url)
  const it = await opened(t, authorize)
  const headers = { ...ann, 'x-team': 'red', 'x-other': 'secret' }
  t.equal((await ask(it, headers, '/api/sessions/ann?token=secret')).status, 200)
  t.strictSame(questions, [
    {
      method: 'GET',
      path: '/api/sessions/ann',
      headers: { cookie: ann.cookie, 'x-team': 'red' },
      address: '127.0.0.1',
    },
  ])
  t.equal((await ask(it, headers, '/api/sessions/bob')).status, 403)
  const client = await dial(t, it.url, ['runcast.v1.json'], headers)
  t.match(await client.next(), { type: 'welcome' })
  t.same(reported, [])
})

t.test('its answer is remembered for its maxAge, and what is the same is asked once at a time', async (t) => {
  let maxAge: number | undefined = 10
  const { url, questions } = await answering(t, (_, response) => {
    response.end(JSON.stringify({ subscribe: ['**'], ...(maxAge !== undefined && { maxAge }) }))
  })
  const { authorize, clock } = askingOf(t, url)
  const it = await opened(t, authorize)
  await Promise.all([1, 2, 3].map(() => ask(it, ann)))
  t.equal(questions.length, 1)
  clock.advance(9_999)
  await ask(it, ann)
  t.equal(questions.length, 1)
  maxAge = undefined
  clock.advance(1)
  await ask(it, ann)
  await ask(it, ann)
  t.equal(questions.length, 3, 'without a maxAge it is asked each time')
  await ask(it, { cookie: 'user=bob' })
  t.equal(questions.length, 4, 'somebody else is another question')
})

t.test('401 and 403 pass; anything else is no answer, is reported, and may be tried again', async (t) => {
  const answers: Record<string, (response: ServerResponse) => unknown> = {
    nobody: (response) => response.writeHead(401).end('who?'),
    forbidden: (response) => response.writeHead(403).end(),
    fails: (response) => response.writeHead(500).end(),
    empty: (response) => response.writeHead(204).end(),
    moved: (response) => response.writeHead(302, { location: '/else' }).end(),
    html: (response) => response.end('<p>hello'),
    pattern: (response) => response.end('{"subscribe":["a/b"]}'),
    age: (response) => response.end('{"subscribe":["**"],"maxAge":"1h"}'),
    cut: (response) => response.destroy(),
  }
  const { url } = await answering(t, ({ headers }, response) => answers[headers['x-team'] ?? '']?.(response))
  const { authorize, reported } = askingOf(t, url)
  const it = await opened(t, authorize)
  const expected: readonly [name: string, status: number, code: number, said?: RegExp][] = [
    ['nobody', 401, 4501],
    ['forbidden', 403, 4502],
    ['fails', 503, 4003, /HTTP 500/],
    ['empty', 503, 4003, /HTTP 204/],
    ['moved', 503, 4003],
    ['html', 503, 4003, /JSON/],
    ['pattern', 503, 4003, /grant\.subscribe/],
    ['age', 503, 4003, /maxAge/],
    ['cut', 503, 4003],
  ]
  for (const [name, status, code, said] of expected) {
    reported.length = 0
    const headers = { 'x-team': name }
    const answer = await ask(it, headers)
    t.equal(answer.status, status, name)
    t.match(await (await dial(t, it.url, ['runcast.v1.json'], headers)).closed, { code }, name)
    t.equal(reported.length, status === 503 ? 2 : 0, name)
    if (said !== undefined) t.match(reported[0], said)
  }
})

t.test('a server that does not answer holds up nobody for long', async (t) => {
  const { url, questions } = await answering(t, () => {})
  const { authorize, clock } = askingOf(t, url)
  const it = await opened(t, authorize)
  const answer = ask(it, ann)
  await until('it is asked', () => questions.length === 1)
  clock.advance(defaultLimits.authorizeMs)
  t.equal((await answer).status, 503)
})

t.test('what decides who may do what is asked for over TLS, or on this machine', async (t) => {
  for (const url of ['http://auth.example/may', 'ftp://127.0.0.1/may', 'nothing']) {
    t.throws(() => askingOf(t, url), /expected an https URL|Invalid URL/, url)
  }
})
