/**
 * Ways to begin, typed from the docs in a fresh folder. `readme.test.ts` types the README in a clone, `packages.test.ts` installs
 * the packages, and `test/frameworks/examples.test.ts` begins a front-end.
 */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { buildCommandLine } from '../cli/command-line.js'
import { python, withoutPython } from '../kit/python.js'
import { served } from '../kit/served.js'
import { type } from '../kit/terminal.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const guide = (name: string) => readFileSync(join(root, 'docs/guide', name), 'utf8')

function freshFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'runcast-way-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function program(folder: string, name: string, text: string): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, name), text)
  chmodSync(join(folder, name), 0o755)
}

/** What Claude Code prints with `--output-format stream-json`. */
const printed = [
  { type: 'system', subtype: 'init', session_id: 'c', model: 'm', tools: [] },
  {
    type: 'assistant',
    session_id: 'c',
    message: { id: 'm1', content: [{ type: 'text', text: 'All is well.' }] },
  },
  { type: 'result', subtype: 'success', session_id: 'c', is_error: false, result: 'All is well.' },
]

t.test('an agent that exists is wired as the guide says', async (t) => {
  const commandLine = await buildCommandLine()
  t.teardown(() => commandLine.remove())
  const { hub, url } = await served(t)
  const cwd = freshFolder(t)
  const bin = join(cwd, 'bin')
  program(bin, 'runcast', `#!/bin/sh\nexec '${process.execPath}' '${commandLine.main}' "$@"\n`)
  const lines = printed.map((line) => `'${JSON.stringify(line)}'`).join(' ')
  program(bin, 'claude', `#!/bin/sh\nprintf '%s\\n' ${lines}\n`)
  const at = { cwd, port: Number(new URL(url).port), env: { PATH: `${bin}:${process.env['PATH']}` } }
  const text = guide('agents.md')
  const said = (topic: string) =>
    hub.history(topic, { types: ['client_output_delta'] }).events.map(({ data }) => data)

  t.test('its output is piped into the hub', async (t) => {
    const row = /^\| `claude-code` \|.*\| `(claude .*)` \|$/m.exec(text)?.[1] ?? ''
    const piping = type(t, row.replaceAll('\\|', '|'), at)
    t.equal(await piping.ended, 0, piping.shown())
    t.match(said('sessions/fix/**'), [{ content: 'All is well.' }])
    t.match(hub.state('sessions/fix', ['$session']).slices, { $session: { result: 'succeeded' } })
  })

  t.test('runcast run starts it', async (t) => {
    t.match(text, '`runcast run --from KIND -- command`')
    const running = type(t, 'runcast run --session run --from claude-code -- claude -p', at)
    t.equal(await running.ended, 0, running.shown())
    t.match(said('sessions/run/**'), [{ content: 'All is well.' }])
  })

  t.test('the stream of a model is posted', async (t) => {
    const [, block = ''] = /^```sh\n(curl .*?)^```/ms.exec(text) ?? []
    const posting = type(t, block, at)
    t.equal(await posting.ended, 0, posting.shown())
    t.match(said('sessions/chat/**'), [{ content: 'Hi' }])
  })

  t.test('it calls the hooks of its settings', async (t) => {
    const settings = JSON.parse(/^```json\n(.*?)^```/ms.exec(text)?.[1] ?? '{}') as {
      readonly hooks: Readonly<
        Record<string, readonly [{ readonly hooks: readonly [{ readonly url: string }] }]>
      >
    }
    const call = /`(curl -s --json @- )http/.exec(text)?.[1] ?? ''
    const common = {
      session_id: 'hooked',
      cwd,
      tool_name: 'Bash',
      tool_input: { command: 'ls' },
      tool_use_id: 't',
    }
    for (const [hook_event_name, [{ hooks }]] of Object.entries(settings.hooks)) {
      const told = { ...common, hook_event_name, prompt: 'fix it', tool_response: 'done' }
      const calling = type(t, `echo '${JSON.stringify(told)}' | ${call}${hooks[0].url}`, at)
      t.equal(await calling.ended, 0, calling.shown())
      t.equal(calling.shown().trim(), '{}', `${hook_event_name} leaves every decision to the agent`)
    }
    const types = hub.history('sessions/hooked/**').events.map((event) => event.type)
    for (const wanted of [
      'execution_started',
      'tool_call_started',
      'tool_call_completed',
      'execution_completed',
    ])
      t.ok(types.includes(wanted), wanted, { types })
  })
})

t.test('an agent in Python, from the guide', { skip: withoutPython('httpx') ?? false }, async (t) => {
  const { hub, url } = await served(t)
  const cwd = freshFolder(t)
  program(join(cwd, 'bin'), 'python3', `#!/bin/sh\nexec '${python}' "$@"\n`)
  // What it needs of a clone.
  mkdirSync(join(cwd, 'clients'))
  symlinkSync(join(root, 'clients/python'), join(cwd, 'clients/python'))
  const text = guide('python.md')
  const port = Number(new URL(url).port)
  for (const [, name = '', code = ''] of text.matchAll(/^```python (\S+)\n(.*?)^```/gms))
    writeFileSync(join(cwd, name), code.replaceAll(':4600', `:${port}`))
  const [, block = ''] = /^```sh\n(.*?)^```/ms.exec(text) ?? []
  const env = { PATH: `${join(cwd, 'bin')}:${process.env['PATH']}`, PYTHONDONTWRITEBYTECODE: '1' }
  const typing = type(t, `set -e\n${block}`, { cwd, port, env })
  t.equal(await typing.ended, 0, typing.shown())
  t.match(
    typing.shown(),
    /^None execution_started \{'by': 'ci'\}\nagent client_output_delta .*'Looking at the tests\.'/,
  )
  t.match(hub.state('sessions/build-42/workers/agent', ['plan']).slices, { plan: { done: 0 } })
})
