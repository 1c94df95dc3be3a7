import t, { type Test } from 'tap'
import { connect } from '../../src/client/client.js'
import { systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import type { ServeOptions } from '../../src/server/serve.js'
import { openStream, served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'

/** Two hubs over one log, each of which a balancer may choose. */
async function twoHubs(t: Test, serve: ServeOptions = {}) {
  const log = new MemoryLog(systemClock, systemRandom)
  const one = await served(t, { hub: { log: log.link() }, serve })
  const other = await served(t, { hub: { log: log.link() }, serve })
  return { one, other }
}

t.test('a stream is changed at its own hub, and another one says what to do', async (t) => {
  const { one, other } = await twoHubs(t)
  const stream = await openStream(t, `${one.url}/api/stream`)
  const open = await stream.until(({ event }) => event === 'hub.open')
  const { connection } = JSON.parse(open.data ?? '') as { connection: string }
  const change = (url: string) =>
    fetch(`${url}/api/stream/${connection}`, {
      method: 'POST',
      body: JSON.stringify({ type: 'subscribe', sub: 1, topic: 'sessions/s' }),
    })
  const answer = await change(other.url)
  t.equal(answer.status, 404)
  t.match(await answer.json(), { detail: /another hub may know it; a balancer can/ })
  t.equal((await change(one.url)).status, 200)
  await other.hub.submit('sessions/s', [{ type: 'note' }])
  await stream.until(({ event }) => event === 'note')
  const alone = await served(t)
  t.match(await (await change(alone.url)).json(), {
    detail: 'There is no open stream with this connection id.',
  })
})

t.test('a ticket is valid once, at any hub', async (t) => {
  const { one, other } = await twoHubs(t, { auth: { secrets: [secret] } })
  const authorization = `Bearer ${await mint({ subscribe: ['**'] })}`
  const issued = await fetch(`${one.url}/api/ticket`, { method: 'POST', headers: { authorization } })
  const { ticket } = (await issued.json()) as { ticket: string }
  t.equal((await fetch(`${other.url}/api/sessions?ticket=${ticket}`)).status, 200)
  for (const { url } of [one, other]) {
    const again = await fetch(`${url}/api/sessions?ticket=${ticket}`)
    t.equal(again.status, 401)
    t.match(await again.json(), { detail: /^The ticket was used before, or is too old: ask for another\.$/ })
  }
  t.equal((await fetch(`${other.url}/api/sessions?ticket=${'x'.repeat(32)}`)).status, 401)
  const second = await fetch(`${one.url}/api/ticket`, { method: 'POST', headers: { authorization } })
  const own = ((await second.json()) as { ticket: string }).ticket
  t.equal((await fetch(`${one.url}/api/sessions?ticket=${own}`)).status, 200)
  t.equal((await fetch(`${other.url}/api/sessions?ticket=${own}`)).status, 401)
})

t.test('a ticket of what the application grants is refused at another hub, with what to do', async (t) => {
  const { one, other } = await twoHubs(t, { authorize: () => ({ subscribe: ['**'] }) })
  const issued = await fetch(`${one.url}/api/ticket`, { method: 'POST' })
  const { ticket } = (await issued.json()) as { ticket: string }
  const elsewhere = await fetch(`${other.url}/api/sessions?ticket=${ticket}`)
  t.equal(elsewhere.status, 401)
  t.match(await elsewhere.json(), { detail: /Or another hub may know it/ })
  t.equal((await fetch(`${one.url}/api/sessions?ticket=${ticket}`)).status, 200)
})

t.test('a client over SSE whose requests go to the hubs in turn has every event once', async (t) => {
  const { one, other } = await twoHubs(t)
  let turn = 0
  const client = connect(one.url, {
    transport: 'sse',
    backoff: { firstMs: 1, mostMs: 20 },
    fetch: (input, init) => {
      const url = new URL(String(input instanceof Request ? input.url : input))
      url.port = new URL([one.url, other.url][turn++ % 2] ?? '').port
      return fetch(url, init)
    },
  })
  t.teardown(() => client.close())
  const seen = new Map<string, unknown[]>()
  const sessions = ['a', 'b', 'c', 'd']
  for (const session of sessions) {
    const subscription = client.subscribe({ topic: `sessions/${session}`, types: ['note'] })
    const events: unknown[] = []
    seen.set(session, events)
    void (async () => {
      for await (const { data } of subscription) events.push(data)
    })()
    for (let n = 0; n < 3; n++) {
      const { hub } = n % 2 ? one : other
      await hub.submit(`sessions/${session}`, [{ type: 'note', data: n }])
    }
  }
  // What was published before a client joins is not replayed to it.
  await until('all follow', () => one.hub.stats().subscriptions + other.hub.stats().subscriptions >= 4)
  const isThere = (session: string) => (seen.get(session) ?? []).includes('last')
  await until('all have what comes last', async () => {
    for (const session of sessions) {
      if (!isThere(session))
        await other.hub.submit(`sessions/${session}`, [{ type: 'note', data: 'last', id: 'last' }])
    }
    return sessions.every(isThere)
  })
  for (const [session, events] of seen) {
    t.equal(new Set(events).size, events.length, `nothing of ${session} came twice`)
  }
})
