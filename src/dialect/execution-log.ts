import type { Dialect } from '../codec/dialect.js'
import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { HubEvent } from '../protocol/frames.js'
import { fieldsOf } from './fields.js'

/** Stream events that are logged as events of the execution, and their types in the log. Others are not logged. */
const logged: Readonly<Record<string, string>> = {
  'data-execution-start': 'execution_start',
  'data-execution-end': 'execution_end',
  'data-execution-failed': 'execution_failed',
  'data-execution-cancelled': 'execution_cancelled',
  'data-execution-paused': 'control_pause',
  'data-execution-resumed': 'control_resume',
  'data-step-start': 'step_start',
  'data-step-end': 'step_end',
  'data-step-failed': 'step_failed',
  'data-step-discovered': 'step_discovered',
  'data-artifact-created': 'artifact_created',
  'data-state-snapshot': 'state_snapshot',
  'data-policy-decision': 'decision_made',
  'data-permission-request': 'decision_made',
  'data-checkpoint-saved': 'checkpoint_saved',
  'data-goal-evaluated': 'goal_evaluated',
  'data-tool-input-available': 'tool_call_start',
  'data-tool-output-available': 'tool_call_end',
  'data-llm-call-start': 'llm_call_start',
  'data-llm-call-end': 'llm_call_end',
  'data-llm-call-failed': 'llm_call_failed',
  'data-token-usage': 'token_usage_recorded',
  'data-memory-recalled': 'memory_recalled',
  'data-memory-stored': 'memory_stored',
  'data-guardrail-evaluated': 'guardrail_evaluated',
  'data-reasoning-trace': 'reasoning_trace',
  'data-context-snapshot': 'context_snapshot',
  'data-feedback-received': 'feedback_received',
  'data-inbox-message': 'inbox_message',
}

/** `GET …/history?dialect=execution-log`: the audit view of a stream of the dialect `stream-event`. */
export const executionLog: Dialect = {
  name: 'execution-log',
  records: { types: Object.keys(logged), record },
}

/** The names of a field; its value may also be the `id` of an object with such a name. */
const steps = ['step_id', 'stepId', 'step']
const artifacts = ['artifact_id', 'artifactId', 'artifact']
const durations = ['duration_ms', 'durationMs', 'duration']

function record({ offset, type, time, worker, data }: HubEvent): JsonObject | undefined {
  const eventType = logged[type]
  if (eventType === undefined) return undefined
  const payload = { ...fieldsOf(data) }
  const step = take(payload, steps, isName)
  const artifact = take(payload, artifacts, isName)
  const duration = take(payload, durations, (value) => typeof value === 'number')
  return {
    offset,
    time,
    ...(worker !== undefined && { worker }),
    event_type: eventType,
    ...(step !== undefined && { step_id: step }),
    ...(artifact !== undefined && { artifact_id: artifact }),
    ...(duration !== undefined && { duration_ms: duration }),
    payload,
  }
}

/** Takes the first fitting field out of the payload. An object stays in the payload, and its id is used. */
function take(
  payload: Record<string, JsonValue>,
  names: readonly string[],
  fits: (value: JsonValue | undefined) => boolean,
): JsonValue | undefined {
  for (const name of names) {
    const value = payload[name]
    if (fits(value)) {
      delete payload[name]
      return value
    }
    if (isObject(value) && fits(value.id)) return value.id
  }
  return undefined
}

function isName(value: JsonValue | undefined): boolean {
  return typeof value === 'string' || typeof value === 'number'
}
