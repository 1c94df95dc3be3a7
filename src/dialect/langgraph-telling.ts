import type { JsonObject, JsonValue } from '../lib/json.js'
import type { HubEvent } from '../protocol/frames.js'
import { fieldsOf } from './fields.js'
import { closed, type Flow, flowed, type Move } from './flow.js'
import { failureText, type Said, type Usage } from './said.js'

/** Types of events that ask a person. */
const asking = new Set(['client_input_requested', 'data-permission-request', 'credentials_required'])

/** The message that is being written, and its open block. */
export interface Open {
  readonly id: string
  readonly index: number
  /** The text of the open block so far. */
  readonly text: string
}

export interface Writing {
  readonly flow: Flow
  readonly message: Open | undefined
}

/** A message of a graph. Several may be written at the same time. */
export interface GraphMessage extends Writing {
  readonly key: string
  readonly namespace: readonly string[]
  /** How much of its text and reasoning has been sent. Characters. */
  readonly text: number
  readonly reasoning: number
  readonly whole: boolean
  readonly stops: boolean
  readonly over: boolean
  readonly usage: Usage | undefined
}

export interface State extends Writing {
  /** The requested channels. */
  readonly channels: readonly string[]
  readonly begun: boolean
  /** The messages of a session that was published in the format of LangGraph's server. */
  readonly messages: readonly GraphMessage[]
}

/** The translation of an event so far. */
export interface Telling {
  readonly state: State
  /** The protocol events, in order. */
  readonly told: readonly (readonly [method: string, data: JsonValue, namespace: readonly string[]])[]
  /** The namespace of the following protocol events. */
  readonly namespace: readonly string[]
  /** The id of the next message, if it has one of its own. */
  readonly named?: string | undefined
}

export function spoken(telling: Telling, said: Said, event: HubEvent): Telling {
  const { flow, moves } = flowed(telling.state.flow, said)
  const start = { ...telling, state: { ...telling.state, flow } }
  return moves.reduce((before, move) => moved(before, move, event), start)
}

export function closedAll(telling: Telling, event: HubEvent): Telling {
  const { flow, moves } = closed(telling.state.flow)
  const start = { ...telling, state: { ...telling.state, flow } }
  return moves.reduce((before, move) => moved(before, move, event), start)
}

export function say(telling: Telling, method: string, data: JsonValue, more: Partial<State> = {}): Telling {
  const { state, told, namespace } = telling
  return { ...telling, state: { ...state, ...more }, told: [...told, [method, data, namespace]] }
}

export function resultOf(id: string, result: JsonValue, failed: boolean): JsonObject {
  return failed
    ? { event: 'tool-error', tool_call_id: id, message: failureText(result) }
    : { event: 'tool-finished', tool_call_id: id, output: result }
}

function moved(telling: Telling, move: Move, event: HubEvent): Telling {
  switch (move.kind) {
    case 'openText':
      return openBlock(telling, { type: 'text', text: '' }, event)
    case 'text':
      return grown(telling, { type: 'text-delta', text: move.text }, move.text)
    case 'closeText':
      return closeBlock(telling, (text) => ({ type: 'text', text }))
    case 'openReasoning':
      return openBlock(telling, { type: 'reasoning', reasoning: '' }, event)
    case 'reasoning':
      return grown(telling, { type: 'reasoning-delta', reasoning: move.text }, move.text)
    case 'closeReasoning':
      return closeBlock(telling, (reasoning) => ({ type: 'reasoning', reasoning }))
    case 'openCall':
      return openBlock(telling, { type: 'tool_call_chunk', id: move.id, name: move.name, args: '' }, event)
    case 'typing':
      return grown(telling, { type: 'tool-call-delta', args: move.text }, move.text)
    case 'closeCall': {
      const { id, name, input } = move
      const args = fieldsOf(input)
      const done = closeBlock(telling, () => ({ type: 'tool_call', id, name, args }))
      return say(done, 'tools', { event: 'tool-started', tool_call_id: id, tool_name: name, input })
    }
    case 'result': {
      const { id, result, failed } = move
      return say(finished(telling, undefined), 'tools', resultOf(id, result, failed))
    }
    case 'turn':
      return finished(telling, move.usage)
    case 'other': {
      const { name, data } = move
      if (!asking.has(name)) return say(telling, 'custom', { name, payload: data })
      const { request_id: id } = fieldsOf(data)
      const asked = typeof id === 'string' ? id : String(event.offset)
      return say(telling, 'input.requested', { interrupt_id: asked, payload: data })
    }
  }
}

/** Begins a block, and before the first block its message. */
function openBlock(telling: Telling, content: JsonObject, { offset }: HubEvent): Telling {
  const { message } = telling.state
  const id = message?.id ?? telling.named ?? `message-${offset}`
  const index = message === undefined ? 0 : message.index + 1
  const begun =
    message === undefined ? say(telling, 'messages', { event: 'message-start', role: 'ai', id }) : telling
  return say(
    begun,
    'messages',
    { event: 'content-block-start', index, content },
    { message: { id, index, text: '' } },
  )
}

function grown(telling: Telling, delta: JsonObject, text: string): Telling {
  const { message } = telling.state
  if (message === undefined) return telling
  const next = { ...message, text: message.text + text }
  const data = { event: 'content-block-delta', index: message.index, delta }
  return say(telling, 'messages', data, { message: next })
}

function closeBlock(telling: Telling, content: (text: string) => JsonObject): Telling {
  const { message } = telling.state
  if (message === undefined) return telling
  const { index, text } = message
  return say(telling, 'messages', { event: 'content-block-finish', index, content: content(text) })
}

export function finished(telling: Telling, usage: Usage | undefined): Telling {
  if (telling.state.message === undefined) return telling
  const about = usage && {
    usage: {
      input_tokens: usage.input,
      output_tokens: usage.output,
      total_tokens: usage.input + usage.output,
      input_token_details: { cache_read: usage.cached },
    },
  }
  return say(telling, 'messages', { event: 'message-finish', ...about }, { message: undefined })
}
