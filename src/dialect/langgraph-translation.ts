import type { JsonObject, JsonValue } from '../lib/json.js'
import type { HubEvent } from '../protocol/frames.js'
import { fieldsOf } from './fields.js'
import { closed, type Flow, flowed, type Move } from './flow.js'
import { failureText, type Meaning, type Usage } from './meaning.js'

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
export interface GraphTranslation {
  readonly state: State
  /** The protocol events, in order. */
  readonly events: readonly (readonly [method: string, data: JsonValue, namespace: readonly string[]])[]
  /** The namespace of the following protocol events. */
  readonly namespace: readonly string[]
  /** The id of the next message, if it has one of its own. */
  readonly named?: string | undefined
}

export function withMeaning(
  translation: GraphTranslation,
  meaning: Meaning,
  event: HubEvent,
): GraphTranslation {
  const { flow, moves } = flowed(translation.state.flow, meaning)
  const start = { ...translation, state: { ...translation.state, flow } }
  return moves.reduce((before, move) => moved(before, move, event), start)
}

export function closedAll(translation: GraphTranslation, event: HubEvent): GraphTranslation {
  const { flow, moves } = closed(translation.state.flow)
  const start = { ...translation, state: { ...translation.state, flow } }
  return moves.reduce((before, move) => moved(before, move, event), start)
}

export function withEvent(
  translation: GraphTranslation,
  method: string,
  data: JsonValue,
  more: Partial<State> = {},
): GraphTranslation {
  const { state, events, namespace } = translation
  return { ...translation, state: { ...state, ...more }, events: [...events, [method, data, namespace]] }
}

export function resultOf(id: string, result: JsonValue, failed: boolean): JsonObject {
  return failed
    ? { event: 'tool-error', tool_call_id: id, message: failureText(result) }
    : { event: 'tool-finished', tool_call_id: id, output: result }
}

function moved(translation: GraphTranslation, move: Move, event: HubEvent): GraphTranslation {
  switch (move.kind) {
    case 'openText':
      return openBlock(translation, { type: 'text', text: '' }, event)
    case 'text':
      return grown(translation, { type: 'text-delta', text: move.text }, move.text)
    case 'closeText':
      return closeBlock(translation, (text) => ({ type: 'text', text }))
    case 'openReasoning':
      return openBlock(translation, { type: 'reasoning', reasoning: '' }, event)
    case 'reasoning':
      return grown(translation, { type: 'reasoning-delta', reasoning: move.text }, move.text)
    case 'closeReasoning':
      return closeBlock(translation, (reasoning) => ({ type: 'reasoning', reasoning }))
    case 'openCall':
      return openBlock(
        translation,
        { type: 'tool_call_chunk', id: move.id, name: move.name, args: '' },
        event,
      )
    case 'typing':
      return grown(translation, { type: 'tool-call-delta', args: move.text }, move.text)
    case 'closeCall': {
      const { id, name, input } = move
      const args = fieldsOf(input)
      const done = closeBlock(translation, () => ({ type: 'tool_call', id, name, args }))
      return withEvent(done, 'tools', { event: 'tool-started', tool_call_id: id, tool_name: name, input })
    }
    case 'result': {
      const { id, result, failed } = move
      return withEvent(finished(translation, undefined), 'tools', resultOf(id, result, failed))
    }
    case 'turn':
      return finished(translation, move.usage)
    case 'other': {
      const { name, data } = move
      if (!asking.has(name)) return withEvent(translation, 'custom', { name, payload: data })
      const { request_id: id } = fieldsOf(data)
      const asked = typeof id === 'string' ? id : String(event.offset)
      return withEvent(translation, 'input.requested', { interrupt_id: asked, payload: data })
    }
  }
}

/** Begins a block, and before the first block its message. */
function openBlock(
  translation: GraphTranslation,
  content: JsonObject,
  { offset }: HubEvent,
): GraphTranslation {
  const { message } = translation.state
  const id = message?.id ?? translation.named ?? `message-${offset}`
  const index = message === undefined ? 0 : message.index + 1
  const begun =
    message === undefined
      ? withEvent(translation, 'messages', { event: 'message-start', role: 'ai', id })
      : translation
  return withEvent(
    begun,
    'messages',
    { event: 'content-block-start', index, content },
    { message: { id, index, text: '' } },
  )
}

function grown(translation: GraphTranslation, delta: JsonObject, text: string): GraphTranslation {
  const { message } = translation.state
  if (message === undefined) return translation
  const next = { ...message, text: message.text + text }
  const data = { event: 'content-block-delta', index: message.index, delta }
  return withEvent(translation, 'messages', data, { message: next })
}

function closeBlock(translation: GraphTranslation, content: (text: string) => JsonObject): GraphTranslation {
  const { message } = translation.state
  if (message === undefined) return translation
  const { index, text } = message
  return withEvent(translation, 'messages', { event: 'content-block-finish', index, content: content(text) })
}

export function finished(translation: GraphTranslation, usage: Usage | undefined): GraphTranslation {
  if (translation.state.message === undefined) return translation
  const about = usage && {
    usage: {
      input_tokens: usage.input,
      output_tokens: usage.output,
      total_tokens: usage.input + usage.output,
      input_token_details: { cache_read: usage.cached },
    },
  }
  return withEvent(translation, 'messages', { event: 'message-finish', ...about }, { message: undefined })
}
