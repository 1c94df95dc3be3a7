import { readFileSync } from 'node:fs'
import { createContext, Script } from 'node:vm'
import { build } from 'esbuild'
import t from 'tap'
import { WebSocket } from 'ws'
import { Proxy } from '../kit/proxy.js'
import { served } from '../kit/served.js'
import { until } from '../kit/wait.js'

/** A signal as it is there: without `reason`, `throwIfAborted` and the static methods. */
class PlainSignal extends EventTarget {
  aborted = false
}

class PlainController {
  readonly signal = new PlainSignal()
  abort(): void {
    this.signal.aborted = true
    this.signal.dispatchEvent(new Event('abort'))
  }
}

/**
 * The globals that `docs/guide/client.md` lists for React Native, by name; the last three are those of packages. `fetch` gives no
 * stream, as there.
 */
const listed: Readonly<Record<string, unknown>> = {
  WebSocket,
  fetch: async (url: URL, { signal, ...init }: RequestInit) => {
    const ended = new AbortController()
    signal?.addEventListener('abort', () => ended.abort())
    const answer = await fetch(url, { ...init, signal: ended.signal })
    const text = await answer.text()
    const { ok, status, headers } = answer
    return {
      ok,
      status,
      headers,
      body: undefined,
      text: async () => text,
      json: async () => JSON.parse(text),
    }
  },
  AbortController: PlainController,
  setTimeout,
  clearTimeout,
  TextEncoder,
  atob,
  TextDecoder,
  URL,
  crypto: { getRandomValues: crypto.getRandomValues.bind(crypto) },
}

/** What the application does there: the part of the surface that needs no stream of `fetch`. */
const application = `
import { connect } from './src/client.ts'
export async function run(url, told) {
  const client = connect(url, { backoff: { firstMs: 10, mostMs: 50 } })
  const topic = 'sessions/phone'
  client.onStatus(({ kind }) => told(kind))
  client.subscribe({ topic, types: ['note'], slices: ['plan'] }, {
    onEvent: ({ type, data }) => told(type === 'note' ? data : type),
    onState: ({ plan }) => plan && told(plan),
  })
  await client.publish(topic, { type: 'note', data: 'ü'.repeat(30) })
  await client.setState(topic, 'plan', { done: 1 })
  const { slices } = await client.getState(topic, ['plan'])
  told(slices.plan)
  const past = []
  for await (const { data } of client.history(topic, { types: ['note'] })) past.push(data)
  told(past.length)
  return {
    end: () => client.end(topic, { result: 'succeeded' }),
    publish: (data) => client.publish(topic, { type: 'note', data }),
    close: () => client.close(),
  }
}`

interface App {
  end(): Promise<void>
  publish(data: string): Promise<void>
  close(): void
}

const { outputFiles } = await build({
  stdin: { contents: application, loader: 'ts', resolveDir: new URL('../..', import.meta.url).pathname },
  bundle: true,
  format: 'iife',
  globalName: 'app',
  platform: 'neutral',
  mainFields: ['module', 'main'],
  target: 'es2022',
  write: false,
})

/** Runs the application where there is nothing but these globals and the language's own. */
function runWith(
  globals: Readonly<Record<string, unknown>>,
  url: string,
  told: (what: unknown) => void,
): Promise<App> {
  const context = createContext({ ...globals })
  new Script(outputFiles[0]?.text ?? '').runInContext(context)
  const { app } = context as { app: { run: (url: string, told: (what: unknown) => void) => Promise<App> } }
  return app.run(url, told)
}

t.test(
  'the client works with the globals that the guide lists for React Native, over cuts too',
  async (t) => {
    const { hub, url } = await served(t)
    const proxy = await Proxy.open(Number(new URL(url).port))
    t.teardown(() => proxy.close())
    const told: unknown[] = []
    const app = await runWith(listed, `http://127.0.0.1:${proxy.port}`, (what) => told.push(what))
    t.teardown(() => app.close())
    proxy.cut()
    await app.publish('after the cut')
    await app.end()
    await until('the end has come', () => told.includes('complete'))
    const texts = told.filter((what) => typeof what === 'string')
    t.strictSame(
      texts.filter((text) => !['connecting', 'waiting', 'open'].includes(text)),
      ['ü'.repeat(30), 'after the cut', 'complete'],
    )
    t.match(
      told.filter((what) => typeof what === 'object'),
      [{ done: 1 }, { done: 1 }],
    )
    t.ok(told.includes(1), 'and has read the past')
    t.equal(hub.find('phone')?.status, 'ended')
  },
)

t.test('the guide lists them', async (t) => {
  const guide = readFileSync(new URL('../../docs/guide/client.md', import.meta.url), 'utf8')
  const section = guide.split(/^## /m).find((text) => text.startsWith('React Native')) ?? ''
  for (const name of Object.keys(listed)) t.match(section, `\`${name}`, name)
})
