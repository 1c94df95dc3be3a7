import type { Browser } from 'playwright-core'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { signToken } from '../../src/index.js'
import { complaintsOf, launch, skip as noBrowser } from '../kit/chromium.js'
import { dial, openStream } from '../kit/served.js'
import { secret } from '../kit/tokens.js'
import { type App, examples, installRuncast, missing, start } from './apps.js'

const guide = examples()
const ownUpgrade = ['--import', new URL('own-upgrade.mjs', import.meta.url).href]

function example(name: string): string {
  const text = guide.get(name)
  if (text === undefined) throw new Error(`the guide has no example ${name}`)
  return text
}

/** The files that an example has beside its own. */
function withHub(name: string): Record<string, string> {
  return { 'live.mjs': example('live.mjs'), [name]: example(name) }
}

async function signIn({ origin }: App): Promise<string> {
  const answer = await fetch(`${origin}/login`, { method: 'POST' })
  return answer.headers.get('set-cookie')?.split(';', 1)[0] ?? ''
}

/** The session of the README, through whatever server the hub is in. */
async function expectHttp(t: Test, app: App): Promise<string> {
  const url = `${app.origin}/live`
  t.equal(await (await fetch(`${app.origin}/hello`)).text(), 'hello', 'its own route')
  const cookie = await signIn(app)
  const publish = async (
    headers: Record<string, string>,
    session = 'ann',
    body = '{"type":"goal_progress","data":{"done":0.5}}',
  ) => {
    const type = 'application/json'
    const asked = { method: 'POST', body, headers: { 'content-type': type, ...headers } }
    return fetch(`${url}/api/sessions/${session}/events`, asked)
  }
  t.equal((await publish({})).status, 401, 'nobody')
  t.equal((await publish({ cookie: 'sid=made-up' })).status, 401, 'somebody made up')
  t.equal((await publish({ cookie }, 'bob')).status, 403, 'not hers')
  t.equal((await publish({ cookie, origin: 'https://evil.example' })).status, 403, 'another page')
  t.equal((await publish({ cookie, 'sec-fetch-site': 'cross-site' })).status, 401, 'an image of another page')
  const token = await signToken({ publish: ['sessions/agent/**'] }, secret)
  t.equal((await publish({ authorization: `Bearer ${token}` }, 'agent')).status, 200, 'an agent')

  const stream = await openStream(t, `${url}/api/sessions/ann/events?all=1`, { cookie })
  t.match(stream.response.headers.get('content-type'), /^text\/event-stream/)
  await stream.until(({ event }) => event === 'hub.live')
  const answer = await publish({ cookie, origin: app.origin })
  t.match(await answer.json(), { accepted: 1 })
  t.match(await stream.until(({ event }) => event === 'goal_progress'), { data: /"done":0\.5/ })
  const lines = Array.from(
    { length: 2_000 },
    (_, n) => `{"type":"step","data":{"n":${n},"text":"${'x'.repeat(400)}"}}\n`,
  )
  const many = await fetch(`${url}/api/sessions/ann/events`, {
    method: 'POST',
    body: lines.join(''),
    headers: { 'content-type': 'application/x-ndjson', cookie },
  })
  t.match(await many.json(), { accepted: 2_000 }, 'a body of 0.9 MB')
  const came: number[] = []
  while (came.length < lines.length) {
    const { data = '' } = await stream.until(({ event }) => event === 'step')
    came.push(JSON.parse(data).data.n)
  }
  t.same(came, [...lines.keys()], 'all of them, in their order')
  const set = {
    method: 'PUT',
    body: '{"goal":"release"}',
    headers: { 'content-type': 'application/json', cookie },
  }
  t.equal((await fetch(`${url}/api/sessions/ann/state/plan`, set)).status, 200)
  t.equal((await fetch(`${url}/api/sessions/ann`, { method: 'HEAD', headers: { cookie } })).status, 200)
  t.match(await (await fetch(`${url}/api/nothing`, { headers: { cookie } })).json(), {
    type: 'urn:runcast:notFound',
  })
  return cookie
}

async function expectSockets(t: Test, { origin }: App, cookie: string): Promise<void> {
  const client = await dial(t, `${origin}/live`, ['runcast.v1.json'], { cookie })
  client.send({ type: 'subscribe', sub: 1, topic: 'sessions/ann/**', types: ['tool_*'] })
  await client.expect('live')
  client.send({
    type: 'publish',
    ref: 1,
    topic: 'sessions/ann/workers/lint',
    events: [{ type: 'tool_call_started' }],
  })
  t.match(await client.expect('published'), { ref: 1 })
  t.match(await client.expect('events'), { events: [{ type: 'tool_call_started', worker: 'lint' }] })
  client.send({ type: 'publish', ref: 2, topic: 'sessions/bob', events: [{ type: 'a' }] })
  t.match(await client.expect('error'), { ref: 2, code: 'forbidden' })
  t.match(await (await dial(t, `${origin}/live`)).closed, { code: 4501 })
  await t.rejects(
    dial(t, `${origin}/live`, ['runcast.v1.json'], { cookie, origin: 'https://evil.example' }),
    /403/,
  )
  const chat = new WebSocket(`${origin.replace('http', 'ws')}/chat`)
  t.teardown(() => chat.terminate())
  const said = await new Promise((resolve, reject) => {
    chat.on('message', (data: Buffer) => resolve(data.toString()))
    chat.on('error', reject)
  })
  t.equal(said, 'from the application', 'a WebSocket of its own')
  chat.terminate()
}

let browser: Browser | undefined

async function expectPage(
  t: Test,
  { origin }: App,
  cookie: string,
  transport: 'WebSocket' | 'SSE',
): Promise<void> {
  const toPage = await fetch(`${origin}/live`)
  t.equal(toPage.url, `${origin}/live/`)
  t.match(await toPage.text(), /src="panels\/main-\w+\.js"/)
  if (browser === undefined) return
  const context = await browser.newContext({ viewport: { width: 1200, height: 900 } })
  const [name = '', value = ''] = cookie.split('=')
  await context.addCookies([{ name, value, url: origin }])
  const page = await context.newPage()
  const complaints = complaintsOf(page)
  const connected = async (): Promise<void> => {
    const waited = page.getByText(`Connected · ${transport}`).waitFor()
    await waited.catch(async (error: unknown) => {
      throw new Error(`${String(error)}\n${await page.locator('body').innerText()}\n${complaints.join('\n')}`)
    })
  }
  await page.goto(`${origin}/live`)
  await connected()
  await page.getByRole('link', { name: /ann/ }).click()
  await page.locator('[data-panel=lint]').or(page.getByText('release')).first().waitFor()
  t.equal(page.url(), `${origin}/live/s/ann`)
  await page.reload()
  await connected()
  await page.getByRole('link', { name: 'Runcast' }).click()
  await page.getByText('What runs, as it runs').waitFor()
  t.equal(page.url(), `${origin}/live/`)
  await context.close()
  const refusedSocket = (text: string) => transport === 'SSE' && /WebSocket|ERR_/.test(text)
  t.same(
    complaints.filter((text) => !refusedSocket(text)),
    [],
  )
}

/** Who is there is told, and the process ends well. */
async function expectEnd(t: Test, app: App, cookie: string): Promise<void> {
  const stream = await openStream(t, `${app.origin}/live/api/sessions/ann/events`, { cookie })
  await stream.until(({ event }) => event === 'hub.live')
  const ended = app.end()
  t.match(await stream.until(({ event }) => event === 'hub.close'), { data: /4000/ })
  t.equal(await ended, 0, app.output())
}

async function expectAll(t: Test, app: App): Promise<void> {
  const lost = await fetch(`${app.origin}/api/sessions`)
  t.equal(lost.status, 404)
  t.notMatch(
    lost.headers.get('content-type') ?? '',
    'problem',
    'what is not there is for the application to say',
  )
  const cookie = await expectHttp(t, app)
  await expectSockets(t, app, cookie)
  await expectPage(t, app, cookie, 'WebSocket')
  await expectEnd(t, app, cookie)
}

t.before(async () => {
  if (missing('express') === false) await installRuncast(t)
})

t.test('Chromium for the pages', { skip: noBrowser }, async () => {
  browser = await launch(t)
})

t.test('node:http', { skip: missing('express') }, async (t) => {
  const main = 'node-http.mjs'
  await expectAll(
    t,
    await start(t, { main, files: withHub(main), command: [process.execPath, ...ownUpgrade] }),
  )
})

for (const [name, main] of [
  ['express', 'express.mjs'],
  ['fastify', 'fastify.mjs'],
  ['@hono/node-server', 'hono.mjs'],
] as const) {
  t.test(name, { skip: missing(name) }, async (t) => {
    await expectAll(
      t,
      await start(t, { main, files: withHub(main), command: [process.execPath, ...ownUpgrade] }),
    )
  })
}

t.test('NestJS on Express', { skip: missing('@nestjs/platform-express') }, async (t) => {
  const main = 'nestjs.mjs'
  const files = { ...withHub(main), 'app.module.mjs': nestModule }
  await expectAll(t, await start(t, { main, files, command: [process.execPath, ...ownUpgrade] }))
})

/** One hub, however often Next loads the file, as the guide says. */
const nextHub = example('live.mjs').replaceAll(
  /^((?:export )?const (users|hub|live)) = (.+?)(?=\n\n)/gms,
  '$1 = (globalThis.$2 ??= $3)',
)

const config = 'next.config.mjs'

t.test('Next, from a server of its own', { skip: missing('next') }, async (t) => {
  const main = 'next-server.mjs'
  const files = { ...nextApp, 'live.mjs': nextHub, [config]: example(config), [main]: example(main) }
  await expectAll(t, await start(t, { main, files, command: [process.execPath, ...ownUpgrade] }))
})

t.test('Next, by a route handler: SSE and HTTP', { skip: missing('next') }, async (t) => {
  const route = 'app/live/[[...path]]/route.js'
  const plain = `
import { createServer } from 'node:http'
import next from 'next'
const app = next({ dev: true })
await app.prepare()
createServer(app.getRequestHandler()).listen(process.env.PORT)`
  const files = { ...nextApp, 'live.mjs': nextHub, [route]: example(route), [config]: example(config) }
  const app = await start(t, { main: 'plain.mjs', files: { ...files, 'plain.mjs': plain } })
  const cookie = await expectHttp(t, app)
  await expectPage(t, app, cookie, 'SSE')
})

for (const [name, words] of [
  ['bun', []],
  ['deno', ['run', '-A', '--node-modules-dir=manual']],
] as const) {
  t.test(`${name}: SSE and HTTP`, { skip: missing(name) }, async (t) => {
    const main = `${name}.mjs`
    const program = new URL(`node_modules/.bin/${name}`, import.meta.url).pathname
    const app = await start(t, { main, files: withHub(main), command: [program, ...words] })
    const cookie = await expectHttp(t, app)
    await expectPage(t, app, cookie, 'SSE')
    await expectEnd(t, app, cookie)
  })
}

/** Decorators as plain JavaScript writes them. */
const nestModule = `
import 'reflect-metadata'
import { Controller, Get, Module, Post, Res } from '@nestjs/common'
import { signIn } from './live.mjs'

class AppController {
  hello() { return 'hello' }
  login(res) { res.set('set-cookie', signIn('ann')).end() }
}
const of = (name) => Object.getOwnPropertyDescriptor(AppController.prototype, name)
Controller()(AppController)
Get('hello')(AppController.prototype, 'hello', of('hello'))
Post('login')(AppController.prototype, 'login', of('login'))
Res()(AppController.prototype, 'login', 0)

export class AppModule {}
Module({ controllers: [AppController] })(AppModule)
`

const nextApp = {
  'package.json': '{"private":true,"type":"module"}',
  'app/layout.js': `
export default function Layout({ children }) { return <html lang="en"><body>{children}</body></html> }`,
  'app/page.js': 'export default function Page() { return <p>hello</p> }',
  'app/hello/route.js': "export const GET = () => new Response('hello')",
  'app/login/route.js': `
import { signIn } from '../../live.mjs'
export const POST = () => new Response(null, { headers: { 'set-cookie': signIn('ann') } })`,
}
