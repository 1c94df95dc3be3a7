import { existsSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { Hub } from '../../../src/hub/hub.js'
import { Translation } from '../../../src/ingest/translate.js'
import { fieldsOf, type JsonObject } from '../../../src/lib/json.js'
import { defaultLimits } from '../../../src/protocol/limits.js'
import { SeededRandom } from '../../kit/random.js'
import { served } from '../../kit/served.js'
import { mint, secret } from '../../kit/tokens.js'

const clients = new URL('../../clients/node_modules/@opentelemetry/', import.meta.url)
const skip = existsSync(clients) ? false : 'npm ci --prefix test/clients'

// They have types that this project does not need to check.
// oxlint-disable-next-line typescript/no-explicit-any -- what they export is theirs
type Client = any
const load = (name: string): Promise<Client> => import(new URL(`${name}/build/src/index.js`, clients).href)

const history = (hub: Hub, session: string) => hub.history(`sessions/${session}/**`).events
const toldOf = (hub: Hub, session: string) =>
  history(hub, session)
    .filter(({ type }) => type !== 'complete')
    .map(({ type, worker, data }) => [worker ?? '-', type, data] as const)

type Values = Readonly<Record<string, string | number>>

/** OTLP's own form of attributes. */
const attributes = (values: Values): JsonObject[] =>
  Object.entries(values).map(([key, value]) => ({
    key,
    value: typeof value === 'number' ? { intValue: String(value) } : { stringValue: value },
  }))

interface AnySpan {
  readonly trace?: string
  readonly id: string
  readonly parent?: string
  readonly name?: string
  readonly end?: number
  readonly error?: string
  readonly is: Values
}

const traceId = 'a'.repeat(32)
const spanOf = ({ trace = traceId, id, parent = '', name = id, end = 2, error, is }: AnySpan) => ({
  traceId: trace,
  spanId: id.padEnd(16, '0'),
  ...(parent !== '' && { parentSpanId: parent.padEnd(16, '0') }),
  name,
  startTimeUnixNano: '1764500000000000000',
  endTimeUnixNano: String(1764500000000000000n + BigInt(end) * 1_000_000n),
  attributes: attributes(is),
  ...(error !== undefined && { status: { code: 2, message: error } }),
})
const tracesOf = (spans: readonly AnySpan[]) => ({
  resourceSpans: [{ resource: { attributes: [] }, scopeSpans: [{ scope: {}, spans: spans.map(spanOf) }] }],
})

const post = (url: string, body: JsonObject | Uint8Array, headers: Record<string, string> = {}) =>
  fetch(url, {
    method: 'POST',
    headers: {
      'content-type': body instanceof Uint8Array ? 'application/x-protobuf' : 'application/json',
      ...headers,
    },
    body: body instanceof Uint8Array ? body : JSON.stringify(body),
  })

/** An agent that calls a model, a tool and the model again, as the conventions say. @returns once all was sent */
async function runAgent(exporter: Client): Promise<void> {
  const { BasicTracerProvider, BatchSpanProcessor } = await load('sdk-trace-base')
  const provider = new BasicTracerProvider({ spanProcessors: [new BatchSpanProcessor(exporter)] })
  const tracer = provider.getTracer('agent')
  const api = await import('@opentelemetry/api')
  const session = { 'gen_ai.conversation.id': 'conv/1', 'gen_ai.agent.name': 'planner' }
  const root = tracer.startSpan('invoke_agent planner', {
    attributes: { ...session, 'gen_ai.operation.name': 'invoke_agent' },
  })
  const within = api.trace.setSpan(api.ROOT_CONTEXT, root)
  const chat = async (input: readonly object[], parts: readonly object[], reason: string) => {
    const span = tracer.startSpan(
      'chat gpt-5',
      {
        attributes: {
          ...session,
          'gen_ai.operation.name': 'chat',
          'gen_ai.request.model': 'gpt-5',
          'gen_ai.response.model': 'gpt-5-2025',
          'gen_ai.response.finish_reasons': [reason],
          'gen_ai.usage.input_tokens': 100,
          'gen_ai.usage.output_tokens': 20,
          'gen_ai.input.messages': JSON.stringify(input),
          'gen_ai.output.messages': JSON.stringify([{ role: 'assistant', parts, finish_reason: reason }]),
        },
      },
      within,
    )
    span.end()
    await provider.forceFlush()
  }
  const asked = { role: 'user', parts: [{ type: 'text', content: 'Weather?' }] }
  await chat(
    [asked],
    [
      { type: 'reasoning', content: 'Look it up.' },
      { type: 'tool_call', id: 'call_1', name: 'weather', arguments: { city: 'Ulm' } },
    ],
    'tool_calls',
  )
  const tool = tracer.startSpan(
    'execute_tool weather',
    {
      attributes: {
        ...session,
        'gen_ai.operation.name': 'execute_tool',
        'gen_ai.tool.name': 'weather',
        'gen_ai.tool.call.id': 'call_1',
        'gen_ai.tool.call.arguments': '{"city":"Ulm"}',
        'gen_ai.tool.call.result': '{"sky":"clear"}',
      },
    },
    within,
  )
  tool.end()
  await provider.forceFlush()
  const answered = {
    role: 'tool',
    parts: [{ type: 'tool_call_response', id: 'call_1', response: { sky: 'clear' } }],
  }
  await chat([asked, answered], [{ type: 'text', content: 'Clear in Ulm.' }], 'stop')
  root.end()
  await provider.forceFlush()
  await provider.shutdown()
}

const turn = (reason: string) => ({
  model: 'gpt-5-2025',
  stop_reason: reason,
  input_tokens: 100,
  output_tokens: 20,
})

for (const form of ['proto', 'http']) {
  t.test(`OpenTelemetry's exporter (${form}) tells what an agent does`, { skip }, async (t) => {
    const { hub, url } = await served(t)
    const { OTLPTraceExporter } = await load(`exporter-trace-otlp-${form}`)
    await runAgent(new OTLPTraceExporter({ url: `${url}/v1/traces` }))
    const session = '~~conv~2F1'
    const told = toldOf(hub, session)
    t.match(told[2]?.[2], { tool_use_id: 'call_1' })
    t.match(
      told.map(([worker, type]) => `${worker} ${type}`),
      [
        'planner execution_started',
        'planner llm_reasoning_delta',
        'planner tool_call_started',
        'planner llm_turn_complete',
        'planner tool_call_completed',
        'planner client_output_delta',
        'planner llm_turn_complete',
        'planner execution_completed',
      ],
    )
    const data = (type: string) => told.filter(([, one]) => one === type).map(([, , said]) => said)
    t.same(data('tool_call_started'), [
      { tool_use_id: 'call_1', tool_name: 'weather', tool_input: { city: 'Ulm' } },
    ])
    t.same(data('tool_call_completed'), [
      { tool_use_id: 'call_1', tool_name: 'weather', result: { sky: 'clear' }, is_error: false },
    ])
    t.match(data('client_output_delta'), [{ content: 'Clear in Ulm.' }])
    t.same(data('llm_turn_complete'), [turn('tool_calls'), turn('stop')])
    t.match(hub.find(session), {
      usage: { input_tokens: 200, output_tokens: 40 },
      workers: [{ id: 'planner', status: 'ended', result: 'succeeded' }],
    })
  })
}

t.test('log records and spans that say the same count once', { skip }, async (t) => {
  const { hub, url } = await served(t)
  const { OTLPLogExporter } = await load('exporter-logs-otlp-proto')
  const { LoggerProvider, SimpleLogRecordProcessor } = await load('sdk-logs')
  const exporter = new OTLPLogExporter({ url: `${url}/v1/logs` })
  const provider = new LoggerProvider({ processors: [new SimpleLogRecordProcessor(exporter)] })
  const api = await import('@opentelemetry/api')
  const context = api.trace.setSpanContext(api.ROOT_CONTEXT, {
    traceId,
    spanId: 'c000000000000000',
    traceFlags: 1,
  })
  const message = {
    content: 'Hello',
    tool_calls: [{ id: 'x', function: { name: 'ls', arguments: '{"a":1}' } }],
  }
  const logger = provider.getLogger('agent')
  const more = { attributes: { 'session.id': 's' }, context }
  for (const record of [
    { eventName: 'gen_ai.user.message', body: { content: 'Hi' }, ...more },
    { eventName: 'gen_ai.choice', body: { index: 0, message }, ...more },
    { eventName: 'gen_ai.tool.message', body: { id: 'x', content: '["a"]' }, ...more },
    { eventName: 'something.else', body: 'odd', severityNumber: 17, ...more },
    { body: 'a line of some library', context },
  ]) {
    logger.emit(record)
    // Each record is a request of its own, for which the processor does not wait, and two at once may arrive in either order.
    await exporter.forceFlush()
  }
  const output = [{ role: 'assistant', parts: [{ type: 'text', content: 'Hello' }] }]
  const is = {
    'gen_ai.operation.name': 'chat',
    'gen_ai.output.messages': JSON.stringify(output),
    'gen_ai.usage.input_tokens': 3,
    'gen_ai.usage.output_tokens': 1,
  }
  t.equal((await post(`${url}/v1/traces`, tracesOf([{ id: 'c', parent: 'r', is }]))).status, 200)
  t.strictSame(
    toldOf(hub, 's').map(([, type]) => type),
    [
      'execution_started',
      'client_output_delta',
      'tool_call_started',
      'tool_call_completed',
      'custom-event',
      'llm_turn_complete',
    ],
  )
  t.match(history(hub, 's')[3]?.data, { tool_use_id: 'x', result: ['a'] })
  await provider.shutdown()
})

t.test('a trace is a session unless something names one, and its root ends the run', async (t) => {
  const { hub, url } = await served(t)
  const send = async (spans: readonly AnySpan[], query = '') => {
    const answer = await post(`${url}/v1/traces${query}`, tracesOf(spans))
    t.strictSame([answer.status, await answer.json()], [200, {}])
  }
  const tool = { 'gen_ai.operation.name': 'execute_tool', 'gen_ai.tool.name': 'make' }
  await send([{ id: 'b1', parent: 'b0', error: 'exit 2', is: tool }])
  await send([{ id: 'b1', parent: 'b0', error: 'exit 2', is: tool }])
  t.equal(history(hub, traceId).length, 3, 'sent again, it is there once')
  await send([
    { id: 'b0', end: 9, error: 'it broke', is: { 'http.route': '/run' } },
    { id: 'b2', parent: 'b0', end: 5, is: { 'db.system': 'sqlite' } },
  ])
  t.match(toldOf(hub, traceId), [
    ['-', 'execution_started', {}],
    ['-', 'tool_call_started', { tool_use_id: 'b100000000000000', tool_name: 'make' }],
    ['-', 'tool_call_completed', { result: 'exit 2', is_error: true }],
    ['-', 'execution_failed', { error: 'it broke' }],
  ])
  await send([{ id: 'b3', parent: 'b0', end: 12, is: tool }])
  t.match(hub.find(traceId), { result: 'failed' }, 'a late span begins nothing')
  await send([{ trace: 'c'.repeat(32), id: 'c0', is: { 'http.route': '/health' } }])
  t.equal(hub.find('c'.repeat(32)), undefined, 'a trace without a model is nothing to watch')

  const other = { trace: 'd'.repeat(32) }
  await send([
    { ...other, id: 'd1', parent: 'd0', is: { ...tool, 'session.id': 'named' } },
    { ...other, id: 'd2', parent: 'd0', is: tool },
  ])
  await send([{ ...other, id: 'd0', is: {} }])
  t.equal(history(hub, 'named').length, 6, 'what names no session is of that of its trace')
  t.match(hub.find('named'), { result: 'succeeded' })
  await send([{ ...other, id: 'd3', parent: 'd0', is: { ...tool, 'session.id': 'named' } }], '?session=mine')
  t.equal(history(hub, 'mine').length, 3)
})

t.test('coding agents that tell what they take', async (t) => {
  const { hub, url } = await served(t)
  const record = (name: string, more: Values) => ({
    timeUnixNano: '1764500000000000000',
    body: { stringValue: `claude_code.${name}` },
    attributes: attributes({ 'event.name': name, 'session.id': 'cc', ...more }),
  })
  const logRecords = [
    record('api_request', {
      model: 'claude',
      cost_usd: '0.25',
      input_tokens: '10',
      output_tokens: '5',
      cache_read_tokens: '90',
    }),
    record('tool_result', { tool_name: 'Bash', success: 'false', error: 'no such file', tool_use_id: 'u' }),
  ]
  const body = { resourceLogs: [{ scopeLogs: [{ logRecords }] }] }
  t.equal((await post(`${url}/v1/logs`, body)).status, 200)
  t.match(hub.find('cc')?.usage, { input_tokens: 100, output_tokens: 5, cached_tokens: 90, cost_usd: 0.25 })
  t.match(history(hub, 'cc').at(-1), {
    type: 'tool_call_completed',
    data: { tool_use_id: 'u', tool_name: 'Bash', result: 'no such file', is_error: true },
  })
})

t.test('a token must allow the session and the worker', async (t) => {
  const { hub, url } = await served(t, { serve: { auth: { secrets: [secret] } } })
  const token = await mint({ publish: ['sessions/mine/**'] })
  const headers = { authorization: `Bearer ${token}` }
  const is = { 'gen_ai.operation.name': 'execute_tool', 'gen_ai.tool.name': 'ls' }
  const of = (session: string, id: string) => ({ id, parent: 'r', is: { ...is, 'session.id': session } })
  t.equal((await post(`${url}/v1/traces`, tracesOf([of('mine', 'a')]))).status, 401)
  t.equal((await post(`${url}/v1/traces`, tracesOf([of('other', 'a')]), headers)).status, 403)
  const both = await post(`${url}/v1/traces`, tracesOf([of('mine', 'a'), of('other', 'b')]), headers)
  t.match(await both.json(), { partialSuccess: { rejectedSpans: '1', errorMessage: /sessions\/other/ } })
  t.ok(hub.find('mine'))
  t.equal(hub.find('other'), undefined)
  const exact = { authorization: `Bearer ${await mint({ publish: ['sessions/mine'] })}` }
  const named = [{ id: 'c', parent: 'r', is: { ...is, 'session.id': 'mine', 'gen_ai.agent.name': 'w' } }]
  t.equal((await post(`${url}/v1/traces`, tracesOf(named), exact)).status, 403)
})

t.test('what is no OTLP is refused, and breaks nothing', async (t: Test) => {
  const { hub, url } = await served(t)
  const random = new SeededRandom(7)
  const bytes = Uint8Array.from({ length: 400 }, () => Math.floor(random.fraction() * 256))
  const bodies = [
    Uint8Array.of(0x0a, 0xff),
    Uint8Array.of(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f),
    Uint8Array.of(0x0a, 0x02, 0x12, 0x05),
    Uint8Array.of(0x08, 0x01),
    ...Array.from({ length: 40 }, (_, n) => bytes.subarray(n * 10, n * 10 + 1 + n)),
  ]
  for (const body of bodies) {
    const { status } = await post(`${url}/v1/traces`, body)
    t.ok(status === 400 || status === 200, `${Buffer.from(body).toString('hex')}: ${status}`)
  }
  for (const body of bodies.slice(0, 4)) t.equal((await post(`${url}/v1/logs`, body)).status, 400)
  t.equal((await post(`${url}/v1/traces`, new Uint8Array())).status, 200, 'nothing is nothing')
  let deep = Uint8Array.of()
  for (let n = 0; n < 100; n++)
    deep = Uint8Array.from([0x2a, ...varint(deep.length + 2), 0x0a, ...varint(deep.length), ...deep])
  const record = [0x2a, ...varint(deep.length), ...deep]
  const inScope = [0x12, ...varint(record.length), ...record]
  const inResource = [0x12, ...varint(inScope.length), ...inScope]
  t.equal(
    (await post(`${url}/v1/logs`, Uint8Array.from([0x0a, ...varint(inResource.length), ...inResource])))
      .status,
    400,
  )
  t.equal((await post(`${url}/v1/traces`, { resourceSpans: 'x' })).status, 200)
  t.equal((await fetch(`${url}/v1/traces`, { method: 'POST', body: '[1]' })).status, 400)
  t.equal((await fetch(`${url}/v1/traces`, { method: 'GET' })).status, 405)
  t.equal(hub.sessions().length, 0)
})

t.test('bounds what one request makes of few bytes', async (t) => {
  const { url, hub } = await served(t)
  const traceId = 'a'.repeat(32)
  const spans = (count: number) => ({
    scopeSpans: [{ spans: Array.from({ length: count }, () => ({ traceId })) }],
  })
  const attributes = Array.from({ length: 100 }, (_, at) => ({ key: `k${at}`, value: { intValue: at } }))
  const detailOf = async (body: JsonObject) => {
    const response = await post(`${url}/v1/traces`, body)
    t.equal(response.status, 400)
    return ((await response.json()) as { detail: string }).detail
  }
  t.match(await detailOf({ resourceSpans: [spans(3_000), spans(2_001)] }), /at most 5000 spans/)
  t.match(
    await detailOf({ resourceSpans: [{ resource: { attributes }, ...spans(2_501) }] }),
    /at most 250000 attributes of resources/,
  )
  // Two bytes for each resource.
  const empties = Uint8Array.from({ length: 100_000 }, (_, at) => (at % 2 === 0 ? 0x0a : 0))
  const refused = await post(`${url}/v1/traces`, empties)
  t.equal(refused.status, 400)
  t.match(((await refused.json()) as { detail: string }).detail, /namesMax/)
  t.equal(hub.sessions().length, 0)
})

t.test('publishes what belongs to many sessions in several turns, each as before', async (t) => {
  const { url, hub } = await served(t)
  const session = (at: number) => [{ key: 'session.id', value: { stringValue: `s${at}` } }]
  const named = [{ key: 'gen_ai.operation.name', value: { stringValue: 'chat' } }]
  const spans = Array.from({ length: 100 }, (_, at) => ({
    traceId: 'b'.repeat(32),
    spanId: String(at).padStart(16, '0'),
    attributes: [...session(at), ...named],
  }))
  const response = await post(`${url}/v1/traces`, { resourceSpans: [{ scopeSpans: [{ spans }] }] })
  t.equal(response.status, 200)
  t.strictSame(await response.json(), {})
  t.equal(hub.sessions().length, 100)
})

t.test(
  'reads many spans of one session in several turns, and again if its run begins meanwhile',
  async (t) => {
    const { url, hub } = await served(t)
    const is = [
      { key: 'session.id', value: { stringValue: 's' } },
      { key: 'gen_ai.operation.name', value: { stringValue: 'chat' } },
    ]
    const send = async (from: number): Promise<void> => {
      const spans = Array.from({ length: 600 }, (_, at) => ({
        traceId: 'c'.repeat(32),
        spanId: String(from + at).padStart(16, '0'),
        parentSpanId: 'd'.repeat(16),
        attributes: is,
      }))
      const response = await post(`${url}/v1/traces`, { resourceSpans: [{ scopeSpans: [{ spans }] }] })
      t.strictSame([response.status, await response.json()], [200, {}])
    }
    const run = hub.run.bind(hub)
    let asked = 0
    hub.run = (...args) => {
      asked += 1
      if (asked === 1) setImmediate(() => hub.publish('sessions/s', [{ type: 'execution_started' }]))
      return run(...args)
    }
    await send(0)
    t.equal(asked, 602, 'for the first span, whether that still holds, and for all spans again')
    const typesOf = () => hub.history('sessions/s', { limit: 1_000 }).events.map(({ type }) => type)
    const expected = ['execution_started', ...Array.from({ length: 600 }, () => 'llm_turn_complete')]
    t.strictSame(typesOf(), expected, 'the run that has begun is not begun again')
    await send(100)
    t.equal(asked, 602 + 601, 'nothing has changed, so nothing is read again')
    t.equal(typesOf().length, 701, 'each span counts once')
  },
)

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)]
}

t.test('what a collector wrote to a file is read line by line', async (t) => {
  const translation = new Translation('auto', { bounds: defaultLimits })
  const is = { 'gen_ai.operation.name': 'invoke_agent' }
  const line = JSON.stringify(tracesOf([{ id: 'a', is: { ...is, 'gen_ai.agent.name': 'a b' } }]))
  t.match(
    translation.line(line).map(({ worker, event }) => [worker, event.type, fieldsOf(event.data)['agent']]),
    [
      ['a-b', 'execution_started', 'a b'],
      ['a-b', 'execution_completed', undefined],
    ],
  )
  t.throws(
    () => new Translation('otlp', { bounds: { ...defaultLimits, lineBytesMax: 1_000 } }).line('{"a":1}'),
    { message: /resourceSpans/ },
  )
})
