import type { JsonObject, JsonValue } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'
import {
  custom,
  inputReceived,
  inputRequest,
  permissionRequest,
  runCompleted,
  runFailed,
  runStarted,
  text,
  toolCompleted,
  toolStarted,
} from './events.js'
import { errorText, objectOf, textOf, unlike, wordOf, workerId } from './fields.js'
import type { Ingested } from './ingest.js'

/** The object that Claude Code passes to a hook. */
export interface HookCall {
  /** Claude Code's own id of the session. */
  readonly session: string
  readonly events: readonly Ingested[]
}

/** The tool that asks a person. */
const askingTool = 'AskUserQuestion'

/**
 * Reads the objects that Claude Code passes to its hooks. A prompt begins a run, and `Stop` ends it;
 * sub-agents are workers.
 *
 * @throws ProtocolError `badFrame` if it is not such an object
 */
export function hookCall(value: JsonObject): HookCall {
  const [session, name] = [textOf(value['session_id']), textOf(value['hook_event_name'])]
  if (session === undefined || name === undefined) {
    throw unlike('a hook of claude-code', 'an object { session_id, hook_event_name, … }', value)
  }
  const agent = textOf(value['agent_id'])
  const worker = agent === undefined ? undefined : workerOf(agent, value['agent_type'])
  const events = eventsOf(name, value)
  return { session, events: events.map((event) => (worker === undefined ? { event } : { event, worker })) }
}

function eventsOf(name: string, value: JsonObject): readonly NewEvent[] {
  const said = lastText(value['last_assistant_message'])
  switch (name) {
    case 'UserPromptSubmit':
      return [runStarted(about(value, ['prompt', 'cwd', 'model']))]
    case 'SubagentStart':
      return [runStarted(about(value, ['cwd']))]
    case 'PreToolUse':
      return called(value)
    case 'PostToolUse': {
      const response = value['tool_response'] ?? null
      const { is_error: isError, success } = objectOf(response)
      return returned(value, response, isError === true || success === false)
    }
    case 'PostToolUseFailure':
      return returned(value, errorText(value['error'], 'The tool failed.'), true)
    case 'PermissionRequest':
      return [permissionRequest(idOf(value), wordOf(value['tool_name']), value['tool_input'] ?? {})]
    case 'Notification':
      return [notified(value)]
    case 'Stop':
    case 'SubagentStop':
      return [...said, runCompleted()]
    case 'StopFailure':
      return [...said, runFailed(errorText(value['error'], 'The agent stopped with an error.'))]
    case 'PreCompact':
      return [{ type: 'context_compacted', data: about(value, ['trigger']) }]
    default:
      return [custom(value)]
  }
}

function called(value: JsonObject): readonly NewEvent[] {
  const [id, tool] = [idOf(value), wordOf(value['tool_name'])]
  const started = toolStarted(id, tool, value['tool_input'] ?? {})
  return tool === askingTool ? [started, inputRequest(id, objectOf(value['tool_input']))] : [started]
}

function returned(value: JsonObject, result: JsonValue, failed: boolean): readonly NewEvent[] {
  const [id, tool] = [idOf(value), wordOf(value['tool_name'])]
  const completed = toolCompleted(id, tool, result, failed)
  return tool === askingTool ? [completed, inputReceived(id, result)] : [completed]
}

/** A notification asks for a person, or only reports something. */
function notified(value: JsonObject): NewEvent {
  const kind = wordOf(value['notification_type'])
  const message = wordOf(value['message'])
  if (kind === 'permission_prompt') return { type: 'data-permission-request', data: { message } }
  if (kind === 'idle_prompt' || kind === 'elicitation_dialog') {
    return { type: 'client_input_requested', data: { message } }
  }
  return custom(value)
}

/** Newer versions give each call an id; calls of older versions are paired by their tool. */
function idOf(value: JsonObject): string {
  return textOf(value['tool_use_id']) ?? `${wordOf(value['tool_name'])}-call`
}

function lastText(value: JsonValue | undefined): readonly NewEvent[] {
  const content = textOf(value)
  return content === undefined ? [] : [text(content)]
}

function workerOf(agent: string, type: JsonValue | undefined): string {
  return workerId(`${textOf(type) ?? 'agent'}-${agent.slice(0, 8)}`)
}

function about(value: JsonObject, names: readonly string[]): JsonObject {
  const found = names.filter((name) => value[name] !== undefined)
  return Object.fromEntries(found.map((name) => [name, value[name] as JsonValue]))
}
