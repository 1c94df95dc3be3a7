import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'
import {
  custom,
  reasoning,
  runCancelled,
  runCompleted,
  runFailed,
  runStarted,
  text,
  toolCompleted,
  toolStarted,
  turnComplete,
} from './events.js'
import {
  contentText,
  countOf,
  cutShort,
  errorText,
  listOf,
  objectOf,
  parsed,
  textOf,
  timed,
  unlike,
  wordOf,
} from './fields.js'
import type { Ingest, Ingested, IngestKind } from './ingest.js'
import { Keeping } from './keeping.js'

const logged = new Set(['session_meta', 'turn_context', 'event_msg', 'response_item', 'compacted'])
const printed = /^(thread\.started|turn\.(started|completed|failed)|item\.(started|updated|completed))$/

/** Codex: the log of each session in `~/.codex/sessions/`, and the output of `codex exec --json`. */
export const codex: IngestKind = {
  name: 'codex',
  recognizes: ({ type, payload, item, usage, thread_id: thread }) =>
    logged.has(wordOf(type))
      ? isObject(payload)
      : printed.test(wordOf(type)) && (isObject(item) || isObject(usage) || typeof thread === 'string'),
  start: () => new CodexIngest(),
}

class CodexIngest implements Ingest {
  readonly kept = new Keeping()
  #isRunning = false
  #model: string | undefined
  /** Whether an object of this kind was read; unknown objects are accepted only after that. */
  #isKnown = false
  /** The error of the turn. */
  #error: string | undefined
  readonly #names = this.kept.map<string, string>()
  /** Items of `codex exec` whose call has been published. */
  readonly #called = this.kept.map<string, true>()

  take(value: JsonObject): readonly Ingested[] {
    const events = this.#eventsOf(value)
    if (events === undefined) {
      if (!this.#isKnown) throw unlike('codex', 'a line of its log, or of codex exec --json', value)
      return [{ event: custom(value) }]
    }
    this.#isKnown = true
    return events.map((event) => ({ event: timed(event, value['timestamp']) }))
  }

  end(): readonly Ingested[] {
    return this.#end(runFailed(this.#error ?? cutShort)).map((event) => ({ event }))
  }

  #eventsOf(value: JsonObject): readonly NewEvent[] | undefined {
    const payload = objectOf(value['payload'])
    switch (value['type']) {
      case 'session_meta':
      case 'thread.started':
        return []
      case 'turn_context':
        this.#model = textOf(payload['model']) ?? this.#model
        return []
      case 'event_msg':
        return this.#interfaceEvent(payload)
      case 'response_item':
        return this.#item(payload)
      case 'compacted':
        return [{ type: 'context_compacted', data: {} }]
      case 'turn.started':
        return this.#begin({})
      case 'turn.completed':
        return [...this.#turn(objectOf(value['usage'])), ...this.#end(runCompleted())]
      case 'turn.failed':
        return this.#end(runFailed(errorText(value['error'], 'The turn failed.')))
      case 'item.started':
      case 'item.updated':
      case 'item.completed':
        return this.#piece(objectOf(value['item']), value['type'] === 'item.completed')
      case 'error':
        this.#error = errorText(value, 'The agent reported an error.')
        return this.#isKnown ? [] : undefined
      default:
        return undefined
    }
  }

  /** Events of its user interface: beginnings, ends and usage. */
  #interfaceEvent(payload: JsonObject): readonly NewEvent[] {
    switch (payload['type']) {
      case 'task_started':
      case 'turn_started':
        return this.#begin({})
      case 'user_message': {
        const prompt = textOf(payload['message'])
        if (this.#isRunning || prompt === undefined)
          return prompt === undefined ? [] : [custom({ type: 'user', text: prompt })]
        return this.#begin({ prompt })
      }
      case 'token_count':
        return this.#turn(objectOf(objectOf(payload['info'])['last_token_usage']))
      case 'task_complete':
      case 'turn_complete':
        return this.#end(this.#error === undefined ? runCompleted() : runFailed(this.#error))
      case 'turn_aborted':
        return this.#end(runCancelled(textOf(payload['reason']) ?? 'aborted'))
      case 'error':
      case 'stream_error':
        this.#error = errorText(payload, 'The agent reported an error.')
        return []
      // Texts and calls are in the items.
      default:
        return []
    }
  }

  #item(payload: JsonObject): readonly NewEvent[] {
    const id = wordOf(payload['call_id'])
    switch (payload['type']) {
      case 'message': {
        const content = contentText(payload['content'])
        if (payload['role'] !== 'assistant' || content === '') return []
        return [...this.#begin({}), text(content)]
      }
      case 'reasoning': {
        const summary = contentText(payload['summary'])
        return summary === '' ? [] : [reasoning(summary)]
      }
      case 'function_call':
      case 'custom_tool_call':
        return [
          ...this.#begin({}),
          this.#call(id, wordOf(payload['name']), parsed(payload['arguments'] ?? payload['input'])),
        ]
      case 'local_shell_call':
        return [...this.#begin({}), this.#call(id, 'shell', payload['action'] ?? {})]
      case 'function_call_output':
      case 'custom_tool_call_output': {
        const { result, failed } = outputOf(payload['output'])
        return [toolCompleted(id, this.#names.get(id) ?? 'tool', result, failed)]
      }
      case 'web_search_call':
        return [custom(payload)]
      default:
        return []
    }
  }

  /** An item of `codex exec`, which is repeated as it progresses. */
  #piece(item: JsonObject, isDone: boolean): readonly NewEvent[] {
    const { type, id: given, status } = item
    const id = wordOf(given)
    const said = textOf(item['text'])
    if (type === 'agent_message')
      return isDone && said !== undefined ? [...this.#begin({}), text(said, id)] : []
    if (type === 'reasoning') return isDone && said !== undefined ? [...this.#begin({}), reasoning(said)] : []
    if (type === 'error') return isDone ? [custom(item)] : []
    const tool = toolOf(item)
    if (tool === undefined) return isDone ? [custom(item)] : []
    const events = [...this.#begin({})]
    if (!this.#called.has(id)) {
      this.#called.set(id, true)
      events.push(this.#call(id, tool.name, tool.input))
    }
    if (!isDone) return events
    this.#called.delete(id)
    return [...events, toolCompleted(id, tool.name, tool.result, status === 'failed' || tool.failed)]
  }

  #call(id: string, name: string, input: JsonValue): NewEvent {
    this.#names.set(id, name)
    return toolStarted(id, name, input)
  }

  /** @returns the usage of a turn; nothing if there is none, or it is only repeated */
  #turn(usage: JsonObject): readonly NewEvent[] {
    const [input, output] = [countOf(usage['input_tokens']), countOf(usage['output_tokens'])]
    if (input + output === 0) return []
    return [
      turnComplete({
        ...(this.#model !== undefined && { model: this.#model }),
        inputTokens: input,
        outputTokens: output,
        cachedTokens: countOf(usage['cached_input_tokens']),
      }),
    ]
  }

  #begin(about: JsonObject): readonly NewEvent[] {
    if (this.#isRunning) return []
    this.#isRunning = true
    this.#error = undefined
    return [runStarted({ ...about, ...(this.#model !== undefined && { model: this.#model }) })]
  }

  #end(event: NewEvent): readonly NewEvent[] {
    if (!this.#isRunning) return []
    this.#isRunning = false
    return [event]
  }
}

/** A tool returns a text, a JSON text with an exit code, or an object with a success flag. */
function outputOf(value: JsonValue | undefined): { readonly result: JsonValue; readonly failed: boolean } {
  const output = parsed(value)
  const { output: inner, content, success, metadata } = objectOf(output)
  const code = objectOf(metadata)['exit_code']
  const failed = success === false || (typeof code === 'number' && code !== 0)
  return { result: inner ?? content ?? output, failed }
}

interface Tool {
  readonly name: string
  readonly input: JsonValue
  readonly result: JsonValue
  readonly failed: boolean
}

function toolOf(item: JsonObject): Tool | undefined {
  switch (item['type']) {
    case 'command_execution': {
      const { command = '', aggregated_output: output = '', exit_code: code } = item
      return {
        name: 'shell',
        input: { command },
        result: output,
        failed: typeof code === 'number' && code !== 0,
      }
    }
    case 'file_change':
      return { name: 'apply_patch', input: { changes: listOf(item['changes']) }, result: '', failed: false }
    case 'mcp_tool_call': {
      const { tool, arguments: input = {}, result = '', error } = item
      const failed = error !== undefined && error !== null
      return { name: wordOf(tool), input, result: failed ? errorText(error, 'failed') : result, failed }
    }
    case 'web_search':
      return { name: 'web_search', input: { query: item['query'] ?? '' }, result: '', failed: false }
    default:
      return undefined
  }
}
