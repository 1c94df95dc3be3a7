import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import type { NewEvent } from '../../src/protocol/frames.js'
import { noLog } from '../../src/server/operations/log.js'
import { PermittedAddresses } from '../../src/server/webhooks/addresses.js'
import type { Resolve } from '../../src/server/webhooks/post.js'
import { checkedWebhooks, type WebhookOptions } from '../../src/server/webhooks/webhook-options.js'
import { noWebhookCounts, signature, Webhooks } from '../../src/server/webhooks/webhooks.js'
import { memoryStore } from '../../src/store/memory.js'
import type { Outbox, OutboxEntry, Store } from '../../src/store/store.js'
import { buildCommandLine } from '../cli/command-line.js'
import { SimulatedClock } from '../kit/clock.js'
import { freePort } from '../kit/free-port.js'
import { python, withoutPython } from '../kit/python.js'
import { served } from '../kit/served.js'
import { until } from '../kit/wait.js'

const secret = 'a secret of the tests'
const failure = { type: 'process.exited', data: { code: 3 } }

interface Told {
  readonly id: string
  readonly kind: string
  readonly worker?: string
  readonly type: string
  readonly [field: string]: unknown
}

interface Got {
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly told: Told
}

/** A receiver on loopback. @param answer decides what becomes of each request; 204 unless given */
async function receiver(
  t: Test,
  answer: (response: ServerResponse, count: number) => void = (response) => response.writeHead(204).end(),
  port = 0,
) {
  const got: Got[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (piece: string) => {
      body += piece
    })
    request.on('end', () => {
      got.push({ headers: request.headers, body, told: JSON.parse(body) as Told })
      answer(response, got.length)
    })
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const close = () =>
    new Promise((resolve) => {
      server.close(resolve)
      server.closeAllConnections()
    })
  t.teardown(close)
  return { got, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, close }
}

/** An outbox that outlives the hub; its store is that of memory. */
function outboxStore(kept: Map<number, OutboxEntry['value']>): Store {
  const outbox: Outbox = {
    entries: () => [...kept].map(([key, value]) => ({ key, value })),
    put: (key, value) => void kept.set(key, value),
    remove: (key) => void kept.delete(key),
    flush: () => Promise.resolve(),
  }
  return Object.assign(memoryStore(), { outbox })
}

interface Telling {
  readonly hub?: Hub
  readonly clock?: SimulatedClock
  readonly resolve?: Resolve
}

function telling(t: Test, url: string, more: Partial<WebhookOptions> = {}, parts: Telling = {}) {
  const { clock = new SimulatedClock() } = parts
  const { hub = createHub({ clock }) } = parts
  const counts = noWebhookCounts()
  const given = { url, on: ['failed', 'ended'], secret, allow: ['127.0.0.1'], ...more }
  const { resolve } = parts
  const webhooks = new Webhooks({
    hub,
    webhooks: checkedWebhooks([given]),
    clock,
    log: noLog,
    counts,
    ...(resolve && { resolve }),
  })
  t.teardown(() => webhooks.close())
  return { hub, clock, counts, webhooks }
}

t.test(
  'a failure is told once it is taken, signed anew and otherwise the same in each attempt',
  async (t) => {
    const { got, url } = await receiver(t, (response, count) => {
      if (count === 1) response.writeHead(503).end()
      else if (count === 2) response.socket?.destroy()
      else response.writeHead(200).end('thank you')
    })
    const { hub, clock, counts } = telling(t, url)
    hub.createSession('s', { metadata: { title: 'Nightly' } })
    hub.session('s').worker('w').publish(failure)
    for (const [attempt, waitMs] of [1_250, 2_500].entries()) {
      await until('it has failed', () => counts.attempts.failed === attempt + 1)
      t.equal(counts.waiting, 1)
      clock.advance(waitMs)
    }
    await until('it is taken', () => counts.waiting === 0)
    t.same(counts.attempts, { delivered: 1, failed: 2, refused: 0 })
    t.equal(new Set(got.map(({ body }) => body)).size, 1)
    t.equal(new Set(got.map(({ headers }) => headers['runcast-id'])).size, 1)
    const signatures = got.map(({ headers }) => String(headers['runcast-signature']))
    t.not(signatures[0], signatures[2], 'each names the time of its attempt')
    for (const [index, text] of signatures.entries()) {
      const [, seconds = '', hex = ''] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(text) ?? []
      t.equal(hex, signature(secret, Number(seconds), got[index]?.body ?? ''))
      t.not(hex, signature('another secret of the tests', Number(seconds), got[index]?.body ?? ''))
    }
    const { id, epoch, time, ...told } = got[0]?.told ?? ({} as Told)
    t.match([id, epoch, time], [/.{21}/, /.{12}/, Number])
    t.same(told, {
      kind: 'failed',
      session: 's',
      worker: 'w',
      title: 'Nightly',
      type: 'process.exited',
      offset: 1,
      result: 'failed',
      reason: 'exit 3',
    })
  },
)

t.test('each kind is told to who asks for it, and nothing else is', async (t) => {
  const clock = new SimulatedClock()
  const hub = createHub({ clock, limits: { stalledCallMs: 1_000 } })
  const receivers = new Map<string, Got[]>()
  for (const kind of ['failed', 'ended', 'needs', 'lost', 'stalled', 'command'] as const) {
    const { got, url } = await receiver(t)
    receivers.set(kind, got)
    telling(t, url, { on: [kind] }, { hub, clock })
  }
  const session = hub.session('s')
  const say = (worker: string, event: NewEvent) => void session.worker(worker).publish(event)
  say('good', { type: 'process.started' })
  say('good', { type: 'process.exited', data: { code: 0 } })
  say('bad', failure)
  say('asks', { type: 'data-permission-request', data: { request_id: 'r', tool_name: 'rm' } })
  say('asks', { type: 'data-permission-request', data: { request_id: 'r', tool_name: 'rm' } })
  say('stuck', { type: 'tool_call_started', data: { tool_use_id: '1', tool_name: 'make', tool_input: {} } })
  say('gone', { type: 'process.started' })
  session.worker('gone').lease(1_000)
  hub.publish('sessions/s/workers/good', [{ type: 'command.cancel', id: 'c', data: { reason: 'stop' } }])
  clock.advance(1_000)
  hub.endSession('s', undefined, { result: 'cancelled' })
  const tellings = () =>
    Object.fromEntries(
      [...receivers].map(([kind, got]) => [
        kind,
        got.map(({ told }) => `${told.kind} ${told.worker ?? '-'} ${told.type}`).toSorted(),
      ]),
    )
  await until('all came', () => Object.values(tellings()).flat().length === 9)
  t.strictSame(tellings(), {
    failed: ['failed bad process.exited'],
    ended: [
      'ended - complete',
      'ended good process.exited',
      'failed bad process.exited',
      'lost gone worker.lost',
    ],
    needs: ['needs asks data-permission-request'],
    lost: ['lost gone worker.lost'],
    stalled: ['stalled stuck worker.stalled'],
    command: ['command good command.cancel'],
  })
  const of = (kind: string) => receivers.get(kind)?.[0]?.told
  t.match(of('needs'), { need: { kind: 'permission', key: 'r', text: 'rm' } })
  t.match(of('lost'), { result: 'lost', reason: /lease/ })
  t.match(of('stalled'), { stalled: { why: 'call', tool: 'make' } })
  t.match(of('command'), { command: { id: 'c', text: 'stop', expiresAt: Number } })
})

t.test('a command that an agent follows is told to nobody', async (t) => {
  const { got, url } = await receiver(t)
  const { hub, counts } = telling(t, url, { on: ['command', 'failed'] })
  hub.session('s').worker('w').publish({ type: 'process.started' })
  const commands = hub.subscribe('sessions/s/workers/w', { types: ['command.*'] })
  hub.publish('sessions/s/workers/w', [{ type: 'command.pause' }])
  hub.session('s').worker('w').publish(failure)
  await until('the failure is told', () => counts.waiting === 0)
  t.strictSame(
    got.map(({ told }) => told.kind),
    ['failed'],
  )
  commands.close()
})

t.test('a receiver that does not answer costs ten seconds, and holds up no other', async (t) => {
  const slow = await receiver(t, () => undefined)
  const { hub, clock, counts } = telling(t, slow.url)
  const fast = await receiver(t)
  const other = telling(t, fast.url, {}, { hub, clock })
  for (let n = 0; n < 9; n++)
    hub.session(`s${n}`).publish({ type: 'execution_failed', data: { error: 'no' } })
  await until('the other has all', () => other.counts.attempts.delivered === 9)
  await until('as many as may be are under way', () => slow.got.length === 4)
  t.equal(counts.attempts.failed, 0)
  clock.advance(9_999)
  t.equal(counts.attempts.failed, 0)
  clock.advance(1)
  await until('they have failed, and the next ones are under way', () => slow.got.length === 8)
  t.same([counts.attempts.failed, counts.waiting], [4, 9])
})

t.test('what waits outlives the hub, and a URL that is not there any more', async (t) => {
  const kept = new Map<number, OutboxEntry['value']>()
  const port = await freePort()
  const url = `http://127.0.0.1:${port}/hook`
  const clock = new SimulatedClock()
  const before = telling(t, url, {}, { clock, hub: createHub({ clock, store: outboxStore(kept) }) })
  before.hub.session('s').publish({ type: 'execution_failed', data: { error: 'one' } })
  await until('nobody is there', () => before.counts.attempts.failed === 1)
  before.webhooks.close()
  before.hub.session('s').publish({ type: 'execution_failed', data: { error: 'after the end' } })
  t.equal(kept.size, 1)

  const { got, close } = await receiver(t, undefined, port)
  const hub = () => createHub({ clock, store: outboxStore(kept) })
  const after = telling(t, url, {}, { clock, hub: hub() })
  after.hub.session('s').publish({ type: 'execution_failed', data: { error: 'two' } })
  await until('both came', () => after.counts.attempts.delivered === 2)
  clock.advance(1)
  t.strictSame(
    got.map(({ told }) => told['reason']),
    ['one', 'two'],
  )
  t.equal(kept.size, 0)
  await close()
  after.hub.session('s').publish({ type: 'execution_failed', data: { error: 'three' } })
  await until('nobody is there', () => after.counts.attempts.failed === 1)
  after.webhooks.close()
  const other = telling(t, `${url}/other`, {}, { clock, hub: hub() })
  t.same([other.counts.dropped.gone, other.counts.waiting], [1, 0])
  t.equal(kept.size, 0)
})

t.test('what waits is redacted with its session, with a shared log as well', async (t) => {
  for (const isShared of [false, true]) {
    const clock = new SimulatedClock()
    const { got, url } = await receiver(t, (response, count) =>
      response.writeHead(count === 1 ? 503 : 204).end(),
    )
    const log = isShared ? new MemoryLog(clock, systemRandom).link() : undefined
    const hub = createHub({ clock, masking: { mode: 'off' }, ...(log && { log }) })
    const { counts } = telling(t, url, {}, { clock, hub })
    const error = 'refused correct-horse-battery'
    /** Whatever it waits for under the simulated clock comes. */
    const done = async (promise: Promise<unknown>): Promise<void> => {
      let settled = false
      promise.then(
        () => (settled = true),
        () => (settled = true),
      )
      while (!settled) await clock.pass(1)
      await promise
    }
    await done(hub.submit('sessions/s', [{ type: 'execution_failed', data: { error } }]))
    await until('it has failed', () => counts.attempts.failed === 1)
    await done(hub.redact('s', { values: [{ value: 'correct-horse-battery', kind: 'password' }] }))
    await until('it came', () => {
      clock.advance(1_000)
      return counts.attempts.delivered === 1
    })
    t.strictSame(
      got.map(({ told }) => told['reason']),
      [error, 'refused [secret:password]'],
    )
  }
})

const dayMs = 24 * 60 * 60 * 1_000

t.test('a queue has an end, and so has the time for which it is tried', async (t) => {
  const url = `http://127.0.0.1:${await freePort()}/`
  const { hub, clock, counts } = telling(t, url)
  const fail = (session: string) => hub.session(session).publish({ type: 'execution_failed' })
  fail('old')
  await until('it has failed', () => counts.attempts.failed === 1)
  clock.jump(2 * dayMs)
  clock.advance(1_250)
  await until('it has failed again', () => counts.attempts.failed === 2)
  t.same([counts.waiting, counts.dropped.expired], [1, 0], 'no day has passed, whatever the clock says')
  clock.advance(dayMs)
  await until('it was given up', () => counts.dropped.expired === 1)
  t.equal(counts.waiting, 0)
  const left = { url, id: 'i', body: '{}', at: clock.now() - dayMs - 1 }
  const kept = new Map<number, OutboxEntry['value']>([[1, left]])
  const later = telling(t, url, {}, { clock, hub: createHub({ clock, store: outboxStore(kept) }) })
  await until('what an earlier run left was too old', () => later.counts.dropped.expired === 1)
  for (let n = 0; n < 10_003; n++) fail('s')
  t.same([counts.waiting, counts.dropped.full], [10_000, 3])
})

t.test('only public addresses are connected to, and those that are named', async (t) => {
  const { got, url } = await receiver(t)
  const { port } = new URL(url)
  const answers: string[][] = []
  const resolve: Resolve = (_, found) => {
    const addresses = answers.shift() ?? []
    found(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
  }
  const named = `http://hook.example:${port}/`
  const fail = async (addresses: string[], allow: string[]) => {
    answers.push(addresses)
    const { hub, counts } = telling(t, named, { allow }, { resolve })
    hub.session('s').publish({ type: 'execution_failed' })
    await until('it was tried', () => Object.values(counts.attempts).some((count) => count > 0))
    return Object.entries(counts.attempts).find(([, count]) => count > 0)?.[0]
  }
  t.equal(await fail(['127.0.0.1'], []), 'refused', 'a public name that leads to loopback')
  t.equal(await fail(['10.0.0.1', '::1'], ['127.0.0.1']), 'refused')
  t.equal(await fail([], []), 'refused')
  t.equal(await fail(['93.184.216.34'], []), 'refused', 'plain HTTP to a public address')
  t.equal(got.length, 0)
  t.equal(await fail(['10.0.0.1', '127.0.0.1'], ['127.0.0.0/8']), 'delivered')
  t.equal(got[0]?.headers.host, `hook.example:${port}`)

  const elsewhere = await receiver(t)
  const moved = await receiver(t, (response) => response.writeHead(307, { location: elsewhere.url }).end())
  const { hub, counts } = telling(t, moved.url)
  hub.session('s').publish({ type: 'execution_failed' })
  await until('it was tried', () => counts.attempts.failed === 1)
  t.equal(elsewhere.got.length, 0, 'redirects are not followed')
})

t.test('what is private is told by the registries', async (t) => {
  const none = new PermittedAddresses([], 'allow')
  const refused = [
    '127.0.0.1 127.255.0.9 0.0.0.0 10.9.8.7 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1',
    '198.18.0.1 192.0.2.1 224.0.0.1 240.0.0.1 255.255.255.255 ::1 :: fe80::1 fc00::1 fd12::1 ff02::1 ::ffff:127.0.0.1',
    '::ffff:10.0.0.1 ::ffff:7f00:1 64:ff9b::a00:1 2002:7f00:1:: 2001:db8::1 2001:0:1::1 ::127.0.0.1 5f00::1',
  ]
  for (const address of refused.join(' ').split(' ')) t.type(none.faultOf(address, false), 'string', address)
  for (const address of [
    '93.184.216.34',
    '172.32.0.1',
    '100.128.0.1',
    '2606:2800:220:1::1',
    '::ffff:93.184.216.34',
  ])
    t.equal(none.faultOf(address, false), undefined, address)
  const some = new PermittedAddresses(['10.1.0.0/16', '::1', 'fd00::/8'], 'allow')
  for (const address of ['10.1.2.3', '::1', 'fd12::1', '::ffff:10.1.0.1'])
    t.equal(some.faultOf(address, true), undefined, address)
  for (const address of ['10.2.0.1', '127.0.0.1', 'fe80::1'])
    t.type(some.faultOf(address, false), 'string', address)
})

t.test('what is wrong in the config is named', async (t) => {
  const good = { url: 'https://hook.example/', on: ['failed'], secret }
  t.equal(checkedWebhooks([good]).length, 1)
  const faults: readonly (readonly [unknown, RegExp])[] = [
    [{}, /^webhooks: expected a list/],
    [Array.from({ length: 17 }, (_, n) => ({ ...good, url: `https://h${n}.example/` })), /at most 16/],
    [[1], /^webhooks\[0\]: expected an object/],
    [[good, { ...good, url: 'ftp://x' }], /^webhooks\[1\]\.url: expected an https URL/],
    [[{ ...good, url: 'https://a:b@hook.example/' }], /without name and password/],
    [[{ ...good, url: 'https://192.168.0.1/' }], /name it in "allow"/],
    [[{ ...good, url: 'http://[::1]:1/' }], /name it in "allow"/],
    [[{ ...good, url: 'http://2130706433/' }], /127\.0\.0\.1 is a loopback/],
    [[{ ...good, on: [] }], /^webhooks\[0\]\.on: expected a list of failed, ended/],
    [[{ ...good, on: ['broken'] }], /^webhooks\[0\]\.on/],
    [[{ ...good, secret: 'short' }], /at least 16 characters/],
    [[{ ...good, allow: ['localhost'] }], /^webhooks\[0\]\.allow: expected addresses/],
    [[{ ...good, allow: ['10.0.0.0/33'] }], /^webhooks\[0\]\.allow/],
    [[{ ...good, method: 'GET' }], /^webhooks\[0\]\.method: expected nothing but/],
    [[good, good], /is there twice/],
  ]
  for (const [value, message] of faults) t.throws(() => checkedWebhooks(value), { message }, String(message))
})

t.test('what an acknowledged failure has to tell survives kill -9 of the hub', async (t) => {
  const commandLine = await buildCommandLine()
  t.teardown(() => commandLine.remove())
  const folder = mkdtempSync(join(tmpdir(), 'runcast-webhooks-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const port = await freePort()
  const hook = { url: `http://127.0.0.1:${port}/`, on: ['failed'], secret, allow: ['127.0.0.1'] }
  writeFileSync(join(folder, 'hub.json'), JSON.stringify({ webhooks: [hook] }))
  const hubPort = await freePort()
  const words = ['serve', '--port', String(hubPort), '--data', join(folder, 'data'), '--log-format', 'json']
  const serve = () => commandLine.start([...words, '--config', join(folder, 'hub.json')])
  const url = `http://127.0.0.1:${hubPort}`
  const killed = serve()
  await killed.says('"started"')
  const published = await fetch(`${url}/api/sessions/s/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(failure),
  })
  t.equal(published.status, 200)
  killed.process.kill('SIGKILL')
  await killed.finished
  const { got } = await receiver(t, undefined, port)
  const again = serve()
  await until('it is told', () => got.length > 0)
  t.match(got[0]?.told, { kind: 'failed', session: 's', reason: 'exit 3' })
  await until('it is forgotten', async () =>
    /^runcast_webhook_waiting 0$/m.test(await (await fetch(`${url}/metrics`)).text()),
  )
  const metrics = await (await fetch(`${url}/metrics`)).text()
  t.match(metrics, /^runcast_webhook_attempts_total\{outcome="delivered"\} 1$/m)
  again.process.kill('SIGTERM')
  t.equal((await again.finished).code, 0)
  const last = serve()
  await last.says('"started"')
  t.match(await (await fetch(`${url}/metrics`)).text(), /^runcast_webhook_waiting 0$/m)
  t.equal(got.length, 1)
  last.process.kill('SIGTERM')
  await last.finished
})

const guide = readFileSync(new URL('../../docs/guide/webhooks.md', import.meta.url), 'utf8')
for (const [language, program] of [
  ['js', process.execPath],
  ['python', python],
] as const) {
  const missing = language === 'python' ? withoutPython('http.server') : undefined
  t.test(`the receiver of the guide in ${language} verifies`, { skip: missing ?? false }, async (t) => {
    const [, code = ''] = new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``).exec(guide) ?? []
    const folder = fileURLToPath(new URL(`../../.tap/webhooks-${process.pid}/`, import.meta.url))
    mkdirSync(folder, { recursive: true })
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const file = join(folder, language === 'js' ? 'receiver.mjs' : 'receiver.py')
    writeFileSync(file, code)
    const port = await freePort()
    const env = { ...process.env, PORT: String(port), WEBHOOK_SECRET: secret }
    const child = spawn(program, [file], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => child.kill())
    let said = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    await until('it listens', () => said.includes('ready'))
    const url = `http://127.0.0.1:${port}/`
    const hook = { url, on: ['failed'], secret, allow: ['127.0.0.1'] } as const
    const { hub } = await served(t, { serve: { webhooks: [hook] } })
    hub.session('s').worker('w').publish(failure)
    await until('it is told', () => said.includes('failed s w exit 3'))
    const seconds = Math.floor(Date.now() / 1_000)
    const post = async (t0: number, by: string) => {
      const header = `t=${t0},v1=${signature(by, t0, '{}')}`
      return (await fetch(url, { method: 'POST', headers: { 'runcast-signature': header }, body: '{}' }))
        .status
    }
    t.equal(await post(seconds, 'another secret of the tests'), 400)
    t.equal(await post(seconds - 301, secret), 400)
    t.equal((await fetch(url, { method: 'POST', body: '{}' })).status, 400)
  })
}
