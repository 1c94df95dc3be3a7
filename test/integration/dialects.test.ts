import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { EventSource } from 'eventsource'
import type { EventSourceMessage } from 'eventsource-parser'
import t from 'tap'
import { createHub } from '../../src/hub/hub.js'
import type { JsonObject, JsonValue } from '../../src/lib/json.js'
import { serve } from '../../src/server/serve.js'
import { openLmdb } from '../../src/store/lmdb.js'
import { SimulatedClock } from '../kit/clock.js'
import { python, withoutPython } from '../kit/python.js'
import { served } from '../kit/served.js'
import { mint, secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'
import { curl, cut, follow, numbered, parsed, post } from './dialect-kit.js'

t.test('session-bus: an EventSource joins, lives, is cut, resumes and stops at the end', async (t) => {
  const { hub, url } = await served(t, { hub: { limits: { retryMs: 20 } } })
  const session = hub.session('s')
  session.publish([numbered('execution_started', 1), numbered('node_loop_started', 2)])
  session.worker('w').publish(numbered('tool_call_started', 3))
  const { source, messages } = follow(t, `${url}/api/sessions/s/events?dialect=session-bus`)
  await until('the idempotent events are replayed', () => messages.length === 1)
  session.publish(numbered('tool_call_started', 4))
  session.worker('w').publish([numbered('tool_call_started', 5), numbered('execution_completed', 6)])
  session.publish(numbered('not.of.the.bus', 7))
  await until('what is live has come', () => messages.length === 3)
  cut(hub)
  session.publish(numbered('tool_call_completed', 8))
  await until('it has come back', () => messages.length === 4)
  t.strictSame(
    messages.map(({ type, stream_id, data }) => [type, stream_id, (data as JsonObject).n as number]),
    [
      ['execution_started', 's', 1],
      ['tool_call_started', 's', 4],
      ['execution_completed', 'worker:w', 6],
      ['tool_call_completed', 's', 8],
    ],
  )
  for (const { timestamp } of messages) t.match(timestamp, /^\d{4}-\d\d-\d\dT[\d:.]+\+00:00$/)
  hub.endSession('s')
  await until('204 stops it', () => source.readyState === EventSource.CLOSED)
  t.equal(messages.length, 4, 'the end is no event of the bus')
})

t.test("session-bus: a worker's route has all of it, types are skipped or fall back, 404", async (t) => {
  const { hub, url } = await served(t)
  hub.session('s').publish({ type: 'execution_started' })
  const worker = await parsed(t, `${url}/api/sessions/s/workers/w/events?dialect=session-bus`)
  const some = await parsed(
    t,
    `${url}/api/sessions/s/events?dialect=session-bus&types=nonsense,goal_progress`,
  )
  const none = await parsed(t, `${url}/api/sessions/s/events?dialect=session-bus&types=nonsense,%0aevil`)
  await until('all follow', () => hub.stats().subscriptions === 3)
  hub.session('s').worker('w').publish({ type: 'tool_call_started' })
  hub.session('s').publish([{ type: 'goal_progress' }, { type: 'node_stalled' }])
  const types = ({ events }: { events: EventSourceMessage[] }) =>
    events.map(({ data }) => (JSON.parse(data) as JsonObject).type)
  await until('all have it', () => worker.events.length === 1 && some.events.length === 1)
  await until('the default list applies', () => none.events.length === 3)
  t.strictSame(types(worker), ['tool_call_started'])
  t.strictSame(types(some), ['goal_progress'])
  t.strictSame(types(none), ['execution_started', 'goal_progress', 'node_stalled'])
  t.match(some.comments[0], /unknown type "nonsense" is left out/)
  t.notMatch(none.comments.join('|'), '\n')
  const unknown = await fetch(`${url}/api/sessions/none/events?dialect=session-bus`)
  t.equal(unknown.status, 404)
  t.equal(unknown.headers.get('content-type'), 'application/problem+json')
})

t.test('session-bus: a client too slow for what is critical is closed, with the reason', async (t) => {
  const { hub, url } = await served(t, {
    hub: { limits: { backpressureBytesMax: 1_024, laneEventsMax: 5 } },
  })
  hub.session('s').publish({ type: 'goal_progress' })
  // Not `fetch`, whose parser loses its place in a chunked body that was paused (undici of Node 20).
  const slow = await new Promise<IncomingMessage>((resolve, reject) => {
    get(`${url}/api/sessions/s/events?dialect=session-bus`, resolve).on('error', reject)
  })
  const bulk = 'x'.repeat(200_000)
  await until('it lags', () => {
    hub.session('s').publish({ type: 'node_loop_iteration', data: { bulk } })
    return hub.stats().lagging === 1
  })
  for (let n = 0; n < 10; n++) hub.session('s').publish({ type: 'node_loop_iteration', data: { n } })
  let text = ''
  for await (const piece of slow.setEncoding('utf8')) text += piece
  t.match(text.slice(-400), /\n: hub\.close \{"code":4001,"reason":"missed a critical event/)
})

t.test(
  'runtime-state and runtime-actions: ids from 1, state first, then changes, and heartbeats',
  async (t) => {
    const clock = new SimulatedClock()
    const { hub, url } = await served(t, { hub: { clock }, serve: { clock, heartbeatEventMs: 30_000 } })
    const session = hub.session('default')
    const steps = Array.from({ length: 20 }, (_, n) => ({ n, text: 'a step of the plan' }))
    session.setState('plan', { steps })
    session.setState('secret', 1)
    let isThere = false
    void hub.settled().then(() => (isThere = true))
    await until('the state is there', () => {
      clock.runTurn()
      return isThere
    })
    const state = await parsed(t, `${url}/events?slices=plan`)
    const actions = await parsed(t, `${url}/stream/actions?session=default`)
    await until('the state is told', () => state.events.length === 1)
    const turn = async (n: number, m: number) =>
      until(`${n} and ${m} have come`, () => {
        clock.runTurn()
        return state.events.length === n && actions.events.length === m
      })
    session.setState('plan', { steps: steps.slice(1) }, { type: 'step.done', id: 'a1' })
    await turn(2, 0)
    session.setState('plan', { steps: steps.slice(1) })
    session.setState('secret', 2)
    session.setState('plan', null)
    await turn(3, 0)
    session.setState('plan', [1])
    session.publish([
      { type: 'execution.status', data: { status: 'running', executionId: 'e1' } },
      { type: 'custom-event', data: { any: 'thing' } },
      { type: 'tool_call_started', data: {} },
    ])
    await turn(6, 2)
    clock.advance(30_000)
    await turn(7, 3)
    const seen = ({ events }: { events: EventSourceMessage[] }) =>
      events.map(({ id, event, data }) => {
        const { timestamp, ...rest } = JSON.parse(data) as JsonObject
        t.type(timestamp, 'number')
        t.equal(event, rest.type)
        return [id, rest]
      })
    t.strictSame(seen(state), [
      ['1', { type: 'state.initial', slices: { plan: { steps } } }],
      [
        '2',
        {
          type: 'state.update',
          slice: 'plan',
          patches: [{ op: 'remove', path: '/steps/0' }],
          cause: { type: 'step.done', id: 'a1' },
        },
      ],
      ['3', { type: 'state.update', slice: 'plan', value: null }],
      ['4', { type: 'state.update', slice: 'plan', value: [1] }],
      ['5', { type: 'execution.status', status: 'running', executionId: 'e1' }],
      ['6', { type: 'custom-event', data: { any: 'thing' } }],
      ['7', { type: 'heartbeat' }],
    ])
    t.strictSame(seen(actions), [
      ['1', { type: 'execution.status', status: 'running', executionId: 'e1' }],
      ['2', { type: 'custom-event', data: { any: 'thing' } }],
      ['3', { type: 'heartbeat' }],
    ])
    t.equal(hub.stats().encodings.get('sse:runtime-state'), 5, 'once for each event')
    const later = await parsed(t, `${url}/events?slices=plan`)
    await until('a client that comes back begins with the state', () => {
      clock.runTurn()
      return later.events.length === 2
    })
    t.match(later.events[0], { id: '1', event: 'state.initial', data: /"plan":\[1\]/ })
    t.match(later.events[1], { id: '2', event: 'execution.status' }, 'the newest is pinned')
    hub.endSession('default')
    await until('the end of the session ends the response', () => {
      clock.runTurn()
      return later.isOver()
    })
    t.equal((await fetch(`${url}/events`, { headers: { 'last-event-id': '7' } })).status, 204)
  },
)

t.test('stream-event: curl sees modes, force, [DONE]; an EventSource resumes', async (t) => {
  const { hub, url } = await served(t, { hub: { limits: { retryMs: 20 } } })
  const publish = (body: JsonValue, query = '') =>
    post(`${url}/api/sessions/c/events?dialect=stream-event${query}`, body)
  t.match(await publish([{ type: 'data-start' }, { type: 'data-text-delta', id: 't', delta: 'he' }]), {
    status: 200,
    accepted: 2,
  })
  const { source, messages } = follow(t, `${url}/api/sessions/c/stream`)
  const control = curl(`${url}/api/sessions/c/stream?mode=control`)
  await until('both follow', () => hub.stats().subscriptions === 2)
  await publish({ type: 'data-text-delta', id: 't', delta: 'llo' })
  await publish([{ type: 'data-execution-paused', by: 'me' }])
  await publish({ type: 'data-finish', reason: 'stop' }, '&force=1')
  await until('live', () => messages.length === 5)
  cut(hub)
  await publish({ type: 'data-artifact-created', artifact_id: 'a1' })
  await until('it has come back', () => messages.length === 6)
  const again = curl(`${url}/api/sessions/c/stream?mode=summary`)
  await until('one more follows', () => hub.stats().subscriptions === 2)
  hub.createSession('c', { mode: 'summary' })
  await publish([{ type: 'data-text-delta', delta: 'not kept' }])
  await publish([{ type: 'data-text-delta', delta: 'forced' }], '&force=1')
  hub.endSession('c')
  await until('the end is said, and 204 stops it', () => source.readyState === EventSource.CLOSED)
  t.strictSame(messages, [
    { type: 'data-start' },
    { type: 'data-text-delta', id: 't', delta: 'he' },
    { type: 'data-text-delta', id: 't', delta: 'llo' },
    { type: 'data-execution-paused', by: 'me' },
    { type: 'data-finish', reason: 'stop' },
    { type: 'data-artifact-created', artifact_id: 'a1' },
    { type: 'data-text-delta', delta: 'forced' },
    { done: true },
  ])
  const lines = (text: string) => [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => data)
  t.strictSame(lines(await control), [
    '{"type":"data-execution-paused","by":"me"}',
    '{"type":"data-finish","reason":"stop"}',
  ])
  t.strictSame(lines(await again).slice(-2), ['{"type":"data-text-delta","delta":"forced"}', '[DONE]'])
  t.notMatch(await control, /^event:/m)
  const log = (await (
    await fetch(`${url}/api/sessions/c/history?dialect=execution-log`)
  ).json()) as JsonObject
  t.match(log.events, [
    { event_type: 'control_pause', payload: { by: 'me' } },
    { event_type: 'artifact_created', artifact_id: 'a1', payload: {} },
  ])
  t.equal((log.events as []).length, 2)
})

t.test(
  'task-log: aiohttp reads what is stored, what is live, and the end; over a restart too',
  { skip: withoutPython('aiohttp') ?? false },
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'runcast-dialect-'))
    t.teardown(() => rmSync(directory, { recursive: true, force: true }))
    const publish = (url: string, body: string) =>
      post(`${url}/api/sessions/task/events?dialect=task-log`, body, 'application/x-ndjson')
    const before = createHub({ store: openLmdb({ directory }), limits: { laneEventsMax: 3 } })
    const first = await serve(before, { port: 0 })
    await publish(first.url, Array.from({ length: 9 }, (_, n) => `{"content":"${n}"}\n`).join(''))
    await first.close()
    await before.closeStore()

    const hub = createHub({
      store: openLmdb({ directory }),
      limits: { laneEventsMax: 3, restoredEventsMax: 2 },
    })
    const server = await serve(hub, { port: 0 })
    t.teardown(async () => {
      await server.close()
      await hub.closeStore()
    })
    const script = fileURLToPath(new URL('task-log.py', import.meta.url))
    const read = async (id?: string) => {
      const query = id === undefined ? '' : `?last_event_id=${id}`
      const child = spawn(python, [script, `${server.url}/tasks/task/events/stream${query}`])
      t.teardown(() => child.kill())
      const lines: JsonObject[] = []
      createInterface(child.stdout).on('line', (line) => lines.push(JSON.parse(line) as JsonObject))
      return lines
    }
    const lines = await read()
    await until('what is stored has come', () => lines.length === 10)
    t.strictSame(lines[0], { status: 200, type: 'text/event-stream' })
    t.strictSame(
      lines.slice(1).map(({ event, data }) => [event, (data as JsonObject).content]),
      Array.from({ length: 9 }, (_, n) => ['assistant', `${n}`]),
    )
    const resumed = await read(lines[5]?.id as string)
    await until('a client that comes back has the rest', () => resumed.length === 5)
    t.strictSame(
      resumed.slice(1).map(({ data }) => (data as JsonObject).content),
      ['5', '6', '7', '8'],
    )
    await publish(server.url, '{"type":"toolcall","content":"search({\\"q\\":1})"}\n{"type":"complete"}\n')
    await until('the end', () => lines.at(-1)?.end === true)
    t.strictSame(
      lines.slice(10).map(({ event, data }) => [event, data]),
      [
        ['toolcall', { tool: 'search', args: { q: 1 } }],
        ['complete', {}],
        [undefined, undefined],
      ],
    )
    t.equal(hub.find('task')?.status, 'ended')
    const nothing = await fetch(`${server.url}/tasks/nobody/events/stream`)
    t.equal(nothing.status, 200)
    t.equal(nothing.headers.get('content-type'), 'text/event-stream')
    t.equal(await nothing.text(), '')
  },
)

t.test('publishing in a dialect: all or nothing, by worker, once for each $id', async (t) => {
  const { hub, url } = await served(t)
  const to = `${url}/api/sessions/p/events?dialect=session-bus`
  t.match(await post(to, [{ type: 'a' }, { stream_id: 'worker:w' }]), { status: 400, pointer: '/1/type' })
  t.equal(hub.find('p'), undefined, 'nothing was published')
  t.match(await post(to, { type: 'a', stream_id: 'worker:../x' }), { status: 400, detail: /worker/ })
  const some = [
    { type: 'a', $id: '1' },
    { type: 'b', stream_id: 'worker:w', $id: '2' },
    { type: 'c', $id: '3' },
  ]
  t.match(await post(to, some), { status: 200, first: 1, last: 3, accepted: 3 })
  t.match(await post(to, `${some.map((one) => JSON.stringify(one)).join('\n')}\n`, 'application/x-ndjson'), {
    accepted: 0,
    duplicates: 3,
  })
  t.strictSame(
    hub.history('sessions/p/**').events.map(({ type, worker }) => [type, worker]),
    [
      ['a', undefined],
      ['b', 'w'],
      ['c', undefined],
    ],
  )
  t.match(await post(`${url}/api/sessions/p/events?dialect=execution-log`, {}), {
    status: 400,
    detail: /one of session-bus, stream-event, task-log/,
  })
  const tasks = `${url}/api/sessions/q/events?dialect=task-log`
  t.match(await post(tasks, [{ content: 'a' }, {}, { content: 'b' }]), { status: 400, pointer: '/2' })
  const log = '{"content":"a","$id":"1"}\n{"$id":"2"}\n'
  t.match(await post(tasks, log, 'application/x-ndjson'), { status: 200, accepted: 1 })
  t.equal(hub.find('q')?.status, 'ended')
  t.match(await post(tasks, log, 'application/x-ndjson'), { status: 200, accepted: 0, duplicates: 1 })
  t.match(await post(tasks, '{"content":"b"}\n', 'application/x-ndjson'), {
    status: 409,
    line: 1,
    detail: /^line 1: session/,
  })
})

t.test('a token for a session alone does not publish as its workers', async (t) => {
  const { url } = await served(t, { serve: { auth: { secrets: [secret] } } })
  const token = await mint({ publish: ['sessions/p'], subscribe: ['sessions/p'] })
  const ask = async (object: JsonObject) => {
    const response = await fetch(`${url}/api/sessions/p/events?dialect=session-bus`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify(object),
    })
    return response.status
  }
  t.equal(await ask({ type: 'a' }), 200)
  t.equal(await ask({ type: 'a', stream_id: 'worker:w' }), 403)
})

t.test('hooks of Claude Code become a session, with its tools, its sub-agents and its end', async (t) => {
  const { hub, url } = await served(t)
  const call = async (hook: JsonObject, query = '') => {
    const answer = await fetch(`${url}/api/hooks/claude-code${query}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ session_id: 'c0ffee', cwd: '/repo', ...hook }),
    })
    return { status: answer.status, ...((await answer.json()) as JsonObject) }
  }
  const tool = { tool_name: 'Bash', tool_input: { command: 'ls' }, tool_use_id: 't1' }
  const agent = { agent_id: 'a1b2c3d4e5', agent_type: 'Explore' }
  const hooks: JsonObject[] = [
    { hook_event_name: 'SessionStart', source: 'startup' },
    { hook_event_name: 'UserPromptSubmit', prompt: 'fix the tests' },
    { hook_event_name: 'PreToolUse', ...tool },
    { hook_event_name: 'PermissionRequest', ...tool },
    { hook_event_name: 'PostToolUse', ...tool, tool_response: { stdout: 'a.txt' } },
    { hook_event_name: 'SubagentStart', ...agent },
    { hook_event_name: 'PreToolUse', ...agent, ...tool, tool_use_id: 't2' },
    { hook_event_name: 'PostToolUseFailure', ...agent, ...tool, tool_use_id: 't2', error: 'no such file' },
    { hook_event_name: 'SubagentStop', ...agent, last_assistant_message: 'found it' },
    { hook_event_name: 'Notification', notification_type: 'idle_prompt', message: 'Waiting for you' },
    { hook_event_name: 'Stop', last_assistant_message: 'All green.' },
  ]
  for (const hook of hooks.slice(0, -1)) t.strictSame(await call(hook), { status: 200 })
  t.match(hub.find('c0ffee'), { needs: [{ kind: 'permission', text: 'Bash' }, { text: 'Waiting for you' }] })
  t.strictSame(await call(hooks.at(-1) as JsonObject), { status: 200 })
  t.match(hub.history('sessions/c0ffee/**').events, [
    { type: 'custom-event', data: { hook_event_name: 'SessionStart' } },
    { type: 'execution_started', data: { prompt: 'fix the tests', cwd: '/repo' } },
    {
      type: 'tool_call_started',
      data: { tool_use_id: 't1', tool_name: 'Bash', tool_input: { command: 'ls' } },
    },
    { type: 'data-permission-request', data: { tool_name: 'Bash' } },
    {
      type: 'tool_call_completed',
      data: { tool_use_id: 't1', result: { stdout: 'a.txt' }, is_error: false },
    },
    { type: 'execution_started', worker: 'Explore-a1b2c3d4' },
    { type: 'tool_call_started', worker: 'Explore-a1b2c3d4' },
    {
      type: 'tool_call_completed',
      worker: 'Explore-a1b2c3d4',
      data: { result: 'no such file', is_error: true },
    },
    { type: 'client_output_delta', worker: 'Explore-a1b2c3d4', data: { content: 'found it' } },
    { type: 'execution_completed', worker: 'Explore-a1b2c3d4' },
    { type: 'client_input_requested', data: { message: 'Waiting for you' } },
    { type: 'client_output_delta', data: { content: 'All green.' } },
    { type: 'execution_completed' },
  ])
  t.match(hub.find('c0ffee'), { result: 'succeeded', workers: [{ result: 'succeeded' }] })
  t.notOk(hub.find('c0ffee')?.needs, 'nobody is waited for any more')
  await call({ hook_event_name: 'Stop' }, '?session=team&worker=fix')
  await call({ hook_event_name: 'SubagentStart', ...agent }, '?session=team&worker=fix')
  t.match(hub.find('team')?.workers, [{ id: 'fix' }, { id: 'fix.Explore-a1b2c3d4', parent: 'fix' }])
  t.match(await call({}), { status: 400, detail: /expected an object \{ session_id, hook_event_name/ })
  t.match(await call({ hook_event_name: 'Stop' }, '?sesion=x'), {
    status: 400,
    detail: /no parameter but session/,
  })
  const closed = await served(t, { serve: { auth: { secrets: [secret] } } })
  const post = async (token: string) => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` }
    const body = '{"session_id":"c0ffee","hook_event_name":"Stop"}'
    return (await fetch(`${closed.url}/api/hooks/claude-code`, { method: 'POST', headers, body })).status
  }
  t.equal(await post(await mint({ publish: ['sessions/other'] })), 403)
  t.equal(await post(await mint({ publish: ['sessions/c0ffee'] })), 200)
})
