import type { JsonValue } from '../lib/json.js'

/** The delta of a text; `snapshot` is the whole text so far, if the producer sends it. */
export interface TextDelta {
  readonly content: string
  readonly snapshot?: string
  readonly [name: string]: JsonValue | undefined
}

/** The data of built-in event types whose fields are known. */
export interface CatalogShapes {
  'process.started': { readonly command: string; readonly pid?: number }
  'process.output': { readonly stream: 'stdout' | 'stderr'; readonly text: string }
  'process.exited': {
    readonly code: number | null
    readonly signal: string | null
    readonly durationMs: number
  }
  assistant: { readonly content: string }
  toolcall: { readonly tool: string; readonly args: JsonValue }
  toolresult: { readonly tool: string; readonly success: boolean; readonly output: JsonValue }
  cost: { readonly cost: number }
  error: { readonly error: string }
  complete: { readonly outcome?: JsonValue }
  'execution.status': {
    readonly status: string
    readonly executionId?: string
    readonly turnId?: string
    readonly error?: JsonValue
  }
  'custom-event': JsonValue
  'worker.lost': { readonly reason: string }
  'session.lost': { readonly reason: string }
  /** `since`: when the stall began, ms since 1970. */
  'worker.stalled': {
    readonly why: 'call' | 'repeat' | 'silence'
    readonly since: number
    readonly tool?: string
  }
  /** A client that shows the step should remove the events of earlier attempts: `offsets` are those that the hub still had. */
  'attempt.superseded': {
    readonly step: string
    readonly number: number
    readonly offsets: readonly number[]
  }
  'stream.json': JsonValue
  'stream.text': string
  /** In base64. */
  'stream.bytes': string
  /**
   * Secrets were taken out of events that were published before: of those in `offsets`, a list of the first and the last of each
   * range. A client that shows them should read them again.
   */
  redacted: { readonly offsets: readonly (readonly [first: number, last: number])[] }
  'command.cancel': { readonly reason?: string; readonly ttlMs?: number }
  'command.pause': { readonly ttlMs?: number }
  'command.resume': { readonly ttlMs?: number }
  'command.input': {
    readonly text?: string
    readonly value?: JsonValue
    readonly key?: string
    readonly ttlMs?: number
  }
  'command.done': {
    readonly offset: number
    readonly state: 'applied' | 'refused' | 'expired'
    readonly reason?: string
  }
  client_output_delta: TextDelta
  llm_reasoning_delta: TextDelta
  llm_text_delta: TextDelta
  tool_call_started: {
    readonly tool_use_id?: string
    readonly tool_name: string
    readonly tool_input?: JsonValue
  }
  tool_call_completed: {
    readonly tool_use_id?: string
    readonly tool_name: string
    readonly result?: JsonValue
    readonly is_error?: boolean
  }
  execution_failed: { readonly error?: string; readonly [name: string]: JsonValue | undefined }
  llm_turn_complete: {
    readonly model?: string
    readonly stop_reason?: string
    readonly input_tokens?: number
    readonly output_tokens?: number
    readonly cached_tokens?: number
    readonly cost_usd?: number
    readonly [name: string]: JsonValue | undefined
  }
  'data-text-start': { readonly id: string }
  'data-text-delta': { readonly id: string; readonly delta: string }
  'data-text-end': { readonly id: string }
  'data-tool-input-start': { readonly toolCallId: string; readonly toolName: string }
  'data-tool-input-delta': { readonly toolCallId: string; readonly input_text_delta: string }
  'data-tool-input-available': {
    readonly toolCallId: string
    readonly toolName: string
    readonly input: JsonValue
  }
  'data-tool-output-available': { readonly toolCallId: string; readonly output: JsonValue }
}
