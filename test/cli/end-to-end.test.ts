import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { freePort } from '../kit/free-port.js'
import { buildCommandLine, type Running } from './command-line.js'

const commandLine = await buildCommandLine()
t.teardown(() => commandLine.remove())

const folder = mkdtempSync(join(tmpdir(), 'runcast-cli-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

interface Serving {
  readonly url: string
  readonly port: string
  readonly running: Running
  kill(signal: NodeJS.Signals): Promise<number | null>
}

async function serve(t: Test, port = '0'): Promise<Serving> {
  const running = commandLine.start(['serve', '--port', port, '--store', 'memory'])
  await running.says('Ctrl-C ends the hub')
  const url = /http:\/\/127\.0\.0\.1:(\d+)/.exec(running.output())
  const kill = async (signal: NodeJS.Signals): Promise<number | null> => {
    running.process.kill(signal)
    return (await running.finished).code
  }
  t.teardown(() => kill('SIGKILL'))
  return { url: url?.[0] ?? '', port: url?.[1] ?? '', running, kill }
}

interface Told {
  readonly type: string
  readonly worker?: string
  readonly data: { readonly [name: string]: unknown }
}

function told(ndjson: string): Told[] {
  return ndjson
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Told)
}

function textOf(events: readonly Told[], worker: string): string {
  return events
    .filter((event) => event.worker === worker && event.type === 'process.output')
    .map((event) => event.data['text'])
    .join('')
}

t.test('three parallel commands are watched live, complete and in order', async (t) => {
  const hub = await serve(t)
  const env = { RUNCAST_HUB: hub.url }
  const all = commandLine.start(['tail', 'sessions/demo/**'], env)
  const one = commandLine.start(['tail', 'sessions/demo/workers/list', '--types', 'process.output'], env)
  const summary = commandLine.start(['tail', 'demo', '--mode', 'summary'], env)
  await Promise.all([all, one, summary].map((tail) => tail.says('waiting for session demo')))
  const { code } = await commandLine.run(
    [
      'run',
      '--session',
      'demo',
      '--worker',
      'lint=echo checking; echo ok',
      '--worker',
      'list=seq 1 40000',
      '--worker',
      'bad=sh -c "echo oops >&2; exit 3"',
    ],
    env,
  )
  t.equal(code, 3)
  const ended = await Promise.all([all, one, summary].map((tail) => tail.finished))
  t.same(
    ended.map(({ code }) => code),
    [0, 0, 0],
  )
  const [everything, listed, summed] = ended.map(({ stdout }) => told(stdout))
  const numbers = Array.from({ length: 40_000 }, (_, n) => `${n + 1}\n`).join('')
  t.equal(textOf(everything ?? [], 'list'), numbers)
  t.equal(textOf(everything ?? [], 'lint'), 'checking\nok\n')
  t.equal(textOf(everything ?? [], 'bad'), 'oops\n')
  t.match(everything?.at(-1), { type: 'complete', data: { outcome: { code: 3 } } })
  t.equal(textOf(listed ?? [], 'list'), numbers)
  t.notOk(listed?.some((event) => event.worker !== 'list' && event.type !== 'complete'))
  t.equal(summed?.filter(({ type }) => type === 'process.exited').length, 3)
  t.notOk(summed?.some(({ type }) => type === 'process.output'))

  const again = await commandLine.run(['tail', 'demo', '--types', 'process.exited'], env)
  t.equal(again.code, 0)
  t.same(
    told(again.stdout).map(({ type }) => type),
    ['process.exited', 'process.exited', 'process.exited', 'complete'],
  )
})

t.test('a hub killed in mid-run costs what it alone had, and nothing else', async (t) => {
  const hub = await serve(t, String(await freePort()))
  // Few enough for the history of a hub, so that it does not matter who comes back first.
  const script = `
    let n = 0
    const print = () => { for (let i = 0; i < 300; i++) console.log(n++) }
    print()
    process.stdin.on('data', print)`
  const words = ['--hub', hub.url, '--session', 's']
  const tail = commandLine.start(['tail', '--hub', hub.url, 's', '--replay', 'all'])
  await tail.says('waiting for session s')
  const run = commandLine.start(['run', ...words, '--', process.execPath, '-e', script])
  await tail.says('"299\\n"')
  await hub.kill('SIGKILL')
  await Promise.all([
    tail.says('the hub has gone away'),
    // Printed while the hub is away.
    run.process.stdin.write('more') && run.says('| 599\n'),
  ])
  const next = await serve(t, hub.port)
  await tail.says('the hub is back')
  run.process.stdin.end('more')
  t.equal((await run.finished).code, 0)
  const { code, stdout, stderr } = await tail.finished
  t.equal(code, 0)
  t.equal(textOf(told(stdout), 'node'), Array.from({ length: 900 }, (_, n) => `${n}\n`).join(''))
  t.match(stderr, /the hub started anew/)
  t.equal(await next.kill('SIGINT'), 0)
})

t.test('publish names the line that is broken, and what precedes it is there', async (t) => {
  const hub = await serve(t)
  const path = join(folder, 'broken.ndjson')
  writeFileSync(path, '{"type":"one"}\n{"type":"two","data":{"deep":')
  const words = ['publish', '--hub', hub.url, '--session', 's', '--worker', 'w']
  const broken = await commandLine.run([...words, path])
  t.equal(broken.code, 1)
  t.match(broken.stdout, /^1 event published to sessions\/s\/workers\/w in/)
  t.match(broken.stderr, /line 2: expected JSON/)
  // Deeper than the hub takes, which the command line leaves to it.
  writeFileSync(path, `{"type":"three"}\n{"type":"four","data":${'['.repeat(100)}${']'.repeat(100)}}\n`)
  const refused = await commandLine.run([...words, '--end', path])
  t.equal(refused.code, 76)
  t.match(refused.stdout, /^1 event published/)
  t.match(refused.stderr, /^runcast: line 2: the hub refused: data(\/0)+: nested too deeply/)
  writeFileSync(path, '{"type":"five"}\n')
  t.equal((await commandLine.run([...words, '--end', path])).code, 0)
  const { stdout } = await commandLine.run(['tail', '--hub', hub.url, 's', '--replay', 'all'])
  t.same(
    told(stdout).map(({ type }) => type),
    ['one', 'three', 'five', 'complete'],
  )
  const late = await commandLine.run([...words, path])
  t.equal(late.code, 1)
  t.match(late.stderr, /session s has ended/)
})

t.test('publish takes the lines of a dialect, and ends what they end', async (t) => {
  const hub = await serve(t)
  const path = join(folder, 'task.ndjson')
  writeFileSync(path, '{"content":"hello"}\n{"type":"toolcall","content":"ls({})"}\n{}\n')
  const words = ['publish', '--hub', hub.url, '--session', 'task', '--dialect']
  const published = await commandLine.run([...words, 'task-log', path])
  t.equal(published.code, 0, published.stderr)
  t.match(published.stdout, /^3 events published to sessions\/task in/)
  const log = await (await fetch(`${hub.url}/tasks/task/events/stream`)).text()
  t.match(
    log,
    /event: assistant\ndata: {"content":"hello"}\n\n[^]*event: toolcall[^]*event: complete\ndata: {}\n\n/,
  )
  const unknown = await commandLine.run(['publish', '--hub', hub.url, '--dialect', 'esperanto', path])
  t.match(
    unknown.stderr,
    /dialect: expected one of session-bus, stream-event, task-log, ai-sdk, .*, got "esperanto"/,
  )
  const both = await commandLine.run([...words, 'task-log', '--type', 'a', path])
  t.equal(both.code, 2)
})

t.test('tail goes on after a cursor, and Ctrl-C ends it', async (t) => {
  const hub = await serve(t)
  const tail = commandLine.start(['tail', 's', '--hub', hub.url])
  await tail.says('waiting')
  const path = join(folder, 'two.ndjson')
  writeFileSync(path, '{"type":"one"}\n{"type":"two"}\n')
  await commandLine.run(['publish', '--hub', hub.url, '--session', 's', path])
  await tail.says('"two"')
  tail.process.kill('SIGINT')
  t.equal((await tail.finished).code, 130)
  const response = await fetch(`${hub.url}/api/sessions/s`)
  const { epoch } = (await response.json()) as { epoch: string }
  const since = commandLine.start(['tail', 's', '--hub', hub.url, '--since', `${epoch}:1`])
  await since.says('"two"')
  t.notMatch(since.output(), '"one"')
  // The hub tells its clients that it goes, and ends itself.
  t.equal(await hub.kill('SIGTERM'), 0)
  await since.says('the hub has gone away')
  since.process.kill('SIGTERM')
  t.equal((await since.finished).code, 143)
  t.equal((await commandLine.run(['tail', 's', '--hub', hub.url])).code, 69)
  t.equal((await commandLine.run(['tail', 'sessions/a b'])).code, 2)
  t.equal((await commandLine.run(['tail', 's', '--since', 'yesterday'])).code, 2)
})

t.test('tail shows all that is kept of the past, and says what it leaves out', async (t) => {
  const hub = await serve(t)
  const env = { RUNCAST_HUB: hub.url }
  const path = join(folder, 'past.ndjson')
  const noted = Array.from({ length: 1_200 }, (_, n) => `{"type":"note","data":{"n":${n}},"time":${n}}\n`)
  const failed = '{"type":"execution_failed","data":{"error":"no key"}}\n'
  writeFileSync(path, noted.join('') + failed)
  await commandLine.run(['publish', '--session', 's', '--worker', 'w', '--end', path], env)
  const tail = (...words: string[]) => commandLine.run(['tail', 's', ...words], env)

  const all = await tail()
  t.same(
    told(all.stdout).map(({ type, data }) => data['n'] ?? type),
    [...Array.from({ length: 1_000 }, (_, n) => n + 200), 'execution_failed', 'complete'],
  )
  t.match(all.stderr, '200 earlier events are no longer kept')
  const traits = await tail('--replay', 'traits')
  t.equal(told(traits.stdout).length, 2)
  t.match(
    traits.stderr,
    'the catalog replays 1 of 1,201 earlier events; --replay all shows all that are kept',
  )
  const none = await tail('--replay', 'none', '--types', 'note')
  t.match(none.stderr, '1,201 earlier events are not shown')

  t.same(
    told((await tail('--last', '3')).stdout).map(({ data }) => data['n']),
    [1_199, undefined, undefined],
  )
  t.same(
    told((await tail('--since', '1970-01-01T00:00:01.198Z')).stdout).map(({ data }) => data['n']),
    [1_198, 1_199, undefined, undefined],
  )
  t.equal(told((await tail('--since', '1h')).stdout).length, 2)
  t.same(
    told((await tail('--grep', '/^(1_?19[89]|no KEY)$/i')).stdout).map(
      ({ data }) => data['n'] ?? data['error'],
    ),
    [1_198, 1_199, 'no key'],
  )
  const text = await tail('--text', '--grep', 'key')
  t.match(text.stdout, /^── \d{4}-\d\d-\d\d\n|^\d\d:\d\d:\d\d w \| failed: no key\n$/)
  t.equal((await tail('--text', '--json')).code, 2)
  t.equal((await tail('--last', '0')).code, 2)
  t.equal((await tail('--grep', '/(/')).code, 2)
  t.equal((await commandLine.run(['tail', 'hub', '--since', '10m'], env)).code, 2)
  t.match((await fetch(`${hub.url}/api/sessions/s`).then((response) => response.json())) as object, {
    history: { evicted: 200 },
  })
})

t.test('tail shows state: slices and then their changes, and the list of sessions', async (t) => {
  const hub = await serve(t)
  const put = async (path: string, value: unknown) => {
    const response = await fetch(`${hub.url}/api/sessions/${path}`, {
      method: 'PUT',
      body: JSON.stringify(value),
    })
    t.equal(response.status, 200)
  }
  await put('s/state/plan', { done: 0 })
  const env = { RUNCAST_HUB: hub.url }
  const plan = commandLine.start(['tail', 's', '--state=plan', '--types', '!*'], env)
  const sessions = commandLine.start(['tail', 'hub', '--state', 'sessions'], env)
  const all = commandLine.start(['tail', 's', '--state'], env)
  await Promise.all([plan.says('"state.initial"'), all.says('"$session"'), sessions.says('"s":{"status"')])
  await put('s/state/plan', { done: 1 })
  await put('s/workers/lint/state/files', ['a'])
  await fetch(`${hub.url}/api/sessions/s/events`, { method: 'POST', body: '{"type":"one"}' })
  await fetch(`${hub.url}/api/sessions/s/end`, { method: 'POST' })
  t.equal((await plan.finished).code, 0)
  const [first, second, last] = told(plan.output())
  t.same(first, { type: 'state.initial', topic: 'sessions/s/**', data: { slices: { plan: { done: 0 } } } })
  t.match(second, { type: 'state.update', data: { slice: 'plan', value: { done: 1 } } })
  t.equal(last?.type, 'complete')
  await all.finished
  const seen = told(all.output()).filter(({ data }) => !String(data?.['slice']).startsWith('$'))
  t.match(seen.slice(0, 4), [
    { type: 'state.initial' },
    { data: { slice: 'plan' } },
    { worker: 'lint', data: { slice: 'files', value: ['a'] } },
    { type: 'one' },
  ])
  await sessions.says('"status":"ended"')

  // A combined cursor continues it, and one of another form is refused before anything is asked.
  const cursor = await cursorOfHub(hub.url)
  const since = commandLine.start(['tail', 'hub', '--since', String(cursor)], env)
  await put('next/state/plan', 1)
  await since.says('"next":{"status"')
  t.notMatch(since.output(), 'state.initial')
  for (const { process } of [sessions, since]) process.kill('SIGINT')
  t.equal((await sessions.finished).code, 130)
  t.equal((await commandLine.run(['tail', 'hub', '--since', 'abc:1'], env)).code, 2)
  t.equal((await commandLine.run(['tail', 's', '--since', 's=abc:1'], env)).code, 2)
  t.equal((await commandLine.run(['tail', 's', '--state=a b'], env)).code, 2)
  t.equal(await hub.kill('SIGTERM'), 0)
  t.equal((await commandLine.run(['tail', 'hub'], env)).code, 69)
})

async function cursorOfHub(url: string): Promise<string | undefined> {
  const response = await fetch(`${url}/api/stream?topic=hub`)
  for await (const chunk of response.body ?? []) {
    const [, cursor] = /^id: (.+)$/m.exec(Buffer.from(chunk).toString()) ?? []
    if (cursor !== undefined) return cursor
  }
  return undefined
}

t.test('the hint of a hub how to run something works when it is typed, and again', async (t) => {
  const hub = await serve(t)
  const [, hint = ''] = /^ {2}(?:npx )?runcast (run .*)$/m.exec(hub.running.output()) ?? []
  for (let times = 0; times < 2; times++) {
    const { code, stderr } = await commandLine.run(hint.split(' '))
    t.equal(code, 0, stderr)
  }
  const tail = /^ {2}(?:npx )?runcast (tail .*)$/m.exec(hub.running.output())?.[1] ?? ''
  t.match(await commandLine.run(tail.split(' ')), { code: 0, stdout: /"command":"ls -la"/ })
})

t.test('serve refuses what it cannot do in one sentence', async (t) => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
  t.teardown(() => taken.close())
  const { port } = taken.address() as { port: number }
  const busy = await commandLine.run(['serve', '--port', String(port), '--store', 'memory'])
  t.equal(busy.code, 1)
  t.match(busy.stderr, new RegExp(`^runcast: port ${port} of 127.0.0.1 is taken: .*\n$`))
  const open = await commandLine.run(['serve', '--host', '0.0.0.0'])
  t.equal(open.code, 1)
  t.match(open.stderr, /^runcast: 0\.0\.0\.0 can be reached from other machines[^]* token --new-key /)
  for (const [words, fault] of [
    [['--port', '70000'], /expected/],
    [['--limit', 'laneEventsMax'], /limits\.laneEventsMax: expected a positive whole number, got nothing/],
    [['--limit', 'frameBytesMax=1e3.5'], /expected a positive whole number, got "1e3\.5"/],
    [['--limit', 'nothing=1'], /limits\.nothing: unknown limit/],
    [['--trusted-proxy', 'nginx'], /expected an IP address/],
  ] as const) {
    const { code, stderr } = await commandLine.run(['serve', ...words])
    t.equal(code, 2)
    t.match(stderr, fault)
  }
  const path = join(folder, 'runcast.json')
  for (const [config, fault] of [
    ['{"catalog":{"a":{"level":"loud"}}}', /catalog\.a\.level: expected one of/],
    ['{"limits":{"laneEventsMax":-1}}', /limits\.laneEventsMax: expected a positive whole number, got -1/],
    ['{"limits":{"nothing":1}}', /limits\.nothing: unknown limit/],
    ['{"limits":{"handshakeMs":1}}', /limits\.handshakeMs: this limit cannot be changed/],
    ['{"port":1}', /port: expected nothing but catalog, limits, .*auth/],
    ['{', /JSON/],
  ] as const) {
    writeFileSync(path, config)
    const { code, stderr } = await commandLine.run(['serve', '--config', path])
    t.equal(code, 1)
    t.match(stderr, fault)
  }
})
