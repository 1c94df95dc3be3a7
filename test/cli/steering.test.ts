import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Hub } from '../../src/hub/hub.js'
import { served } from '../kit/served.js'
import { secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'
import { buildCommandLine } from './command-line.js'

const commandLine = await buildCommandLine()
t.teardown(() => commandLine.remove())

const workerOf = (hub: Hub, session: string, id: string) =>
  hub.find(session)?.workers.find((worker) => worker.id === id)

const outputOf = (hub: Hub, session: string, id: string) =>
  workerOf(hub, session, id) === undefined
    ? ''
    : hub
        .history(`sessions/${session}/workers/${id}`, { types: ['process.output'] })
        .events.map(({ data }) => (data as { text: string }).text)
        .join('')

t.test('runcast run obeys cancel, pause, resume and input, and says what became of each', async (t) => {
  const { hub, url } = await served(t)
  const script = (name: string) =>
    `${name}=node -e 'process.stdin.on("data", (text) => console.log("got " + text)); console.log("ready"); setInterval(() => {}, 1000)'`
  const running = commandLine.start([
    'run',
    '--hub',
    url,
    '--session',
    's',
    '--input',
    '--worker',
    script('one'),
    '--worker',
    script('two'),
  ])
  await until('both run', () => ['one', 'two'].every((id) => outputOf(hub, 's', id).includes('ready')))
  const send = async (...words: string[]) => {
    const { code, stdout, stderr } = await commandLine.run(['send', '--hub', url, ...words])
    return [code, (stdout + stderr).trim()]
  }
  t.strictSame(await send('s/one', 'input', 'hello'), [0, 'applied'])
  await until('it has come', () => outputOf(hub, 's', 'one').includes('got hello'))
  t.notOk(outputOf(hub, 's', 'two').includes('got'))
  t.strictSame(await send('s', 'pause'), [0, 'applied'])
  hub.publish('sessions/s/workers/one', [{ type: 'command.input', data: { text: 'later' } }])
  t.match(await send('s/two', 'dance'), [2, /expected cancel, pause, resume, input/])
  t.strictSame(await send('s', 'resume'), [0, 'applied'])
  await until('it has come', () => outputOf(hub, 's', 'one').includes('got later'))
  t.strictSame(await send('s/one', 'cancel', '--reason', 'enough'), [0, 'applied'])
  await until('it has ended', () => workerOf(hub, 's', 'one')?.result !== undefined)
  t.match(workerOf(hub, 's', 'one'), { status: 'ended', result: 'cancelled' })
  t.match(workerOf(hub, 's', 'two'), { status: 'running' })
  t.strictSame(await send('s/one', 'cancel'), [1, 'refused: it has ended'])
  t.strictSame(await send('s', 'cancel'), [0, 'applied'])
  const { stderr } = await running.finished
  t.match(stderr, /cancelled after/)
  t.match(hub.find('s'), { status: 'ended', result: 'cancelled' })
  t.match(await send('s', 'cancel'), [76, /has ended/])
  t.match(await send('none', 'cancel'), [76, /there is no session none/])
})

t.test('one that does not end is killed after the grace; nobody is obeyed with --no-commands', async (t) => {
  const { hub, url } = await served(t)
  const stubborn = [
    'node',
    '-e',
    'process.on("SIGINT", () => {}); console.log("ready"); setInterval(() => {}, 1000)',
  ]
  const killed = commandLine.start([
    'run',
    '--hub',
    url,
    '--session',
    'k',
    '--grace',
    '0.2',
    '--',
    ...stubborn,
  ])
  await killed.says('ready')
  hub.publish('sessions/k', [{ type: 'command.cancel' }])
  t.equal((await killed.finished).code, 137)
  t.match(workerOf(hub, 'k', 'node'), { result: 'cancelled' })
  const deaf = commandLine.start(['run', '--hub', url, '--session', 'd', '--no-commands', '--', ...stubborn])
  await deaf.says('ready')
  const { code, stdout } = await commandLine.run([
    'send',
    '--hub',
    url,
    '--wait',
    '0.3',
    '--ttl',
    '0.1',
    'd',
    'cancel',
  ])
  t.strictSame([code, stdout.trim()], [1, 'expired'])
  deaf.process.kill('SIGTERM')
  await deaf.finished
})

t.test('runcast token --command makes a token that sends commands and does nothing else', async (t) => {
  const { hub, url } = await served(t, { serve: { auth: { secrets: [secret] } } })
  hub.session('s').worker('w').publish({ type: 'start' })
  const made = await commandLine.run(
    ['token', '--secret-env', 'SECRET', '--command', 'sessions/s/workers/w'],
    { SECRET: secret },
  )
  t.equal(made.code, 0, made.stderr)
  const env = { RUNCAST_TOKEN: made.stdout.trim() }
  const sent = await commandLine.run(['send', '--hub', url, 's/w', 'cancel'], env)
  t.match([sent.code, sent.stdout], [0, /^sent; what becomes of it cannot be seen/])
  const [command] = Object.values(
    hub.state('sessions/s/workers/w', ['$commands']).slices['$commands'] as object,
  )
  t.match(command, { type: 'command.cancel', state: 'queued' })
  t.match(await commandLine.run(['send', '--hub', url, 's', 'cancel'], env), {
    code: 76,
    stderr: /publishing to sessions\/s/,
  })
})

t.test('the agent of the guide can be asked, and cancelled', async (t) => {
  const guide = readFileSync(new URL('../../docs/guide/steering.md', import.meta.url), 'utf8')
  const [, code = ''] = /```js\n([^]*?)```/.exec(guide) ?? []
  t.ok(code.split('\n').length <= 45)
  const folder = fileURLToPath(new URL(`../../.tap/steering-${process.pid}/`, import.meta.url))
  mkdirSync(folder, { recursive: true })
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const client = new URL('../../src/client.ts', import.meta.url).href
  writeFileSync(`${folder}agent.mjs`, code.replace("'runcast/client'", `'${client}'`))
  const { hub, url } = await served(t)
  const start = () => {
    const agent = spawn(process.execPath, ['--import', 'tsx', `${folder}agent.mjs`], {
      env: { ...process.env, RUNCAST_HUB: url },
      stdio: 'inherit',
    })
    t.teardown(() => agent.kill())
    return new Promise((resolve) => agent.on('exit', resolve))
  }
  const need = async () => {
    await until('it asks', () => workerOf(hub, 'demo', 'agent')?.needs?.length === 1)
    return workerOf(hub, 'demo', 'agent')?.needs?.[0]?.key ?? ''
  }
  const first = start()
  const key = await need()
  t.match(
    (await commandLine.run(['send', '--hub', url, 'demo/agent', 'input', 'World', '--key', 'other'])).stdout,
    /refused/,
  )
  t.equal(
    (await commandLine.run(['send', '--hub', url, 'demo/agent', 'input', 'World', '--key', key])).stdout,
    'applied\n',
  )
  await first
  t.match(workerOf(hub, 'demo', 'agent'), { result: 'succeeded' })
  const said = hub.history('sessions/demo/workers/agent', { types: ['client_output_delta'] }).events
  t.match(said, [{ data: { content: 'Hello, World!' } }])
  const second = start()
  await until('it runs again', () => workerOf(hub, 'demo', 'agent')?.result === undefined)
  await need()
  t.equal((await commandLine.run(['send', '--hub', url, 'demo/agent', 'cancel'])).stdout, 'applied\n')
  t.equal(await second, 0)
  t.match(workerOf(hub, 'demo', 'agent'), { status: 'ended', result: 'cancelled' })
})
