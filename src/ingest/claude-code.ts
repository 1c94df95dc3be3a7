import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'
import { Messages, turnOf } from './anthropic.js'
import {
  custom,
  inputReceived,
  inputRequest,
  permissionRequest,
  permissionResponse,
  runCompleted,
  runFailed,
  runStarted,
  type Turn,
  text,
  turnComplete,
} from './events.js'
import {
  contentText,
  countOf,
  cutShort,
  errorText,
  listOf,
  objectOf,
  textOf,
  unlike,
  wordOf,
  workerId,
} from './fields.js'
import type { Ingest, Ingested, IngestKind } from './ingest.js'
import { Keeping, keptBytesMax } from './keeping.js'

const types = new Set([
  'system',
  'assistant',
  'user',
  'result',
  'stream_event',
  'control_request',
  'control_response',
])

/** The output of Claude Code with `--output-format stream-json`, with or without `--include-partial-messages`. */
export const claudeCode: IngestKind = {
  name: 'claude-code',
  recognizes: ({ type, session_id: session, sessionId: logged, message }) =>
    types.has(wordOf(type)) && logged === undefined && (typeof session === 'string' || isObject(message)),
  start: () => new ClaudeCodeIngest(),
}

/** Tools that start an agent of their own. */
const agentTools = new Set(['Task', 'Agent'])
/** The tool that asks a person. */
const askingTool = 'AskUserQuestion'

/** The agent itself, or one that it started. */
class Agent {
  readonly worker: string | undefined
  readonly messages: Messages
  /** The message whose text has already come in pieces. */
  streamed: string | undefined
  /** The message that is being printed, one block a line, and its usage. */
  #message: string | undefined
  #turn: Turn | undefined

  constructor(worker: string | undefined, kept: Keeping) {
    this.worker = worker
    this.messages = new Messages(kept)
  }

  /** @returns the previous turn when another message begins */
  turn(message: JsonObject): readonly NewEvent[] {
    const id = textOf(message['id'])
    const before = id === this.#message ? [] : this.rest()
    this.#message = id
    const model = textOf(message['model'])
    this.#turn = turnOf(model, objectOf(message['usage']), textOf(message['stop_reason']))
    return before
  }

  rest(): readonly NewEvent[] {
    const turn = this.#turn
    this.#turn = undefined
    return turn === undefined ? [] : [turnComplete(turn)]
  }

  get lastTurn(): Turn | undefined {
    return this.#turn
  }

  forgetTurn(): void {
    this.#turn = undefined
  }
}

class ClaudeCodeIngest implements Ingest {
  readonly kept = new Keeping()
  readonly #main = new Agent(undefined, this.kept)
  /** By the tool call that started each. */
  readonly #agents = this.kept.map<string, Agent>()
  /** The number of workers with each name. */
  readonly #named = this.kept.map<string, number>()
  readonly #asked = this.kept.map<string, true>()
  #phase: 'waiting' | 'running' | 'ended' = 'waiting'
  /** The agent's own text since its last tool call; the result may repeat it. */
  #shown = ''
  /** The usage of the run's turns so far; the result has the sum. */
  #told = { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }

  take(value: JsonObject): readonly Ingested[] {
    const agent = this.#agentOf(value['parent_tool_use_id'])
    switch (value['type']) {
      case 'system':
        return this.#system(value)
      case 'assistant':
        return this.#assistant(agent, objectOf(value['message']))
      case 'user':
        return this.#user(agent, objectOf(value['message']), value)
      case 'stream_event':
        return this.#piece(agent, objectOf(value['event']))
      case 'result':
        return this.#result(value)
      case 'control_request':
        return this.#request(value)
      case 'control_response':
        return this.#response(value)
      default:
        if (this.#phase === 'waiting') {
          throw unlike('claude-code', `an object with a type of ${[...types].join(', ')}`, value)
        }
        return [{ event: custom(value) }]
    }
  }

  end(): readonly Ingested[] {
    if (this.#phase !== 'running') return []
    this.#phase = 'ended'
    return [...this.#say(this.#main, this.#main.rest()), { event: runFailed(cutShort) }]
  }

  #system(value: JsonObject): readonly Ingested[] {
    const { subtype } = value
    if (subtype === 'init') {
      const { model, cwd, session_id: session, claude_code_version: version } = value
      const about = Object.entries({ model, cwd, session, version }).filter(
        ([, field]) => field !== undefined,
      )
      return this.#begin(Object.fromEntries(about) as JsonObject)
    }
    const event: NewEvent =
      subtype === 'compact_boundary'
        ? { type: 'context_compacted', data: objectOf(value['compact_metadata']) }
        : custom(value)
    return [...this.#begin({}), { event }]
  }

  #assistant(agent: Agent, message: JsonObject): readonly Ingested[] {
    const id = textOf(message['id'])
    const events: Ingested[] = [...this.#begin({}), ...this.#say(agent, agent.turn(message))]
    for (const block of listOf(message['content'])) {
      if (!isObject(block)) continue
      const { type } = block
      // The text that came in pieces is repeated here as a whole.
      if (agent.streamed !== undefined && agent.streamed === id && (type === 'text' || type === 'thinking'))
        continue
      events.push(...this.#say(agent, agent.messages.whole(block, id)))
      if (type === 'tool_use') events.push(...this.#called(agent, block))
    }
    return events
  }

  /** A call that starts an agent becomes a worker; a call that asks a person becomes a question. */
  #called(agent: Agent, { id, name, input }: JsonObject): readonly Ingested[] {
    const call = wordOf(id)
    if (name === askingTool) {
      this.#asked.set(call, true)
      return this.#say(agent, [inputRequest(call, objectOf(input))])
    }
    if (!agentTools.has(wordOf(name))) return []
    const { subagent_type: kind, description } = objectOf(input)
    const base = workerId(textOf(kind) ?? 'agent')
    const number = (this.#named.get(base) ?? 0) + 1
    this.#named.set(base, number)
    const started = new Agent(`${base}-${number}`, this.kept)
    this.#agents.set(call, started)
    const about = {
      tool_use_id: call,
      ...(agent.worker !== undefined && { parent: agent.worker }),
      ...(typeof description === 'string' && { description }),
    }
    return this.#say(started, [runStarted(about)])
  }

  #user(agent: Agent, message: JsonObject, value: JsonObject): readonly Ingested[] {
    const blocks = listOf(message['content']).filter((block) => isObject(block))
    const results = blocks.filter(({ type }) => type === 'tool_result')
    const events = [...this.#begin({})]
    if (results.length === 0) return [...events, ...this.#say(agent, [custom(value)])]
    for (const block of results) {
      const call = wordOf(block['tool_use_id'])
      const plain = { ...block, content: plainContent(block['content']) }
      events.push(...this.#say(agent, agent.messages.whole(plain, undefined)))
      if (this.#asked.delete(call)) events.push(...this.#say(agent, [inputReceived(call, plain.content)]))
      events.push(...this.#returned(call, block))
    }
    return events
  }

  /** The agent that a call started has returned its report. */
  #returned(call: string, block: JsonObject): readonly Ingested[] {
    const agent = this.#agents.get(call)
    if (agent === undefined) return []
    this.#agents.delete(call)
    const failed = block['is_error'] === true
    const ending = failed ? runFailed(contentText(block['content']) || 'The agent failed.') : runCompleted()
    return this.#say(agent, [...agent.rest(), ending])
  }

  #piece(agent: Agent, event: JsonObject): readonly Ingested[] {
    const { type } = event
    const found = agent.messages.take(event) ?? []
    agent.streamed = agent.messages.message ?? agent.streamed
    if (type !== 'content_block_delta') return this.#begin({})
    const pieces = found.filter(
      (one) => one.type === 'client_output_delta' || one.type === 'llm_reasoning_delta',
    )
    return [...this.#begin({}), ...this.#say(agent, pieces)]
  }

  #result(value: JsonObject): readonly Ingested[] {
    const begun = this.#begin({})
    this.#phase = 'ended'
    const { subtype, is_error: isError, duration_ms: durationMs, num_turns: turns, result } = value
    const failed = isError === true || (typeof subtype === 'string' && subtype !== 'success')
    const about: JsonObject = {
      ...(durationMs !== undefined && { duration_ms: durationMs }),
      ...(turns !== undefined && { num_turns: turns }),
      ...(value['total_cost_usd'] !== undefined && { cost_usd: value['total_cost_usd'] }),
    }
    const ending = failed
      ? runFailed(textOf(result) ?? errorText(value['errors'], wordOf(subtype ?? 'The agent failed.')))
      : runCompleted(about)
    const turn = turnComplete(this.#lastTurn(value))
    return [...begun, ...this.#unsaid(failed ? undefined : result), { event: turn }, { event: ending }]
  }

  /** The result is the agent's last text, which may not have been printed before. */
  #unsaid(result: JsonValue | undefined): readonly Ingested[] {
    const content = textOf(result)
    if (content === undefined || this.#shown.trimEnd().endsWith(content.trimEnd())) return []
    return [{ event: text(content) }]
  }

  /** The last turn gets the rest of the sum, because turns are printed before their usage is complete. */
  #lastTurn(value: JsonObject): Turn {
    const { model } = this.#main.messages
    const { model: lastModel, stopReason } = this.#main.lastTurn ?? {}
    this.#main.forgetTurn()
    const sum = turnOf(lastModel ?? model, objectOf(value['usage']), stopReason)
    const rest = (whole: number, told: number): number => Math.max(0, whole - told)
    const cost = countOf(value['total_cost_usd'])
    return {
      ...sum,
      inputTokens: rest(sum.inputTokens, this.#told.inputTokens),
      outputTokens: rest(sum.outputTokens, this.#told.outputTokens),
      cachedTokens: rest(sum.cachedTokens ?? 0, this.#told.cachedTokens),
      ...(cost > 0 && { costUsd: cost }),
    }
  }

  #request(value: JsonObject): readonly Ingested[] {
    const request = objectOf(value['request'])
    if (request['subtype'] !== 'can_use_tool') return [{ event: custom(value) }]
    const [id, name] = [wordOf(value['request_id']), wordOf(request['tool_name'])]
    return [...this.#begin({}), { event: permissionRequest(id, name, request['input'] ?? {}) }]
  }

  #response(value: JsonObject): readonly Ingested[] {
    const response = objectOf(value['response'])
    const { behavior, message } = objectOf(response['response'])
    if (behavior !== 'allow' && behavior !== 'deny') return [{ event: custom(value) }]
    return [
      { event: permissionResponse(wordOf(response['request_id']), behavior === 'allow', textOf(message)) },
    ]
  }

  #begin(about: JsonObject): readonly Ingested[] {
    if (this.#phase === 'running') return []
    this.#phase = 'running'
    this.#told = { inputTokens: 0, outputTokens: 0, cachedTokens: 0 }
    this.#shown = ''
    return [{ event: runStarted(about) }]
  }

  /** The agent whose call a message belongs to. Its messages may come before the call itself. */
  #agentOf(call: JsonValue | undefined): Agent {
    return (typeof call === 'string' ? this.#agents.get(call) : undefined) ?? this.#main
  }

  #say(agent: Agent, events: readonly NewEvent[]): readonly Ingested[] {
    const { worker } = agent
    for (const { type, data } of worker === undefined ? events : []) {
      if (type === 'llm_turn_complete') this.#count(objectOf(data))
      if (type === 'client_output_delta')
        this.#shown = lastOf(this.#shown + (textOf(objectOf(data)['content']) ?? ''))
      if (type === 'tool_call_started') this.#shown = ''
    }
    return events.map((event) => (worker === undefined ? { event } : { event, worker }))
  }

  #count(turn: JsonObject): void {
    this.#told.inputTokens += countOf(turn['input_tokens'])
    this.#told.outputTokens += countOf(turn['output_tokens'])
    this.#told.cachedTokens += countOf(turn['cached_tokens'])
  }
}

/** A result is a line, which is shorter: what comes before cannot be repeated by it. */
function lastOf(shown: string): string {
  return shown.length > 2 * keptBytesMax ? shown.slice(-keptBytesMax) : shown
}

/** A result that contains only text becomes that text. */
function plainContent(content: JsonValue | undefined): JsonValue {
  const blocks = listOf(content)
  const isText = blocks.length > 0 && blocks.every((block) => objectOf(block)['type'] === 'text')
  return isText ? contentText(content) : (content ?? null)
}
