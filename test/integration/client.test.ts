import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import {
  type Client,
  type ConnectOptions,
  connect,
  type JsonValue,
  type SocketClass,
  type Status,
} from '../../src/client.js'
import type { Hub, HubOptions } from '../../src/hub/hub.js'
import { sameJson } from '../../src/lib/json.js'
import { serve } from '../../src/server/serve.js'
import { Proxy } from '../kit/proxy.js'
import { SeededRandom } from '../kit/random.js'
import { served } from '../kit/served.js'
import { until } from '../kit/wait.js'

const Socket: SocketClass = WebSocket
const run = promisify(execFile)
const seed = Number(process.env.SEED ?? 20_251)

/** The same tests for every way to the hub. */
const ways: readonly (readonly [string, ConnectOptions])[] = [
  ['WebSocket with MessagePack', { transport: 'websocket', WebSocket: Socket }],
  ['WebSocket with JSON', { transport: 'websocket', WebSocket: Socket, codec: 'json' }],
  ['SSE and POST', { transport: 'sse' }],
]

interface Setting {
  readonly hub: Hub
  readonly proxy: Proxy
  readonly client: Client
}

/** A hub, and a client of it whose link can be cut. */
async function setUp(t: Test, options: ConnectOptions, hubOptions: HubOptions = {}): Promise<Setting> {
  const { hub, server } = await served(t, { hub: hubOptions })
  const proxy = await Proxy.open(server.port)
  const client = connect(`http://127.0.0.1:${proxy.port}`, {
    backoff: { firstMs: 4, mostMs: 20 },
    ...options,
  })
  t.teardown(async () => {
    client.close()
    await proxy.close()
  })
  return { hub, proxy, client }
}

function reach(client: Client, kind: Status['kind']): Promise<void> {
  return until(`the client is ${kind}`, () => client.status.kind === kind)
}

/** @returns a port to listen on again later: one that the machine chose while listening cannot be, for a minute. */
async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}

for (const [way, options] of ways) {
  t.test(way, async (t) => {
    t.test('follows through 100 cuts: every matching event once, in order, and the state', async (t) => {
      t.comment(`SEED=${seed}`)
      const random = new SeededRandom(seed)
      const { hub, proxy, client } = await setUp(t, options)
      const session = hub.session('s')
      const events: number[] = []
      const output: number[] = []
      const gaps: unknown[] = []
      const listener = (into: number[]) => ({
        onEvent: ({ data }: { data: JsonValue }) => into.push(data as number),
        onGap: (gap: unknown) => gaps.push(gap),
      })
      client.subscribe({ topic: 'sessions/s', types: ['step-*'] }, listener(events))
      const lint = client.subscribe({ topic: 'sessions/s/workers/lint', slices: ['*'] }, listener(output))
      await until('both are live', () => lint.live)

      const published: number[] = []
      let plan: JsonValue = {}
      for (let round = 0; round < 100; round += 1) {
        for (let burst = random.integer(1, 4); burst > 0; burst -= 1) {
          for (let count = random.integer(1, 40); count > 0; count -= 1) {
            const number = published.length
            published.push(number)
            session.publish({ type: number % 2 === 0 ? 'step-start' : 'other', data: number })
            session.worker('lint').publish({ type: 'line', data: number })
          }
          plan = { ...plan, [`p${random.integer(0, 9)}`]: { round, burst, long: 'x'.repeat(100) } }
          session.worker('lint').setState('plan', plan)
          await new Promise((resolve) => setImmediate(resolve))
        }
        if (random.chance(0.5)) proxy.cut()
        else for (const link of proxy.links) link.cutGently()
        if (random.chance(0.6)) await reach(client, 'open')
        // History holds 1,000 lines: whoever is further behind is told of a gap, which is not what is tested here.
        await until('the client is not far behind', () => published.length - output.length < 500)
      }
      const last = published.length - 1
      await until('the last line has come', () => output.at(-1) === last, 20_000)
      const even = published.filter((number) => number % 2 === 0)
      await until('the last step has come', () => events.at(-1) === even.at(-1))
      t.same(gaps, [])
      t.same(output, published)
      t.same(events, even)
      await until('the state is the same', () => sameJson(lint.state.plan ?? null, plan))
    })

    t.test('publishes through cuts: everything once, in order', async (t) => {
      const random = new SeededRandom(seed)
      const { hub, proxy, client } = await setUp(t, options)
      const stored: JsonValue[] = []
      const seen = hub.subscribe('sessions/p', {})
      const reading = (async () => {
        for await (const { data } of seen) {
          stored.push(data)
          if (stored.length === 300) break
        }
      })()
      const receipts = []
      for (let number = 0; number < 300; number += 1) {
        receipts.push(client.publish('sessions/p', { type: 'note', data: number }))
        if (random.chance(0.1)) {
          proxy.cut()
          await reach(client, 'open')
        }
        if (random.chance(0.3)) await new Promise((resolve) => setTimeout(resolve, 1))
      }
      const offsets = (await Promise.all(receipts)).map(({ first }) => first)
      await reading
      t.same(stored, [...stored.keys()])
      t.same(
        offsets,
        [...offsets].sort((a, b) => a - b),
      )
      t.equal(new Set(offsets).size, 300)
    })

    t.test('sets, patches and merges state, and is told what does not fit', async (t) => {
      const { client } = await setUp(t, options)
      const subscription = client.subscribe({ topic: 'sessions/s', slices: ['*'] })
      const topic = 'sessions/s'
      t.match(await client.setState(topic, 'plan', { a: [1] }, { type: 'planned', payload: 'ä→b' }), {
        changed: true,
      })
      t.match(await client.setState(topic, 'plan', { a: [1] }), { changed: false })
      await client.patchState(topic, 'plan', [{ op: 'add', path: '/a/-', value: 2 }])
      await client.mergeState(topic, 'plan', { b: true })
      await t.rejects(client.patchState(topic, 'plan', [{ op: 'remove', path: '/none' }]), {
        code: 'conflict',
      })
      await until('the mirror has followed', () =>
        sameJson(subscription.state.plan ?? null, { a: [1, 2], b: true }),
      )
    })

    t.test('keeps two subscriptions to one topic apart, and changes one live', async (t) => {
      const { hub, client } = await setUp(t, options)
      const [all, some]: string[][] = [[], []]
      const one = client.subscribe({ topic: 'sessions/s' }, { onEvent: ({ type }) => all?.push(type) })
      const other = client.subscribe(
        { topic: 'sessions/s', types: ['a'] },
        { onEvent: ({ type }) => some?.push(type) },
      )
      await until('both are live', () => one.live && other.live)
      hub.publish('sessions/s', [{ type: 'a' }, { type: 'b' }])
      await until('the first has both', () => all?.length === 2)
      await until('the second has one', () => some?.length === 1)
      other.update({ types: ['b'] })
      await until('the hub has taken it', () => hub.stats().feeds === 2 && hub.stats().subscriptions === 2)
      // Published until the change has arrived: there is no telling when.
      await until('the change has arrived', () => {
        hub.publish('sessions/s', [{ type: 'b' }])
        return some?.includes('b') === true
      })
      hub.publish('sessions/s', [{ type: 'a' }, { type: 'end' }])
      await until('the first has all', () => all?.at(-1) === 'end')
      t.equal(some?.filter((type) => type === 'a').length, 1)
      one.close()
      await until('it has gone from the hub', () => hub.stats().subscriptions === 1)
    })

    t.test('refuses what the hub refuses: a topic, an event', async (t) => {
      const { client } = await setUp(t, options)
      const ends: unknown[] = []
      const other = client.subscribe({ topic: 'sessions/s' })
      client.subscribe({ topic: 'rooms/7' }, { onEvent() {}, onEnd: (ending) => ends.push(ending) })
      await until('it ended', () => ends.length === 1)
      t.match(ends, [{ code: 'refused', reason: /rooms\/7/ }])
      await t.rejects(client.publish('sessions/s', { type: 'not a type' }), { code: 'badFrame' })
      await until('the other one is live', () => other.live)
    })

    t.test('shows a session to its end, and stays quiet after it', async (t) => {
      const { hub, client, proxy } = await setUp(t, options)
      const subscription = client.subscribe({ topic: 'sessions/s' })
      await until('it is live', () => subscription.live)
      hub.publish('sessions/s', [{ type: 'a' }])
      hub.endSession('s', 'done')
      const types: string[] = []
      for await (const { type } of subscription) {
        types.push(type)
        if (type === 'complete') break
      }
      t.same(types, ['a', 'complete'])
      const late = client.subscribe({ topic: 'sessions/s', replay: 'all' })
      const again: string[] = []
      for await (const { type } of late) {
        again.push(type)
        if (type === 'complete') break
      }
      t.same(again, ['a', 'complete'])
      t.equal(client.status.kind, 'open')
      t.ok(proxy.accepted < 10, 'does not come back again and again')
      t.match(await client.publish('sessions/t', { type: 'b' }), { first: 1 }, 'can still publish')
    })

    t.test('survives a restart of the server, and resumes', async (t) => {
      const { hub, server } = await served(t, { serve: { port: await freePort() } })
      const client = connect(server.url, { backoff: { firstMs: 4, mostMs: 20 }, ...options })
      t.teardown(() => client.close())
      const statuses: Status[] = []
      client.onStatus((status) => statuses.push(status))
      const seen: JsonValue[] = []
      const subscription = client.subscribe(
        { topic: 'sessions/s' },
        { onEvent: ({ data }) => seen.push(data) },
      )
      await until('it is live', () => subscription.live)
      hub.publish('sessions/s', [{ type: 'a', data: 1 }])
      await until('the first has come', () => seen.length === 1)
      await server.close()
      hub.publish('sessions/s', [{ type: 'a', data: 2 }])
      const next = await serve(hub, { port: server.port })
      t.teardown(() => next.close())
      await until('the second has come', () => seen.length === 2)
      t.same(seen, [1, 2])
      t.ok(statuses.some((status) => status.kind === 'waiting' && status.code === 4000))
    })
  })
}

t.test('auto', async (t) => {
  t.test('falls back to SSE where WebSockets are blocked', async (t) => {
    /** What a proxy that knows no WebSocket looks like. */
    class Blocked extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url.replace('/api/ws', '/healthz'), protocols)
      }
    }
    const { hub, client } = await setUp(t, { WebSocket: Blocked })
    const seen: string[] = []
    const subscription = client.subscribe({ topic: 'sessions/s' }, { onEvent: ({ type }) => seen.push(type) })
    await until('it is live', () => subscription.live)
    const { status } = client
    assert(status.kind === 'open')
    t.equal(status.transport, 'sse')
    hub.publish('sessions/s', [{ type: 'a' }])
    await until('the event has come', () => seen.length === 1)
  })

  t.test('takes a WebSocket where there is one', async (t) => {
    const { client } = await setUp(t, { WebSocket: Socket })
    await reach(client, 'open')
    t.match(client.status, { transport: 'websocket' })
  })
})

t.test('the example of the guide runs as written', async (t) => {
  const { url } = await served(t)
  const guide = readFileSync(new URL('../../docs/guide/client.md', import.meta.url), 'utf8')
  const example = /```ts\n(.+?)```/s.exec(guide)?.[1]
  assert(example !== undefined, 'expected an example in docs/guide/client.md')
  const client = new URL('../../src/client.ts', import.meta.url).href
  const file = join(t.testdir(), 'example.ts')
  writeFileSync(file, example.replace('runcast/client', client).replace('http://127.0.0.1:4600', url))
  const { stdout, stderr } = await run(process.execPath, ['--import', 'tsx', file], { timeout: 20_000 })
  t.equal(stdout, 'lint: all is well\n')
  t.equal(stderr, '')
})
