import { mkdtempSync, rmSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import { serve } from '../../src/server/serve.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'

t.test('runs: what a request can say, and what it is answered', async (t) => {
  const { hub, url } = await served(t, { serve: { origins: ['https://app.example'] } })
  hub
    .session('s')
    .publish([{ type: 'execution_started' }, { type: 'client_output_delta', data: { content: 'hi' } }])
  const ask = (path: string, init: RequestInit = {}) => {
    const abort = new AbortController()
    t.teardown(() => abort.abort())
    return fetch(url + path, { ...init, signal: abort.signal })
  }
  const chat = await ask('/api/chat/s/stream', { headers: { origin: 'https://app.example' } })
  t.equal(chat.headers.get('x-vercel-ai-ui-message-stream'), 'v1')
  t.match(chat.headers.get('access-control-expose-headers'), /ETag.*, x-vercel-ai-ui-message-stream/)
  t.equal((await ask('/api/chat/s/stream?worker=w')).status, 200, 'a worker that is yet to begin is one run')
  t.equal((await ask('/api/chat/s/stream?worker=a%20b')).status, 400)
  t.equal((await ask('/api/chat/nobody/stream')).status, 204)
  t.equal(
    (await ask(`/api/chat/${'%2F'.repeat(60)}/stream`)).status,
    400,
    'too long an id once it is escaped',
  )
  t.equal((await ask('/api/chat/s/stream?since=soon')).status, 400)
  t.match(await (await ask('/v1/responses/nobody')).json(), { error: { code: 'notFound', message: String } })
  t.match(await (await ask('/v1/responses/s?stream=true&starting_after=x')).json(), {
    error: { message: /starting_after: expected a sequence number/ },
  })
  const run = await ask('/threads/t/runs/s/stream')
  t.equal(run.headers.get('location'), '/threads/t/runs/s/stream')
  t.equal(run.headers.get('content-location'), '/threads/t/runs/s')
  t.equal((await ask('/threads/t/runs/nobody/stream')).status, 404)
  t.equal((await ask('/threads/t/runs/s/stream?stream_mode=A%20B')).status, 400)
  const json = { 'content-type': 'application/json' }
  t.equal((await ask('/ag-ui', { method: 'POST', headers: json, body: '{}' })).status, 400, 'no thread')
  t.equal((await ask('/ag-ui', { method: 'POST', headers: json, body: '{' })).status, 400)
  t.equal(
    (await ask('/ag-ui/s', { method: 'POST', headers: { 'content-type': 'image/png' }, body: 'x' })).status,
    415,
  )
  t.equal((await ask('/ag-ui/s')).status, 405)
  const large = JSON.stringify({ threadId: 's', messages: 'x'.repeat(hub.limits.frameBytesMax) })
  t.equal((await ask('/ag-ui', { method: 'POST', headers: json, body: large })).status, 413)
  t.equal(
    (await ask('/api/sessions/s/events?dialect=ai-sdk')).status,
    200,
    'on the routes of sessions as well',
  )
  const history = await (await ask('/api/sessions/s/history?dialect=ai-sdk')).json()
  t.match(history, { detail: /dialect: expected one of execution-log/ })
})

t.test('runs: a token that may read joins, and only one that may publish asks', async (t) => {
  const { hub, url } = await served(t, { serve: { auth: { secrets: [secret] } } })
  const post = async (rights: { subscribe?: string[]; publish?: string[] }, runId: string) => {
    const abort = new AbortController()
    t.teardown(() => abort.abort())
    const body = JSON.stringify({
      threadId: 's',
      runId,
      messages: [{ id: 'u', role: 'user', content: 'Hi' }],
    })
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${await mint(rights)}` }
    return fetch(`${url}/ag-ui`, { method: 'POST', headers, body, signal: abort.signal })
  }
  t.equal((await post({ subscribe: ['sessions/other/**'] }, 'r1')).status, 403)
  t.equal((await post({ publish: ['sessions/s'] }, 'r1')).status, 403, 'what is told is read')
  const reader = await post({ subscribe: ['sessions/s/**'] }, 'r1')
  t.equal(reader.status, 200)
  t.equal(hub.find('s'), undefined, 'nothing was asked')
  const asker = await post({ subscribe: ['sessions/s/**'], publish: ['sessions/s'] }, 'r1')
  const again = await post({ subscribe: ['sessions/s/**'], publish: ['sessions/s'] }, 'r1')
  t.same([asker.status, again.status], [200, 200])
  t.match(hub.history('sessions/s').events, [{ type: 'chat.request', id: 'ag-ui:r1' }])
  t.equal(hub.history('sessions/s').events.length, 1, 'the same run is asked for once')
})

t.test('runs: where the newest run is survives a restart', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'runcast-runs-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const text = async (url: string): Promise<string> => {
    const response = await fetch(`${url}/api/chat/s/stream`)
    return response.status === 204 ? '' : response.text()
  }
  const begin = async () => {
    const hub = createHub({ store: openLmdb({ directory }) })
    const server = await serve(hub, { port: 0 })
    const close = async () => {
      await server.close()
      await hub.closeStore()
    }
    return { session: hub.session('s'), hub, url: server.url, close }
  }
  const first = await begin()
  first.session.publish([
    { type: 'execution_started' },
    { type: 'client_output_delta', data: { content: 'an older run' } },
    { type: 'execution_completed' },
    { type: 'execution_started' },
    { type: 'client_output_delta', data: { content: 'half ' } },
    { type: 'execution_paused' },
  ])
  await first.hub.committed('s')
  await first.close()
  const second = await begin()
  second.session.publish({ type: 'data-execution-resumed' })
  const reading = text(second.url)
  await until('it is joined', () => second.hub.stats().subscriptions === 1)
  second.session.publish([
    { type: 'client_output_delta', data: { content: 'whole' } },
    { type: 'execution_completed' },
  ])
  const told = await reading
  t.match(told, /"messageId":"s-4"[^]*"delta":"half "[^]*"delta":"whole"[^]*"finish"[^]*\[DONE\]/)
  t.notMatch(told, 'older')
  await second.hub.committed('s')
  await second.close()
  const third = await begin()
  t.equal(await text(third.url), '', 'it has ended')
  await third.close()
})

t.test('runs: a hub that closes in mid-run leaves nobody with half a message for a whole one', async (t) => {
  const { hub, server, url } = await served(t)
  hub
    .session('s')
    .publish([{ type: 'execution_started' }, { type: 'client_output_delta', data: { content: 'half' } }])
  const follow = async (path: string, init: RequestInit = {}) => {
    let text = ''
    const response = await fetch(url + path, init)
    const read = async () => {
      for await (const piece of (response.body as ReadableStream).pipeThrough(new TextDecoderStream()))
        text += piece
    }
    const ended = read().then(
      () => 'ended',
      () => 'cut',
    )
    await until('it has half of it', () => text.includes('half'))
    return { text: () => text, ended }
  }
  const json = { 'content-type': 'application/json' }
  const chat = await follow('/api/chat/s/stream')
  const response = await follow('/v1/responses/s?stream=true')
  const graph = await follow('/threads/t/runs/s/stream')
  const agent = await follow('/ag-ui/s', { method: 'POST', headers: json, body: '{}' })
  await server.close()
  t.same(await Promise.all([chat.ended, response.ended, graph.ended]), ['cut', 'cut', 'cut'])
  t.equal(await agent.ended, 'ended')
  t.match(
    agent.text(),
    /\{"type":"RUN_ERROR","message":"[^"]*shutting down[^"]*","code":"interrupted"\}\n\n$/,
  )
})

t.test('runs: a client that lost a part of the run is cut, and told of no gap in good order', async (t) => {
  const { hub, url } = await served(t, {
    hub: { limits: { backpressureBytesMax: 1_024, laneEventsMax: 5 } },
  })
  const session = hub.session('s')
  session.publish({ type: 'execution_started' })
  const slow = await new Promise<IncomingMessage>((resolve, reject) => {
    get(`${url}/api/chat/s/stream`, resolve).on('error', reject)
  })
  const content = 'x'.repeat(30_000)
  const say = (n: number) =>
    session.publish({ type: 'client_output_delta', data: { content, message: `m${n}` } })
  let n = 0
  await until('it lags', () => {
    say(++n)
    return hub.stats().lagging === 1
  })
  for (let more = 0; more < 10; more++) say(++n)
  session.publish({ type: 'execution_completed' })
  let text = ''
  const read = async () => {
    for await (const piece of slow.setEncoding('utf8')) text += piece
  }
  await t.rejects(read(), 'the link is cut')
  t.match(text, /"type":"start"/)
  t.notMatch(text, /"type":"finish"|\[DONE\]/)
  const joined = await (await fetch(`${url}/v1/responses/s`)).json()
  t.match(joined, { status: 'completed' }, 'the run itself has ended well')
})
