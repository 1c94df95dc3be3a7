import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Packr } from 'msgpackr'
import t, { type Test } from 'tap'
import { type Client, connect } from '../../src/client/client.js'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { type Clock, systemClock } from '../../src/lib/clock.js'
import { systemRandom } from '../../src/lib/random.js'
import { MemoryLog } from '../../src/log/memory-log.js'
import type { MaskingMode } from '../../src/mask/masking.js'
import { serve } from '../../src/server/serve.js'
import { openStore } from '../../src/store/open.js'
import { type MadeUp, randomOf, secretsOf } from '../kit/secrets.js'
import { until } from '../kit/wait.js'

/** Everything of a hub that can be read, as text: each door, the log, the metrics, and the bytes of the store's files. */
interface Read {
  readonly places: ReadonlyMap<string, string>
  readonly masked: number
}

const sessions = 20

/** Seeds of secrets, 74 each. For a thousand: RUNCAST_SECRETS=14 node --import tsx test/integration/secrets.test.ts */
const seeds = Number(process.env['RUNCAST_SECRETS'] ?? 2)

/** Publishes secrets by every door, cut at random, and reads everything that can be read. */
async function published(t: Test, made: readonly MadeUp[], mode: MaskingMode): Promise<Read> {
  const directory = mkdtempSync(join(tmpdir(), 'runcast-secrets-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const logged: string[] = []
  const line = (fields: object, message: string) => void logged.push(JSON.stringify({ ...fields, message }))
  const store = await openStore({ directory })
  // A busy machine is no pause in a text: 200 ms less what it took to get here.
  const clock: Clock = {
    ...systemClock,
    after: (ms, task) => systemClock.after(ms > 100 && ms <= 200 ? 60_000 : ms, task),
  }
  const hub = createHub({
    store,
    clock,
    masking: { mode },
    limits: { requestRateMax: 1e6, requestBurstMax: 1e6 },
  })
  const log = { debug: line, info: line, warn: line, error: line }
  const places = new Map<string, string>()
  const hook = await webhook(t, (body) => places.set('webhook', `${places.get('webhook') ?? ''}${body}`))
  const webhooks = [
    { url: hook, secret: 'a secret of the tests', on: ['failed', 'ended'], allow: ['127.0.0.1'] },
  ] as const
  const server = await serve(hub, { port: 0, log, webhooks })
  const clients = (['json', 'msgpack'] as const).map((codec) => connect(server.url, { codec }))
  for (const [index, client] of clients.entries()) watch(client, index, places)
  const doors = { hub, url: server.url, clients }
  const random = randomOf(99)
  for (const [index, one] of made.entries()) await publish(doors, one, index, random)
  for (let number = 0; number < sessions; number++) {
    const path = `${server.url}/api/sessions/s${number}`
    const ended = await fetch(`${path}/end`, { method: 'POST', body: '{}', headers: json })
    t.equal(ended.status, 200)
    for (const what of [
      '',
      '/state',
      '/history?limit=500',
      '/history?limit=500&dialect=task-log',
      '/export?format=ndjson',
      '/export?format=text',
      '/events?all=1&replay=all&slices=*',
    ]) {
      places.set(`s${number}${what}`, await (await fetch(`${path}${what}`)).text())
    }
  }
  await until('the watchers have the end', () => ended(places) === 2 * sessions)
  for (const client of clients) client.close()
  for (let number = 0; number < sessions; number++) {
    const stream = `${server.url}/v1/stream/sessions/s${number}?offset=-1`
    places.set(`stream s${number}`, await (await fetch(stream)).text())
  }
  places.set('list', await (await fetch(`${server.url}/api/sessions`)).text())
  places.set('metrics', await (await fetch(`${server.url}/metrics`)).text())
  const masked = [...hub.stats().masked.values()].reduce((sum, count) => sum + count, 0)
  await server.close({ graceMs: 1_000 })
  await hub.closeStore()
  places.set('log', logged.join('\n'))
  for (const file of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const path = join(directory, file)
    if (statSync(path).isFile()) places.set(`file ${file}`, readFileSync(path, 'latin1'))
  }
  return { places, masked }
}

const json = { 'content-type': 'application/json' }
const packr = new Packr({ useRecords: false })

interface Doors {
  readonly hub: Hub
  readonly url: string
  /** Over WebSocket, one of each codec. */
  readonly clients: readonly Client[]
}

/** Follows everything of every session. */
function watch(client: Client, index: number, places: Map<string, string>): void {
  for (let number = 0; number < sessions; number++) {
    const place = `watcher ${index} of s${number}`
    places.set(place, '')
    client.subscribe(
      { topic: `sessions/s${number}/**`, slices: ['*'] },
      {
        onEvent: (event) => void places.set(place, `${places.get(place) ?? ''}${JSON.stringify(event)}`),
        onState: (state) => void places.set(place, `${places.get(place) ?? ''}${JSON.stringify(state)}`),
      },
    )
  }
}

/** @returns the number of watchers that have the end of their session */
function ended(places: ReadonlyMap<string, string>): number {
  return [...places].filter(([place, text]) => place.startsWith('watcher') && text.includes('"complete"'))
    .length
}

/** @returns the URL of a receiver of webhooks */
async function webhook(t: Test, got: (body: string) => void): Promise<string> {
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (piece: string) => (body += piece))
    request.on('end', () => {
      got(body)
      response.writeHead(204).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`
}

async function publish(
  { hub, url, clients }: Doors,
  { text }: MadeUp,
  index: number,
  random: () => number,
): Promise<void> {
  const session = `s${index % sessions}`
  const path = `${url}/api/sessions/${session}/workers/w${index}`
  const whole = `Here it is: ${text}\nThat is all.\n`
  const pieces = cut(whole, random)
  const post = async (to: string, type: string, body: string | Uint8Array): Promise<void> => {
    const answer = await fetch(to, { method: 'POST', body, headers: { 'content-type': type } })
    if (answer.status !== 200) throw new Error(`${answer.status} ${await answer.text()}`)
  }
  switch (index % 13) {
    case 0: {
      const lines = pieces.map((content) => JSON.stringify({ type: 'llm_text_delta', data: { content } }))
      return post(`${path}/events`, 'application/x-ndjson', lines.join('\n'))
    }
    case 1:
      for (const delta of pieces) {
        await post(
          `${path}/events`,
          'application/json',
          JSON.stringify({ type: 'data-text-delta', data: { delta, id: 't' } }),
        )
      }
      return
    case 2:
      return post(
        `${path}/events`,
        'application/msgpack',
        packr.pack([{ type: 'step', data: { deep: [{ text: whole }] } }]),
      )
    case 3: {
      const put = (method: string, body: string, type = 'application/json') =>
        fetch(`${path}/state/env`, {
          method,
          body,
          headers: { 'content-type': type, 'x-cause': cause(text) },
        })
      await put('PUT', JSON.stringify({ n: index }))
      const patch = [{ op: 'add', path: '/found', value: whole }]
      await put('PATCH', JSON.stringify(patch), 'application/json-patch+json')
      return
    }
    case 4: {
      const worker = hub.session(session).worker(`w${index}`)
      for (const piece of pieces)
        worker.publish({ type: 'process.output', data: { stream: 'stdout', text: piece } })
      worker.publish({ type: 'process.exited', data: { code: 1, error: whole } })
      return
    }
    case 5:
      return post(`${path}/events?from=anthropic`, 'application/x-ndjson', recorded(pieces))
    case 6:
      await fetch(`${url}/api/sessions/${session}`, {
        method: 'PUT',
        body: JSON.stringify({ metadata: { title: whole, labels: { index: text } } }),
        headers: json,
      })
      return
    case 7:
    case 8: {
      const client = clients[index % 2] as Client
      const topic = `sessions/${session}/workers/w${index}`
      for (const content of pieces) await client.publish(topic, { type: 'llm_text_delta', data: { content } })
      await client.setState(topic, 'found', { deep: [whole] }, { type: 'x', payload: text })
      return
    }
    case 9: {
      const bus = pieces.map((content) => ({ type: 'client_output_delta', data: { content } }))
      return post(`${path}/events?dialect=session-bus`, 'application/json', JSON.stringify(bus))
    }
    case 10: {
      const attributes = [{ key: 'gen_ai.tool.call.arguments', value: { stringValue: whole } }]
      const span = { name: 'execute_tool run', traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) }
      const times = { startTimeUnixNano: '1764500000000000000', endTimeUnixNano: '1764500000000000001' }
      const status = { code: 2, message: whole }
      const spans = [{ ...span, ...times, attributes, status }]
      const body = { resourceSpans: [{ resource: { attributes: [] }, scopeSpans: [{ scope: {}, spans }] }] }
      return post(`${url}/v1/traces?session=${session}`, 'application/json', JSON.stringify(body))
    }
    case 11: {
      const command = { type: 'command.input', data: { text: whole, reason: text } }
      hub.createSession(session)
      return post(`${url}/api/sessions/${session}/events`, 'application/json', JSON.stringify(command))
    }
    default:
      for (const name of ['tool_call_started', 'execution_failed']) {
        const data = { tool: 'run', input: { command: whole }, error: text }
        hub.session(session).worker(`w${index}`).publish({ type: name, data })
      }
  }
}

/** A cause in a header, which holds ASCII without line ends. */
function cause(text: string): string {
  return JSON.stringify({ type: 'found', payload: text })
}

function cut(text: string, random: () => number): string[] {
  const pieces: string[] = []
  for (let at = 0; at < text.length; ) {
    const length = 1 + Math.floor(random() * 24)
    pieces.push(text.slice(at, at + length))
    at += length
  }
  return pieces
}

/** An answer of a model as its API streams it. */
function recorded(pieces: readonly string[]): string {
  const message = { id: 'msg_1', type: 'message', role: 'assistant', content: [], model: 'm' }
  const usage = { input_tokens: 12, output_tokens: 30 }
  return [
    { type: 'message_start', message: { ...message, usage } },
    { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
    { type: 'ping' },
    ...pieces.map((text) => ({
      type: 'content_block_delta',
      index: 0,
      delta: { type: 'text_delta', text },
    })),
    { type: 'content_block_stop', index: 0 },
    { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage },
    { type: 'message_stop' },
  ]
    .map((line) => JSON.stringify(line))
    .join('\n')
}

/** Parts of a secret that are long enough to be found by nothing else, and no beginning that all of its kind have. */
function partsOf({ secret }: MadeUp): string[] {
  const third = Math.floor(secret.length / 3)
  return [secret.slice(third, third + 8), secret.slice(-8)]
}

t.test('made-up secrets that are published by every door are in no place that can be read', async (t) => {
  t.setTimeout(60_000 + 60_000 * seeds)
  const made = Array.from({ length: seeds }, (_, seed) => secretsOf(randomOf(seed + 1))).flat()
  t.ok(made.length >= 70 * seeds, `${made.length} secrets`)
  const { places, masked } = await published(t, made, 'shapes')
  t.ok(masked >= made.length, `${masked} were masked`)
  for (const [place, text] of places) {
    const leaked = made.filter((one) => partsOf(one).some((part) => text.includes(part)))
    t.same(leaked, [], `${place} (${text.length} bytes)`)
  }
})

t.test('without masking the same look finds them, in the store too', async (t) => {
  const made = secretsOf(randomOf(1))
  const { places } = await published(t, made, 'off')
  const found = (text: string) =>
    made.filter((one) => partsOf(one).some((part) => text.includes(part))).length
  const read = [...places].filter(([name]) => !name.startsWith('file ')).map(([, text]) => text)
  const stored = [...places].filter(([name]) => name.startsWith('file ')).map(([, text]) => text)
  // Those that were cut stand in pieces there.
  t.ok(found(read.join('')) > made.length / 2, `${found(read.join(''))} of ${made.length} at the doors`)
  t.ok(
    found(stored.join('')) > made.length / 4,
    `${found(stored.join(''))} of ${made.length} in the store's files`,
  )
})

t.test('over a shared log a secret within one event is in no batch and at no hub', async (t) => {
  const log = new MemoryLog(systemClock, systemRandom)
  const hubs = [0, 1].map(() => createHub({ log: log.link() })) as [Hub, Hub]
  t.teardown(() => Promise.all(hubs.map((hub) => hub.closeStore())))
  const made = secretsOf(randomOf(5))
  const [first, second] = hubs
  for (const [index, { text }] of made.entries()) {
    const topic = `sessions/s/workers/w${index}`
    const whole = `Here it is: ${text}\n`
    await first.submit(topic, [
      { type: 'step', data: { deep: [whole], [text.slice(0, 500)]: 1 } },
      { type: 'llm_text_delta', data: { content: whole } },
    ])
    await first.submitState(topic, 'found', { value: { whole } }, { cause: { type: 'x', payload: text } })
    await first.submitState(topic, 'found', { patch: [{ op: 'add', path: '/more', value: whole }] })
    await first.submitSession('s', { metadata: { title: whole } })
  }
  await first.submitEnd(
    's',
    made.map(({ text }) => text),
    { result: 'failed', reason: made[0]?.text ?? '' },
  )
  await second.catchUp('sessions/s/**')
  const lanes = [...log.image().sessions.values()].flatMap(({ batches, checkpoint }) => [
    checkpoint?.bytes,
    ...batches.flatMap(({ critical, droppable }) => [critical, droppable]),
  ])
  const places = {
    log: Buffer.concat(lanes.map((bytes) => bytes ?? Buffer.alloc(0))).toString('latin1'),
    lists: JSON.stringify(await second.listSessions('', 10)),
    history: JSON.stringify(second.history('sessions/s/**')),
    state: JSON.stringify([
      second.state('sessions/s'),
      made.map((_, at) => second.state(`sessions/s/workers/w${at}`)),
    ]),
    session: JSON.stringify(second.find('s')),
  }
  for (const [place, text] of Object.entries(places)) {
    t.match(text, /\[secret:/)
    const leaked = made.filter((one) => partsOf(one).some((part) => text.includes(part)))
    t.same(leaked, [], `${place} (${text.length} bytes)`)
  }
})
