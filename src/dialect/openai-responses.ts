import { type Dialect, type DialectEvent, dataBlock } from '../codec/dialect.js'
import type { Block, DialectRuns, RunEnding, RunFacts, RunQuery, RunSummary, Told } from '../codec/runs.js'
import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { HubEvent } from '../protocol/frames.js'
import { fieldsOf, objectOf, textField } from './fields.js'
import { closed, type Flow, flowed, type Move, noFlow } from './flow.js'
import { meaningOf, resultText } from './meaning.js'

/** The API's event for an error, which does not end its response. */
const errorType = 'response.error'

// Maximum of blocks per event: their numbers lie between those of the events before and after it.
const blocksPerEvent = 16

interface State {
  /** The last complete response of a producer that uses this API itself. */
  readonly own: JsonObject | undefined
  /** The current response without its output; absent before its beginning. */
  readonly response: JsonObject | undefined
  readonly output: readonly JsonObject[]
  /** The item that is being written. */
  readonly item: { readonly item: JsonObject; readonly text: string } | undefined
  readonly flow: Flow
}

/**
 * The Responses API of OpenAI: `GET /v1/responses/{id}`, whole or with `stream=true`, after `starting_after`. A response
 * is the newest run of the session of that id.
 *
 * An event published in this shape keeps its type, and its other fields become the data.
 */
const runs: DialectRuns<State> = {
  routes: [
    {
      path: '/v1/responses/{session}',
      document: { isWanted: ({ query }) => query.get('stream') !== 'true', body: document },
    },
  ],
  ids: 'none',
  idle: 'newest',
  begin: () => ({ own: undefined, response: undefined, output: [], item: undefined, flow: noFlow }),
  tell,
  after({ query }: RunQuery) {
    const given = query.get('starting_after')
    if (given === null || given === '') return undefined
    if (/^\d{1,15}$/.test(given)) return Number(given)
    throw new ProtocolError('badFrame', `starting_after: expected a sequence number, got ${quote(given)}`)
  },
  refusal: (code, message) => ({ error: { message, type: 'invalid_request_error', code, param: null } }),
}

export const openaiResponses: Dialect = { name: 'openai-responses', runs, publish: read }

/** Collects the blocks of one event. */
class Blocks {
  readonly list: Block[] = []
  readonly #offset: number

  constructor({ offset }: HubEvent) {
    this.#offset = offset
  }

  add(type: string, fields: JsonObject): void {
    const number = this.#offset * blocksPerEvent + Math.min(this.list.length, blocksPerEvent - 1)
    this.list.push({ number, text: dataBlock({ type, sequence_number: number, ...fields }, type) })
  }
}

function tell(state: State, event: HubEvent, facts: RunFacts): Told<State> {
  if (!facts.own) return { state, blocks: [] }
  if (event.type.startsWith('response.')) return ownEvent(state, event)
  const blocks = new Blocks(event)
  let next = facts.opens ? begun(state, event, facts, blocks) : state
  const meaning = meaningOf(event)
  if (meaning !== undefined && meaning.kind !== 'other') {
    next = begun(next, event, facts, blocks)
    const { flow, moves } = flowed(next.flow, meaning)
    next = moves.reduce<State>((before, move) => moved(before, move, blocks), { ...next, flow })
  }
  if (facts.ending !== undefined) {
    next = begun(next, event, facts, blocks)
    const { flow, moves } = closed(next.flow)
    const status = facts.ending.result === 'succeeded' ? 'completed' : 'incomplete'
    next = moves.reduce<State>((before, move) => moved(before, move, blocks, status), { ...next, flow })
    next = ended(next, facts.ending, blocks)
  }
  return { state: next, blocks: blocks.list }
}

function begun(state: State, event: HubEvent, { session }: RunFacts, blocks: Blocks): State {
  if (state.response !== undefined) return state
  const { model } = fieldsOf(event.data)
  const response = {
    id: session,
    object: 'response',
    created_at: Math.floor(event.time / 1_000),
    status: 'in_progress',
    model: typeof model === 'string' ? model : 'agent',
    error: null,
    incomplete_details: null,
    instructions: null,
    metadata: {},
    parallel_tool_calls: true,
    temperature: null,
    tool_choice: 'auto',
    tools: [],
    top_p: null,
    usage: null,
  }
  blocks.add('response.created', { response: { ...response, output: [] } })
  blocks.add('response.in_progress', { response: { ...response, output: [] } })
  return { ...state, response }
}

/** @param status of the closed items; a text of a failed run is incomplete */
function moved(state: State, move: Move, blocks: Blocks, status = 'completed'): State {
  const index = state.output.length
  const at = { output_index: index, content_index: 0 }
  switch (move.kind) {
    case 'openText': {
      const item = { id: move.id, type: 'message', role: 'assistant', status: 'in_progress', content: [] }
      blocks.add('response.output_item.added', { output_index: index, item })
      blocks.add('response.content_part.added', { item_id: move.id, ...at, part: textPart('') })
      return { ...state, item: { item, text: '' } }
    }
    case 'text':
      blocks.add('response.output_text.delta', { item_id: move.id, ...at, delta: move.text, logprobs: [] })
      return grown(state, move.text)
    case 'closeText': {
      const { text, item } = state.item ?? noItem
      const part = textPart(text)
      blocks.add('response.output_text.done', { item_id: move.id, ...at, text, logprobs: [] })
      blocks.add('response.content_part.done', { item_id: move.id, ...at, part })
      return done(state, { ...item, status, content: [part] }, blocks)
    }
    case 'openReasoning': {
      const item = { id: move.id, type: 'reasoning', summary: [], content: [] }
      blocks.add('response.output_item.added', { output_index: index, item })
      blocks.add('response.content_part.added', { item_id: move.id, ...at, part: reasoningPart('') })
      return { ...state, item: { item, text: '' } }
    }
    case 'reasoning':
      blocks.add('response.reasoning_text.delta', { item_id: move.id, ...at, delta: move.text })
      return grown(state, move.text)
    case 'closeReasoning': {
      const { text, item } = state.item ?? noItem
      const part = reasoningPart(text)
      blocks.add('response.reasoning_text.done', { item_id: move.id, ...at, text })
      blocks.add('response.content_part.done', { item_id: move.id, ...at, part })
      return done(state, { ...item, content: [part] }, blocks)
    }
    case 'openCall': {
      const { id, name } = move
      const call = {
        id: `fc_${id}`,
        type: 'function_call',
        call_id: id,
        name,
        arguments: '',
        status: 'in_progress',
      }
      blocks.add('response.output_item.added', { output_index: index, item: call })
      return { ...state, item: { item: call, text: '' } }
    }
    case 'typing': {
      const typed = { item_id: `fc_${move.id}`, output_index: index, delta: move.text }
      blocks.add('response.function_call_arguments.delta', typed)
      return grown(state, move.text)
    }
    case 'closeCall': {
      const { text, item } = state.item ?? noItem
      const json = move.typed && text !== '' ? text : JSON.stringify(move.input)
      const id = `fc_${move.id}`
      if (!move.typed)
        blocks.add('response.function_call_arguments.delta', {
          item_id: id,
          output_index: index,
          delta: json,
        })
      const { name } = move
      blocks.add('response.function_call_arguments.done', {
        item_id: id,
        output_index: index,
        name,
        arguments: json,
      })
      return done(state, { ...item, arguments: json, status }, blocks)
    }
    case 'result': {
      const { id, result, failed } = move
      const outcome = failed ? 'incomplete' : 'completed'
      const item = {
        id: `fco_${id}`,
        type: 'function_call_output',
        call_id: id,
        output: resultText(result),
        status: outcome,
      }
      blocks.add('response.output_item.added', {
        output_index: index,
        item: { ...item, status: 'in_progress' },
      })
      return done(state, item, blocks)
    }
    case 'turn':
      return { ...state, response: withUsage(state.response ?? {}, move) }
    case 'other':
      return state
  }
}

const noItem = { item: {} as JsonObject, text: '' }

function grown(state: State, text: string): State {
  const { item } = state
  return item === undefined ? state : { ...state, item: { ...item, text: item.text + text } }
}

function done(state: State, item: JsonObject, blocks: Blocks): State {
  blocks.add('response.output_item.done', { output_index: state.output.length, item })
  return { ...state, output: [...state.output, item], item: undefined }
}

function textPart(text: string): JsonObject {
  return { type: 'output_text', text, annotations: [], logprobs: [] }
}

function reasoningPart(text: string): JsonObject {
  return { type: 'reasoning_text', text }
}

function withUsage(response: JsonObject, { model, usage }: Extract<Move, { kind: 'turn' }>): JsonObject {
  const before = fieldsOf(response['usage'] ?? {})
  const sum = (name: string, more: number): number => Number(before[name] ?? 0) + more
  const input = sum('input_tokens', usage.input)
  const output = sum('output_tokens', usage.output)
  const cached = Number(fieldsOf(before['input_tokens_details'] ?? {})['cached_tokens'] ?? 0) + usage.cached
  return {
    ...response,
    ...(model !== undefined && { model }),
    usage: {
      input_tokens: input,
      input_tokens_details: { cached_tokens: cached },
      output_tokens: output,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: input + output,
    },
  }
}

function ended(state: State, { result, reason }: RunEnding, blocks: Blocks): State {
  const message = reason ?? `The run is ${result}.`
  const response = { ...state.response, ...endingOf(result, message) }
  const type = result === 'succeeded' ? 'completed' : result === 'cancelled' ? 'incomplete' : 'failed'
  blocks.add(`response.${type}`, { response: { ...response, output: state.output } })
  return { ...state, response }
}

function endingOf(result: RunEnding['result'], message: string): JsonObject {
  switch (result) {
    case 'succeeded':
      return { status: 'completed' }
    case 'cancelled':
      return { status: 'cancelled', incomplete_details: { reason: 'cancelled' } }
    case 'failed':
    case 'lost':
      return { status: 'failed', error: { code: 'server_error', message } }
  }
}

/** Events published in this shape are sent unchanged, with the producer's sequence numbers if it has any. */
function ownEvent(state: State, { type: full, offset, data }: HubEvent): Told<State> {
  const type = full === errorType ? 'error' : full
  const fields = fieldsOf(data)
  const given = fields['sequence_number']
  const number = typeof given === 'number' ? given : offset * blocksPerEvent
  const block = { number, text: dataBlock({ type, ...fields, sequence_number: number }, type) }
  const { response, item } = fields
  const next = isObject(response) ? { ...state, own: response, response } : state
  const output = type === 'response.output_item.done' && isObject(item) ? [...next.output, item] : next.output
  return { state: output === next.output ? next : { ...next, output }, blocks: [block] }
}

/** @returns the current response with the item that is being written */
function document(state: State, { session, status, startedAt }: RunSummary): JsonObject {
  const own = state.own
  if (own !== undefined) {
    const output = Array.isArray(own['output']) && own['output'].length > 0 ? own['output'] : state.output
    return { ...own, output }
  }
  const { item, text } = state.item ?? noItem
  const open = state.item === undefined ? [] : [{ ...item, ...written(item, text) }]
  const known = state.response ?? {
    id: session,
    object: 'response',
    created_at: Math.floor(startedAt / 1_000),
    status: status === 'waiting' ? 'queued' : 'in_progress',
  }
  return { ...known, output: [...state.output, ...open] }
}

function written({ type }: JsonObject, text: string): JsonObject {
  if (type === 'function_call') return { arguments: text }
  return { content: [type === 'reasoning' ? reasoningPart(text) : textPart(text)] }
}

function read(value: JsonValue): DialectEvent {
  const object = objectOf(value, 'an event of the Responses API { type: "response.…", … }')
  const type = textField(object, 'type')
  if (type !== 'error' && !type.startsWith('response.')) {
    const message = `event.type: expected a type that begins with response., got ${quote(type)}`
    throw new ProtocolError('badFrame', message, { pointer: '/type' })
  }
  const { type: _, ...data } = object
  return { kind: 'event', event: { type: type === 'error' ? errorType : type, data } }
}
