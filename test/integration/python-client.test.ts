import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { Proxy } from '../kit/proxy.js'
import { python, withoutPython } from '../kit/python.js'
import { served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'

const script = fileURLToPath(new URL('python-client.py', import.meta.url))
const clients = fileURLToPath(new URL('../../clients/python', import.meta.url))
const skip = withoutPython('httpx') ?? false

/** Starts a scenario. @returns the lines of JSON that it prints, one by one */
function play(t: Test, url: string, scenario: string): () => Promise<unknown> {
  const env = { ...process.env, PYTHONPATH: clients, PYTHONDONTWRITEBYTECODE: '1', SECRET: secret }
  const child = spawn(python, [script, url, scenario], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => void child.kill('SIGKILL'))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return async () => {
    const { value, done } = await lines.next()
    if (done === true) throw new Error(`${scenario} ended without a word`)
    return JSON.parse(value) as unknown
  }
}

t.test(
  'the Python client publishes and follows each event once, over links that are cut',
  { skip },
  async (t) => {
    const { hub, url } = await served(t, {
      hub: { limits: { laneEventsMax: 10_000, historyBytesMax: 2 ** 24 } },
    })
    const proxy = await Proxy.open(Number(new URL(url).port), { cutAfterBytes: 40_000 })
    t.teardown(() => proxy.close())
    const through = `http://127.0.0.1:${proxy.port}`
    const readers = [play(t, through, 'subscribe'), play(t, through, 'subscribe-async')]
    for (const read of readers) t.equal(await read(), 'ready')
    await until('both follow', () => proxy.accepted >= 2)
    const offsets = await play(t, through, 'publish')()
    t.ok(Array.isArray(offsets) && offsets.length === 20)
    const expected = [
      ...Array.from({ length: 2_000 }, (_, n) => ['note', n]),
      ...Array.from({ length: 20 }, (_, n) => ['single', n]),
    ]
    t.equal(hub.stats().published, expected.length + 1, 'the hub has each once, and the end')
    for (const read of readers) t.strictSame(await read(), expected)
    t.ok(proxy.accepted > 6, 'links were cut', { accepted: proxy.accepted })
  },
)

t.test('a subscription that waits is closed from elsewhere', { skip }, async (t) => {
  const { hub, url } = await served(t)
  hub.publish('sessions/closed', [{ type: 'note', data: 1 }])
  await hub.settled()
  for (const scenario of ['closed', 'closed-async']) {
    const next = play(t, url, scenario)
    t.equal(await next(), 1)
    t.strictSame(await next(), [], `${scenario}: the subscription was closed`)
    t.strictSame(await next(), [], `${scenario}: its client was closed`)
    if (scenario === 'closed-async') t.strictSame(await next(), [], 'also one that does not wait')
  }
  await until('nobody follows', () => hub.stats().subscriptions === 0)
})

t.test('the examples of the guide run as they are written', { skip }, async (t) => {
  const { hub, url } = await served(t)
  const guide = readFileSync(new URL('../../docs/guide/python.md', import.meta.url), 'utf8')
  const examples = [...guide.matchAll(/^```python \S+\n(.*?)^```/gms)].map(([, code = '']) => code)
  t.equal(examples.length, 3)
  const env = { ...process.env, PYTHONPATH: clients, PYTHONDONTWRITEBYTECODE: '1' }
  const outputs: string[] = []
  for (const code of examples) {
    const child = spawn(python, ['-c', code.replaceAll('http://127.0.0.1:4600', url)], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => void child.kill('SIGKILL'))
    if (code.includes('agent.commands()')) {
      await until('the agent has begun', () => hub.find('build-43') !== undefined)
      for (const type of ['command.pause', 'command.cancel'])
        hub.publish('sessions/build-43/workers/agent', [{ type }])
    }
    let output = ''
    child.stdout.on('data', (text: Buffer) => (output += text.toString()))
    const status = await new Promise((resolve) => child.on('close', resolve))
    t.equal(status, 0)
    outputs.push(output)
  }
  t.match(
    outputs[1],
    /^None execution_started \{'by': 'ci'\}\nagent client_output_delta \{'content': 'Looking at the tests.'\}\n/,
  )
  t.match(outputs[1], /None complete/)
})

t.test('a Python agent obeys commands once, and holds its lease', { skip }, async (t) => {
  for (const scenario of ['steered', 'steered-async']) {
    const { hub, url } = await served(t)
    const read = play(t, url, scenario)
    t.equal(await read(), 'ready')
    const topic = 'sessions/steered/workers/agent'
    const states = () =>
      Object.values((hub.state(topic, ['$commands']).slices['$commands'] ?? {}) as object).map(
        ({ state, reason }: { state: string; reason?: string }) => [state, reason],
      )
    hub.publish(topic, [{ type: 'command.input', data: { text: 'hello' } }])
    await until('it is answered', () => states()[0]?.[0] === 'refused')
    hub.publish(topic, [{ type: 'command.cancel' }])
    t.strictSame(await read(), [
      ['input', 'hello'],
      ['cancel', null],
    ])
    t.strictSame(states(), [
      ['refused', 'not now'],
      ['applied', undefined],
    ])
    t.equal(hub.find('steered')?.workers[0]?.result, undefined)
  }
})

t.test('the Python client sets state, logs, reads the past, and says what is wrong', { skip }, async (t) => {
  const { url } = await served(t)
  t.strictSame(await play(t, url, 'calls')(), [
    [1, 1, 1],
    { plan: { done: 1, kept: true } },
    {},
    [['error', 'it failed: x', 'ValueError: odd']],
    [{ text: '😀 \u2028 \ufffd' }],
    true,
    ['complete'],
    [
      'ValueError',
      'ValueError',
      'ValueError',
      'HubError',
      'ValueError',
      'ValueError',
      'HubError',
      'HubUnavailable',
    ],
  ])
})

t.test('the Python client begins with the newest events, or at a time', { skip }, async (t) => {
  const { url } = await served(t)
  const next = play(t, url, 'window')
  // The end of the session is one of the newest events.
  for (const expected of [[8, 9], [8, 9], [9]]) t.strictSame(await next(), expected)
  t.strictSame(await play(t, url, 'window-async')(), [9])
})

t.test('the Python client renews its token on the open stream, which is not cut', { skip }, async (t) => {
  // A token that is not replaced ends its stream 4 s after it was made; one that is has 2 s to spare, on a busy machine too.
  const { hub, url } = await served(t, {
    hub: { limits: { tokenSkewMs: 2_000 } },
    serve: { auth: { secrets: [secret] } },
  })
  const readers = [play(t, url, 'renewed'), play(t, url, 'renewed-async')]
  const bothTell = async (expected: object) => {
    for (const read of readers) {
      let line: string
      do line = JSON.stringify(await read())
      while (line !== JSON.stringify(expected))
    }
  }
  await bothTell({ tokens: 4 })
  await until('both follow', () => hub.stats().subscriptions === 2)
  hub.session('renewed').publish({ type: 'note', data: 1 })
  await bothTell({ note: 1 })
  const headers = { authorization: `Bearer ${await mint({ subscribe: ['**'] })}` }
  const metrics = await (await fetch(`${url}/metrics`, { headers })).text()
  t.match(metrics, /^runcast_connections_opened_total\{transport="sse"\} 2$/m, 'one stream for each')
  hub.endSession('renewed')
})

t.test('the Python client tells which kept events were redacted', { skip }, async (t) => {
  const { hub, url } = await served(t)
  hub
    .session('leak')
    .publish(['one', 'correct horse battery', 'three'].map((data) => ({ type: 'note', data })))
  const next = play(t, url, 'redacted')
  t.equal(await next(), 'has all')
  await hub.redact('leak', { values: ['correct horse battery'] })
  t.strictSame(await next(), ['one', 'three'])
  hub.endSession('leak')
})

t.test('the Python client waits as long as the hub asks before it reconnects', { skip }, async (t) => {
  const closing = 'retry: 900\nevent: hub.close\ndata: {"code":4000,"reason":"","retryMs":900}\n\n'
  let requests = 0
  const server = createServer((_, response) => {
    requests++
    if (requests % 3 === 1) response.end(`retry: 700\n\n${closing}`)
    else if (requests % 3 === 2) response.writeHead(429, { 'retry-after': '3' }).end('{}')
    else response.writeHead(204).end()
  })
  t.teardown(() => server.close())
  const { port } = await new Promise<AddressInfo>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server.address() as AddressInfo))
  })
  const read = `
import asyncio, json, sys, runcast, runcast.aio
from runcast import _core
asked = []
_core.Backoff.next = lambda self, asked_s=None: asked.append(asked_s) or 0.0
with runcast.connect(sys.argv[1]) as client:
    list(client.session("s").subscribe())
async def main():
    async with runcast.aio.connect(sys.argv[1]) as client:
        async for _ in client.session("s").subscribe():
            pass
asyncio.run(main())
print(json.dumps(asked))`
  const env = { ...process.env, PYTHONPATH: clients, PYTHONDONTWRITEBYTECODE: '1' }
  const child = spawn(python, ['-c', read, `http://127.0.0.1:${port}`], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => void child.kill('SIGKILL'))
  let output = ''
  for await (const text of child.stdout) output += String(text)
  t.strictSame(JSON.parse(output), [0.9, 3, 0.9, 3])
})

t.test('the Python client passes over what it cannot read, and says it', { skip }, async (t) => {
  const blocks = [
    'not JSON',
    '[1]',
    '{"offset":1}',
    '{"type":"a","offset":null}',
    '{"type":"a","offset":5,"time":1,"data":1}',
  ]
  const bytes = blocks.map((data, index) => `id: e:${index + 1}\ndata: ${data}\n\n`).join('')
  const read = `
import json, sys
from runcast import _core, _sse
following = _core.Following("", types=None, replay="none", everything=False, after="e:0", mode=None)
for block in _sse.Parser().feed(sys.argv[1].encode()):
    for event in following.take(block):
        print(json.dumps([event.type, event.data, following.cursor]))`
  const { status, stdout, stderr } = spawnSync(python, ['-c', read, bytes], {
    env: { ...process.env, PYTHONPATH: clients, PYTHONDONTWRITEBYTECODE: '1' },
    encoding: 'utf8',
  })
  t.equal(status, 0, stderr)
  t.strictSame(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
    [
      ...blocks
        .slice(0, 4)
        .map((text, index) => ['hub.gap', { reason: 'unreadable', text }, `e:${index + 1}`]),
      ['a', 1, 'e:5'],
    ],
  )
})
