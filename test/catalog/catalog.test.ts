import { readFileSync } from 'node:fs'
import t from 'tap'
import { catalogFromConfig, createCatalog, type SectionName } from '../../src/catalog/catalog.js'
import { type Merge, mergeTextOf, withTextAt } from '../../src/catalog/merge.js'
import {
  type CommandPart,
  defaultTraits,
  type Ends,
  type NeedKind,
  type PublisherStatus,
  type ToolPart,
  type Traits,
} from '../../src/catalog/traits.js'
import type { JsonObject } from '../../src/lib/json.js'

// The design's own short hand: D = delta, C = control, ! = critical, R = replay all, L = replay latest
// (per the field in brackets), U = rollup, M = merges the text of the fields in parentheses, but for those after ;. What stands after a
// dash is the status that the type tells of its publisher, after > how that ended, after ? what it asks, after = what it
// answers, by the field after @; $ counts what a model took, & is a part of a tool's call, and % of a command.
const table: Record<SectionName, string> = {
  'session-bus': `client_output_delta D R M(content) · client_input_requested ! R @request_id ?input · client_input_received ! R @request_id =input ·
    llm_reasoning_delta D R M(content) · llm_text_delta D M(content) · tool_call_started R &call · tool_call_completed R &result · execution_started ! R -running ·
    execution_completed ! L U -ended >succeeded · execution_failed ! L U -ended >failed · execution_paused C ! -paused · node_loop_started ! ·
    node_loop_iteration ! · node_loop_completed · llm_turn_complete $ · node_action_plan · goal_progress ·
    node_internal_output · node_stalled · node_retry · node_tool_doom_loop · context_compacted ·
    context_usage_updated · worker_colony_loaded · worker_graph_loaded ! · colony_created ·
    credentials_required ! @request_id ?credentials · credentials_provided ! @request_id =credentials · subagent_report U · queen_phase_changed ! · trigger_available L[trigger_id] ·
    trigger_activated L[trigger_id] · trigger_deactivated L[trigger_id] · trigger_fired ·
    trigger_removed L[trigger_id] · trigger_updated L[trigger_id]`,
  'stream-event': `data-text-start ! R · data-text-delta D R M(delta) · data-text-end R · data-start-step ·
    data-finish-step · data-tool-input-start ! R · data-tool-input-delta D R M(input_text_delta) ·
    data-tool-input-available R &call · data-tool-output-available R &result · data-permission-request ! R @request_id ?permission ·
    data-permission-response ! R @request_id =permission · data-start ! R ·
    data-finish ! R · data-error ! R -ended >failed · data-execution-start ! -running · data-execution-end ! L U -ended >succeeded ·
    data-execution-failed ! L U -ended >failed · data-execution-paused C ! -paused · data-execution-resumed C ! -running ·
    data-execution-cancelled C ! L U -ended >cancelled · data-step-start · data-step-end · data-step-failed ·
    data-step-discovered · data-artifact-created R · data-state-snapshot L · data-checkpoint-saved ·
    data-goal-evaluated · data-inbox-message · data-policy-decision · data-llm-call-start ·
    data-llm-call-end · data-llm-call-failed · data-token-usage · data-memory-recalled ·
    data-memory-stored · data-guardrail-evaluated · data-reasoning-trace · data-context-snapshot L ·
    data-feedback-received`,
  runtime:
    'execution.status ! L >byStatus · custom-event · chat.request ! · worker.lost ! L U · session.lost ! L U · worker.stalled ! U · attempt.superseded ! U · stream.json ! R · stream.text ! R · stream.bytes ! R · redacted ! U',
  'task-log':
    'assistant R · toolcall R &call · toolresult R &result · cost R · error ! R -ended >failed · complete ! R -ended',
  process:
    'process.started ! R -running · process.output D R M(text) · process.paused C ! R -paused · process.resumed C ! R -running · process.exited ! R U -ended >byExit',
  anthropic: `message_start ! R · content_block_delta D R M(delta.text,delta.thinking,delta.partial_json) ·
    content_block_* ! R · message_delta R · message_stop ! R`,
  'openai-responses': `response.created ! R -running · response.output_item.added ! R · response.content_part.added ! R ·
    response.reasoning_summary_part.added ! R · ${[
      'output_text',
      'refusal',
      'reasoning_text',
      'reasoning_summary_text',
      'function_call_arguments',
      'mcp_call_arguments',
      'code_interpreter_call_code',
      'custom_tool_call_input',
    ]
      .map((name) => `response.${name}.delta D R M(delta;sequence_number,obfuscation)`)
      .join(' · ')} ·
    response.output_item.done ! R · response.completed ! R -ended >succeeded · response.incomplete ! R -ended >failed ·
    response.failed ! R -ended >failed · response.cancelled ! R -ended >cancelled · response.* R`,
  'ai-sdk': `ai-sdk.start ! R -running · ai-sdk.text-delta D R M(delta) · ai-sdk.reasoning-delta D R M(delta) ·
    ai-sdk.tool-input-delta D R M(inputTextDelta) · ai-sdk.text-* ! R · ai-sdk.reasoning-* ! R · ai-sdk.tool-* ! R ·
    ai-sdk.start-step ! R · ai-sdk.finish-step ! R · ai-sdk.finish ! R -ended >succeeded · ai-sdk.finish-failed ! R -ended >failed ·
    ai-sdk.abort ! R -ended >cancelled · ai-sdk.error ! R -ended >failed · ai-sdk.* R`,
  'ag-ui': `RUN_STARTED ! R -running · RUN_FINISHED ! R -ended >succeeded · RUN_ERROR ! R -ended >failed · STEP_* ! R ·
    TEXT_MESSAGE_CONTENT D R M(delta;timestamp) · TEXT_MESSAGE_CHUNK D R M(delta;timestamp) · TEXT_MESSAGE_* ! R ·
    TOOL_CALL_ARGS D R M(delta;timestamp) · TOOL_CALL_CHUNK D R M(delta;timestamp) · TOOL_CALL_* ! R ·
    REASONING_MESSAGE_CONTENT D R M(delta;timestamp) · REASONING_MESSAGE_CHUNK D R M(delta;timestamp) ·
    REASONING_* ! R · SUBAGENT_* ! R · STATE_* R · MESSAGES_SNAPSHOT R · ACTIVITY_* R`,
  langgraph: `langgraph.metadata ! R -running · langgraph.messages D R M(data.0.content) ·
    langgraph.error ! R -ended >failed · langgraph.end ! R -ended >succeeded · langgraph.* R`,
  command:
    'command.cancel C ! %request · command.pause C ! %request · command.resume C ! %request · command.input C ! %request @key =any · command.done C ! %receipt',
}

function read(words: readonly string[]): Traits {
  const has = (letter: string) => words.includes(letter)
  const after = (mark: string) => words.find((word) => word.startsWith(mark))?.slice(1)
  const [ends, asks, answers] = [after('>'), after('?'), after('=')]
  const [tool, command] = [after('&'), after('%')]
  const latest = words.find((word) => word.startsWith('L'))
  const key = latest?.match(/\[(\w+)\]/)?.[1] ?? after('@')
  const status = words.find((word) => word.startsWith('-'))?.slice(1)
  const merged = words.find((word) => word.startsWith('M'))?.match(/\(([^)]+)\)/)?.[1]
  return {
    level: has('D') ? 'delta' : has('C') ? 'control' : 'summary',
    critical: has('!'),
    replay: has('R') ? 'all' : latest === undefined ? false : 'latest',
    rollup: has('U'),
    ...(key !== undefined && { key }),
    ...(merged !== undefined && { merge: mergeOf(...merged.split(';').map((names) => names.split(','))) }),
    ...(status !== undefined && { status: status as PublisherStatus }),
    ...(ends !== undefined && { ends: ends as Ends }),
    ...(asks !== undefined && { asks: asks as NeedKind }),
    ...(answers !== undefined && { answers: answers as NeedKind }),
    ...(has('$') && { usage: true as const }),
    ...(tool !== undefined && { tool: tool as ToolPart }),
    ...(command !== undefined && { command: command as CommandPart }),
  }
}

function mergeOf(texts: readonly string[] = [], ignore?: readonly string[]): Merge {
  const text = texts.length === 1 ? (texts[0] as string) : texts
  return { text, ...(ignore !== undefined && { ignore }) }
}

const expected = new Map<string, Traits>()
const expectedSections: Record<string, string[]> = {}
for (const [section, text] of Object.entries(table)) {
  const rows = text.split('·').map((row) => row.trim().split(/\s+/))
  expectedSections[section] = rows.map(([type]) => type as string)
  for (const [type, ...words] of rows) expected.set(type as string, read(words))
}

t.test('the built-in catalog has exactly the traits of the table, in its order', async (t) => {
  const catalog = createCatalog()
  t.same([...catalog.types()], [...expected])
  t.same(catalog.sections, expectedSections)
  t.equal(catalog.sections['stream-event'].length, 40)
})

t.test(
  'an unknown type gets the default traits themselves, a known one the same frozen object',
  async (t) => {
    const catalog = createCatalog()
    for (const type of ['unheard-of', 'constructor', '__proto__', 'toString', '']) {
      t.equal(catalog.traitsOf(type), defaultTraits)
    }
    t.equal(catalog.traitsOf('process.exited'), createCatalog().traitsOf('process.exited'))
    for (const [type, traits] of createCatalog({ mine: { merge: { text: 'x' } } }).types()) {
      t.ok(Object.isFrozen(traits), `${type} is frozen`)
    }
  },
)

t.test('extensions are merged over the built-in traits, or over the default ones', async (t) => {
  const catalog = createCatalog({
    llm_text_delta: { critical: true },
    'my.type': { replay: 'latest', key: 'id' },
  })
  t.same(catalog.traitsOf('llm_text_delta'), { ...expected.get('llm_text_delta'), critical: true })
  t.same(catalog.traitsOf('my.type'), { ...defaultTraits, replay: 'latest', key: 'id' })
  t.equal([...catalog.types()].at(-1)?.[0], 'my.type')
  t.same(createCatalog().traitsOf('my.type'), defaultTraits, 'and touch no other catalog')
})

t.test('a type that is not there has the traits of the longest prefix that fits', async (t) => {
  const catalog = createCatalog({
    'step.*': { critical: true },
    'step.log.*': { level: 'delta' },
    'step.log.end': { replay: 'all' },
  })
  t.same(catalog.traitsOf('step.begin'), { ...defaultTraits, critical: true })
  t.same(catalog.traitsOf('step.log.line'), { ...defaultTraits, level: 'delta' })
  t.same(catalog.traitsOf('step.log.end'), { ...defaultTraits, replay: 'all' }, 'its own traits come first')
  t.equal(catalog.traitsOf('step.begin'), catalog.traitsOf('step.other'), 'one object for all of them')
  t.ok(catalog.knows('step.begin'))
  t.notOk(catalog.knows('stepper'))
})

t.test('the text of an event is where its traits say, and is put back there', async (t) => {
  const merge = { text: ['delta.text', 'items.1', 'a.b'] }
  const cases: [JsonObject, string | undefined][] = [
    [{ delta: { text: 'x', kind: 't' }, n: 1 }, 'x'],
    [{ delta: { other: 'x' }, items: [1, 'y', 2] }, 'y'],
    [{ 'a.b': 'flat', a: { b: 'nested' } }, 'flat'],
    [{ a: { b: 'nested' } }, 'nested'],
    [{ delta: 'x' }, undefined],
    [{ items: [1] }, undefined],
    [{ a: null }, undefined],
  ]
  for (const [data, text] of cases) {
    const found = mergeTextOf(merge, data)
    t.equal(found?.text, text, JSON.stringify(data))
    if (found === undefined) continue
    const changed = withTextAt(data, found.path, 'new')
    t.equal(mergeTextOf(merge, changed)?.text, 'new')
    t.same(withTextAt(changed, found.path, found.text), data, 'and nothing else has changed')
  }
})

t.test('a config file’s extension that is wrong is refused with its place', async (t) => {
  const wrong: [unknown, RegExp][] = [
    [undefined, /^catalog: expected an object, got nothing$/],
    [['a'], /^catalog: expected an object, got an array of 1$/],
    [{ 'a b': {} }, /^catalog: expected an event type .*, got "a b"$/],
    [{ [`${'x'.repeat(129)}`]: {} }, /^catalog: expected an event type/],
    [{ a: null }, /^catalog\.a: expected an object, got null$/],
    [
      { a: { level: 'high' } },
      /^catalog\.a\.level: expected one of "summary", "delta", "control", got "high"$/,
    ],
    [{ a: { critical: 1 } }, /^catalog\.a\.critical: expected one of false, true, got 1$/],
    [{ a: { replay: true } }, /^catalog\.a\.replay: expected one of false, "all", "latest", got true$/],
    [{ a: { key: '' } }, /^catalog\.a\.key: expected the name of a field of data, got ""$/],
    [{ a: { rollup: 'yes' } }, /^catalog\.a\.rollup: expected one of false, true, got "yes"$/],
    [{ a: { merge: 'text' } }, /^catalog\.a\.merge: expected an object, got "text"$/],
    [{ a: { merge: {} } }, /^catalog\.a\.merge\.text: expected the name of a field of data, got nothing$/],
    [{ a: { merge: { text: 't', by: 1 } } }, /^catalog\.a\.merge\.by: expected nothing but text and ignore$/],
    [{ a: { merge: { text: [] } } }, /^catalog\.a\.merge\.text: expected a list of 1 to 16 fields of data/],
    [{ a: { merge: { text: ['a', 1] } } }, /^catalog\.a\.merge\.text\.1: expected the name of a field/],
    [{ a: { merge: { text: 'a', ignore: 'b' } } }, /^catalog\.a\.merge\.ignore: expected a list of 1 to 16/],
    [{ '*': {} }, /^catalog: expected an event type .* or prefix\*, got "\*"$/],
    [{ 'a*b': {} }, /^catalog: expected an event type .* or prefix\*, got "a\*b"$/],
    [{ a: { levle: 'delta' } }, /^catalog\.a\.levle: expected one of the traits level, /],
  ]
  for (const [value, message] of wrong) {
    t.throws(() => catalogFromConfig(value), { message }, String(message))
  }
  t.throws(() => createCatalog(JSON.parse('{"a":{"level":3}}')), { message: /^catalog\.a\.level/ })
  t.same(catalogFromConfig(JSON.parse('{"a":{"merge":{"text":"t"}}}')), { a: { merge: { text: 't' } } })
})

t.test('docs/catalog.md shows the same table', async (t) => {
  const lines = readFileSync(new URL('../../docs/catalog.md', import.meta.url), 'utf8').split('\n')
  const shown = new Map<string, Traits>()
  for (const line of lines) {
    const cells = line.split('|').map((cell) => cell.trim())
    const [, type, level, critical, replay, rollup, text, status, says = ''] = cells
    if (type === undefined || !type.startsWith('`') || level === undefined) continue
    const [how, latestKey] = (replay ?? '').split(' per ')
    const by = / by (\S+)$/.exec(says)?.[1]
    const key = latestKey ?? by
    const said = new Map(
      says
        .replace(/ by \S+$/, '')
        .split(', ')
        .map((phrase) => phrase.split(' ') as [string, string]),
    )
    shown.set(type.slice(1, -1), {
      level: level as Traits['level'],
      critical: critical === 'yes',
      replay: how === 'no' ? false : (how as 'all' | 'latest'),
      rollup: rollup === 'yes',
      ...(key !== undefined && { key: key.replaceAll('`', '') }),
      ...(text !== '' &&
        text !== undefined && {
          merge: mergeOf(...text.split(' but ').map((names) => names.replaceAll(/[` ]/g, '').split(','))),
        }),
      ...(status !== '' && { status: status as PublisherStatus }),
      ...(said.has('ends') && { ends: said.get('ends') as Ends }),
      ...(said.has('asks') && { asks: said.get('asks') as NeedKind }),
      ...(said.has('answers') && { answers: said.get('answers') as NeedKind }),
      ...(said.has('counts') && { usage: true as const }),
      ...(said.has('tool') && { tool: said.get('tool') as ToolPart }),
      ...(said.has('command') && { command: said.get('command') as CommandPart }),
    })
  }
  t.same([...shown], [...createCatalog().types()])
})
