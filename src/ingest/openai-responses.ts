import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'
import {
  custom,
  permissionRequest,
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
  unlike,
  wordOf,
} from './fields.js'
import type { Ingest, Ingested, IngestKind } from './ingest.js'
import { Keeping } from './keeping.js'

/** The Responses API of OpenAI and compatible servers. Each response is a run. */
export const openaiResponses: IngestKind = {
  name: 'openai-responses',
  recognizes: ({ type }) => wordOf(type).startsWith('response.'),
  start: () => new ResponsesIngest(),
}

const textDeltas = new Set(['response.output_text.delta', 'response.refusal.delta'])
const reasoningDeltas = new Set(['response.reasoning_text.delta', 'response.reasoning_summary_text.delta'])
/** Events with the complete arguments of a call, before the call is made. */
const argumentsDone = /^response\.(\w+_call_arguments|\w+_call_code|custom_tool_call_input)\.done$/
/** Pieces and steps of a call, which the complete call repeats. */
const ofCalls =
  /^response\.(\w+_call|\w+_call_arguments|\w+_call_code|custom_tool_call_input|mcp_list_tools)\./
/** Events that repeat, or only frame, text that comes in pieces. */
const repeats =
  /^response\.(in_progress|queued|content_part\.|output_text\.done|refusal\.done|reasoning_text\.done|reasoning_summary_text\.done|reasoning_summary_part\.done)/
const providerTools = new Set([
  'code_interpreter_call',
  'web_search_call',
  'file_search_call',
  'image_generation_call',
  'mcp_call',
])

class ResponsesIngest implements Ingest {
  readonly kept = new Keeping()
  #phase: 'waiting' | 'running' | 'ended' = 'waiting'
  #model: string | undefined
  #error: string | undefined
  /** Items whose text or reasoning has come in pieces. */
  readonly #streamed = this.kept.map<string, true>()
  readonly #items = this.kept.map<string, JsonObject>()
  readonly #started = this.kept.map<string, true>()

  take(value: JsonObject): readonly Ingested[] {
    return this.#take(value).map((event) => ({ event }))
  }

  end(): readonly Ingested[] {
    if (this.#phase !== 'running') return []
    this.#phase = 'ended'
    return [{ event: runFailed(this.#error ?? cutShort) }]
  }

  #take(value: JsonObject): readonly NewEvent[] {
    const type = wordOf(value['type'])
    if (type === 'error') {
      this.#error = errorText(value['error'] ?? value, 'The provider reported an error.')
      return this.#begin({})
    }
    if (!type.startsWith('response.')) {
      if (this.#phase === 'waiting')
        throw unlike('openai-responses', 'an event with a type response.…', value)
      return [custom(value)]
    }
    const response = objectOf(value['response'])
    if (type === 'response.created') return this.#begin(response)
    const begun = this.#begin(response)
    return [...begun, ...this.#event(type, value, response)]
  }

  #event(type: string, value: JsonObject, response: JsonObject): readonly NewEvent[] {
    const item = textOf(value['item_id']) ?? ''
    if (textDeltas.has(type)) return this.#piece(item, value['delta'], (content) => text(content, item))
    if (reasoningDeltas.has(type)) return this.#piece(item, value['delta'], reasoning)
    if (type === 'response.reasoning_summary_part.added') {
      return this.#streamed.has(item) ? [reasoning('\n\n')] : []
    }
    switch (type) {
      case 'response.output_item.added': {
        const added = objectOf(value['item'])
        this.#items.set(wordOf(added['id']), added)
        return []
      }
      case 'response.output_item.done':
        return this.#done(objectOf(value['item']))
      case 'response.completed':
        return this.#finish(response, runCompleted())
      case 'response.failed':
        return this.#finish(
          response,
          runFailed(errorText(response['error'], this.#error ?? 'The response failed.')),
        )
      case 'response.incomplete': {
        const { reason } = objectOf(response['incomplete_details'])
        return this.#finish(
          response,
          runFailed(`The response is incomplete: ${textOf(reason) ?? 'no reason given'}.`),
        )
      }
      case 'response.cancelled':
        return this.#finish(response, runCancelled('The response was cancelled.'))
    }
    if (argumentsDone.test(type)) return this.#ready(item, value)
    return ofCalls.test(type) || repeats.test(type) ? [] : [custom(value)]
  }

  #piece(
    item: string,
    delta: JsonValue | undefined,
    make: (content: string) => NewEvent,
  ): readonly NewEvent[] {
    this.#streamed.set(item, true)
    const content = textOf(delta)
    return content === undefined ? [] : [make(content)]
  }

  /** The arguments of a call are complete. */
  #ready(id: string, value: JsonObject): readonly NewEvent[] {
    const item = this.#items.get(id)
    if (item === undefined) return []
    const input = value['arguments'] ?? value['code'] ?? value['input']
    return this.#start(item, 'code' in value ? { code: input ?? '' } : parsed(input))
  }

  #start(item: JsonObject, input: JsonValue): readonly NewEvent[] {
    const id = callOf(item)
    if (this.#started.has(id)) return []
    this.#started.set(id, true)
    return [toolStarted(id, nameOf(item), input)]
  }

  #done(item: JsonObject): readonly NewEvent[] {
    const id = wordOf(item['id'])
    const type = wordOf(item['type'])
    this.#items.delete(id)
    if (type === 'message') {
      const content = this.#streamed.has(id) ? '' : contentText(item['content'])
      return content === '' ? [] : [text(content, id)]
    }
    if (type === 'reasoning') {
      const content = this.#streamed.has(id)
        ? ''
        : contentText(item['summary']) + contentText(item['content'])
      return content === '' ? [] : [reasoning(content)]
    }
    if (type === 'mcp_approval_request') {
      return [permissionRequest(id, nameOf(item), parsed(item['arguments']))]
    }
    if (type.endsWith('_call_output')) {
      return [toolCompleted(callOf(item), 'tool', item['output'] ?? null, item['status'] === 'failed')]
    }
    if (!type.endsWith('_call')) return [custom(item)]
    const started = this.#start(item, inputOf(item))
    if (!providerTools.has(type)) return started
    const failed = item['status'] === 'failed' || (item['error'] !== undefined && item['error'] !== null)
    return [...started, toolCompleted(callOf(item), nameOf(item), resultOf(item), failed)]
  }

  #begin(response: JsonObject): readonly NewEvent[] {
    this.#model = textOf(response['model']) ?? this.#model
    if (this.#phase === 'running') return []
    this.#phase = 'running'
    this.#error = undefined
    const id = textOf(response['id'])
    return [
      runStarted({
        ...(id !== undefined && { response: id }),
        ...(this.#model !== undefined && { model: this.#model }),
      }),
    ]
  }

  #finish(response: JsonObject, ending: NewEvent): readonly NewEvent[] {
    this.#phase = 'ended'
    if (!isObject(response['usage'])) return [ending]
    const usage = response['usage']
    const cached = objectOf(usage['input_tokens_details'])['cached_tokens']
    const turn = turnComplete({
      ...(this.#model !== undefined && { model: this.#model }),
      stopReason: wordOf(response['status']),
      inputTokens: countOf(usage['input_tokens']),
      outputTokens: countOf(usage['output_tokens']),
      cachedTokens: countOf(cached),
    })
    return [turn, ending]
  }
}

/** The id that a call and its output have in common. */
function callOf(item: JsonObject): string {
  return textOf(item['call_id']) ?? wordOf(item['id'])
}

function nameOf(item: JsonObject): string {
  return textOf(item['name']) ?? wordOf(item['type']).replace(/_call$/, '')
}

function inputOf(item: JsonObject): JsonValue {
  if (item['code'] !== undefined) return { code: item['code'] }
  return parsed(
    item['arguments'] ?? item['input'] ?? item['action'] ?? item['operation'] ?? listOr(item['queries']),
  )
}

function listOr(value: JsonValue | undefined): JsonValue {
  return listOf(value).length > 0 ? { queries: value as JsonValue } : {}
}

function resultOf(item: JsonObject): JsonValue {
  const error = item['error']
  if (error !== undefined && error !== null) return error
  return item['output'] ?? item['outputs'] ?? item['results'] ?? item['result'] ?? null
}
