import { once } from 'node:events'
import { Agent, get, type IncomingMessage } from 'node:http'
import t, { type Test } from 'tap'
import { createHub } from '../../../src/hub/hub.js'
import type { Fields, Log } from '../../../src/server/operations/log.js'
import { serve } from '../../../src/server/serve.js'
import { SimulatedClock, settle } from '../../kit/clock.js'
import { RawClient } from '../../kit/raw-http.js'
import { dial, openStream, served } from '../../kit/served.js'
import { until } from '../../kit/wait.js'

interface Line extends Fields {
  readonly level: string
  readonly message: string
}

function memoryLog(): { readonly log: Log; readonly lines: Line[] } {
  const lines: Line[] = []
  const take = (level: string) => (fields: Fields, message: string) =>
    void lines.push({ ...fields, level, message })
  return {
    lines,
    log: { debug: take('debug'), info: take('info'), warn: take('warn'), error: take('error') },
  }
}

/** Requests on one link that stays open. */
function keptAlive(t: Test, url: string): (path: string) => Promise<{ status: number; body: string }> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  return async (path) => {
    const [response] = (await once(get(`${url}${path}`, { agent }), 'response')) as [IncomingMessage]
    let body = ''
    for await (const chunk of response.setEncoding('utf8')) body += chunk
    return { status: response.statusCode ?? 0, body }
  }
}

t.test('one line tells the life of a connection', async (t) => {
  const { log, lines } = memoryLog()
  const { hub, server, url } = await served(t, { serve: { log } })
  const socket = await dial(t, `${url}`)
  socket.send({ type: 'subscribe', sub: 1, topic: 'sessions/s' })
  await socket.expect('live')
  const stream = await openStream(t, `${url}/api/sessions/s/events?token=secret`)
  await stream.until(({ event }) => event === 'hub.live')
  hub.publish('sessions/s', [{ type: 'a' }, { type: 'b' }])
  await socket.expect('events')
  await stream.until(({ event }) => event === 'b')
  socket.socket.close(1000, 'enough')
  await socket.closed
  hub.endSession('s')
  await stream.rest()
  const gone = await dial(t, url)
  gone.send('nonsense')
  await gone.closed
  const livesOf = () => lines.filter(({ message }) => message === 'connection closed')
  await until('the hub knows that all have gone', () => livesOf().length === 3)
  await server.close()
  const lives = livesOf()
  t.match(lives, [
    {
      level: 'info',
      transport: 'websocket',
      address: '127.0.0.1',
      ms: Number,
      subscriptions: 1,
      received: 1,
      events: 2,
      bytes: Number,
      by: 'client',
      code: 1000,
      reason: 'it closed',
    },
    { transport: 'sse', events: 3, subscriptions: 1, by: 'hub', reason: 'all that it followed has ended' },
    { transport: 'websocket', events: 0, by: 'hub', code: 4500, reason: /^expected JSON/ },
  ])
  t.notOk(lives.some((life) => (life['bytes'] as number) < 0))
  t.notMatch(JSON.stringify(lines), /secret/)
  t.match(
    lines.filter(({ level }) => level === 'info').map(({ message }) => message),
    ['listening', ...lives.map(() => 'connection closed'), 'closing', 'closed'],
    'and there is no line for an event',
  )
})

t.test('tells many clients one after the other, and lets none come in', async (t) => {
  const clock = new SimulatedClock()
  const { hub, server, url } = await served(t, { serve: { clock }, hub: { limits: { spreadMs: 200 } } })
  const ask = keptAlive(t, url)
  t.equal((await ask('/readyz')).status, 200)
  const clients = []
  for (let i = 0; i < 400; i++) clients.push(await dial(t, url))
  const closing = server.close({ graceMs: 60_000 })
  t.match(await ask('/readyz'), { status: 503, body: /shutting down/ })
  t.equal((await ask('/healthz')).status, 200)
  t.match(await ask('/api/sessions'), { status: 503, body: /urn:runcast:unavailable/ })
  t.match(await ask('/api/sessions/s/events'), { status: 503 })
  t.match(await ask('/metrics'), { status: 200, body: /runcast_connections\{/ })
  await t.rejects(dial(t, url))
  const open: number[] = []
  for (let part = 0; part < 4; part++) {
    await settle()
    open.push(hub.stats().connections)
    clock.advance(50)
  }
  t.same(open, [300, 200, 100, 0])
  await closing
  const hints = await Promise.all(clients.map((client) => client.expect('closing')))
  t.ok(new Set(hints.map(({ retryMs }) => retryMs)).size > 200, 'each has a moment of its own')
})

t.test('waits for nobody once all have gone by themselves', async (t) => {
  const { hub, server, url } = await served(t, { serve: { clock: new SimulatedClock() } })
  const clients = await Promise.all(Array.from({ length: 200 }, () => dial(t, url)))
  const closing = server.close({ graceMs: 60_000 })
  for (const { socket } of clients) socket.terminate()
  await closing
  t.equal(hub.stats().connections, 0)
})

t.test('who waits for their turn when it closes is turned away', async (t) => {
  const { hub, server } = await served(t)
  const clients = Array.from({ length: 100 }, () => new RawClient(server.port))
  t.teardown(() => clients.forEach(({ socket }) => socket.destroy()))
  // A link that the system has taken, and the server has not, is cut when it closes.
  for (const client of clients) client.send('GET /healthz HTTP/1.1\nhost: localhost\n\n')
  await until('all are served', () => clients.every(({ text }) => text.endsWith('}')))
  const before = clients.map(({ text }) => text.length)
  const answers = () => clients.map(({ text }, at) => text.slice(before[at]))
  // Heard in one turn, of which two enter.
  for (const client of clients) client.send('GET /api/sessions/s/events HTTP/1.1\nhost: localhost\n\n')
  await turnsUntil(() => hub.stats().connections === 2)
  const closing = server.close()
  await until('all are answered', () => answers().every((text) => text.includes('\r\n\r\n')))
  const statuses = answers().map((text) => text.slice(9, 12))
  t.equal(statuses.filter((status) => status === '503').length, 98)
  t.equal(statuses.filter((status) => status === '200').length, 2)
  for (const { socket } of clients) socket.destroy()
  await closing
})

/** Looks after each turn. */
async function turnsUntil(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(setImmediate)
}

/** A body that goes on until the test says that it ends. */
function endless(t: Test, url: string, type: string, start: string) {
  const abort = new AbortController()
  t.teardown(() => abort.abort())
  const body = new ReadableStream({ start: (controller) => controller.enqueue(Buffer.from(start)) })
  const headers = { 'content-type': type }
  const answered = fetch(url, { method: 'POST', headers, body, duplex: 'half', signal: abort.signal })
  answered.catch(() => undefined)
  return answered
}

t.test('ends the reading of lines, and tells how far it came', async (t) => {
  const { hub, server, url } = await served(t)
  const answered = endless(
    t,
    `${url}/api/sessions/t/events`,
    'application/x-ndjson',
    '{"type":"a"}\n{"type":"b"}\n{"ty',
  )
  await until('two lines were published', () => hub.stats().published === 2)
  const closing = server.close({ graceMs: 60_000 })
  const answer = await answered
  t.equal(answer.status, 503)
  t.equal(answer.headers.get('retry-after'), '1')
  t.match(await answer.json(), { first: 1, last: 2, accepted: 2, detail: /shutting down/ })
  await closing
})

t.test('waits for those who do not go, but not for ever', async (t) => {
  const clock = new SimulatedClock()
  const { log, lines } = memoryLog()
  const { server, url } = await served(t, { serve: { clock, log } })
  const stream = await openStream(t, `${url}/api/sessions/s/events`)
  await stream.until(({ event }) => event === 'hub.live')
  const answered = endless(t, `${url}/api/sessions/t/events`, 'application/json', '{')
  const ask = keptAlive(t, url)
  while (!/runcast_requests 2\n/.test((await ask('/metrics')).body)) await settle()
  let closed = false
  const closing = server.close({ graceMs: 5_000 }).then(() => (closed = true))
  await stream.rest()
  clock.advance(4_999)
  await settle()
  t.notOk(closed)
  clock.advance(1)
  await closing
  await t.rejects(answered)
  t.match(lines.at(-1), { message: 'closed', connections: 0, requests: 1 })
})

t.test('what goes wrong without a peer to blame is counted, and told to the log', async (t) => {
  const { log, lines } = memoryLog()
  const hub = createHub({ report: () => undefined })
  const server = await serve(hub, { port: 0, log })
  t.teardown(() => server.close())
  hub.find = () => {
    throw new Error('planted')
  }
  t.equal((await fetch(`${server.url}/api/sessions/s`)).status, 500)
  server.countUncaught()
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  t.match(metrics, /runcast_errors_total\{cost="request"\} 1\n/)
  t.match(metrics, /runcast_errors_total\{cost="uncaught"\} 1\n/)
  t.match(metrics, /runcast_answers_total\{status="500"\} 1\n/)
  t.match(
    lines.find(({ level }) => level === 'error'),
    { err: { message: 'planted' }, message: 'a request failed' },
  )
})
