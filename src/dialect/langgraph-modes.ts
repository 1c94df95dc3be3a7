import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { HubEvent } from '../protocol/frames.js'
import { fieldsOf } from './fields.js'
import type { Meaning, Usage } from './meaning.js'

/** The content of an event of a stream mode. */
export type Mode =
  | MessageMode
  | { readonly kind: 'result'; readonly call: string; readonly result: JsonValue; readonly failed: boolean }
  /** Data that is passed on unchanged, with its method in protocol v2. */
  | { readonly kind: 'data'; readonly method: string; readonly data: JsonValue }

export interface MessageMode {
  readonly kind: 'message'
  readonly id: string | undefined
  readonly text: string
  readonly reasoning: string
  readonly calls: readonly Extract<Meaning, { kind: 'typing' | 'call' }>[]
  /** Whether text and reasoning are those of the whole message so far, not only the new part. */
  readonly whole: boolean
  /** Whether it has a reason to stop. That may come before the usage, and the usage before the text. */
  readonly stops: boolean
  readonly over: boolean
  readonly usage: Usage | undefined
}

const prefix = 'langgraph.'

/** @returns the content of an event in the format of LangGraph's server; undefined for any other event */
export function modesOf({
  type,
  data,
}: HubEvent):
  | { readonly namespace: readonly string[]; readonly modes: readonly Mode[]; readonly data: JsonValue }
  | undefined {
  if (!type.startsWith(prefix)) return undefined
  const { event, data: inner = null } = fieldsOf(data)
  if (typeof event !== 'string') return undefined
  const [mode = '', ...namespace] = event.split('|')
  return { namespace, modes: read(mode, inner), data: inner }
}

function read(mode: string, data: JsonValue): readonly Mode[] {
  switch (mode) {
    case 'messages':
      return listOf(data)
        .slice(0, 1)
        .flatMap((one) => messageOf(fieldsOf(one), 'chunk'))
    case 'messages/partial':
      return listOf(data).flatMap((one) => messageOf(fieldsOf(one), 'partial'))
    case 'messages/complete':
      return listOf(data).flatMap((one) => messageOf(fieldsOf(one), 'complete'))
    case 'values':
      return [...interrupts(data), { kind: 'data', method: 'values', data }]
    case 'updates':
      return [...interrupts(data), ...updates(fieldsOf(data))]
    case 'custom':
      return [{ kind: 'data', method: 'custom', data: { payload: data } }]
    case 'tasks':
      return [{ kind: 'data', method: 'tasks', data }]
    case 'checkpoints':
      return checkpoint(fieldsOf(data))
    default:
      return []
  }
}

function messageOf(message: JsonObject, as: 'chunk' | 'partial' | 'complete'): readonly Mode[] {
  const type = textOf(message['type']).toLowerCase()
  if (type.startsWith('tool')) {
    const { tool_call_id: call, content: result = null, status } = message
    return [{ kind: 'result', call: textOf(call), result, failed: status === 'error' }]
  }
  if (!type.startsWith('ai')) return []
  const about = fieldsOf(message['response_metadata'] ?? null)
  const stops =
    (about['finish_reason'] ?? about['stop_reason'] ?? null) !== null || message['chunk_position'] === 'last'
  const whole = as !== 'chunk' || type === 'ai'
  const over = as === 'complete' || (whole && (as === 'chunk' || stops))
  const id = textOf(message['id'])
  return [
    {
      kind: 'message',
      id: id === '' ? undefined : id,
      ...contentOf(message),
      calls: whole ? (over ? callsOf(message) : []) : piecesOf(message),
      whole,
      stops,
      over,
      usage: usageOf(message['usage_metadata']),
    },
  ]
}

function contentOf({ content, additional_kwargs: more }: JsonObject): { text: string; reasoning: string } {
  const blocks = typeof content === 'string' ? [{ text: content }] : listOf(content)
  const fields = blocks.map((block) => (typeof block === 'string' ? { text: block } : fieldsOf(block)))
  const thought = fields.map((block) => textOf(block['thinking'] ?? block['reasoning'])).join('')
  return {
    text: fields.map((block) => textOf(block['text'])).join(''),
    reasoning: thought || textOf(fieldsOf(more ?? null)['reasoning_content']),
  }
}

/** Only the first piece of a call has its id. */
function piecesOf(message: JsonObject): MessageMode['calls'] {
  return listOf(message['tool_call_chunks']).map((piece) => {
    const { id, name, args } = fieldsOf(piece)
    return { kind: 'typing', id: textOf(id), ...(textOf(name) && { name: textOf(name) }), text: textOf(args) }
  })
}

function callsOf(message: JsonObject): MessageMode['calls'] {
  return listOf(message['tool_calls']).map((call) => {
    const { id, name, args = {} } = fieldsOf(call)
    return { kind: 'call', ...(textOf(id) && { id: textOf(id) }), name: textOf(name) || 'tool', input: args }
  })
}

function usageOf(value: JsonValue | undefined): Usage | undefined {
  if (!isObject(value)) return undefined
  const { input_tokens: input, output_tokens: output, input_token_details: details } = value
  const { cache_read: cached } = fieldsOf(details ?? null)
  const [read, written, kept] = [input, output, cached].map((count) =>
    typeof count === 'number' ? count : 0,
  )
  return { input: read ?? 0, output: written ?? 0, cached: kept ?? 0 }
}

/** A graph that waits for a person sends its interrupts instead of an update. */
function interrupts(data: JsonValue): readonly Mode[] {
  return listOf(fieldsOf(data)['__interrupt__']).map((interrupt, at) => {
    const { id, interrupt_id: older, value = null } = fieldsOf(interrupt)
    const asked = textOf(id) || textOf(older) || `interrupt-${at}`
    return { kind: 'data', method: 'input.requested', data: { interrupt_id: asked, payload: value } }
  })
}

function updates(data: JsonObject): readonly Mode[] {
  return Object.entries(data)
    .filter(([node]) => node !== '__interrupt__')
    .map(([node, values]) => ({ kind: 'data', method: 'updates', data: { node, values } }))
}

function checkpoint(data: JsonObject): readonly Mode[] {
  const idIn = (config: JsonValue | undefined) => {
    const { configurable = null } = fieldsOf(config ?? null)
    return textOf(fieldsOf(configurable)['checkpoint_id'])
  }
  const id = idIn(data['config'])
  if (id === '') return []
  const { step = -1, source = 'loop' } = fieldsOf(data['metadata'] ?? null)
  const parent = idIn(data['parent_config'])
  const summary = { id, ...(parent && { parent_id: parent }), step, source }
  return [{ kind: 'data', method: 'checkpoints', data: summary }]
}

function listOf(value: JsonValue | undefined): readonly JsonValue[] {
  return Array.isArray(value) ? value : []
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : ''
}
