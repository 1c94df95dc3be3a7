import { appendFileSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import type { Hub } from '../../src/hub/hub.js'
import { served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'
import { buildCommandLine } from './command-line.js'

const commandLine = await buildCommandLine()
t.teardown(() => commandLine.remove())

const id = '3f2504e0-4f89-41d3-9a0c-0305e82c3301'

function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'runcast-attach-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function put(path: string, lines: readonly object[]): void {
  mkdirSync(dirname(path), { recursive: true })
  appendFileSync(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
}

const line = (type: string, message: object, more: object = {}) => ({
  type,
  sessionId: id,
  cwd: '/home/u/shop',
  timestamp: '2026-01-01T00:00:00.000Z',
  message,
  ...more,
})
const prompt = (content: string, more: object = {}) => line('user', { content }, more)
const said = (message: string, text: string, more: object = {}) =>
  line(
    'assistant',
    {
      id: message,
      model: 'opus',
      content: [{ type: 'text', text }],
      stop_reason: 'end_turn',
      usage: { input_tokens: 3, output_tokens: 2 },
    },
    more,
  )

const textsOf = (hub: Hub, session: string) =>
  hub.find(session) === undefined
    ? []
    : hub
        .history(`sessions/${session}/**`)
        .events.filter(({ type }) => type === 'client_output_delta')
        .map(({ worker, data }) => [worker ?? '-', (data as { content: string }).content].join(' '))

t.test('every agent of the machine is a session, followed as it goes on, and once', async (t) => {
  const { hub, url } = await served(t)
  const home = folderOf(t)
  const log = join(home, 'projects', '-home-u-shop', `${id}.jsonl`)
  put(log, [{ type: 'summary', summary: 'x' }, prompt('Mend the shop'), said('m1', 'First.')])
  const old = join(home, 'projects', '-home-u-shop', 'old.jsonl')
  put(old, [prompt('Old', { sessionId: 'old' }), said('o', 'Old.', { sessionId: 'old' })])
  utimesSync(old, new Date(0), new Date(0))
  const env = { CLAUDE_CONFIG_DIR: home }
  const start = () => commandLine.start(['attach', 'claude-code', '--hub', url], env)
  const first = start()
  await until('it is there', () => textsOf(hub, id).length === 1)
  t.match(hub.find(id), {
    status: 'running',
    result: 'succeeded',
    metadata: { title: 'shop: Mend the shop', labels: ['claude-code', 'shop'] },
    usage: { input_tokens: 3 },
  })
  put(log, [prompt('Go on')])
  await until('it runs again', () => hub.find(id)?.result === undefined)
  const half = `${JSON.stringify(said('m2', 'Second.'))}\n`
  appendFileSync(log, half.slice(0, 40))
  const agent = { isSidechain: true, agentId: 'cafe0123' }
  put(join(home, 'projects', '-home-u-shop', id, 'subagents', 'agent-cafe0123.jsonl'), [
    prompt('Explore', agent),
    said('s', 'Explored.', agent),
  ])
  await until('its agent is a worker', () => textsOf(hub, id).length === 2)
  appendFileSync(log, half.slice(40))
  await until('it goes on', () => textsOf(hub, id).length === 3)
  t.equal(hub.find('old'), undefined, 'what is too old is not read')
  first.process.kill('SIGINT')
  t.match(await first.finished, { code: 130, stdout: /Mend the shop.*\/s\/3f2504e0/ })

  put(log, [prompt('While away'), said('m3', 'Third.')])
  const { published } = hub.stats()
  const second = start()
  await until('only what is new is published', () => textsOf(hub, id).length === 4)
  put(old, [prompt('Woken', { sessionId: 'old' })])
  await until('an old one that is written to is read whole', () => hub.find('old') !== undefined)
  second.process.kill('SIGINT')
  await second.finished
  t.strictSame(textsOf(hub, id), ['- First.', 'agent-cafe0123 Explored.', '- Second.', '- Third.'])
  t.strictSame(textsOf(hub, 'old'), ['- Old.'])
  t.equal(hub.stats().published - published, 4 + 5, 'nothing came twice')
})

t.test('codex, directories and one session for all of them', async (t) => {
  const { hub, url } = await served(t)
  const home = folderOf(t)
  const rollout = (name: string, session: string, source: unknown, text: string) => {
    const of = (type: string, payload: object) => ({ timestamp: '2026-01-01T00:00:00Z', type, payload })
    put(join(home, 'sessions', '2026', '01', '01', `rollout-${name}.jsonl`), [
      of('session_meta', { id: session, cwd: '/home/u/api', source }),
      of('event_msg', { type: 'user_message', message: 'Fix' }),
      of('response_item', { type: 'message', role: 'assistant', content: [{ type: 'output_text', text }] }),
      of('event_msg', { type: 'task_complete' }),
    ])
  }
  rollout('1', 'aaaaaaaa-parent01', 'cli', 'Main.')
  const spawned = { subagent: { thread_spawn: { parent_thread_id: 'aaaaaaaa-parent01', depth: 1 } } }
  rollout('2', 'bbbbbbbb-child002', spawned, 'Helper.')
  const env = { CODEX_HOME: home }
  const once = ['attach', 'codex', '--once', '--hub', url]
  const done = await commandLine.run(once, env)
  t.match(done, { code: 0, stdout: /6 events published from 2 logs\n$/ }, done.stderr)
  t.strictSame(textsOf(hub, 'aaaaaaaa-parent01'), ['- Main.', 'agent-child002 Helper.'])
  await commandLine.run([...once, '--session', 'all'], env)
  t.strictSame(
    hub.find('all')?.workers.map((worker) => [worker.id, worker.result]),
    [
      ['codex-parent01', 'succeeded'],
      ['codex-child002', 'succeeded'],
    ],
  )
  const logs = folderOf(t)
  put(join(logs, 'a.ndjson'), [
    { type: 'system', subtype: 'init', session_id: 'x', model: 'opus' },
    { type: 'result', subtype: 'success', result: 'Printed.', session_id: 'x' },
  ])
  writeFileSync(join(logs, 'b.jsonl'), 'no JSON\n{"odd":1}\n')
  put(join(logs, 'b.jsonl'), [prompt('Hi'), said('m', 'Logged.')])
  const mixed = await commandLine.run(['attach', logs, '--once', '--hub', url])
  t.match(mixed.stderr, /b\.jsonl: line 1: .*JSON/)
  t.strictSame([textsOf(hub, 'a'), textsOf(hub, id)], [['- Printed.'], ['- Logged.']])
})

t.test('what cannot be attached to is said', async (t) => {
  const { hub, url } = await served(t, { serve: { auth: { secrets: [secret] } } })
  const home = folderOf(t)
  const log = join(home, `${id}.jsonl`)
  put(log, [prompt('Hi'), said('m', 'Hello.')])
  const words = ['attach', home, '--once', '--hub', url]
  t.match(await commandLine.run(['attach', join(home, 'none'), '--hub', url]), {
    code: 1,
    stderr: /there is no directory .*none/,
  })
  t.match(await commandLine.run(words), { code: 76, stderr: /RUNCAST_TOKEN/ })
  const other = { RUNCAST_TOKEN: await mint({ publish: ['sessions/other'] }) }
  t.match(await commandLine.run(words, other), { code: 76, stderr: /the hub refused/ })
  const writer = { RUNCAST_TOKEN: await mint({ publish: [`sessions/${id}/**`] }) }
  t.match(await commandLine.run(words, writer), { code: 0, stdout: /4 events published/ })
  await commandLine.run(words, writer)
  t.strictSame(textsOf(hub, id), ['- Hello.'], 'ids tell what was there, where nothing may be read')
  hub.endSession(id)
  const all = { RUNCAST_TOKEN: await mint({ publish: ['**'], subscribe: ['**'] }) }
  t.match(await commandLine.run(words, all), { code: 76, stderr: /has ended/ })
})
