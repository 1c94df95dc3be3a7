import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import {
  ClosedError,
  type ConnectOptions,
  connect,
  RequestError,
  type SessionSummary,
} from '../../src/client.js'
import { exact, overLog } from '../kit/over-log.js'
import { served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'

async function setUp(t: Test, options: ConnectOptions = {}) {
  const { hub, url } = await served(t)
  const client = connect(url, { WebSocket, ...options })
  t.teardown(() => client.close())
  return { hub, url, client }
}

for (const transport of ['websocket', 'sse'] as const) {
  t.test(`over ${transport}`, async (t) => {
    t.test('a session is ended after all that was published before, with its result', async (t) => {
      const { hub, client } = await setUp(t, { transport })
      const sent = Array.from({ length: 20 }, (_, n) =>
        client.publish('sessions/s', { type: 'note', data: n }),
      )
      await client.end('sessions/s', { result: 'failed', reason: 'out of disk', outcome: { code: 28 } })
      await Promise.all(sent)
      t.match(hub.find('s'), {
        status: 'ended',
        result: 'failed',
        reason: 'out of disk',
        outcome: { code: 28 },
      })
      const { events } = hub.history('sessions/s')
      t.equal(events.filter(({ type }) => type === 'note').length, 20)
      await t.rejects(client.end('sessions/s'), { code: 'conflict' })
      await t.rejects(client.end('sessions/none'), { code: 'notFound' })
      await t.rejects(client.end('none'), { code: 'badFrame', message: /expected sessions\/\{id\}/ })
    })

    t.test('a session is forked after all that was published before', async (t) => {
      const { hub, client } = await setUp(t, { transport })
      const sent = client.publish('sessions/s', [{ type: 'note' }, { type: 'note' }])
      const fork = await client.fork('sessions/s', { session: 'f' })
      const { first } = await sent
      // Over a log a batch ends with offsets that no event takes.
      const end = exact(2)
      const epoch = hub.find('s')?.epoch
      const at = overLog ? new RegExp(`^${epoch}:\\d+$`) : `${epoch}:2`
      t.match(fork, { id: 'f', offset: end, forkedFrom: { session: 's', at } })
      t.match(await client.fork('sessions/s', { at: `${epoch}:${first}` }), { id: String, offset: first })
      await t.rejects(client.fork('sessions/s', { session: 'f' }), { code: 'conflict' })
      await t.rejects(client.fork('sessions/none'), { code: 'notFound' })
    })

    t.test('a lease is held by the link, and given up', async (t) => {
      const { hub, client } = await setUp(t, { transport })
      await client.publish('sessions/s/workers/w', { type: 'note' })
      await client.lease('sessions/s/workers/w', 1_000)
      await client.lease('sessions/s/workers/w', 0)
      t.equal(hub.find('s')?.workers[0]?.result, undefined)
      await client.lease('sessions/s/workers/w', 1_000)
      client.close()
      await until('the worker is lost', () => hub.find('s')?.workers[0]?.result === 'lost', 10_000)
    })
  })
}

t.test('slices are read with their position, and removed', async (t) => {
  const { client } = await setUp(t)
  await client.setState('sessions/s', 'plan', { steps: [1, 2] })
  await client.setState('sessions/s', 'other', 1)
  const { position, slices } = await client.getState('sessions/s', ['plan'])
  t.same(slices, { plan: { steps: [1, 2] } })
  await client.publish('sessions/s', { type: 'later' })
  const later = client.subscribe({ topic: 'sessions/s', after: position })
  for await (const { type } of later) {
    t.equal(type, 'later', 'nothing but what came after')
    break
  }
  t.match(await client.removeState('sessions/s', 'plan', { type: 'a person — ü' }), { changed: true })
  t.match(await client.removeState('sessions/s', 'plan'), { changed: false })
  t.notOk('plan' in (await client.getState('sessions/s')).slices)
})

t.test('the past is read page by page, in both directions, and searched', async (t) => {
  const { client } = await setUp(t)
  await client.publish(
    'sessions/s/workers/w',
    Array.from({ length: 25 }, (_, n) => ({ type: n % 5 === 0 ? 'five' : 'note', data: `no. ${n}` })),
  )
  const read = async (query: Parameters<typeof client.history>[1]) => {
    const seen: unknown[] = []
    for await (const { data } of client.history('sessions/s/**', {
      types: ['five', 'note'],
      limit: 4,
      ...query,
    })) {
      seen.push(data)
    }
    return seen
  }
  const all = Array.from({ length: 25 }, (_, n) => `no. ${n}`)
  t.same(await read({}), all)
  t.same(await read({ order: 'desc' }), all.toReversed())
  t.same(await read({ q: '/no\\. 2\\d/' }), all.slice(20))
  t.same(
    await read({ types: ['five'], workers: ['w'] }),
    all.filter((_, n) => n % 5 === 0),
  )
  t.same(await read({ workers: ['other'] }), [])
  await t.rejects(client.history('sessions/s', { q: '/(/' }).next(), { code: 'badFrame' })
  await t.rejects(client.history('sessions/none').next(), { code: 'notFound' })
})

t.test('sessions are listed page by page, filtered', async (t) => {
  const { client } = await setUp(t)
  for (let n = 0; n < 7; n += 1) await client.publish(`sessions/s${n}`, { type: 'note' })
  await client.end('sessions/s3', { result: 'failed' })
  const listed = async (query: Parameters<typeof client.sessions>[0]) => {
    const seen: SessionSummary[] = []
    for await (const session of client.sessions({ limit: 2, ...query })) seen.push(session)
    return seen.map(({ id }) => id)
  }
  t.same(await listed({}), ['s0', 's1', 's2', 's3', 's4', 's5', 's6'])
  t.same(await listed({ result: ['failed'] }), ['s3'])
  t.same((await listed({ order: 'attention', q: 's' }))[0], 's3')
})

const unwatched = overLog && 'the hubs of a log do not count watchers'

t.test('who watches is told, and nothing more once it is stopped', { skip: unwatched }, async (t) => {
  const { client, url } = await setUp(t)
  await client.publish('sessions/s', { type: 'note' })
  const counts: number[] = []
  const stop = client.watchers('sessions/s', ({ count }) => counts.push(count))
  await until('one is there', () => counts.at(-1) === 1)
  const other = connect(url, { WebSocket })
  other.subscribe({ topic: 'sessions/s' })
  await until('two are there', () => counts.at(-1) === 2, 10_000)
  stop()
  other.close()
})

t.test('a batch publishes together, in order, and says what was refused', async (t) => {
  const { hub, client } = await setUp(t)
  const batch = client.batch('sessions/s', { eventsMax: 10 })
  for (let n = 0; n < 35; n += 1) batch.add({ type: 'note', data: n })
  await batch.flush()
  const { events } = hub.history('sessions/s', { types: ['note'], limit: 100 })
  t.same(
    events.map(({ data }) => data),
    Array.from({ length: 35 }, (_, n) => n),
  )
  const errors: Error[] = []
  client.onError((error) => errors.push(error))
  batch.add({ type: 'not a type' })
  await t.rejects(batch.flush(), { code: 'badFrame' })
  t.equal(errors.length, 1)
  batch.add({ type: 'last' })
  await batch.close()
  t.throws(() => batch.add({ type: 'late' }), /closed/)
  await client.end('sessions/s')
})

t.test('a call', async (t) => {
  t.test('is made again while the hub has no room, and says what kept it from being done', async (t) => {
    let calls = 0
    const server = createServer((_, response) => {
      calls += 1
      response.writeHead(503, { 'content-type': 'application/problem+json' })
      response.end(JSON.stringify({ type: 'urn:runcast:unavailable', detail: 'no room' }))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => server.close())
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const client = connect(url, { WebSocket, transport: 'websocket' })
    t.teardown(() => client.close())
    const error = await client.getState('sessions/s', undefined, { timeoutMs: 1_500 }).catch((error) => error)
    assert(error instanceof RequestError)
    t.match(error, { code: 'unavailable', message: 'not done within 1500 ms: no room' })
    t.ok(calls > 1)
    const abort = new AbortController()
    const aborted = client.getState('sessions/s', undefined, { signal: abort.signal })
    abort.abort(new Error('enough'))
    await t.rejects(aborted, /enough/)
    const closed = client.getState('sessions/s')
    client.close()
    await t.rejects(closed, ClosedError)
    await t.rejects(client.getState('sessions/s'), ClosedError)
  })

  t.test('of which the answer was lost is done, and once', async (t) => {
    const { hub, url } = await setUp(t)
    hub.publish('sessions/s', [{ type: 'note' }])
    let calls = 0
    const client = connect(url, {
      WebSocket,
      fetch: async (...given) => {
        const answer = await fetch(...given)
        calls += 1
        if (calls === 1) throw new TypeError('fetch failed')
        return answer
      },
    })
    t.teardown(() => client.close())
    await client.end('sessions/s', { result: 'succeeded' })
    t.equal(calls, 2)
    t.match(hub.find('s'), { status: 'ended', result: 'succeeded' })
  })
})

t.test('tokens of seconds are renewed, and the link never ends', async (t) => {
  const { hub, url } = await served(t, { serve: { auth: { secrets: [secret] } } })
  let asked = 0
  const client = connect(url, {
    WebSocket,
    token: () => {
      asked += 1
      return mint({ sub: 'a', subscribe: ['**'], publish: ['**'], exp: Math.floor(Date.now() / 1_000) + 3 })
    },
  })
  t.teardown(() => client.close())
  const kinds = new Set<string>()
  client.onStatus(({ kind }) => kinds.add(kind))
  await until('it is open', () => client.status.kind === 'open')
  await until('four tokens were used', () => asked === 4, 30_000)
  t.same(
    [...kinds].filter((kind) => kind !== 'connecting'),
    ['open'],
  )
  await client.publish('sessions/s', { type: 'note' })
  t.equal(hub.stats().connections, 1)
})

t.test('a fork whose answer was lost is found, and not taken for that of another session', async (t) => {
  const { hub, url } = await served(t)
  let lost = 1
  const client = connect(url, {
    transport: 'sse',
    fetch: async (...request) => {
      const answer = await fetch(...request)
      if (request[1]?.method === 'POST' && lost-- > 0) throw new TypeError('the answer is lost')
      return answer
    },
  })
  t.teardown(() => client.close())
  await hub.submit('sessions/s', [{ type: 'note' }])
  await hub.submit('sessions/other', [{ type: 'note' }])
  t.match(await client.fork('sessions/s', { session: 'f' }), { id: 'f', forkedFrom: { session: 's' } })
  lost = 1
  await t.rejects(client.fork('sessions/other', { session: 'f' }), { code: 'conflict' })
})
