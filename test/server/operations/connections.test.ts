import t from 'tap'
import { systemClock } from '../../../src/lib/clock.js'
import { systemRandom } from '../../../src/lib/random.js'
import { MemoryLog } from '../../../src/log/memory-log.js'
import { dial, openStream, overTransports, served } from '../../kit/served.js'
import { mint, secret } from '../../kit/tokens.js'
import { until } from '../../kit/wait.js'

interface Listing {
  readonly total: number
  readonly next?: string
  readonly connections: readonly {
    readonly id: string
    readonly transport: string
    readonly address: string
    readonly subject?: string
    readonly topics: readonly string[]
    readonly topicsMore?: number
    readonly subscriptions: number
    readonly events: number
    readonly bytes: number
    readonly openMs: number
    readonly lagging: number
    readonly waitingBytes: number
    readonly received?: number
  }[]
}

overTransports(t, (t) => {
  t.test('who runs the hub sees its connections, page by page, and closes one', async (t) => {
    const { hub, url } = await served(t)
    const list = async (query = '') =>
      (await (await fetch(`${url}/api/connections${query}`)).json()) as Listing
    t.strictSame(await list(), { total: 0, connections: [] })
    hub.session('s').worker('w').publish({ type: 'note', data: 1 })
    const socket = await dial(t, url)
    socket.send({ type: 'subscribe', sub: 1, topic: 'sessions/s/workers/w', replay: 'all' })
    socket.send({ type: 'subscribe', sub: 2, topic: 'hub' })
    await socket.expect('live')
    await socket.expect('live')
    const streams = [
      await openStream(t, `${url}/api/sessions/s/events?all=1`),
      await openStream(t, `${url}/api/sessions/s/events`),
    ]
    await until('all have opened', async () => (await list()).total === 3)
    const [first, second, third] = (await list()).connections
    t.match(first, {
      transport: 'websocket',
      topics: ['sessions/s/workers/w', 'hub'],
      subscriptions: 2,
      events: 1,
      received: 2,
      lagging: 0,
      waitingBytes: 0,
    })
    t.match(first?.address, /127\.0\.0\.1|::1/)
    t.ok((first?.bytes ?? 0) > 0 && (first?.openMs ?? -1) >= 0)
    t.match(
      [second, third],
      [
        { transport: 'sse', topics: ['sessions/s/**'] },
        { transport: 'sse', topics: ['sessions/s'] },
      ],
    )
    const page = await list('?limit=2')
    t.strictSame([page.total, page.connections.map(({ id }) => id)], [3, [first?.id, second?.id]])
    const rest = await list(`?limit=2&after=${page.next}`)
    t.strictSame(
      rest.connections.map(({ id }) => id),
      [third?.id],
    )
    t.equal(rest.next, undefined)
    for (const query of ['?limit=0', '?after=x', '?lmit=1']) {
      t.equal((await fetch(`${url}/api/connections${query}`)).status, 400, query)
    }

    const remove = (id = '') => fetch(`${url}/api/connections/${id}`, { method: 'DELETE' })
    t.equal((await remove(first?.id)).status, 204)
    t.strictSame(await socket.closed, { code: 4502, reason: 'closed by an operator' })
    t.equal((await remove(second?.id)).status, 204)
    const closing = await streams[0]?.until(({ event }) => event === 'hub.close')
    t.match(closing?.data, /4502/)
    await until('they have gone', async () => (await list()).total === 1)
    t.equal((await remove(first?.id)).status, 404)

    const about = (await (await fetch(`${url}/api/hub`)).json()) as Record<string, unknown>
    t.match(about, {
      connections: { websocket: 0, sse: 1 },
      feeds: 1,
      subscriptions: 1,
      sessions: 1,
      published: 1,
    })
    t.match(about['store'], { kind: 'memory', failures: 0 })
    t.equal(about['log'], undefined)
    t.match(about['limits'], { connectionsMax: hub.limits.connectionsMax })
  })

  t.test('a hub over a log tells of it', async (t) => {
    const log = new MemoryLog(systemClock, systemRandom)
    const { hub, url } = await served(t, { hub: { log: log.link() } })
    await hub.submit('sessions/s', [{ type: 'note' }])
    const about = (await (await fetch(`${url}/api/hub`)).json()) as Record<string, unknown>
    t.match(about, {
      store: { kind: 'memory' },
      log: { kind: 'memory', failing: false, failures: 0, appends: Number },
    })
  })

  t.test('it takes the right to read everything, and to close one that to publish to the hub', async (t) => {
    const { url } = await served(t, { serve: { auth: { secrets: [secret] } } })
    const ask = async (claims: Parameters<typeof mint>[0], path: string, method = 'GET') => {
      const headers = { authorization: `Bearer ${await mint(claims)}` }
      const answer = await fetch(url + path, { method, headers })
      return [answer.status, ((await answer.json()) as { readonly detail?: string }).detail]
    }
    for (const path of ['/api/connections', '/api/hub']) {
      t.equal((await fetch(url + path)).status, 401)
      for (const subscribe of [['hub'], ['sessions/**'], ['hub', 'sessions/*'], []]) {
        t.strictSame(await ask({ subscribe, publish: ['**'] }, path), [
          403,
          'the token does not permit reading hub and **',
        ])
      }
      for (const subscribe of [['**'], ['hub', 'sessions/**']])
        t.equal((await ask({ subscribe }, path))[0], 200)
    }
    t.equal(
      (await ask({ subscribe: ['**'], publish: ['sessions/**'] }, '/api/connections/x', 'DELETE'))[0],
      403,
    )
    t.equal((await ask({ publish: ['hub'] }, '/api/connections/x', 'DELETE'))[0], 404)
  })
})
