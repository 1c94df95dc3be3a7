import t from 'tap'
import { noLog } from '../../../src/server/operations/log.js'
import { memoryStore } from '../../../src/store/memory.js'
import { FaultyStore } from '../../kit/faulty-store.js'
import { exact } from '../../kit/over-log.js'
import { served } from '../../kit/served.js'
import { mint, secret } from '../../kit/tokens.js'
import { until } from '../../kit/wait.js'
import { ask, isProblem, ndjson, post } from './requests.js'

t.test('reads the past in both orders, filtered and searched, and refuses what is no question', async (t) => {
  const { hub, url } = await served(t)
  hub.publish('sessions/s', [
    { type: 'note', data: { text: 'Deploy to Zürich' } },
    { type: 'error', data: 'no disk' },
  ])
  hub.publish('sessions/s/workers/lint', [
    { type: 'process.output', data: { stream: 'stdout', text: 'ok 7\n' } },
  ])
  hub.publish('sessions/s/workers/test', [{ type: 'note', data: { success: false } }])
  await hub.settled()
  const { epoch } = hub.find('s') ?? {}
  const offsets = async (query: string, path = 's/history') => {
    const response = await fetch(`${url}/api/sessions/${path}?${query}`)
    const { events, detail } = (await response.json()) as { events?: { offset: number }[]; detail?: string }
    return events?.map(({ offset }) => offset) ?? `${response.status} ${detail}`
  }
  t.strictSame(await offsets('all=1&order=desc'), [4, 3, 2, 1])
  t.strictSame(await offsets(`all=1&order=desc&before=${epoch}:4&limit=1`), [3])
  t.strictSame(await offsets('all=1&errors=1'), [2, 4])
  t.strictSame(await offsets('workers=lint,test'), [3, 4])
  t.strictSame(await offsets('all=1&level=delta'), [3])
  t.strictSame(await offsets('q=ZÜRICH'), [1])
  t.strictSame(await offsets(`all=1&q=${encodeURIComponent('/^ok \\d$/')}`), [])
  t.strictSame(await offsets(`all=1&q=${encodeURIComponent('/^ok \\d/')}`), [3])
  t.match(await offsets('q=%2F(%2F'), /^400 q: expected a regular expression/)
  t.match(await offsets('order=up'), /^400 order: expected one of asc, desc/)
  t.match(await offsets('level=high'), /^400 level: expected one of summary, delta, control/)
  t.match(await offsets('workers=a%20b'), /^400 workers\[0\]: expected an id/)
  t.match(await offsets('workers=lint', 's/workers/lint/history'), /^400 query: expected no parameter but/)
})

t.test('a download that meets damage is cut, and the log says what is damaged', async (t) => {
  const store = new FaultyStore(memoryStore())
  const reported: unknown[] = []
  const damaged: string[] = []
  const { hub, url } = await served(t, {
    hub: { store, limits: { laneEventsMax: 50 }, onDamaged: (session) => damaged.push(session) },
    serve: { report: (error) => reported.push(error) },
  })
  for (let from = 0; from < 1_000; from += 100) {
    hub.publish(
      'sessions/s',
      Array.from({ length: 100 }, () => ({ type: 'note' })),
    )
    await hub.committed('s')
  }
  store.damage('s', 'events', 100)
  const cut = await fetch(`${url}/api/sessions/s/export`)
  t.equal(cut.status, 200, 'the first page is whole')
  await t.rejects(cut.text(), 'a clean end would look complete')
  store.damage('s', 'events')
  isProblem(t, await ask(`${url}/api/sessions/s/export`), { status: 500, detail: /Session s is damaged/ })
  t.strictSame(damaged, ['s'], 'once')
  t.strictSame(reported, [], 'no fault of the hub')
})

t.test('a running session is downloaded whole, as lines that can be published or as text', async (t) => {
  const { hub, url } = await served(t, { hub: { store: memoryStore(), limits: { laneEventsMax: 50 } } })
  const events = Array.from({ length: 2_000 }, (_, index) => ({ type: 'note', data: index, time: 5 }))
  for (let from = 0; from < events.length; from += 100) {
    hub.publish('sessions/s', events.slice(from, from + 100))
    await hub.committed('s')
  }
  const output = (text: string) => ({ type: 'process.output', time: 0, data: { stream: 'stdout', text } })
  hub.publish('sessions/s/workers/w', [
    output('half a '),
    output('line\n\u001b[31mred\n'),
    { type: 'a', force: true },
  ])
  hub.setState('sessions/s', 'plan', 1)
  const response = await fetch(`${url}/api/sessions/s/export`)
  t.equal(response.headers.get('content-type'), 'application/x-ndjson')
  const lines = (await response.text()).split('\n').slice(0, -1)
  t.equal(lines.length, 2_003)
  t.strictSame(JSON.parse(lines[1_999] ?? ''), { type: 'note', data: 1_999, offset: 2_000, time: 5 })
  t.match(JSON.parse(lines[2_002] ?? ''), { type: 'a', force: true, worker: 'w' })
  const text = await (await fetch(`${url}/api/sessions/s/export?format=text`)).text()
  t.match(text, '1970-01-01T00:00:00.005Z - | note 1999\n')
  t.match(text, '1970-01-01T00:00:00.000Z w | half a line\n1970-01-01T00:00:00.000Z w | [31mred\n')
  t.equal((await fetch(`${url}/api/sessions/none/export`)).status, 404)
  t.equal((await fetch(`${url}/api/sessions/s/export?format=pdf`)).status, 400)
})

t.test(
  'takes what an agent prints, as lines, blocks or objects, and says how a cut stream ended',
  async (t) => {
    const { hub, url } = await served(t)
    const start = { type: 'start', messageId: 'm' }
    const delta = { type: 'text-delta', id: 't', delta: 'Hi' }
    const finish = { type: 'finish', finishReason: 'stop' }
    const types = ['execution_started', 'client_output_delta', 'execution_completed']
    const typesOf = (topic: string) => hub.history(topic).events.map(({ type }) => type)
    const lines = [start, delta, finish].map((object) => `${JSON.stringify(object)}\n`).join('')
    t.match(await post(`${url}/api/sessions/a/events?from=ai-sdk`, lines, ndjson), {
      status: 200,
      body: { accepted: 3 },
    })
    t.strictSame(typesOf('sessions/a'), types)
    const blocks = `${[start, delta, finish].map((object) => `data: ${JSON.stringify(object)}\n\n`).join('')}data: [DONE]\n\n`
    await post(`${url}/api/sessions/a/workers/w/events?from=auto`, blocks, 'text/event-stream')
    t.strictSame(typesOf('sessions/a/workers/w'), types)
    await post(`${url}/api/sessions/b/events?from=ai-sdk`, JSON.stringify([start, delta]))
    t.strictSame(typesOf('sessions/b'), [...types.slice(0, 2), 'execution_failed'])

    const bad = await post(
      `${url}/api/sessions/c/events?from=ai-sdk`,
      `${JSON.stringify(start)}\nnonsense\n`,
      ndjson,
    )
    t.match(bad, {
      status: 400,
      body: { line: 2, accepted: 2, detail: /^line 2: expected JSON, got "nonsense"/ },
    })
    t.strictSame(
      typesOf('sessions/c'),
      ['execution_started', 'execution_failed'],
      'nothing looks like success',
    )
    t.match(await post(`${url}/api/sessions/c/events?from=x`, '{}'), {
      status: 400,
      body: { detail: /^from: expected one of claude-code, .*auto, got "x"/ },
    })
    t.match(await post(`${url}/api/sessions/c/events?from=auto&dialect=task-log`, '{}'), { status: 400 })
  },
)

t.test('registers secrets of a session, and quotes none', async (t) => {
  const { url } = await served(t)
  const post = (path: string, value: unknown) =>
    fetch(`${url}/api/sessions/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(value),
    })
  const answer = await post('vault/secrets', { values: [{ value: 'correct horse', kind: 'db-password' }] })
  t.equal(answer.status, 200)
  t.same(await answer.json(), { registered: 1 })
  t.equal((await post('vault/events', { type: 'step', data: 'a correct horse b' })).status, 200)
  const { events } = (await (await fetch(`${url}/api/sessions/vault/history`)).json()) as {
    events: { data: unknown }[]
  }
  t.equal(events[0]?.data, 'a [secret:db-password] b')
  t.match(await (await fetch(`${url}/metrics`)).text(), /^runcast_masked_total\{kind="db-password"\} 1$/m)
  const refused = await post('vault/secrets', { values: ['hunter2'] })
  t.equal(refused.status, 400)
  const problem = await refused.text()
  t.match(problem, /8–4096 characters/)
  t.notMatch(problem, /hunter/)
})

t.test('takes a lease of a session or a worker, and refuses what is none', async (t) => {
  const { hub, url } = await served(t)
  const put = async (path: string, body: string) => {
    const response = await fetch(`${url}/api/sessions/${path}/lease`, { method: 'PUT', body })
    return { status: response.status, body: await response.json() }
  }
  t.match(await put('s/workers/w', '{"ms":1000}'), { status: 200, body: { ms: 1000 } })
  t.match(await put('s', '{"ms":60000}'), { status: 200, body: { ms: 60000 } })
  t.match(await put('s', '{"ms":999}'), {
    status: 400,
    body: { detail: /^ms: expected 1000 to 3600000 milliseconds/ },
  })
  t.match(await put('s', '{}'), { status: 400 })
  t.match(await put('s', '{"ms":0}'), { status: 200, body: { ms: 0 } })
  await until('the worker is lost', () => hub.find('s')?.workers[0]?.result === 'lost')
  t.equal(hub.find('s')?.status, 'running')
})

t.test('ends a session with a result and a reason, and refuses what is none', async (t) => {
  const { url } = await served(t)
  const session = `${url}/api/sessions/s`
  await post(`${session}/workers/w/events`, '{"type":"process.exited","data":{"code":3}}')
  t.match(await post(`${session}/end`, '{"result":"lost"}'), {
    status: 400,
    body: { detail: /^result: expected one of succeeded, failed, cancelled, got "lost"/ },
  })
  t.match(await post(`${session}/end`, '{"reason":3}'), {
    status: 400,
    body: { detail: /^reason: expected a text/ },
  })
  t.match(await post(`${session}/end`, '{"reason":"flaky"}'), {
    status: 200,
    body: {
      status: 'ended',
      result: 'failed',
      reason: 'flaky',
      workers: [{ id: 'w', result: 'failed', reason: 'exit 3' }],
    },
  })
})

t.test('creates, reads, lists, ends and removes sessions', async (t) => {
  const { url } = await served(t)
  const session = `${url}/api/sessions/a`
  isProblem(t, await ask(session), { status: 404, detail: /no session/i })
  const made = await ask(session, { method: 'PUT', body: '{"mode":"summary","metadata":{"by":"ci"}}' })
  t.match(made, {
    status: 201,
    body: { id: 'a', status: 'running', mode: 'summary', metadata: { by: 'ci' }, offset: exact(0) },
  })
  t.match(await ask(session, { method: 'PUT' }), { status: 200, body: { mode: 'summary' } })
  await post(`${url}/api/sessions/b/workers/w/events`, '{"type":"x"}')
  await post(`${url}/api/sessions/c/events`, '{"type":"x"}')
  t.match(await ask(`${url}/api/sessions`), {
    body: { sessions: [{ id: 'a' }, { id: 'b', workers: [{ id: 'w' }] }, { id: 'c' }] },
  })
  t.match(await ask(`${url}/api/sessions?limit=2`), {
    body: { sessions: [{ id: 'a' }, { id: 'b' }], next: 'b' },
  })
  const last = await ask(`${url}/api/sessions?limit=2&after=b`)
  t.match(last.body.sessions, [{ id: 'c' }])
  t.notOk('next' in last.body)

  t.match(await post(`${session}/end`, '{"outcome":{"ok":true}}'), {
    status: 200,
    body: { status: 'ended', outcome: { ok: true }, endedAt: Number },
  })
  isProblem(t, await post(`${session}/end`, ''), { status: 409, detail: /ended/ })
  isProblem(t, await post(`${session}/events`, '{"type":"x"}'), { status: 409, detail: /ended/ })
  isProblem(t, await post(`${session}/events`, '{"type":"x"}\n', ndjson), { status: 409, detail: /ended/ })
  t.equal((await ask(session, { method: 'DELETE' })).status, 204)
  t.equal((await ask(session, { method: 'DELETE' })).status, 404)
  t.equal((await ask(session)).status, 404)
})

t.test('refuses what a session cannot be', async (t) => {
  const { url } = await served(t)
  const put = (body: string) => ask(`${url}/api/sessions/a`, { method: 'PUT', body })
  isProblem(t, await put('{"mode":"loud"}'), { status: 400, detail: 'mode: expected one of full, summary' })
  isProblem(t, await put('{"metadata":[]}'), { status: 400, detail: 'metadata: expected an object' })
  isProblem(t, await put('{"name":"x"}'), {
    status: 400,
    detail: 'body: expected no field but mode, metadata',
  })
  isProblem(t, await put('[]'), { status: 400, detail: 'body: expected an object' })
  isProblem(t, await ask(`${url}/api/sessions?after=no/body`), {
    status: 400,
    detail: 'after: expected',
  })
  isProblem(t, await ask(`${url}/api/sessions?limit=x`), {
    status: 400,
    detail: 'limit: expected an integer from 1 to 1000',
  })
})

t.test('reads history page by page', async (t) => {
  const { url } = await served(t)
  const lines = Array.from(
    { length: 25 },
    (_, n) => `{"type":"${n % 2 === 0 ? 'even' : 'odd'}","data":${n}}\n`,
  )
  await post(`${url}/api/sessions/s/events`, lines.join(''), ndjson)
  await post(`${url}/api/sessions/s/workers/w/events`, '{"type":"deep"}')

  const seen: unknown[] = []
  let next: string | undefined = ''
  for (let page = 0; page < 10 && next !== undefined; page += 1) {
    const { body } = await ask(`${url}/api/sessions/s/history?limit=5&types=even&after=${next}`)
    seen.push(...(body.events as { data: number }[]).map(({ data }) => data))
    next = body.next as string | undefined
  }
  t.same(seen, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24])
  t.match(await ask(`${url}/api/sessions/s/workers/w/history`), {
    body: { first: exact(26), events: [{ type: 'deep' }] },
  })
  t.match(await ask(`${url}/api/sessions/s/history?all=1&limit=1000&types=deep`), {
    body: { events: [{ worker: 'w' }] },
  })

  isProblem(t, await ask(`${url}/api/sessions/none/history`), { status: 404, detail: /no session/ })
  isProblem(t, await ask(`${url}/api/sessions/s/workers/none/history`), { status: 404, detail: /no worker/ })
  isProblem(t, await ask(`${url}/api/sessions/s/history?after=x`), {
    status: 400,
    detail: 'after: expected a cursor',
  })
  isProblem(t, await ask(`${url}/api/sessions/s/history?after=x:1`), { status: 409, detail: /epoch/ })
  isProblem(t, await ask(`${url}/api/sessions/s/history?limit=0`), {
    status: 400,
    detail: 'limit: expected an integer',
  })
  isProblem(t, await ask(`${url}/api/sessions/s/history?types=a,*b`), {
    status: 400,
    detail: 'types[1]: expected a type',
  })
})

t.test('says what is nowhere, what does not apply, and what is no id', async (t) => {
  const { url } = await served(t)
  isProblem(t, await ask(`${url}/api/nothing`), { status: 404, detail: 'nothing at /api/nothing' })
  isProblem(t, await ask(`${url}/api/sessions/a/`), { status: 404, detail: 'nothing at' })
  const wrong = await ask(`${url}/api/sessions/a/events`, { method: 'DELETE' })
  isProblem(t, wrong, { status: 405, detail: 'expected POST, GET, HEAD, OPTIONS, got DELETE' })
  t.equal(wrong.headers.get('allow'), 'POST, GET, HEAD, OPTIONS')
  isProblem(t, await ask(`${url}/api/sessions/a%20b`), { status: 400, detail: 'session: expected an id' })
  isProblem(t, await ask(`${url}/api/sessions/${'a'.repeat(129)}`), {
    status: 400,
    detail: 'session: expected an id',
  })
  isProblem(t, await ask(`${url}/api/sessions/a/workers/b%2Fc/history`), {
    status: 400,
    detail: 'worker: expected an id',
  })
  isProblem(t, await ask(`${url}/api/sessions/%ff`), {
    status: 400,
    detail: 'session: expected percent-encoded UTF-8',
  })
})

t.test('answers HEAD and OPTIONS', async (t) => {
  const { url } = await served(t)
  const head = await fetch(`${url}/healthz`, { method: 'HEAD' })
  t.match(head.headers.get('content-type'), 'application/json')
  t.equal(head.headers.get('content-length'), String((await (await fetch(`${url}/healthz`)).text()).length))
  const stream = await fetch(`${url}/api/sessions/s/events`, { method: 'HEAD' })
  t.equal(stream.headers.get('content-type'), 'text/event-stream')
  const options = await fetch(`${url}/api/sessions`, { method: 'OPTIONS' })
  t.equal(options.status, 204)
  t.equal(options.headers.get('allow'), 'GET, HEAD, OPTIONS')
})

t.test('lets in the pages of listed origins and its own, and no others', async (t) => {
  const { url } = await served(t, { serve: { origins: ['https://app.example'] } })
  const from = (origin: string, method = 'GET', headers: Record<string, string> = {}) =>
    ask(`${url}/readyz`, { method, headers: { origin, ...headers } })
  const listed = await from('https://app.example')
  t.equal(listed.status, 200)
  t.equal(listed.headers.get('access-control-allow-origin'), 'https://app.example')
  t.equal((await from(url)).status, 200)
  const stranger = await from('https://evil.example')
  isProblem(t, stranger, { status: 403, detail: 'origin: pages of "https://evil.example"' })
  t.match(stranger.body, { title: 'This is not permitted', detail: '--origin' })
  t.equal(stranger.headers.get('access-control-allow-origin'), null)
  t.match(listed.headers.get('access-control-expose-headers'), 'Retry-After')
  const preflight = await from('https://app.example', 'OPTIONS', { 'access-control-request-method': 'GET' })
  t.match(preflight.headers.get('access-control-allow-headers'), /Last-Event-ID.*traceparent.*tracestate/)
  const dialect = await from('https://app.example', 'OPTIONS', {
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'x-api-key,x-stainless-os',
  })
  t.match(dialect.headers.get('access-control-allow-headers'), /traceparent.*x-api-key,x-stainless-os$/)
  t.match(preflight.headers.get('access-control-allow-methods'), 'GET')
  const open = await served(t, { serve: { origins: ['*'] } })
  const any = await ask(`${open.url}/readyz`, { headers: { origin: 'https://evil.example' } })
  t.equal(any.headers.get('access-control-allow-origin'), 'https://evil.example')
})

t.test(
  'lets pages of any origin ask whether it is there, so that they can tell why they are refused',
  async (t) => {
    const { url } = await served(t, { serve: { origins: ['https://app.example'] } })
    const { status, headers } = await ask(`${url}/healthz`, { headers: { origin: 'https://evil.example' } })
    t.match([status, headers.get('access-control-allow-origin')], [200, '*'])
  },
)

t.test('lets in the pages that its machine serves while it has no keys', async (t) => {
  const lines: unknown[] = []
  const log = { ...noLog, warn: (fields: object, message: string) => lines.push({ ...fields, message }) }
  const { url } = await served(t, { serve: { log } })
  const status = async (origin: string, at = url) =>
    (await fetch(`${at}/readyz`, { headers: { origin } })).status
  for (const origin of [
    'http://localhost:5173',
    'https://127.0.0.1',
    'http://[::1]:80',
    'http://a.localhost',
  ]) {
    t.equal(await status(origin), 200, origin)
  }
  const strangers = ['http://localhost.evil.example', 'http://128.0.0.1', 'null', 'http://10.0.0.1']
  for (const origin of [...strangers, ...strangers]) t.equal(await status(origin), 403, origin)
  t.match(
    lines,
    strangers.map((origin) => ({ origin, message: origin === 'null' ? 'serve the page' : '--origin' })),
    'each is logged once',
  )
  for (let n = 0; n < 200; n += 1) await status(`http://${n}.example`)
  t.equal(lines.length, 100)
  const locked = await served(t, { serve: { auth: { secrets: [secret] } } })
  t.equal(await status('http://localhost:5173', locked.url), 403)
})

t.test('reports what is no peer’s mistake, and keeps it in the house', async (t) => {
  const reported: unknown[] = []
  const { hub, url } = await served(t, { serve: { report: (error) => reported.push(error) } })
  const broken = new Error('the disk burns')
  for (const name of hub.isShared ? (['submit', 'submitTo'] as const) : (['publishTo'] as const)) {
    t.intercept(hub, name, {
      value() {
        throw broken
      },
    })
  }
  for (const type of ['application/json', ndjson]) {
    const reply = await post(`${url}/api/sessions/s/events`, '{"type":"a"}', type)
    isProblem(t, reply, { status: 500, detail: 'Internal error; see the log of the hub.' })
  }
  t.same(reported, [broken, broken])
})

t.test('refuses a port that is taken', async (t) => {
  const { server } = await served(t)
  await t.rejects(served(t, { serve: { port: server.port } }), { code: 'EADDRINUSE' })
})

t.test('says whether it lives and may be used', async (t) => {
  const { url } = await served(t)
  t.match(await ask(`${url}/healthz`), { status: 200, body: { status: 'ok' } })
  t.match(await ask(`${url}/readyz`), { status: 200, body: { status: 'ready' } })
})

t.test(
  'answers say what they are, keep other origins out, and are kept nowhere once they took a token',
  async (t) => {
    const open = await served(t)
    const locked = await served(t, { serve: { auth: { secrets: [secret] } } })
    for (const { hub } of [open, locked]) hub.session('a').setState('plan', 1)
    const token = await mint({ subscribe: ['**'] })
    const headersOf = async (url: string) => {
      const abort = new AbortController()
      const { headers } = await fetch(url, { signal: abort.signal })
      abort.abort()
      return headers
    }
    for (const path of [
      '/',
      '/healthz',
      '/api/sessions',
      '/api/sessions/none',
      '/none',
      '/api/stream',
      '/api/sessions/a/events',
      '/api/sessions/a/state',
    ]) {
      const headers = await headersOf(open.url + path)
      t.equal(headers.get('x-content-type-options'), 'nosniff', path)
      t.equal(headers.get('cross-origin-resource-policy'), 'same-origin', path)
      for (const name of ['server', 'uwebsockets', 'x-powered-by'])
        t.equal(headers.get(name), null, `${path}: ${name}`)
    }
    t.equal((await headersOf(`${open.url}/`)).get('cross-origin-opener-policy'), 'same-origin')
    t.equal((await headersOf(`${open.url}/api/sessions/a/state`)).get('cache-control'), 'no-cache')
    for (const path of [
      '/api/sessions',
      '/api/sessions/a/state',
      '/api/sessions/a/history',
      '/api/sessions/none',
    ]) {
      t.equal((await headersOf(`${locked.url}${path}?token=${token}`)).get('cache-control'), 'no-store', path)
    }
    for (const path of ['/api/sessions/a/events', '/api/stream', '/api/sessions/a/events?dialect=task-log']) {
      const query = path.includes('?') ? '&' : '?'
      const headers = await headersOf(`${locked.url}${path}${query}token=${token}`)
      t.equal(headers.get('cache-control'), 'no-store, no-transform', path)
    }
    t.equal(
      (await headersOf(`${locked.url}/api/sessions`)).get('cache-control'),
      'no-store',
      'a refusal, too',
    )
  },
)

t.test('refuses a query parameter that it would ignore, and says which there are', async (t) => {
  const { hub, url } = await served(t, { hub: { dialects: [] } })
  hub.session('s').worker('w').publish({ type: 'a' })
  hub.session('s').setState('plan', 1)
  const ask = (method: string, path: string): Promise<Response> =>
    fetch(url + path, { method, ...(method === 'PUT' && { body: '1' }) })
  const refused: [method: string, path: string, name: string][] = [
    ['GET', '/api/sessions?cursor=1', 'cursor'],
    ['GET', '/api/sessions/s?full=1', 'full'],
    ['PUT', '/api/sessions/t?mode=full', 'mode'],
    ['POST', '/api/sessions/s/end?outcome=1', 'outcome'],
    ['DELETE', '/api/sessions/s?force=1', 'force'],
    ['GET', '/api/sessions/s/history?type=a', 'type'],
    ['GET', '/api/sessions/s/workers/w/history?types=a&page=2', 'page'],
    ['POST', '/api/sessions/s/events?type=a', 'type'],
    ['POST', '/api/sessions/s/workers/w/events?sync=1', 'sync'],
    ['GET', '/api/sessions/s/events?type=a', 'type'],
    ['GET', '/api/sessions/s/workers/w/events?all=1', 'all'],
    ['GET', '/api/stream?topics=sessions/s', 'topics'],
    ['POST', '/api/stream/x?sub=1', 'sub'],
    ['GET', '/api/sessions/s/state?slice=plan', 'slice'],
    ['GET', '/api/sessions/s/workers/w/state?all=1', 'all'],
    ['GET', '/api/sessions/s/state/plan?slices=plan', 'slices'],
    ['PUT', '/api/sessions/s/state/plan?if=1', 'if'],
    ['DELETE', '/api/sessions/s/state/plan?if=1', 'if'],
    ['POST', '/api/ticket?ms=1', 'ms'],
    ['GET', '/api/about?x=1', 'x'],
  ]
  for (const [method, path, name] of refused) {
    const answer = await ask(method, path)
    t.equal(answer.status, 400, path)
    t.match(await answer.json(), {
      detail: new RegExp(`^query: expected no parameter but .*token, ticket, got "${name}"$`),
    })
  }
  t.equal(hub.find('t'), undefined, 'nothing was done')
  t.equal(hub.find('s')?.status, 'running')
  const history = await ask('GET', '/api/sessions/s/history?type=a')
  t.match(await history.json(), {
    detail: /^query: expected no parameter but after, before, .*workers, token, ticket, got "type"$/,
  })
  for (const path of [
    '/api/sessions/s/history?dialect=execution-log&page=2',
    '/?x=1',
    '/healthz?x=1',
    '/metrics?x=1',
    '/api/sessions?token=none',
  ]) {
    t.equal((await ask('GET', path)).status, 200, `${path} is answered`)
  }
})
