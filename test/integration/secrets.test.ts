import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Packr } from 'msgpackr'
import t, { type Test } from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import { type Clock, systemClock } from '../../src/lib/clock.js'
import type { JsonObject } from '../../src/lib/json.js'
import type { MaskingMode } from '../../src/mask/masking.js'
import { serve } from '../../src/server/serve.js'
import { openStore } from '../../src/store/open.js'
import { type MadeUp, randomOf, secretsOf } from '../kit/secrets.js'

const trace = new URL('../../../shared/traces/anthropic-text.ndjson', import.meta.url)

/** Everything of a hub that can be read, as text: each door, the log, the metrics, and the bytes of the store's files. */
interface Read {
  readonly places: ReadonlyMap<string, string>
  readonly masked: number
}

const sessions = 20

/** Publishes secrets by every door, cut at random, and reads everything that can be read. */
async function published(t: Test, made: readonly MadeUp[], mode: MaskingMode): Promise<Read> {
  const directory = mkdtempSync(join(tmpdir(), 'runcast-secrets-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const logged: string[] = []
  const line = (fields: object, message: string) => void logged.push(JSON.stringify({ ...fields, message }))
  const store = await openStore({ directory })
  // A busy machine is no pause in a text.
  const clock: Clock = {
    ...systemClock,
    after: (ms, task) => systemClock.after(ms === 200 ? 60_000 : ms, task),
  }
  const hub = createHub({
    store,
    clock,
    masking: { mode },
    limits: { requestRateMax: 1e6, requestBurstMax: 1e6 },
  })
  const log = { debug: line, info: line, warn: line, error: line }
  const server = await serve(hub, { port: 0, log })
  const random = randomOf(99)
  for (const [index, one] of made.entries()) await publish(hub, server.url, one, index, random)
  const places = new Map<string, string>()
  for (let number = 0; number < sessions; number++) {
    const path = `${server.url}/api/sessions/s${number}`
    const ended = await fetch(`${path}/end`, { method: 'POST', body: '{}', headers: json })
    t.equal(ended.status, 200)
    for (const what of [
      '',
      '/state',
      '/export?format=ndjson',
      '/export?format=text',
      '/events?all=1&replay=all&slices=*',
    ]) {
      places.set(`s${number}${what}`, await (await fetch(`${path}${what}`)).text())
    }
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

async function publish(
  hub: Hub,
  url: string,
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
  switch (index % 8) {
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

/** A recorded answer of a model, with other text. */
function recorded(pieces: readonly string[]): string {
  const lines = readFileSync(trace, 'utf8').trimEnd().split('\n')
  const isDelta = (line: string): boolean => line.includes('"text_delta"')
  const first = lines.findIndex(isDelta)
  const delta = JSON.parse(lines[first] as string) as JsonObject
  const others = pieces.map((text) => JSON.stringify({ ...delta, delta: { type: 'text_delta', text } }))
  return [...lines.slice(0, first), ...others, ...lines.slice(first).filter((line) => !isDelta(line))].join(
    '\n',
  )
}

/** Parts of a secret that are long enough to be found by nothing else, and no beginning that all of its kind have. */
function partsOf({ secret }: MadeUp): string[] {
  const third = Math.floor(secret.length / 3)
  return [secret.slice(third, third + 8), secret.slice(-8)]
}

t.test('a thousand made-up secrets, published by every door, are in no place that can be read', async (t) => {
  if (!existsSync(trace)) return t.pass('the recorded streams are not here', { skip: true })
  const made = Array.from({ length: 14 }, (_, seed) => secretsOf(randomOf(seed + 1))).flat()
  t.ok(made.length >= 1_000, `${made.length} secrets`)
  const { places, masked } = await published(t, made, 'shapes')
  t.ok(masked >= made.length, `${masked} were masked`)
  for (const [place, text] of places) {
    const leaked = made.filter((one) => partsOf(one).some((part) => text.includes(part)))
    t.same(leaked, [], `${place} (${text.length} bytes)`)
  }
})

t.test('without masking the same look finds them, in the store too', async (t) => {
  if (!existsSync(trace)) return t.pass('the recorded streams are not here', { skip: true })
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
