import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { buildCommandLine } from './command-line.js'
import { fakeHub, startFakeHub } from './fake-hub.js'

const commandLine = await buildCommandLine()
t.teardown(() => commandLine.remove())

const folder = mkdtempSync(join(tmpdir(), 'runcast-cli-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

t.test('run', (t) => {
  t.test(
    'publishes each line of parallel commands in order, and ends with the code of the failure',
    async (t) => {
      const hub = await fakeHub(t)
      const { code, stdout, stderr } = await commandLine.run([
        'run',
        '--hub',
        hub.url,
        '--session',
        'demo',
        '--worker',
        'lint=echo checking; echo wörld',
        '--worker',
        'list=seq 1 50000',
        '--worker',
        'bad=sh -c "echo oops >&2; exit 3"',
      ])
      t.equal(code, 3)
      t.equal(hub.texts('lint'), 'checking\nwörld\n')
      t.equal(hub.texts('list'), Array.from({ length: 50_000 }, (_, n) => `${n + 1}\n`).join(''))
      t.equal(hub.texts('bad', 'stderr'), 'oops\n')
      t.equal(hub.texts('bad', 'stdout'), '')
      const of = (worker: string) => hub.events.filter((event) => event.worker === worker)
      t.match(of('bad').at(0), {
        type: 'process.started',
        data: { command: 'sh -c "echo oops >&2; exit 3"', pid: Number },
      })
      t.match(of('bad').at(-1), {
        type: 'process.exited',
        data: { code: 3, signal: null, durationMs: Number },
      })
      t.equal(of('list').length, 50_002)
      t.equal(new Set(hub.events.map((event) => event.id)).size, hub.events.length)
      t.same(hub.ended.get('demo'), { code: 3 })
      t.match(stdout, /^lint {4}\| wörld$/m)
      t.match(stdout, /^list {4}\| 50000$/m)
      t.match(stderr, /^bad {5}\| oops$/m)
      t.match(stderr, /^bad {5}\| ✗ exited with 3 after/m)
      t.match(stderr, /^runcast \| 3 commands · 1 failed · 50,003 lines$/m)
    },
  )

  t.test('--mask-env masks what the environment has of secrets, before it is sent', async (t) => {
    const hub = await fakeHub(t)
    const env = {
      DEPLOY_TOKEN: 'abc"def/123',
      PLAIN: 'plain-text',
      SSH_AUTH_SOCK: '/tmp/agent.sock',
      OWN: 'own-secret',
    }
    const run = (...more: string[]) =>
      commandLine.run(
        ['run', '--hub', hub.url, ...more, '--worker', 'one=echo "$DEPLOY_TOKEN $PLAIN $SSH_AUTH_SOCK $OWN"'],
        env,
      )
    const first = await run('--session', 'a', '--mask-env')
    t.equal(first.code, 0)
    t.match(first.stdout, 'abc"def/123 plain-text', 'what is shown here stays')
    t.equal(hub.texts('one'), '[secret:deploy-token] plain-text /tmp/agent.sock own-secret\n')
    t.match(first.stderr, /\d secrets? of the environment masked/)
    const second = await run('--session', 'b', '--mask-env=OWN', '--mask-output')
    t.match(second.stdout, 'abc"def/123 plain-text /tmp/agent.sock [secret:own]')
    t.match(hub.texts('one'), /\[secret:own\]\n$/)
    t.notMatch(JSON.stringify(hub.events), /own-secret$/)
  })

  t.test('translates what an agent prints, and leaves other lines what they are', async (t) => {
    const hub = await fakeHub(t)
    const long = 'x'.repeat(100_000)
    const said = [
      { type: 'system', subtype: 'init', session_id: 's', model: 'm' },
      { type: 'assistant', message: { id: 'm1', content: [{ type: 'text', text: long }] }, session_id: 's' },
      {
        type: 'assistant',
        message: {
          id: 'm2',
          content: [{ type: 'tool_use', id: 't', name: 'Task', input: { subagent_type: 'Look' } }],
        },
        session_id: 's',
      },
      {
        type: 'result',
        subtype: 'success',
        result: long,
        usage: { input_tokens: 3, output_tokens: 4 },
        session_id: 's',
      },
    ]
    const folder = t.testdir({ 'said.ndjson': said.map((line) => `${JSON.stringify(line)}\n`).join('') })
    const script = `echo starting; cat ${folder}/said.ndjson; echo '{"type":"system' ; echo careful >&2`
    const words = [
      'run',
      '--hub',
      hub.url,
      '--session',
      'agent',
      '--from',
      'claude-code',
      '--worker',
      `fix=${script}`,
    ]
    t.match(await commandLine.run(words), { code: 0 })
    const of = (name: string) => hub.events.filter(({ worker }) => worker === name)
    t.match(of('fix').slice(0, 7), [
      { type: 'process.started' },
      { type: 'process.output', data: { text: 'starting\n' } },
      { type: 'execution_started', data: { model: 'm' } },
      { type: 'client_output_delta', data: { content: long } },
      { type: 'llm_turn_complete' },
      { type: 'tool_call_started', data: { tool_name: 'Task' } },
      { type: 'client_output_delta', data: { content: long } },
    ])
    t.match(of('fix.Look-1'), [{ type: 'execution_started', data: { parent: 'fix' } }])
    t.ok(of('fix').some(({ type }) => type === 'execution_completed'))
    t.equal(hub.texts('fix', 'stdout'), 'starting\n{"type":"system\n', 'half an object is output')
    t.equal(hub.texts('fix', 'stderr'), 'careful\n')
    t.equal(of('fix').at(-1)?.type, 'process.exited')
    t.match(await commandLine.run(['run', '--hub', hub.url, '--from', 'cobol', '--', 'true']), { code: 2 })
  })

  t.test('survives a restart of the hub without losing or repeating a line', async (t) => {
    const old = await startFakeHub()
    // Prints on while the hub is away: the test says when to go on.
    const script = `
      let n = 0
      const print = () => { for (let i = 0; i < 5000; i++) console.log(n++) }
      print()
      process.stdin.on('data', print)`
    const running = commandLine.start([
      'run',
      '--hub',
      old.url,
      '--session',
      's',
      '--',
      process.execPath,
      '-e',
      script,
    ])
    await old.until(({ events }) => events.length === 5001)
    await old.close()
    running.process.stdin.write('more')
    await running.says('has gone away')
    running.process.stdin.write('more')
    await running.says('| 14999\n')
    const hub = await fakeHub(t, old.port)
    // The answer to the first batch is lost.
    hub.fault = (n) => (n === 1 ? 'cutAfter' : undefined)
    await running.says('the hub is back')
    running.process.stdin.end('more')
    t.equal((await running.finished).code, 0)
    const numbers = [old, hub].flatMap((hub) => hub.texts('node').trimEnd().split('\n')).map(Number)
    t.same(
      numbers,
      Array.from({ length: 20_000 }, (_, n) => n),
    )
    t.ok(hub.duplicates > 0)
    t.equal(hub.events.at(-1)?.type, 'process.exited')
  })

  t.test('lets the commands wait while a hub that does not answer leaves no room', async (t) => {
    const hub = await fakeHub(t)
    let release = (): void => {}
    hub.hold = new Promise((resolve) => {
      release = resolve
    })
    const running = commandLine.start(['run', '--hub', hub.url, '--', 'seq', '1', '200000'])
    await running.says('| 100000\n')
    // Long enough for the rest to come, were it read: a whole command starts and ends.
    await commandLine.run(['--version'])
    t.notMatch(running.output(), '| 150000\n')
    release()
    const { code, stdout } = await running.finished
    t.equal(code, 0)
    t.match(stdout, /\| 200000$/m)
    t.equal(hub.events.length, 200_002)
    t.equal(hub.texts('seq').length, stdout.replaceAll(/^seq {5}\| /gm, '').length)
  })

  t.test('says at once when no hub is there', async (t) => {
    const hub = await startFakeHub()
    await hub.close()
    const { code, stdout, stderr } = await commandLine.run(['run', '--hub', hub.url, '--', 'echo', 'started'])
    t.equal(code, 69)
    t.equal(stdout, '')
    t.equal(
      stderr,
      `runcast: no hub answers at ${hub.url} (connection refused). Start one with: runcast serve --port ${hub.port}\n`,
    )
  })

  t.test('gives up at the end when the hub does not come back, and says what is missing', async (t) => {
    const hub = await startFakeHub()
    const running = commandLine.start([
      'run',
      '--hub',
      hub.url,
      '--wait',
      '0.1',
      '--',
      'sh',
      '-c',
      'read line; echo late',
    ])
    await hub.until(({ events }) => events.length === 1)
    await hub.close()
    running.process.stdin.end('\n')
    const { code, stderr } = await running.finished
    t.equal(code, 69)
    t.match(stderr, /2 events not taken by the hub/)
  })

  t.test('goes on when the hub refuses, and ends with 76', async (t) => {
    const hub = await fakeHub(t)
    hub.fault = () => 'refuse'
    const { code, stdout, stderr } = await commandLine.run(['run', '--hub', hub.url, '--', 'echo', 'work'])
    t.equal(code, 76)
    t.match(stdout, /\| work/)
    t.match(stderr, /the hub refused the output \(not allowed here\)/)
  })

  t.test('passes a signal on to all that the command started, and kills at the second', async (t) => {
    const hub = await fakeHub(t)
    const first = commandLine.start([
      'run',
      '--hub',
      hub.url,
      '--worker',
      'w=trap "echo bye; exit 7" INT; echo ready; while :; do sleep 0.05; done',
    ])
    await first.says('ready')
    first.process.kill('SIGINT')
    const ended = await first.finished
    t.equal(ended.code, 7)
    t.match(ended.stdout, /bye/)
    t.equal(hub.texts('w'), 'ready\nbye\n')

    const second = commandLine.start([
      'run',
      '--hub',
      hub.url,
      '--worker',
      'w=trap "" TERM; echo ready; sleep 1000; sleep 1000',
    ])
    await second.says('ready')
    second.process.kill('SIGTERM')
    await second.says('again to kill')
    second.process.kill('SIGTERM')
    t.equal((await second.finished).code, 137)
    t.match(hub.events.at(-1), { type: 'process.exited', data: { code: 137, signal: 'SIGKILL' } })
  })

  t.test('a command that is not found ends with 127', async (t) => {
    const hub = await fakeHub(t)
    const { code, stderr } = await commandLine.run(['run', '--hub', hub.url, '--', 'no-such-program-here'])
    t.equal(code, 127)
    t.match(stderr, /✗ command not found/)
    t.match(
      hub.events.map(({ type }) => type),
      ['process.started', 'process.exited'],
    )
  })

  t.test('ends only the session that it began, or as it is told', async (t) => {
    const hub = await fakeHub(t)
    hub.open.add('begun')
    const run = (...options: string[]) =>
      commandLine.run(['run', '--hub', hub.url, '--session', 'begun', ...options, '--worker', 'w=true'])
    t.equal((await run()).code, 0)
    t.notOk(hub.ended.has('begun'))
    t.equal((await run('--end')).code, 0)
    t.same(hub.ended.get('begun'), { code: 0 })
  })

  t.test('does not touch a session that has ended, unless it may replace it', async (t) => {
    const hub = await fakeHub(t)
    const words = ['--hub', hub.url, '--session', 'again', '--', 'true']
    t.equal((await commandLine.run(['run', ...words])).code, 0)
    const refused = await commandLine.run(['run', ...words])
    t.equal(refused.code, 1)
    t.match(refused.stderr, /session again has ended/)
    t.equal((await commandLine.run(['run', '--replace', '--keep-open', ...words])).code, 0)
    t.equal(hub.ended.size, 0)
  })

  t.test('wrong options are said and end with 2', async (t) => {
    const run = async (...words: string[]) => {
      const { code, stderr } = await commandLine.run(words)
      return `${code} ${stderr.split('\n')[0]}`
    }
    t.match(await run('run'), /^2 runcast: nothing to run/)
    t.match(await run('run', '--worker', 'x'), /^2 runcast: .*expected name='command'/)
    t.match(await run('run', '--worker', 'a b=true'), /^2 runcast: .*expected an id/)
    t.match(
      await run('run', '--worker', 'a=true', '--worker', 'a=true'),
      /^2 runcast: .*two workers are called a/,
    )
    t.match(await run('run', '--hub', 'nowhere', '--', 'true'), /^2 runcast: --hub: expected a URL/)
    t.match(await run('rum'), /^2 runcast: unknown command 'rum'/)
    t.match(await run('publish', '--nothing'), /^2 runcast: unknown option/)
  })
  t.end()
})

t.test('publish', (t) => {
  const file = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, text)
    return path
  }

  t.test('publishes events as they are, with ids where they have none', async (t) => {
    const hub = await fakeHub(t)
    const path = file('events.ndjson', '{"type":"a","data":{"n":1}}\n\n{"type":"b","id":"mine"}\r\n')
    const { code, stdout, stderr } = await commandLine.run(['publish', '--session', 's', path], {
      RUNCAST_HUB: hub.url,
    })
    t.equal(code, 0)
    t.equal(stderr, '')
    t.match(stdout, /^2 events published to sessions\/s in /)
    t.match(hub.events, [
      { type: 'a', id: String, data: { n: 1 } },
      { type: 'b', id: 'mine' },
    ])
  })

  t.test('wraps any JSON as the data of events', async (t) => {
    const hub = await fakeHub(t)
    const path = file('any.ndjson', '{"type":"delta","n":1}\n{"type":"two words"}\n{"n":3}\n[4]\n')
    const words = ['publish', '--hub', hub.url, '--session', 's', '--worker', 'w', '--type-field', 'type']
    t.equal((await commandLine.run([...words, '--type', 'other', '--end', path])).code, 0)
    t.match(hub.events, [
      { type: 'delta', worker: 'w', data: { type: 'delta', n: 1 } },
      { type: 'two_words', worker: 'w', data: { type: 'two words' } },
      { type: 'other', worker: 'w', data: { n: 3 } },
      { type: 'other', worker: 'w', data: [4] },
    ])
    t.same(hub.ended.get('s'), { code: 0 })
    const { code, stderr } = await commandLine.run([...words, '--session', 't', path])
    t.equal(code, 1)
    t.match(stderr, /^runcast: line 3: expected an object with the field "type"/)
  })

  t.test('translates what an agent prints, and says how a stream ended that cannot be read', async (t) => {
    const hub = await fakeHub(t)
    const options = (path: string, ...more: string[]) => [
      'publish',
      '--session',
      's',
      '--from',
      'auto',
      path,
      ...more,
    ]
    const blocks =
      'data: {"type":"start","messageId":"m"}\n\ndata: {"type":"text-delta","id":"t","delta":"Hi"}\n\n'
    const whole = file('whole.sse', `${blocks}data: {"type":"finish"}\n\ndata: [DONE]\n\n`)
    const env = { RUNCAST_HUB: hub.url }
    t.match(await commandLine.run(options(whole, '--worker', 'w'), env), {
      code: 0,
      stdout: /^3 events published/,
    })
    t.match(hub.events, [
      { type: 'execution_started', worker: 'w', id: /-1-0$/ },
      { type: 'client_output_delta', worker: 'w', data: { content: 'Hi', message: 't' } },
      { type: 'execution_completed', worker: 'w' },
    ])
    const broken = file('broken.sse', `${blocks}nonsense\n`)
    t.match(await commandLine.run(options(broken), env), {
      code: 1,
      stderr: /line 5: expected JSON, got "nonsense"/,
    })
    t.match(hub.events.at(-1), { type: 'execution_failed', data: { error: /ended before/ } })
    t.match(await commandLine.run([...options(whole), '--type', 'x'], env), {
      code: 2,
      stderr: /cannot be used with/,
    })
  })

  t.test('publishes what precedes a broken line, and names the line', async (t) => {
    const hub = await fakeHub(t)
    const path = file('broken.ndjson', '{"type":"a"}\n{"type":"b"}\n{"type":"c"')
    const { code, stdout, stderr } = await commandLine.run([
      'publish',
      '--hub',
      hub.url,
      '--session',
      's',
      path,
    ])
    t.equal(code, 1)
    t.match(stdout, /^2 events published/)
    t.match(stderr, /^runcast: line 3: expected JSON, got /)
    t.match(
      hub.events.map(({ type }) => type),
      ['a', 'b'],
    )
    const untyped = await commandLine.run(['publish', '--hub', hub.url, file('untyped.ndjson', '{"n":1}\n')])
    t.equal(untyped.code, 1)
    t.match(untyped.stderr, /line 1: event.type: expected .*--type-field/)
  })

  t.test('names the line that the hub refuses', async (t) => {
    const hub = await fakeHub(t)
    const path = file('refused.ndjson', '\n{"type":"a"}\n\n{"type":"refused"}\n{"type":"c"}\n')
    const { code, stdout, stderr } = await commandLine.run(['publish', '--hub', hub.url, path])
    t.equal(code, 76)
    t.match(stdout, /^1 event published/)
    t.equal(stderr, 'runcast: line 4: the hub refused: a bad event\n')
  })

  t.test('a file that is missing is said', async (t) => {
    const hub = await fakeHub(t)
    const { code, stderr } = await commandLine.run(['publish', '--hub', hub.url, join(folder, 'missing')])
    t.equal(code, 1)
    t.match(stderr, /cannot read .*missing: no such file/)
  })

  t.test('publishes from a pipe as it comes, and Ctrl-C ends it in good order', async (t) => {
    const hub = await fakeHub(t)
    const running = commandLine.start(['publish', '--hub', hub.url, '--session', 's', '--type', 'log'])
    running.process.stdin.write('1\n2\n')
    await hub.until(({ events }) => events.length === 2)
    running.process.stdin.write('3\n4')
    await hub.until(({ events }) => events.length === 3)
    running.process.kill('SIGINT')
    const { code, stdout } = await running.finished
    t.equal(code, 130)
    t.match(stdout, /^3 events published/)
    t.same(
      hub.events.map(({ data }) => data),
      [1, 2, 3],
    )
  })
  t.end()
})
