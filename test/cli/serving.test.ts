import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { pretty, withoutSecrets } from '../../src/cli/serving/log.js'
import { linksMaxOf } from '../../src/cli/serving/open-files.js'
import { paletteFor } from '../../src/cli/showing/paint.js'
import { dial, loads, openStream } from '../kit/served.js'
import { buildCommandLine, type Running } from './command-line.js'

const commandLine = await buildCommandLine()
t.teardown(() => commandLine.remove())

const folder = mkdtempSync(join(tmpdir(), 'runcast-serving-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

interface Serving {
  readonly url: string
  readonly running: Running
}

async function serve(t: Test, words: readonly string[], env?: NodeJS.ProcessEnv): Promise<Serving> {
  const running = commandLine.start(['serve', '--port', '0', '--log-format', 'json', ...words], env)
  t.teardown(() => running.process.kill('SIGKILL'))
  let errors = ''
  running.process.stderr.on('data', (text: string) => (errors += text))
  await running.says('"started"')
  return { url: /http:\/\/127\.0\.0\.1:\d+/.exec(errors)?.[0] ?? '', running }
}

interface Line {
  readonly level: string
  readonly msg: string
  readonly [field: string]: unknown
}

function linesOf(text: string): Line[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)
}

async function publish(url: string, type: string): Promise<void> {
  const answer = await fetch(`${url}/api/sessions/s/events`, {
    method: 'POST',
    body: JSON.stringify({ type }),
  })
  if (answer.status !== 200) throw new Error(`expected 200, got ${answer.status}`)
}

/** A request that never comes to its end. */
async function stubborn(t: Test, url: string): Promise<void> {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port) })
  t.teardown(() => socket.destroy())
  socket.on('error', () => undefined)
  // uWebSockets.js answers `Expect` at once: then the request is under way.
  socket.write(
    `POST /api/sessions/s/events HTTP/1.1\r\nHost: ${hostname}:${port}\r\nContent-Length: 100\r\n` +
      'Expect: 100-continue\r\n\r\n{',
  )
  await once(socket, 'data')
}

t.test('a process that may open few files has room for each use, says so, or does not start', async (t) => {
  t.strictSame(linksMaxOf({}, undefined), { files: undefined, connectionsMax: 100_000, idleLinksMax: 1_000 })
  t.strictSame(linksMaxOf({}, 20_000), { files: 20_000, connectionsMax: 18_744, idleLinksMax: 1_000 })
  t.strictSame(linksMaxOf({}, 1_024), { files: 1_024, connectionsMax: 576, idleLinksMax: 192 })
  t.strictSame(linksMaxOf({ connectionsMax: 50 }, 256), { files: 256, connectionsMax: 50, idleLinksMax: 48 })
  t.throws(() => linksMaxOf({}, 255), { message: /may open only 255 files, and a hub needs at least 256/ })
  const words = ['serve', '--port', '0', '--store', 'memory', '--log-format', 'json']
  const few = commandLine.start(words, {}, 1_024)
  t.teardown(() => few.process.kill('SIGKILL'))
  await few.says('runcast: at most 576 connections, because the process may open only 1024 files')
  await few.says('"started"')
  few.process.kill('SIGTERM')
  await few.finished
  const { code, stderr } = await commandLine.start(words, {}, 200).finished
  t.equal(code, 1)
  t.match(stderr, /ulimit -n, LimitNOFILE=/)
})

t.test('SIGTERM tells the clients, keeps what was published, and ends with 0', async (t) => {
  const data = join(folder, 'term')
  const first = await serve(t, ['--data', data])
  const socket = await dial(t, first.url)
  socket.send({ type: 'subscribe', sub: 1, topic: 'sessions/s' })
  await socket.expect('live')
  const stream = await openStream(t, `${first.url}/api/sessions/s/events?token=hush`)
  await stream.until(({ event }) => event === 'hub.live')
  await publish(first.url, 'kept')
  first.running.process.kill('SIGTERM')
  t.match(await socket.expect('closing'), { code: 4000 })
  t.match(await socket.closed, { code: 4000 })
  t.match((await stream.rest()).at(-1), { event: 'hub.close', data: /"code":4000/ })
  const { code, stdout, stderr } = await first.running.finished
  t.equal(code, 0)
  t.equal(stdout, '', 'json: nothing but lines, and those on standard error')
  const lines = linesOf(stderr)
  t.match(
    lines.map(({ msg }) => msg),
    ['listening', 'started', 'shutting down', 'closing', 'connection closed', 'connection closed', 'closed'],
  )
  t.notMatch(stderr, /hush/)
  const next = await serve(t, ['--data', data])
  const { offset } = (await (await fetch(`${next.url}/api/sessions/s`)).json()) as { offset: number }
  t.equal(offset, 1, 'the offsets go on without a hole')
  next.running.process.kill('SIGINT')
  const end = await next.running.finished
  t.equal(end.code, 0)
  t.match(linesOf(end.stderr)[1], { msg: 'started', sessions: 1, events: 1, clean: true })
})

t.test('what does not go is cut in time, and a second signal does not wait for it', async (t) => {
  const patient = await serve(t, ['--store', 'memory', '--shutdown-ms', '400'])
  await stubborn(t, patient.url)
  patient.running.process.kill('SIGTERM')
  const { code, stderr } = await patient.running.finished
  t.equal(code, 0)
  t.match(linesOf(stderr).at(-1), { msg: 'closed', connections: 0, requests: 1 })

  const hasty = await serve(t, ['--store', 'memory', '--shutdown-ms', '600000'])
  await stubborn(t, hasty.url)
  hasty.running.process.kill('SIGTERM')
  await hasty.running.says('"closing"')
  hasty.running.process.kill('SIGTERM')
  t.match(await hasty.running.finished, { code: null, signal: 'SIGTERM' })
})

t.test('an error that nobody expected is told, and ends the hub once all is stored', async (t) => {
  const fault = join(folder, 'fault.mjs')
  writeFileSync(
    fault,
    `const token = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.sig'
    process.on('SIGUSR2', () => setImmediate(() => { throw new Error('planted ' + token) }))
    process.on('SIGHUP', () => void Promise.reject(new Error('planted and rejected')))`,
  )
  for (const [signal, text] of [
    ['SIGUSR2', /planted \[token\]/],
    ['SIGHUP', /planted and rejected/],
  ] as const) {
    const data = join(folder, signal)
    const hub = await serve(t, ['--data', data], { NODE_OPTIONS: `--import=${fault}` })
    const socket = await dial(t, hub.url)
    await publish(hub.url, 'kept')
    hub.running.process.kill(signal)
    t.match(await socket.closed, { code: 4000 })
    const { code, stderr } = await hub.running.finished
    if (signal === 'SIGUSR2') t.equal(code, 70)
    t.match(
      linesOf(stderr).find(({ level }) => level === 'error'),
      { msg: /^internal error/, err: { message: text, stack: /fault\.mjs/ } },
    )
    t.match((await commandLine.run(['inspect', data])).stdout, /1 event/)
  }
})

t.test('the log speaks to people or to machines, and keeps secrets', async (t) => {
  const palette = paletteFor(process.stdout, { NO_COLOR: '1' })
  const time = '2026-01-02T03:04:05.678Z'
  const line = { level: 'warn', time, msg: 'odd', url: '/a', reason: 'two words', esc: '\u001b[2J', n: 1 }
  t.equal(
    pretty(JSON.stringify(line), palette),
    `03:04:05.678 warn  odd  url=/a reason="two words" esc="\\u001b[2J" n=1\n`,
  )
  const failed = {
    level: 'error',
    time,
    msg: 'failed',
    err: { message: 'm', stack: 'Error: m\n    at \u001b[2Jx' },
  }
  t.equal(pretty(JSON.stringify(failed), palette), '03:04:05.678 error failed\nError: m\n    at  [2Jx\n')
  for (const [said, told] of [
    ['GET /a?token=abc&x=1', 'GET /a?token=[token]&x=1'],
    ['"/a?x=1&ticket=abc"', '"/a?x=1&ticket=[token]"'],
    ['bearer.eyJhbGciOi.eyJzdWIi.c2ln offered', 'bearer.[token] offered'],
    ['Authorization: Bearer abc.def', 'Authorization: Bearer [token]'],
    ['Unexpected token e, "eyJhbGciOi" is not JSON', 'Unexpected token e, "[token]" is not JSON'],
    ['a token that the hub did not know', 'a token that the hub did not know'],
  ] as const) {
    t.equal(withoutSecrets(said), told)
  }
  const silent = commandLine.start(['serve', '--port', '0', '--store', 'memory', '--log-level', 'silent'])
  t.teardown(() => silent.process.kill('SIGKILL'))
  await silent.says('Ctrl-C ends the hub')
  silent.process.kill('SIGTERM')
  t.match(await silent.finished, { code: 0, stderr: '' })
  t.equal((await commandLine.run(['serve', '--log-level', 'loud'])).code, 2)
  const spoken = commandLine.start(['serve', '--port', '0', '--store', 'memory', '--log-format', 'pretty'])
  t.teardown(() => spoken.process.kill('SIGKILL'))
  await spoken.says('Ctrl-C ends the hub')
  spoken.process.kill('SIGTERM')
  t.match((await spoken.finished).stderr, /^\d\d:\d\d:\d\d\.\d{3} info {2}listening {2}url=http:.*\n/)
})

t.test('who asks it to end as soon as it says that it listens is heard', async (t) => {
  // Without a listener the signal ends the process before the call returns.
  const ends = `const write = process.stdout.write
  process.stdout.write = function (text, ...more) {
    const done = write.call(this, text, ...more)
    if (String(text).includes('Ctrl-C ends the hub')) process.kill(process.pid, 'SIGTERM')
    return done
  }`
  const env = { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(ends)}` }
  const { code, stderr } = await commandLine.run(['serve', '--port', '0', '--store', 'memory'], env)
  t.equal(code, 0)
  t.ok(linesOf(stderr).some(({ msg }) => msg === 'shutting down'))
})

/** For a process in which an import of uWebSockets.js fails, as where no build of it runs. */
const withoutAddon = (() => {
  const hook = `export async function resolve(name, context, next) {
    if (name === 'uWebSockets.js') throw new Error('no build for this machine')
    return next(name, context)
  }`
  const url = (text: string) => `data:text/javascript,${encodeURIComponent(text)}`
  const hooked = `import { register } from 'node:module'; register(${JSON.stringify(url(hook))})`
  return { NODE_OPTIONS: `--no-warnings --import ${url(hooked)}`, RUNCAST_TRANSPORT: 'auto' }
})()

t.test('where uWebSockets.js does not load, Node’s own HTTP serves, and it is said why', async (t) => {
  const { url, running } = await serve(t, ['--store', 'memory'], withoutAddon)
  const transport = { name: 'node', why: 'uWebSockets.js does not load: no build for this machine' }
  t.match(await (await fetch(`${url}/api/about`)).json(), {
    version: /^\d+\.\d+\.\d+/,
    node: process.version,
    transport,
    store: 'memory',
  })
  const socket = await dial(t, url)
  socket.send({ type: 'subscribe', sub: 1, topic: 'sessions/s' })
  await socket.expect('live')
  await publish(url, 'heard')
  t.match(await socket.expect('events'), { events: [{ type: 'heard' }] })
  running.process.kill('SIGTERM')
  t.match(await socket.closed, { code: 4000 })
  const { code, stderr } = await running.finished
  t.equal(code, 0)
  t.match(linesOf(stderr)[0], { msg: 'listening', transport: 'node', why: transport.why })

  const { stdout } = await commandLine.run(['--version', '--verbose'], withoutAddon)
  t.match(
    stdout,
    /^\d+\.\d+\.\d+\nnode: v.+\ntransport: node \(uWebSockets\.js does not load: no build.+\)\n$/,
  )
})

t.test('a transport that was asked for and does not load ends the command', async (t) => {
  const words = ['serve', '--port', '0', '--store', 'memory', '--transport', 'uws']
  const { code, stderr } = await commandLine.run(words, withoutAddon)
  t.equal(code, 1)
  t.match(stderr, /uWebSockets\.js does not load: no build for this machine; use the transport auto or node/)
})

t.test('auto takes uWebSockets.js where it loads', async (t) => {
  if (!(await loads(t, 'uws'))) return
  const { url } = await serve(t, ['--store', 'memory'], { RUNCAST_TRANSPORT: 'auto' })
  t.match(await (await fetch(`${url}/api/about`)).json(), { transport: { name: 'uws', why: /loads here/ } })
})
