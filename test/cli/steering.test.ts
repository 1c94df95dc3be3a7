import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startChild } from '../../src/cli/running/child.js'
import { loadTerminals } from '../../src/cli/running/terminal.js'
import type { Hub } from '../../src/hub/hub.js'
import { systemClock } from '../../src/lib/clock.js'
import type { HubEvent } from '../../src/protocol/frames.js'
import { memoryStore } from '../../src/store/memory.js'
import { served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { typescript } from '../kit/typescript.js'
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
  await until('both wait', () => ['one', 'two'].every((id) => workerOf(hub, 's', id)?.status === 'paused'))
  hub.publish('sessions/s/workers/one', [{ type: 'command.input', data: { text: 'later' } }])
  t.match(await send('s/two', 'dance'), [2, /expected cancel, pause, resume, input/])
  t.strictSame(await send('s', 'resume'), [0, 'applied'])
  await until('both go on', () => ['one', 'two'].every((id) => workerOf(hub, 's', id)?.status === 'running'))
  const [{ data }] = hub.history('sessions/s/workers/two', { types: ['process.started'] }).events as [
    HubEvent,
  ]
  const { pid } = data as { pid: number }
  await t.test('whoever stops a worker', { skip: process.platform !== 'linux' && 'Linux' }, async () => {
    process.kill(-pid, 'SIGSTOP')
    await until('it waits', () => workerOf(hub, 's', 'two')?.status === 'paused')
    process.kill(-pid, 'SIGCONT')
    await until('it goes on', () => workerOf(hub, 's', 'two')?.status === 'running')
  })
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

t.test('the only command reads what run is given, several read nothing', async (t) => {
  const { hub, url } = await served(t)
  const give = async (session: string, ...words: string[]) => {
    const running = commandLine.start(['run', '--hub', url, '--session', session, ...words])
    running.process.stdin.end('a line\n')
    return running.finished
  }
  const cat = '--worker=w=cat; echo end'
  t.match(await give('one', cat), { code: 0 })
  t.equal(outputOf(hub, 'one', 'w'), 'a line\nend\n')
  t.match(await give('two', cat, '--worker', 'other=true'), { code: 0 })
  t.equal(outputOf(hub, 'two', 'w'), 'end\n')
  // With --input there is more to come, of those who watch.
  const running = commandLine.start(['run', '--hub', url, '--session', 'in', '--input', '--worker', 'w=cat'])
  running.process.stdin.end('given\n')
  await until('it has come', () => outputOf(hub, 'in', 'w') === 'given\n')
  hub.publish('sessions/in', [{ type: 'command.input', data: { text: 'sent' } }])
  await until('it has come', () => outputOf(hub, 'in', 'w') === 'given\nsent\n')
  hub.publish('sessions/in', [{ type: 'command.cancel' }])
  await running.finished
})

t.test('with --pty each command has a terminal of its own', async (t) => {
  const { hub, url } = await served(t)
  const run = (session: string, ...words: string[]) =>
    commandLine.start(['run', '--hub', url, '--pty', '--session', session, ...words])
  const looks = run(
    'looks',
    '--worker',
    'w=test -t 0 && test -t 1 && test -t 2 && stty size; printf "1\\r2\\n"; exit 3',
  )
  looks.process.stdin.end()
  t.match(await looks.finished, { code: 3 })
  t.equal(outputOf(hub, 'looks', 'w'), '24 70\n1\r2\n')
  t.match(workerOf(hub, 'looks', 'w'), { result: 'failed', reason: 'exit 3' })

  const reads = run('reads', '--worker', 'w=read x; echo "<$x>"; cat; echo end')
  reads.process.stdin.end('a line\n')
  t.match(await reads.finished, { code: 0 })
  t.equal(outputOf(hub, 'reads', 'w'), 'a line\n<a line>\nend\n')

  const two = run('two', '--worker', 'a=cat; echo end', '--', 'no-such-command')
  t.match(await two.finished, { code: 127 })
  t.equal(outputOf(hub, 'two', 'a'), 'end\n')
  t.match(outputOf(hub, 'two', 'no-such-command'), /not found/)

  const killed = run('killed', '--', 'sh', '-c', 'kill -9 $$')
  t.match(await killed.finished, { code: 137 })
  t.match(workerOf(hub, 'killed', 'sh'), { reason: 'signal SIGKILL' })
})

t.test('what a terminal has printed is read to its end, however slowly', async (t) => {
  const terminals = await loadTerminals()
  const read: string[] = []
  await new Promise<void>((resolve) => {
    const child = startChild(
      { kind: 'shell', text: 'seq 1 20000; printf end' },
      {
        env: process.env,
        input: 'ignore',
        clock: systemClock,
        terminal: (command, options) => terminals(command, options, { columns: 80, rows: 24 }),
      },
      {
        started: () => undefined,
        output: (_, texts) => {
          read.push(...texts)
          child.pause()
          // Longer than a command takes to fill a terminal, and to end.
          const until = performance.now() + 4
          while (performance.now() < until) continue
          setImmediate(child.resume)
        },
        exited: () => resolve(),
      },
    )
  })
  t.equal(read.join(''), `${Array.from({ length: 20_000 }, (_, n) => `${n + 1}\n`).join('')}end`)
})

t.test('without its package --pty says what to install', async (t) => {
  const missing = () => Promise.reject(new Error("Cannot find package '@lydell/node-pty'\nRequire stack"))
  await t.rejects(loadTerminals(missing), {
    exitCode: 1,
    message:
      /^--pty needs the optional package @lydell\/node-pty, which does not load here \(Cannot find.*node-pty'\)\. Install it with/,
  })
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
  t.match([sent.code, sent.stdout], [0, /^sent; the outcome is unknown/])
  const [command] = Object.values(
    hub.state('sessions/s/workers/w', ['$commands']).slices['$commands'] as object,
  )
  t.match(command, { type: 'command.cancel', state: 'queued' })
  t.match(await commandLine.run(['send', '--hub', url, 's', 'cancel'], env), {
    code: 76,
    stderr: /publishing to sessions\/s/,
  })
})

t.test('fork prints the id of the session that it has made', async (t) => {
  const { hub, url } = await served(t)
  await hub.submit('sessions/s', [{ type: 'note' }, { type: 'note' }])
  await hub.submitState('sessions/s', 'plan', { value: 1 })
  const fork = (...words: string[]) => commandLine.run(['fork', '--hub', url, ...words])
  t.match(await fork('s', '--as', 'f'), { code: 0, stdout: 'f\n', stderr: '' })
  const made = await fork('s')
  t.equal(hub.find(made.stdout.trim())?.forkedFrom?.session, 's')
  const at = ['--at', `${hub.find('s')?.epoch}:1`]
  t.match(await fork('s', '--as', 'g', ...at), { code: 76, stderr: /cannot be forked there exactly/ })
  t.match(await fork('s', '--as', 'g', ...at, '--known'), { code: 0, stdout: 'g\n', stderr: /: slices/ })
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
    const agent = spawn(process.execPath, [...typescript, `${folder}agent.mjs`], {
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

t.test('runcast redact takes a value out of a session, for those who might remove it', async (t) => {
  const { hub, url } = await served(t, {
    hub: { store: memoryStore(), masking: { mode: 'off' } },
    serve: { auth: { secrets: [secret] } },
  })
  const file = `${t.testdir({ value: 'correct-horse-battery\n' })}/value`
  const token = (topic: string) => mint({ publish: [topic], subscribe: ['**'] })
  hub.session('s').publish([
    { type: 'note', data: { text: 'it is correct-horse-battery' } },
    { type: 'note', data: { text: 'EMP-123456 did it' } },
  ])
  const redact = async (permitted: string, ...words: string[]) => {
    const given = ['redact', 's', '--hub', url, '--token', await token(permitted), ...words]
    const { code, stdout, stderr } = await commandLine.run(given)
    return [code, (stdout + stderr).trim()]
  }
  const from = ['--value-from', file, '--kind', 'db-password']
  t.match(await redact('sessions/s', ...from), [76, /refused/])
  t.match(await redact('sessions/s/**', ...from), [0, /^1 event of s redacted\nNew events .* masks nothing$/])
  const matched = /^1 event of s redacted\nNew events are not searched for patterns/
  t.match(await redact('sessions/s/**', '--pattern', 'EMP-[0-9]+'), [0, matched])
  t.match(await redact('sessions/s/**'), [2, /expected --value-from or --pattern/])
  t.match(await redact('sessions/s/**', '--value-from', `${file}-none`), [2, /no such file/])
  t.match(await redact('sessions/s/**', '--pattern', '('), [76, /regular expression/])
  t.strictSame(
    hub.history('sessions/s').events.map(({ data }) => data),
    [
      { text: 'it is [secret:db-password]' },
      { text: '[secret:redacted] did it' },
      { offsets: [[1, 1]] },
      { offsets: [[2, 2]] },
    ],
  )
})
