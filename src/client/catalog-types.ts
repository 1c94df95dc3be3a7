import type { JsonObject, JsonValue } from '../lib/json.js'

/** `process`: what `runcast run` publishes. */
export interface ProcessEvents {
  'process.started': { readonly command: string; readonly pid?: number }
  'process.output': { readonly stream: 'stdout' | 'stderr'; readonly text: string }
  'process.exited': {
    readonly code: number | null
    readonly signal: string | null
    readonly durationMs: number
  }
}

/** `task-log`: one task's log. `complete` is also what the hub says when a session ends. */
export interface TaskLogEvents {
  assistant: { readonly content: string }
  toolcall: { readonly tool: string; readonly args: JsonValue }
  toolresult: { readonly tool: string; readonly success: boolean; readonly output: JsonValue }
  cost: { readonly cost: number }
  error: { readonly error: string }
  complete: { readonly outcome?: string }
}

/** `runtime`: an agent runtime's own status, and what it likes to say besides. */
export interface RuntimeEvents {
  'execution.status': {
    readonly status: string
    readonly executionId?: string
    readonly turnId?: string
    readonly error?: JsonValue
  }
  'custom-event': JsonValue
  'chat.request': JsonObject
  'worker.lost': { readonly reason: string }
  'session.lost': { readonly reason: string }
  /** `since`: when what seems to be stuck began, ms since 1970. */
  'worker.stalled': {
    readonly why: 'call' | 'repeat' | 'silence'
    readonly since: number
    readonly tool?: string
  }
  /** Who shows the step drops what its former attempts published: `offsets` are those that the hub still had. */
  'attempt.superseded': {
    readonly step: string
    readonly number: number
    readonly offsets: readonly number[]
  }
}

/** `command`: what those who watch ask of an agent, and what became of it. */
export interface CommandEvents {
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
}

/** `session-bus`: a conversation's bus. What is not text or a tool call is any object. */
export interface SessionBusEvents {
  client_output_delta: TextDelta
  client_input_requested: JsonObject
  client_input_received: JsonObject
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
  execution_started: JsonObject
  execution_completed: JsonObject
  execution_failed: { readonly error?: string; readonly [name: string]: JsonValue | undefined }
  execution_paused: JsonObject
  node_loop_started: JsonObject
  node_loop_iteration: JsonObject
  node_loop_completed: JsonObject
  llm_turn_complete: {
    readonly model?: string
    readonly stop_reason?: string
    readonly input_tokens?: number
    readonly output_tokens?: number
    readonly cached_tokens?: number
    readonly cost_usd?: number
    readonly [name: string]: JsonValue | undefined
  }
  node_action_plan: JsonObject
  goal_progress: JsonObject
  node_internal_output: JsonObject
  node_stalled: JsonObject
  node_retry: JsonObject
  node_tool_doom_loop: JsonObject
  context_compacted: JsonObject
  context_usage_updated: JsonObject
  worker_colony_loaded: JsonObject
  worker_graph_loaded: JsonObject
  colony_created: JsonObject
  credentials_required: JsonObject
  credentials_provided: JsonObject
  subagent_report: JsonObject
  queen_phase_changed: JsonObject
  trigger_available: JsonObject
  trigger_activated: JsonObject
  trigger_deactivated: JsonObject
  trigger_fired: JsonObject
  trigger_removed: JsonObject
  trigger_updated: JsonObject
}

/** The delta of a text; `snapshot` is the whole text so far where the producer sends it. */
export interface TextDelta {
  readonly content: string
  readonly snapshot?: string
  readonly [name: string]: JsonValue | undefined
}

type StreamEventName =
  | 'start-step'
  | 'finish-step'
  | 'permission-request'
  | 'start'
  | 'finish'
  | 'error'
  | 'execution-start'
  | 'execution-end'
  | 'execution-failed'
  | 'execution-paused'
  | 'execution-resumed'
  | 'execution-cancelled'
  | 'step-start'
  | 'step-end'
  | 'step-failed'
  | 'step-discovered'
  | 'artifact-created'
  | 'state-snapshot'
  | 'checkpoint-saved'
  | 'goal-evaluated'
  | 'inbox-message'
  | 'policy-decision'
  | 'llm-call-start'
  | 'llm-call-end'
  | 'llm-call-failed'
  | 'token-usage'
  | 'memory-recalled'
  | 'memory-stored'
  | 'guardrail-evaluated'
  | 'reasoning-trace'
  | 'context-snapshot'
  | 'feedback-received'

/** `stream-event`: an execution's stream, each type with the prefix `data-`. */
export type StreamEvents = { [name in StreamEventName as `data-${name}`]: JsonObject } & {
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

/** The built-in catalog: `connect<BuiltInCatalog>(url)`. Extend it with your own types by `&`. */
export type BuiltInCatalog = ProcessEvents &
  TaskLogEvents &
  RuntimeEvents &
  SessionBusEvents &
  StreamEvents &
  CommandEvents
