import { type Dialect, type DialectEvent, dataBlock } from '../codec/dialect.js'
import type { Block, DialectRuns, RunEnding, RunFacts, RunQuery, RunSummary, Told } from '../codec/runs.js'
import type { JsonObject, JsonValue } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { HubEvent } from '../protocol/frames.js'
import { fieldsOf, objectOf } from './fields.js'
import { closed, type Flow, flowed, type Move, noFlow } from './flow.js'
import { meaningOf, resultText } from './meaning.js'

const prefix = 'langgraph.'
const name = /^[a-z][a-z0-9_-]*(\/[a-z]+)?(\|.*)?$/

const modesMax = 20

/** Events that are sent in every mode. */
const always = ['metadata', 'error', 'end', 'feedback']

interface State {
  /** The requested modes; all of them if none is requested. */
  readonly modes: readonly string[]
  readonly begun: boolean
  readonly flow: Flow
}

/**
 * The streams of LangGraph's server: `GET /threads/{thread}/runs/{run}/stream`, where the run is the session, and
 * `GET /threads/{thread}/stream`, where the thread is the session. Clients resume with `Last-Event-ID`, and ask for the
 * run's status when a response ends.
 *
 * `{ event, data }` published in this shape is an event `langgraph.<mode>` with both fields as its data.
 */
const runs: DialectRuns<State> = {
  routes: [
    { path: '/threads/{thread}/runs/{session}/stream' },
    { path: '/runs/{session}/stream' },
    { path: '/threads/{session}/stream' },
    { path: '/threads/{thread}/runs/{session}', document: { body: document } },
  ],
  ids: 'cursor',
  idle: 'newest',
  variant: ({ query }) => modesOf(query).join(','),
  begin: (variant) => ({ modes: variant === '' ? [] : variant.split(','), begun: false, flow: noFlow }),
  tell,
  headers: ({ path }) =>
    path.includes('/runs/') ? { location: path, 'content-location': path.replace(/\/stream$/, '') } : {},
  refusal: (code, message) => ({ detail: message, code }),
}

export const langgraph: Dialect = {
  name: 'langgraph',
  runs,
  publish: read,
  namedBlocks: true,
}

/** Some modes have another name in requests than in events. */
function modesOf(query: URLSearchParams): readonly string[] {
  const asked = query.getAll('stream_mode').map((mode) => (mode === 'messages-tuple' ? 'messages' : mode))
  if (asked.length > modesMax || asked.some((mode) => mode !== '' && !name.test(mode))) {
    throw new ProtocolError('badFrame', `stream_mode: expected names of modes, got ${quote(asked.join(','))}`)
  }
  if (asked.includes('run_modes')) return []
  return [...new Set(asked.filter((mode) => mode !== ''))].sort()
}

function tell(state: State, event: HubEvent, facts: RunFacts): Told<State> {
  if (event.type.startsWith(prefix) && facts.own) return ownEvent(state, event)
  const begun: Told<State> = facts.opens && facts.own ? begin(state, event, facts) : { state, blocks: [] }
  const meaning = meaningOf(event)
  const node = event.worker ?? 'agent'
  let told = begun
  if (meaning !== undefined && facts.own) {
    const first = begin(told.state, event, facts)
    const { flow, moves } = flowed(first.state.flow, meaning)
    const blocks = moves.flatMap((move) => messages(first.state, move, node))
    told = { state: { ...first.state, flow }, blocks: [...told.blocks, ...first.blocks, ...blocks] }
  }
  if (facts.ending === undefined) return told
  const first = begin(told.state, event, facts)
  const { flow } = closed(first.state.flow)
  return {
    state: { ...first.state, flow },
    blocks: [...told.blocks, ...first.blocks, ...last(first.state, facts.ending)],
  }
}

function begin(state: State, event: HubEvent, { session, opens }: RunFacts): Told<State> {
  if (state.begun) return { state, blocks: [] }
  const { run } = fieldsOf(event.data)
  const runId = opens && typeof run === 'string' ? run : session
  return { state: { ...state, begun: true }, blocks: block(state, 'metadata', { run_id: runId, attempt: 1 }) }
}

function block({ modes }: State, event: string, data: JsonValue): readonly Block[] {
  const mode = event.split('|', 1)[0] ?? ''
  const asked =
    modes.length === 0 ||
    always.includes(mode) ||
    modes.includes(mode) ||
    modes.includes(mode.split('/', 1)[0] ?? '')
  return asked ? [{ text: dataBlock(data, event) }] : []
}

/** A part of a message in the mode `messages`: a chunk and its metadata. */
function messages(state: State, move: Move, node: string): readonly Block[] {
  const about = { langgraph_node: node }
  const chunk = (id: string, fields: JsonObject): JsonValue => [
    { type: 'AIMessageChunk', id, content: '', additional_kwargs: {}, response_metadata: {}, ...fields },
    about,
  ]
  switch (move.kind) {
    case 'text':
      return block(state, 'messages', chunk(move.id, { content: move.text }))
    case 'reasoning':
      return block(state, 'messages', chunk(move.id, { additional_kwargs: { reasoning_content: move.text } }))
    case 'openCall': {
      const call = { name: move.name, args: '', id: move.id, index: 0, type: 'tool_call_chunk' }
      return block(state, 'messages', chunk(`call-${move.id}`, { tool_call_chunks: [call] }))
    }
    case 'typing': {
      const piece = { name: null, args: move.text, id: null, index: 0, type: 'tool_call_chunk' }
      return block(state, 'messages', chunk(`call-${move.id}`, { tool_call_chunks: [piece] }))
    }
    case 'closeCall': {
      if (move.typed) return []
      const args = JSON.stringify(move.input)
      const piece = { name: null, args, id: null, index: 0, type: 'tool_call_chunk' }
      return block(state, 'messages', chunk(`call-${move.id}`, { tool_call_chunks: [piece] }))
    }
    case 'result': {
      const { id, name: tool, result, failed } = move
      const status = failed ? 'error' : 'success'
      const content = resultText(result)
      return block(state, 'messages', [
        { type: 'tool', id: `result-${id}`, tool_call_id: id, name: tool, content, status },
        about,
      ])
    }
    case 'other':
      return block(state, 'custom', { name: move.name, data: move.data })
    default:
      return []
  }
}

function last(state: State, { result, reason }: RunEnding): readonly Block[] {
  if (result === 'succeeded') return block(state, 'end', null)
  const error = result === 'cancelled' ? 'UserInterrupt' : 'RunFailed'
  return block(state, 'error', { error, message: reason ?? `The run is ${result}.` })
}

function ownEvent(state: State, { data }: HubEvent): Told<State> {
  const { event, data: inner = null } = fieldsOf(data)
  if (typeof event !== 'string') return { state, blocks: [] }
  return { state: state.begun ? state : { ...state, begun: true }, blocks: block(state, event, inner) }
}

/** The status of a run in LangGraph's words. */
const statuses = {
  waiting: 'pending',
  running: 'running',
  succeeded: 'success',
  failed: 'error',
  lost: 'error',
  cancelled: 'interrupted',
} as const

function document(_: unknown, { session, status, startedAt }: RunSummary, { path }: RunQuery): JsonObject {
  return {
    run_id: session,
    thread_id: decodeURIComponent(path.split('/')[2] ?? ''),
    status: statuses[status],
    created_at: new Date(startedAt).toISOString(),
  }
}

function read(value: JsonValue): DialectEvent {
  const object = objectOf(value, 'an object { event, data } as a block of the stream has them')
  const { event, data = null } = object
  if (typeof event !== 'string' || !name.test(event) || event.length > 1_000) {
    const message = `event.event: expected a stream mode, got ${quote(event)}`
    throw new ProtocolError('badFrame', message, { pointer: '/event' })
  }
  const mode = (event.split('|', 1)[0] ?? '').replaceAll('/', '.')
  return { kind: 'event', event: { type: prefix + mode, data: { event, data } } }
}
