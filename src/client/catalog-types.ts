// Made of src/catalog and catalog-shapes.ts by `npm run docs`: do not change it by hand.
import type { JsonObject } from '../lib/json.js'
import type { CatalogShapes } from './catalog-shapes.js'

/** The section `process` of the catalog. */
export interface ProcessEvents {
  'process.started': CatalogShapes['process.started']
  'process.output': CatalogShapes['process.output']
  'process.paused': JsonObject
  'process.resumed': JsonObject
  'process.exited': CatalogShapes['process.exited']
}

/** The section `task-log` of the catalog. */
export interface TaskLogEvents {
  assistant: CatalogShapes['assistant']
  toolcall: CatalogShapes['toolcall']
  toolresult: CatalogShapes['toolresult']
  cost: CatalogShapes['cost']
  error: CatalogShapes['error']
  complete: CatalogShapes['complete']
}

/** The section `runtime` of the catalog. */
export interface RuntimeEvents {
  'execution.status': CatalogShapes['execution.status']
  'custom-event': CatalogShapes['custom-event']
  'chat.request': JsonObject
  'worker.lost': CatalogShapes['worker.lost']
  'session.lost': CatalogShapes['session.lost']
  'worker.stalled': CatalogShapes['worker.stalled']
  'attempt.superseded': CatalogShapes['attempt.superseded']
  'stream.json': CatalogShapes['stream.json']
  'stream.text': CatalogShapes['stream.text']
  'stream.bytes': CatalogShapes['stream.bytes']
  redacted: CatalogShapes['redacted']
}

/** The section `session-bus` of the catalog. */
export interface SessionBusEvents {
  client_output_delta: CatalogShapes['client_output_delta']
  client_input_requested: JsonObject
  client_input_received: JsonObject
  llm_reasoning_delta: CatalogShapes['llm_reasoning_delta']
  llm_text_delta: CatalogShapes['llm_text_delta']
  tool_call_started: CatalogShapes['tool_call_started']
  tool_call_completed: CatalogShapes['tool_call_completed']
  execution_started: JsonObject
  execution_completed: JsonObject
  execution_failed: CatalogShapes['execution_failed']
  execution_paused: JsonObject
  node_loop_started: JsonObject
  node_loop_iteration: JsonObject
  node_loop_completed: JsonObject
  llm_turn_complete: CatalogShapes['llm_turn_complete']
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

/** The section `stream-event` of the catalog. */
export interface StreamEvents {
  'data-text-start': CatalogShapes['data-text-start']
  'data-text-delta': CatalogShapes['data-text-delta']
  'data-text-end': CatalogShapes['data-text-end']
  'data-start-step': JsonObject
  'data-finish-step': JsonObject
  'data-tool-input-start': CatalogShapes['data-tool-input-start']
  'data-tool-input-delta': CatalogShapes['data-tool-input-delta']
  'data-tool-input-available': CatalogShapes['data-tool-input-available']
  'data-tool-output-available': CatalogShapes['data-tool-output-available']
  'data-permission-request': JsonObject
  'data-permission-response': JsonObject
  'data-start': JsonObject
  'data-finish': JsonObject
  'data-error': JsonObject
  'data-execution-start': JsonObject
  'data-execution-end': JsonObject
  'data-execution-failed': JsonObject
  'data-execution-paused': JsonObject
  'data-execution-resumed': JsonObject
  'data-execution-cancelled': JsonObject
  'data-step-start': JsonObject
  'data-step-end': JsonObject
  'data-step-failed': JsonObject
  'data-step-discovered': JsonObject
  'data-artifact-created': JsonObject
  'data-state-snapshot': JsonObject
  'data-checkpoint-saved': JsonObject
  'data-goal-evaluated': JsonObject
  'data-inbox-message': JsonObject
  'data-policy-decision': JsonObject
  'data-llm-call-start': JsonObject
  'data-llm-call-end': JsonObject
  'data-llm-call-failed': JsonObject
  'data-token-usage': JsonObject
  'data-memory-recalled': JsonObject
  'data-memory-stored': JsonObject
  'data-guardrail-evaluated': JsonObject
  'data-reasoning-trace': JsonObject
  'data-context-snapshot': JsonObject
  'data-feedback-received': JsonObject
}

/** The section `command` of the catalog. */
export interface CommandEvents {
  'command.cancel': CatalogShapes['command.cancel']
  'command.pause': CatalogShapes['command.pause']
  'command.resume': CatalogShapes['command.resume']
  'command.input': CatalogShapes['command.input']
  'command.done': CatalogShapes['command.done']
}

/** The built-in catalog: `connect<BuiltInCatalog>(url)`. Extend it with your own types by `&`. */
export type BuiltInCatalog = ProcessEvents &
  TaskLogEvents &
  RuntimeEvents &
  SessionBusEvents &
  StreamEvents &
  CommandEvents
