import { isObject, type JsonValue } from '../lib/json.js'
import type { HubEvent } from '../protocol/frames.js'
import { fieldsOf } from './fields.js'

/** The meaning of an event of the built-in catalog, the same for all its sections. */
export type Meaning =
  | { readonly kind: 'text' | 'textEnd'; readonly id?: string; readonly text: string }
  | { readonly kind: 'reasoning'; readonly text: string }
  /** A piece of the input of a tool call. */
  | { readonly kind: 'typing'; readonly id: string; readonly name?: string; readonly text: string }
  | { readonly kind: 'call'; readonly id?: string; readonly name: string; readonly input: JsonValue }
  | {
      readonly kind: 'result'
      readonly id?: string
      readonly name?: string
      readonly result: JsonValue
      readonly failed: boolean
    }
  | { readonly kind: 'turn'; readonly model?: string; readonly usage: Usage }
  /** A question to a person, or an event that no dialect can express. */
  | { readonly kind: 'other'; readonly name: string; readonly data: JsonValue }

export interface Usage {
  readonly input: number
  readonly output: number
  readonly cached: number
}

/** @returns the meaning of an event; nothing if it has none for a reader */
export function meaningOf({ type, data }: HubEvent): Meaning | undefined {
  const fields = fieldsOf(data)
  switch (type) {
    case 'client_output_delta':
      return { kind: 'text', ...id(fields['message']), text: text(fields['content']) }
    case 'assistant':
    case 'process.output':
      return { kind: 'text', text: text(fields['content'] ?? fields['text']) }
    case 'data-text-start':
    case 'data-text-delta':
      return { kind: 'text', ...id(fields['id']), text: text(fields['delta']) }
    case 'data-text-end':
      return { kind: 'textEnd', ...id(fields['id']), text: '' }
    case 'llm_reasoning_delta':
      return { kind: 'reasoning', text: text(fields['content']) }
    case 'data-tool-input-start':
    case 'data-tool-input-delta': {
      const name = fields['toolName']
      const typed = { id: text(fields['toolCallId']), text: text(fields['input_text_delta']) }
      return { kind: 'typing', ...typed, ...(typeof name === 'string' && { name }) }
    }
    case 'tool_call_started':
      return call(fields['tool_use_id'], fields['tool_name'], fields['tool_input'])
    case 'data-tool-input-available':
      return call(fields['toolCallId'], fields['toolName'], fields['input'])
    case 'toolcall':
      return call(undefined, fields['tool'], fields['args'])
    case 'tool_call_completed':
      return result(fields['tool_use_id'], fields['tool_name'], fields['result'], fields['is_error'] === true)
    case 'data-tool-output-available':
      return result(fields['toolCallId'], undefined, fields['output'], false)
    case 'toolresult':
      return result(undefined, fields['tool'], fields['output'], fields['success'] === false)
    case 'llm_turn_complete': {
      const usage = {
        input: count(fields['input_tokens']),
        output: count(fields['output_tokens']),
        cached: count(fields['cached_tokens']),
      }
      const { model } = fields
      return { kind: 'turn', usage, ...(typeof model === 'string' && { model }) }
    }
    case 'client_input_requested':
    case 'client_input_received':
    case 'data-permission-request':
    case 'data-permission-response':
    case 'credentials_required':
    case 'custom-event':
    case 'data-artifact-created':
    case 'goal_progress':
      return { kind: 'other', name: type, data }
    default:
      return undefined
  }
}

function call(
  given: JsonValue | undefined,
  name: JsonValue | undefined,
  input: JsonValue | undefined,
): Meaning {
  return { kind: 'call', ...id(given), name: text(name) || 'tool', input: input ?? {} }
}

function result(
  given: JsonValue | undefined,
  name: JsonValue | undefined,
  value: JsonValue | undefined,
  failed: boolean,
): Meaning {
  const named = text(name)
  return { kind: 'result', ...id(given), ...(named !== '' && { name: named }), result: value ?? null, failed }
}

function id(value: JsonValue | undefined): { readonly id?: string } {
  const found = text(value)
  return found === '' ? {} : { id: found }
}

function text(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : ''
}

function count(value: JsonValue | undefined): number {
  return typeof value === 'number' && value > 0 ? value : 0
}

/** @returns the output of a tool as text */
export function resultText(result: JsonValue): string {
  return typeof result === 'string' ? result : JSON.stringify(result)
}

/** @returns the error text of a failed tool */
export function failureText(result: JsonValue): string {
  if (isObject(result)) {
    const { message, error } = result
    const found = [message, error].find((one) => typeof one === 'string' && one !== '')
    if (typeof found === 'string') return found
  }
  return resultText(result)
}
