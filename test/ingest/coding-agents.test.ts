// What agents on the command line print, and write of their sessions.

import t, {} from 'tap'
import { translate } from './ingest-kit.js'

const toolUse = (id: string, name: string, input: object) => ({ type: 'tool_use', id, name, input })
const assistant = (id: string, content: object[], parent: string | null = null, usage = {}) => ({
  type: 'assistant',
  message: { id, model: 'm', content, usage },
  parent_tool_use_id: parent,
  session_id: 's',
})
const toolResult = (id: string, content: unknown, isError = false) => ({
  type: 'user',
  message: { content: [{ type: 'tool_result', tool_use_id: id, content, is_error: isError }] },
  parent_tool_use_id: null,
  session_id: 's',
})

t.test('claude-code', async (t) => {
  t.test('makes workers of sub-agents, which end as their calls do', async (t) => {
    const run = translate(
      'claude-code',
      [
        { type: 'system', subtype: 'init', session_id: 's', model: 'm' },
        assistant('m1', [toolUse('t1', 'Task', { subagent_type: 'Explore', description: 'look' })]),
        assistant('m2', [{ type: 'text', text: 'looking' }], 't1', { input_tokens: 5, output_tokens: 2 }),
        assistant('m3', [toolUse('t2', 'Task', { subagent_type: 'Explore' })], 't1'),
        { ...toolResult('t2', 'lost', true), parent_tool_use_id: 't1' },
        toolResult('t1', [{ type: 'text', text: 'found it' }]),
        { type: 'result', subtype: 'error_max_turns', is_error: true, session_id: 's' },
      ],
      'fix',
    )
    const told = run.events.map(({ event, worker }) => `${worker} ${event.type}`)
    t.strictSame(told, [
      'fix execution_started',
      'fix tool_call_started',
      'fix.Explore-1 execution_started',
      'fix.Explore-1 client_output_delta',
      'fix.Explore-1 llm_turn_complete',
      'fix.Explore-1 tool_call_started',
      'fix.Explore-2 execution_started',
      'fix.Explore-1 tool_call_completed',
      'fix.Explore-2 execution_failed',
      'fix tool_call_completed',
      'fix.Explore-1 llm_turn_complete',
      'fix.Explore-1 execution_completed',
      'fix llm_turn_complete',
      'fix execution_failed',
    ])
    t.match(run.of('execution_started'), [
      {},
      { parent: 'fix', description: 'look' },
      { parent: 'fix.Explore-1' },
    ])
    t.match(run.of('execution_failed'), [{ error: 'lost' }, { error: 'error_max_turns' }])
  })

  t.test('tells a text that came in pieces once, and asks what the agent asks', async (t) => {
    const piece = (event: object) => ({
      type: 'stream_event',
      event,
      session_id: 's',
      parent_tool_use_id: null,
    })
    const run = translate('claude-code', [
      piece({ type: 'message_start', message: { id: 'm1', model: 'm', usage: {} } }),
      piece({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
      piece({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Hel' } }),
      piece({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'lo' } }),
      piece({ type: 'message_stop' }),
      assistant('m1', [{ type: 'text', text: 'Hello' }]),
      assistant('m1', [toolUse('q', 'AskUserQuestion', { questions: [{ question: 'Which?' }] })]),
      toolResult('q', 'The first.'),
      {
        type: 'control_request',
        request_id: 'r',
        request: { subtype: 'can_use_tool', tool_name: 'Bash', input: { command: 'rm' } },
      },
      {
        type: 'control_response',
        response: { request_id: 'r', response: { behavior: 'deny', message: 'no' } },
      },
      { type: 'result', subtype: 'success', is_error: false, result: 'Hello', session_id: 's', usage: {} },
    ])
    t.equal(run.text, 'HelloHello', 'the result says again what was said before the call')
    t.match(run.of('client_input_requested'), [{ request_id: 'q', questions: [{ question: 'Which?' }] }])
    t.match(run.of('client_input_received'), [{ request_id: 'q', answer: 'The first.' }])
    t.match(run.of('data-permission-request'), [
      { request_id: 'r', tool_name: 'Bash', arguments: { command: 'rm' } },
    ])
    t.match(run.of('data-permission-response'), [{ request_id: 'r', granted: false, reason: 'no' }])
    t.equal(run.types.at(-1), 'execution_completed')
  })
})

/** A line of the log that Claude Code writes on disk. */
const logged = (type: string, message: object | undefined, more: object = {}) => ({
  parentUuid: null,
  isSidechain: false,
  sessionId: 'aaaa-bbbb',
  cwd: '/home/u/shop',
  version: '2.1.3',
  timestamp: '2026-01-01T00:00:00.000Z',
  type,
  ...(message !== undefined && { message }),
  ...more,
})
const prompted = (content: string, more: object = {}) => logged('user', { role: 'user', content }, more)
const answered = (id: string, content: object[], reason: string | null, more: object = {}) =>
  logged(
    'assistant',
    { id, model: 'opus', content, stop_reason: reason, usage: { input_tokens: 3, output_tokens: 2 } },
    more,
  )

t.test('claude-log tells what Claude Code has written of its sessions', async (t) => {
  const call = { type: 'tool_use', id: 't1', name: 'Bash', input: { command: 'ls' } }
  const run = translate('claude-log', [
    logged('summary', undefined),
    logged('file-history-snapshot', undefined),
    prompted('Meta', { isMeta: true }),
    prompted('What is here?'),
    answered('m1', [{ type: 'thinking', thinking: 'Look.' }], 'tool_use'),
    answered('m1', [call], 'tool_use'),
    prompted('Hurry', {}),
    logged('user', {
      content: [{ type: 'tool_result', tool_use_id: 't1', content: 'a.txt', is_error: false }],
    }),
    answered('m2', [{ type: 'thinking', thinking: 'One.' }], 'end_turn'),
    answered('m2', [{ type: 'text', text: 'One file.' }], 'end_turn'),
    logged('system', undefined, { subtype: 'turn_duration' }),
    prompted('Go on'),
    answered('m3', [{ type: 'text', text: 'half' }], null),
    logged('user', { content: [{ type: 'text', text: '[Request interrupted by user]' }] }),
    prompted('Again'),
    answered('m4', [{ type: 'text', text: 'API Error: 529' }], 'stop_sequence', { isApiErrorMessage: true }),
    prompted('And now'),
  ])
  t.strictSame(run.types, [
    'execution_started',
    'llm_reasoning_delta',
    'tool_call_started',
    'custom-event',
    'tool_call_completed',
    'llm_turn_complete',
    'llm_reasoning_delta',
    'client_output_delta',
    'llm_turn_complete',
    'execution_completed',
    'execution_started',
    'client_output_delta',
    'llm_turn_complete',
    'data-execution-cancelled',
    'execution_started',
    'client_output_delta',
    'execution_failed',
    'execution_started',
    'execution_failed',
  ])
  t.match(run.of('execution_started')[0], { prompt: 'What is here?', cwd: '/home/u/shop' })
  t.match(run.of('tool_call_completed'), [{ tool_use_id: 't1', tool_name: 'Bash', result: 'a.txt' }])
  t.match(run.of('execution_failed'), [{ error: 'API Error: 529' }, { error: /ended before/ }])
  t.equal(run.events[0]?.event.time, Date.UTC(2026, 0, 1))
  const side = { isSidechain: true, agentId: 'f00dcafe99' }
  const agents = translate('claude-log', [
    prompted('Explore', side),
    answered('s1', [{ type: 'text', text: 'Done.' }], 'end_turn', side),
    answered('s2', [{ type: 'text', text: 'Old.' }], 'end_turn', { isSidechain: true }),
  ])
  t.strictSame([...new Set(agents.events.map(({ worker }) => worker))], ['agent-f00dcafe', 'agent'])
})

t.test('codex tells what its log has, and what codex exec prints', async (t) => {
  const line = (type: string, payload: object) => ({ timestamp: '2026-01-01T00:00:00.000Z', type, payload })
  const told = (type: string, more: object = {}) => line('event_msg', { type, ...more })
  const item = (type: string, more: object) => line('response_item', { type, ...more })
  const usage = { input_tokens: 50, cached_input_tokens: 40, output_tokens: 7 }
  const run = translate('codex', [
    line('session_meta', { id: 'c0de', cwd: '/home/u/shop', source: 'cli' }),
    line('turn_context', { model: 'gpt-5-codex' }),
    told('task_started'),
    told('user_message', { message: 'Fix it' }),
    item('message', { role: 'user', content: [{ type: 'input_text', text: 'Fix it' }] }),
    item('reasoning', { summary: [{ type: 'summary_text', text: '**Look**' }], encrypted_content: 'x' }),
    told('agent_reasoning', { text: '**Look**' }),
    item('function_call', { name: 'shell', arguments: '{"command":["ls"]}', call_id: 'c1' }),
    item('function_call_output', {
      call_id: 'c1',
      output: '{"output":"no such file","metadata":{"exit_code":2}}',
    }),
    told('token_count', { info: { last_token_usage: usage, total_token_usage: usage } }),
    told('token_count', { info: null }),
    told('agent_message', { message: 'Fixed.' }),
    item('message', { role: 'assistant', content: [{ type: 'output_text', text: 'Fixed.' }] }),
    told('task_complete', { last_agent_message: 'Fixed.' }),
    told('user_message', { message: 'More' }),
    told('turn_aborted', { reason: 'interrupted' }),
  ])
  t.strictSame(run.types, [
    'execution_started',
    'custom-event',
    'llm_reasoning_delta',
    'tool_call_started',
    'tool_call_completed',
    'llm_turn_complete',
    'client_output_delta',
    'execution_completed',
    'execution_started',
    'data-execution-cancelled',
  ])
  t.match(run.of('tool_call_started'), [{ tool_name: 'shell', tool_input: { command: ['ls'] } }])
  t.match(run.of('tool_call_completed'), [{ result: 'no such file', is_error: true, tool_name: 'shell' }])
  t.match(run.of('llm_turn_complete'), [{ model: 'gpt-5-codex', input_tokens: 50, cached_tokens: 40 }])

  const command = { id: 'i1', type: 'command_execution', command: 'ls' }
  const exec = translate('auto', [
    { type: 'thread.started', thread_id: 't' },
    { type: 'turn.started' },
    { type: 'item.completed', item: { id: 'i0', type: 'reasoning', text: 'Look' } },
    { type: 'item.started', item: { ...command, status: 'in_progress' } },
    {
      type: 'item.completed',
      item: { ...command, aggregated_output: 'a', exit_code: 0, status: 'completed' },
    },
    { type: 'item.completed', item: { id: 'i2', type: 'agent_message', text: 'Done' } },
    { type: 'turn.completed', usage },
    { type: 'turn.started' },
    { type: 'turn.failed', error: { message: 'no key' } },
  ])
  t.strictSame(exec.types, [
    'execution_started',
    'llm_reasoning_delta',
    'tool_call_started',
    'tool_call_completed',
    'client_output_delta',
    'llm_turn_complete',
    'execution_completed',
    'execution_started',
    'execution_failed',
  ])
  t.match(exec.of('execution_failed'), [{ error: 'no key' }])
})
