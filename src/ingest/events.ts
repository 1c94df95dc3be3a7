import type { JsonObject, JsonValue } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'

/** The usage of a language model in one turn. */
export interface Turn {
  readonly model?: string
  readonly stopReason?: string
  /** All input, including the part from a cache. */
  readonly inputTokens: number
  readonly outputTokens: number
  /** The part of `inputTokens` that came from a cache. */
  readonly cachedTokens?: number
  readonly costUsd?: number
}

/** Text that is shown to the user. */
export function text(content: string, message?: string): NewEvent {
  return event('client_output_delta', { content, ...(message !== undefined && { message }) })
}

export function reasoning(content: string): NewEvent {
  return event('llm_reasoning_delta', { content })
}

export function toolStarted(id: string, name: string, input: JsonValue): NewEvent {
  return event('tool_call_started', { tool_use_id: id, tool_name: name, tool_input: input })
}

export function toolCompleted(id: string, name: string, result: JsonValue, isError: boolean): NewEvent {
  return event('tool_call_completed', { tool_use_id: id, tool_name: name, result, is_error: isError })
}

export function turnComplete(turn: Turn): NewEvent {
  return event('llm_turn_complete', {
    ...(turn.model !== undefined && { model: turn.model }),
    ...(turn.stopReason !== undefined && { stop_reason: turn.stopReason }),
    input_tokens: turn.inputTokens,
    output_tokens: turn.outputTokens,
    ...(turn.cachedTokens !== undefined && { cached_tokens: turn.cachedTokens }),
    ...(turn.costUsd !== undefined && { cost_usd: turn.costUsd }),
  })
}

export function runStarted(data: JsonObject): NewEvent {
  return event('execution_started', data)
}

export function runCompleted(data: JsonObject = {}): NewEvent {
  return event('execution_completed', data)
}

export function runFailed(error: string): NewEvent {
  return event('execution_failed', { error })
}

export function runCancelled(reason: string): NewEvent {
  return event('data-execution-cancelled', { reason })
}

/** A person is asked whether a tool may be called. */
export function permissionRequest(id: string, name: string, input: JsonValue): NewEvent {
  return event('data-permission-request', { request_id: id, tool_name: name, arguments: input })
}

export function permissionResponse(id: string, granted: boolean, reason?: string): NewEvent {
  return event('data-permission-response', {
    request_id: id,
    granted,
    ...(reason !== undefined && { reason }),
  })
}

/** A person is asked for an answer. */
export function inputRequest(id: string, question: JsonObject): NewEvent {
  return event('client_input_requested', { request_id: id, ...question })
}

export function inputReceived(id: string, answer: JsonValue): NewEvent {
  return event('client_input_received', { request_id: id, answer })
}

/** Objects without a counterpart in the catalog are kept unchanged. */
export function custom(data: JsonValue): NewEvent {
  return event('custom-event', data)
}

function event(type: string, data: JsonValue): NewEvent {
  return { type, data }
}
