import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { type Client, type ConnectOptions, connect, type SocketClass } from '../../src/client.js'
import type { Hub } from '../../src/hub/hub.js'
import { clientSuite, runOn, ways } from '../conformance/client.js'
import { farHub } from '../kit/far-hub.js'
import { served } from '../kit/served.js'
import { typescript } from '../kit/typescript.js'
import { until } from '../kit/wait.js'

const Socket: SocketClass = WebSocket
const run = promisify(execFile)
const seed = Number(process.env.SEED ?? 20_251)

for (const [way, options] of Object.entries(ways)) {
  t.test(way, async (t) => {
    t.comment(`SEED=${seed}`)
    for (const name of Object.keys(clientSuite)) {
      t.test(name, async (t) => {
        const { url, far } = await farHub(t)
        await t.resolves(runOn(name, { url, seed, cuts: 100, WebSocket: Socket, ...options }, far))
      })
    }
  })
}

/** A client of a hub of its own; both are closed at the end. */
async function setUp(t: Test, options: ConnectOptions): Promise<{ hub: Hub; client: Client }> {
  const { hub, url } = await served(t)
  const client = connect(url, options)
  t.teardown(() => client.close())
  return { hub, client }
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
    await until('it is open', () => client.status.kind === 'open')
    t.match(client.status, { transport: 'websocket' })
  })
})

t.test('the examples of the guide and the README run as written', async (t) => {
  const { hub, url } = await served(t)
  hub.publish('sessions/demo/workers/lint', [
    { type: 'process.output', data: { stream: 'stdout', text: 'all is well\n' } },
  ])
  hub.endSession('demo', 'done')
  const client = new URL('../../src/client.ts', import.meta.url).href
  for (const [page, shown] of [
    ['docs/guide/client.md', 'lint: all is well\n'],
    ['README.md', 'lint all is well\n'],
    ['packages/client/README.md', 'lint all is well\n'],
  ] as const) {
    const text = readFileSync(new URL(`../../${page}`, import.meta.url), 'utf8')
    const example = /```ts\n(.+?)```/s.exec(text)?.[1]
    assert(example !== undefined, `expected an example in ${page}`)
    const file = join(t.testdir(), 'example.ts')
    writeFileSync(file, example.replace(/@?runcast\/client/, client).replace('http://127.0.0.1:4600', url))
    const { stdout, stderr } = await run(process.execPath, [...typescript, file], { timeout: 20_000 })
    t.equal(stdout, shown)
    t.equal(stderr, '')
  }
})
