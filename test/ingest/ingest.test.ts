import { existsSync, readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { keptBytesMax } from '../../src/ingest/keeping.js'
import { ingestKinds, recognize } from '../../src/ingest/kinds.js'
import { Translation } from '../../src/ingest/translate.js'
import type { JsonObject } from '../../src/lib/json.js'
import { ProtocolError } from '../../src/protocol/codes.js'
import { defaultLimits } from '../../src/protocol/limits.js'
import { runOf, translate } from './ingest-kit.js'

/** Recorded streams of real providers, where they are at hand: they are not part of the project. */
const traces = new URL('../../../shared/traces/', import.meta.url)
const skip = existsSync(traces) ? false : 'no recorded streams on this machine'

const bounds = defaultLimits

function recorded(name: string): readonly JsonObject[] {
  const lines = readFileSync(new URL(`${name}.ndjson`, traces), 'utf8').split('\n')
  return lines.filter(Boolean).map((line) => JSON.parse(line) as JsonObject)
}

t.test('recorded streams of providers', { skip }, async (t) => {
  const cases: [name: string, kind: string, tools: number, ending: string, turns: number][] = [
    ['anthropic-code-execution-20250825.2', 'anthropic', 3, 'execution_completed', 1],
    ['anthropic-mcp.1', 'anthropic', 1, 'execution_completed', 1],
    ['anthropic-programmatic-tool-calling.1', 'anthropic', 15, 'execution_completed', 2],
    ['anthropic-refusal', 'anthropic', 0, 'execution_failed', 1],
    ['anthropic-text', 'anthropic', 0, 'execution_completed', 1],
    ['claude-code', 'claude-code', 1, 'execution_completed', 1],
    ['deepseek-reasoning', 'openai-chat', 0, 'execution_completed', 1],
    ['deepseek-tool-call', 'openai-chat', 1, 'execution_completed', 1],
    ['lmstudio-tool-call.1', 'openai-responses', 1, 'execution_completed', 1],
    ['mistral-tool-call', 'openai-chat', 1, 'execution_completed', 1],
    ['openai-code-interpreter-tool.1', 'openai-responses', 3, 'execution_completed', 1],
    ['openai-error.1', 'openai-responses', 0, 'execution_failed', 0],
    ['openai-local-shell-tool.1', 'openai-responses', 1, 'execution_completed', 1],
    ['openai-mcp-tool-approval.1', 'openai-responses', 0, 'execution_completed', 1],
    ['openai-text', 'openai-chat', 0, 'execution_completed', 1],
  ]
  for (const [name, kind, tools, ending, turns] of cases) {
    t.test(`${name} is told as what it is`, async (t) => {
      const objects = recorded(name)
      const [first] = objects
      t.equal(first && recognize(first)?.name, kind, 'the first object tells the kind')
      const run = translate('auto', objects)
      t.equal(run.types[0], 'execution_started')
      t.equal(run.types.at(-1), ending)
      t.equal(run.of('tool_call_started').length, tools)
      t.equal(run.of('llm_turn_complete').length, turns)
      for (const { tool_name: tool, tool_input: input } of run.of('tool_call_started')) {
        t.ok(typeof tool === 'string' && tool !== '', 'a tool has a name')
        t.ok(typeof input === 'object', 'what a tool was given has been parsed', { input })
      }
      t.strictSame(translate(kind, objects).events, run.events, 'the name of the kind gives the same')
      const cut = translate(kind, objects.slice(0, -1))
      if (ending === 'execution_completed' && kind !== 'openai-chat') {
        t.match(cut.events.at(-1)?.event, { type: 'execution_failed', data: { error: /ended before/ } })
      }
    })
  }

  t.test('the text is the final text of the provider', async (t) => {
    const responses = recorded('openai-code-interpreter-tool.1')
    const final = JSON.stringify(responses.at(-1))
    const { text } = translate('openai-responses', responses)
    t.ok(text.length > 100 && final.includes(JSON.stringify(text)), 'as the completed response has it')
    const chat = recorded('openai-text') as readonly { choices?: { delta?: { content?: string } }[] }[]
    const joined = chat.map(({ choices }) => choices?.[0]?.delta?.content ?? '').join('')
    t.equal(translate('openai-chat', chat).text, joined)
    t.equal(
      translate('claude-code', recorded('claude-code')).text,
      'Here are the files in the current directory.',
    )
  })

  t.test('tools that the provider runs have their results, and what a model took is counted', async (t) => {
    const run = translate('anthropic', recorded('anthropic-code-execution-20250825.2'))
    const ids = run.of('tool_call_started').map(({ tool_use_id: id }) => id)
    t.strictSame(
      run.of('tool_call_completed').map(({ tool_use_id: id }) => id),
      ids,
    )
    t.match(run.of('llm_turn_complete'), [
      { input_tokens: 15_696, output_tokens: 2_479, stop_reason: 'end_turn' },
    ])
    const deepseek = translate('openai-chat', recorded('deepseek-tool-call'))
    t.match(deepseek.of('llm_turn_complete'), [{ input_tokens: 339, output_tokens: 83, cached_tokens: 320 }])
    t.match(deepseek.of('tool_call_started'), [{ tool_input: { location: 'San Francisco' } }])
    t.match(translate('claude-code', recorded('claude-code')).of('llm_turn_complete'), [
      { input_tokens: 42_339, output_tokens: 424, cached_tokens: 17_254, cost_usd: 0.24722425 },
    ])
    t.match(
      translate('openai-responses', recorded('openai-mcp-tool-approval.1')).of('data-permission-request'),
      [{ tool_name: 'create_short_url', arguments: { url: 'https://ai-sdk.dev/' } }],
    )
    t.match(translate('openai-responses', recorded('openai-error.1')).of('execution_failed'), [
      { error: /exceeded your current quota/ },
    ])
  })
})

t.test('ai-sdk tells texts, tools, approvals and each way to end', async (t) => {
  const run = translate('ai-sdk', [
    { type: 'start', messageId: 'm' },
    { type: 'reasoning-start', id: 'r' },
    { type: 'reasoning-delta', id: 'r', delta: 'hm' },
    { type: 'text-start', id: 't' },
    { type: 'text-delta', id: 't', delta: 'Hi' },
    { type: 'tool-input-available', toolCallId: 'c', toolName: 'rm', input: { path: '/' } },
    { type: 'tool-approval-request', approvalId: 'a', toolCallId: 'c' },
    { type: 'tool-output-denied', toolCallId: 'c' },
    { type: 'data-weather', data: { sun: true } },
    {
      type: 'finish',
      finishReason: 'stop',
      messageMetadata: { totalUsage: { inputTokens: 7, outputTokens: 3 } },
    },
    { type: 'start', messageId: 'n' },
    { type: 'error', errorText: 'boom' },
    { type: 'start', messageId: 'o' },
    { type: 'abort', reason: 'stopped' },
    { type: 'start', messageId: 'p' },
  ])
  t.equal(run.text, 'Hi')
  t.match(run.of('data-permission-request'), [{ request_id: 'a', tool_name: 'rm', arguments: { path: '/' } }])
  t.match(run.of('tool_call_completed'), [{ tool_use_id: 'c', tool_name: 'rm', is_error: true }])
  t.match(run.of('llm_turn_complete'), [{ input_tokens: 7, output_tokens: 3 }])
  t.strictSame(run.of('custom-event'), [{ type: 'data-weather', data: { sun: true } }])
  const endings = run.types.filter((type) => /^(data-)?execution/.test(type))
  t.strictSame(endings, [
    'execution_started',
    'execution_completed',
    'execution_started',
    'execution_failed',
    'execution_started',
    'data-execution-cancelled',
    'execution_started',
    'execution_failed',
  ])
})

t.test('ag-ui tells texts, chunks, tools and sub-agents', async (t) => {
  const run = translate('ag-ui', [
    { type: 'RUN_STARTED', threadId: 't', runId: 'r' },
    { type: 'TEXT_MESSAGE_START', messageId: 'm', role: 'assistant' },
    { type: 'TEXT_MESSAGE_CONTENT', messageId: 'm', delta: 'Hi' },
    { type: 'TOOL_CALL_START', toolCallId: 'c', toolCallName: 'search' },
    { type: 'TOOL_CALL_ARGS', toolCallId: 'c', delta: '{"q":' },
    { type: 'TOOL_CALL_ARGS', toolCallId: 'c', delta: '"x"}' },
    { type: 'TOOL_CALL_END', toolCallId: 'c' },
    { type: 'TOOL_CALL_RESULT', messageId: 'n', toolCallId: 'c', content: 'none' },
    { type: 'TOOL_CALL_CHUNK', toolCallId: 'd', toolCallName: 'add', delta: '{"a"' },
    { type: 'TOOL_CALL_CHUNK', delta: ':1}' },
    { type: 'SUBAGENT_STARTED', subagentRunId: 's', name: 'Helper agent' },
    { type: 'TEXT_MESSAGE_CONTENT', messageId: 'k', delta: 'ho', subagentRunId: 's' },
    { type: 'SUBAGENT_ERROR', subagentRunId: 's', message: 'lost' },
    { type: 'RUN_FINISHED', threadId: 't', runId: 'r', result: 42 },
  ])
  t.match(run.of('tool_call_started'), [
    { tool_use_id: 'c', tool_name: 'search', tool_input: { q: 'x' } },
    { tool_use_id: 'd', tool_name: 'add', tool_input: { a: 1 } },
  ])
  t.match(run.of('tool_call_completed'), [{ tool_use_id: 'c', tool_name: 'search', result: 'none' }])
  const helpers = run.events
    .filter(({ worker }) => worker === 'Helper-agent-1')
    .map(({ event }) => event.type)
  t.strictSame(helpers, ['execution_started', 'client_output_delta', 'execution_failed'])
  t.match(run.events.at(-1), { event: { type: 'execution_completed', data: { result: 42 } } })
})

const fixtures = new URL(
  '../clients/node_modules/@langchain/core/dist/utils/testing/openai_stream_fixtures.js',
  import.meta.url,
)
const skipFixtures = existsSync(fixtures) ? false : 'npm ci --prefix test/clients'

t.test('the streams that packages ship as fixtures', { skip: skipFixtures }, async (t) => {
  const shipped = (await import(fixtures.href)) as Record<string, (model?: string) => readonly object[]>
  const of = (name: string) => translate('openai-chat', shipped[name]?.() ?? [])
  const spoken = of('openAITextOnlyChunksWithUsage')
  t.equal(spoken.text, 'Hello world')
  t.match(spoken.of('llm_turn_complete'), [{ input_tokens: 10, output_tokens: 2 }])
  for (const name of ['openAITextOnlyChunks', 'openAIReasoningTextChunks', 'openAIToolCallChunks']) {
    const run = of(name)
    t.equal(run.types[0], 'execution_started', name)
    t.equal(run.types.at(-1), 'execution_completed', name)
  }
  t.ok(of('openAIReasoningTextChunks').of('llm_reasoning_delta').length > 0)
  const [call] = of('openAIToolCallChunks').of('tool_call_started')
  t.match(call, { tool_name: String, tool_input: Object })
})

t.test('langgraph tells events of runs, and what its server streams by mode', async (t) => {
  const of = (event: string, run: string, data: object, parents: string[] = ['root'], name = 'n') => ({
    event,
    run_id: run,
    name,
    data,
    parent_ids: parents,
  })
  const run = translate('langgraph', [
    of('on_chain_start', 'root', {}, []),
    of('on_chat_model_stream', 'l', { chunk: { content: [{ type: 'text', text: 'Hi' }] } }),
    of('on_chat_model_end', 'l', { output: { usage_metadata: { input_tokens: 3, output_tokens: 1 } } }),
    of('on_tool_start', 'c', { input: { q: 1 } }, ['root'], 'search'),
    of('on_tool_error', 'c', { error: 'down' }, ['root'], 'search'),
    of('on_chain_end', 'inner', {}),
    of('on_chain_end', 'root', {}, []),
  ])
  t.equal(run.text, 'Hi')
  t.match(run.of('llm_turn_complete'), [{ input_tokens: 3, output_tokens: 1 }])
  t.match(run.of('tool_call_completed'), [
    { tool_use_id: 'c', tool_name: 'search', result: 'down', is_error: true },
  ])
  t.strictSame(
    run.types.filter((type) => type.startsWith('execution_')),
    ['execution_started', 'execution_completed'],
  )

  const translation = new Translation('auto', { bounds })
  const blocks: [event: string, data: unknown][] = [
    ['metadata', { run_id: 'r' }],
    ['messages/partial', [{ type: 'ai', id: 'm', content: 'Hel' }]],
    ['messages/partial', [{ type: 'ai', id: 'm', content: 'Hello' }]],
    [
      'messages',
      [
        {
          type: 'AIMessageChunk',
          id: 'n',
          content: '',
          tool_call_chunks: [{ id: 'c', name: 'f', args: '{"a":' }],
        },
        {},
      ],
    ],
    ['messages', [{ type: 'AIMessageChunk', id: 'n', content: '', tool_call_chunks: [{ args: '1}' }] }, {}]],
    ['messages', [{ type: 'tool', tool_call_id: 'c', content: 'ok', status: 'success' }, {}]],
    ['updates', { __interrupt__: [{ id: 'i', value: 'Go on?' }] }],
    ['end', null],
  ]
  const streamed = runOf(
    blocks.flatMap(([event, data]) => [
      ...translation.line(`event: ${event}`),
      ...translation.line(`data: ${JSON.stringify(data)}`),
    ]),
  )
  t.equal(streamed.text, 'Hello')
  t.match(streamed.of('tool_call_started'), [{ tool_use_id: 'c', tool_name: 'f', tool_input: { a: 1 } }])
  t.match(streamed.of('tool_call_completed'), [{ tool_use_id: 'c', result: 'ok', is_error: false }])
  t.match(streamed.of('client_input_requested'), [{ request_id: 'i', prompt: 'Go on?' }])
  t.equal(streamed.types.at(-1), 'execution_completed')
  t.strictSame(translation.end(), [])
})

t.test('openai-chat tells results of tools, several turns, errors and the mark at the end', async (t) => {
  const chunk = (id: string, delta: object, finish: string | null = null, usage?: object) => ({
    id,
    object: 'chat.completion.chunk',
    model: 'm',
    choices: [{ index: 0, delta, finish_reason: finish }],
    ...(usage && { usage }),
  })
  const run = translate('openai-chat', [
    chunk(
      '1',
      { tool_calls: [{ index: 0, id: 'c', function: { name: 'f', arguments: '{}' } }] },
      'tool_calls',
    ),
    { role: 'tool', tool_call_id: 'c', content: 'done' },
    chunk('2', { content: 'Hi' }),
    chunk('2', {}, 'stop'),
    {
      id: '2',
      object: 'chat.completion.chunk',
      choices: [],
      usage: { prompt_tokens: 4, completion_tokens: 2 },
    },
  ])
  t.match(run.of('tool_call_completed'), [{ tool_use_id: 'c', tool_name: 'f', result: 'done' }])
  t.match(run.of('llm_turn_complete'), [
    { stop_reason: 'tool_calls' },
    { stop_reason: 'stop', input_tokens: 4 },
  ])
  t.equal(run.types.at(-1), 'execution_completed')
  t.match(
    translate('openai-chat', [chunk('1', { content: 'H' }), { error: { message: 'busy' } }]).events.at(-1),
    {
      event: { type: 'execution_failed', data: { error: 'busy' } },
    },
  )
  const translation = new Translation('openai-chat', { bounds })
  translation.line(`data: ${JSON.stringify(chunk('1', { content: 'H' }, 'stop'))}`)
  t.match(translation.line('data: [DONE]').at(-1)?.event, { type: 'execution_completed' })
  t.strictSame(translation.end(), [], 'the end is told once')
})

t.test('what cannot be read is refused with what was expected', async (t) => {
  const refusals: [from: string, line: string, said: RegExp][] = [
    [
      'auto',
      '{"a":1}',
      /cannot tell which kind of output this is: \{"a":1\}; name it: one of claude-code, anthropic/,
    ],
    ['auto', 'hello', /expected JSON, got "hello"/],
    ['auto', '[1]', /expected an object, got an array of 1/],
    [
      'anthropic',
      '{"type":"response.created"}',
      /expected output of anthropic, got output of openai-responses/,
    ],
    ['nothing', '{}', /from: expected one of claude-code, .*auto, got "nothing"/],
    ['ag-ui', '{"a":1}', /expected an event of AG-UI/],
    ['claude-code', '{"a":1}', /expected an object with a type of system/],
    ['openai-chat', '{"a":1}', /expected a chunk of a chat completion/],
    ['openai-responses', '{"a":1}', /expected an event with a type response/],
    ['ai-sdk', '{"a":1}', /expected a part of a UI message stream/],
    ['langgraph', '{"a":1}', /expected an object \{ event, data \}/],
    ['codex', '{"a":1}', /expected a line of its log/],
    ['claude-log', '{"a":1}', /expected an object with a type and a sessionId/],
  ]
  for (const [from, line, said] of refusals) {
    const refuse = () => new Translation(from, { bounds }).line(line)
    t.throws(refuse, { name: 'ProtocolError', message: said }, `${from}: ${line}`)
  }
  const translation = new Translation('anthropic', { bounds: { ...defaultLimits, lineBytesMax: 20 } })
  t.throws(() => translation.line(`data: ${'x'.repeat(21)}`), { code: 'frameTooLarge' })
  const cut = new Translation('anthropic', { bounds })
  cut.line('data: {"type":')
  t.throws(() => cut.end(), { message: /data: expected JSON/ })
})

t.test('no kind throws anything but a refusal, whatever the objects hold', async (t: Test) => {
  const odd = [null, 1, 'x', [], {}, [null], { type: 'text' }]
  for (const [name, kind] of ingestKinds) {
    const ingest = kind.start()
    const types = [
      'message_start',
      'content_block_start',
      'response.output_item.done',
      'assistant',
      'TOOL_CALL_CHUNK',
      'tool-input-available',
      'result',
      'user',
      'stream_event',
      'SUBAGENT_STARTED',
      'response.completed',
    ]
    for (const type of types) {
      for (const value of odd) {
        const fields = [
          'message',
          'item',
          'delta',
          'content_block',
          'response',
          'choices',
          'event',
          'data',
          'toolCallId',
          'usage',
          'error',
        ]
        const object = { type, ...Object.fromEntries(fields.map((field) => [field, value])) } as JsonObject
        try {
          for (const { event } of ingest.take(object)) JSON.stringify(event)
        } catch (error) {
          t.ok(error instanceof ProtocolError, `${name}: ${type} with ${JSON.stringify(value)}`, { error })
        }
      }
    }
    t.pass(name)
  }
})

t.test(
  'what is remembered of a stream is bounded, of one call by an error, of many by forgetting the oldest',
  async (t) => {
    const piece = 'x'.repeat(100_000)
    const calls: Readonly<Record<string, readonly [start: object, more: object]>> = {
      'ag-ui': [
        { type: 'TOOL_CALL_START', toolCallId: 'c', toolCallName: 'n' },
        { type: 'TOOL_CALL_ARGS', toolCallId: 'c', delta: piece },
      ],
      anthropic: [
        {
          type: 'content_block_start',
          index: 0,
          content_block: { type: 'tool_use', id: 'c', name: 'n', input: {} },
        },
        { type: 'content_block_delta', index: 0, delta: { type: 'input_json_delta', partial_json: piece } },
      ],
      'openai-chat': [
        chunkOf({ index: 0, id: 'c', function: { name: 'n', arguments: '' } }),
        chunkOf({ index: 0, function: { arguments: piece } }),
      ],
    }
    for (const [from, [start, more]] of Object.entries(calls)) {
      const translation = new Translation(from, { bounds })
      if (from === 'anthropic') translation.value({ type: 'message_start', message: { id: 'm', usage: {} } })
      if (from === 'ag-ui') translation.value({ type: 'RUN_STARTED' })
      translation.value(start as JsonObject)
      const grow = () => {
        for (let round = 0; round < 30; round += 1) translation.value(more as JsonObject)
      }
      t.throws(grow, { code: 'frameTooLarge', message: /bytes of one call/ }, from)
      t.ok(translation.keptBytes <= keptBytesMax, from)
    }
    const translation = new Translation('ag-ui', { bounds })
    translation.value({ type: 'RUN_STARTED' })
    const id = (call: number) => `${call}${piece}`
    for (let call = 0; call < 100; call += 1) {
      translation.value({ type: 'TOOL_CALL_START', toolCallId: id(call), toolCallName: `n${call}` })
      translation.value({ type: 'TOOL_CALL_END', toolCallId: id(call) })
      t.ok(translation.keptBytes <= keptBytesMax)
    }
    const result = (call: number) =>
      translation.value({ type: 'TOOL_CALL_RESULT', toolCallId: id(call), content: '' })
    t.match(result(99), [{ event: { data: { tool_name: 'n99' } } }])
    t.match(
      result(0),
      [{ event: { data: { tool_name: 'tool' } } }],
      'the name of the first call is forgotten',
    )
  },
)

function chunkOf(call: object): object {
  return { object: 'chat.completion.chunk', choices: [{ index: 0, delta: { tool_calls: [call] } }] }
}
