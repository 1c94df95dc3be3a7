import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'
import {
  custom,
  reasoning,
  runCompleted,
  runFailed,
  runStarted,
  type Turn,
  text,
  toolCompleted,
  toolStarted,
  turnComplete,
} from './events.js'
import { countOf, cutShort, errorText, listOf, objectOf, parsed, textOf, unlike, wordOf } from './fields.js'
import type { Ingest, Ingested, IngestKind } from './ingest.js'
import { Keeping, type Kept } from './keeping.js'

const types = new Set([
  'message_start',
  'content_block_start',
  'content_block_delta',
  'content_block_stop',
  'message_delta',
  'message_stop',
])

/** The Messages API of Anthropic, streamed. A stream may hold several messages: the turns of one run. */
export const anthropic: IngestKind = {
  name: 'anthropic',
  recognizes: ({ type }) => types.has(wordOf(type)),
  start: () => new AnthropicIngest(),
}

/** A tool call whose input is still coming. */
interface OpenCall {
  readonly id: string
  readonly name: string
  readonly input: JsonValue
  readonly json: string
}

/** Reads the events of one message after the other. `claude-code` prints the same within its own. */
export class Messages {
  /** The message that is being written; absent between two messages. */
  message: string | undefined
  model: string | undefined
  stopReason: string | undefined
  /** The reason that the message gives for ending abnormally. */
  explanation: string | undefined
  #usage: JsonObject = {}
  readonly #calls: Kept<JsonValue, OpenCall>
  readonly #names: Kept<string, string>

  constructor(kept: Keeping) {
    this.#calls = kept.map()
    this.#names = kept.map()
  }

  /** @returns the events made from an event of the stream; undefined if the API has no such event */
  take(value: JsonObject): readonly NewEvent[] | undefined {
    const { type, index = 0 } = value
    switch (type) {
      case 'message_start':
        return this.#begin(objectOf(value['message']))
      case 'content_block_start':
        return this.#block(index, objectOf(value['content_block']))
      case 'content_block_delta':
        return this.#delta(index, objectOf(value['delta']), value)
      case 'content_block_stop':
        return this.#called(index)
      case 'message_delta': {
        const delta = objectOf(value['delta'])
        this.stopReason = textOf(delta['stop_reason']) ?? this.stopReason
        this.explanation = textOf(objectOf(delta['stop_details'])['explanation']) ?? this.explanation
        this.#usage = { ...this.#usage, ...objectOf(value['usage']) }
        return []
      }
      case 'message_stop':
        return this.#stop()
      case 'ping':
        return []
      default:
        return undefined
    }
  }

  /** @returns the events made from a complete block, as in a message that is not streamed */
  whole(block: JsonObject, message: string | undefined): readonly NewEvent[] {
    const { type } = block
    if (type === 'text') return ofText(block['text'], (content) => text(content, message))
    if (type === 'thinking') return ofText(block['thinking'], reasoning)
    if (type === 'tool_use' || type === 'server_tool_use' || type === 'mcp_tool_use') {
      return [this.#start(wordOf(block['id']), wordOf(block['name']), block['input'] ?? {})]
    }
    const call = block['tool_use_id']
    if (typeof call !== 'string') return [custom(block)]
    const result = block['content'] ?? null
    return [toolCompleted(call, this.#names.get(call) ?? 'tool', result, hasFailed(block, result))]
  }

  #begin(message: JsonObject): readonly NewEvent[] {
    this.message = textOf(message['id']) ?? ''
    this.model = textOf(message['model']) ?? this.model
    this.stopReason = textOf(message['stop_reason'])
    this.explanation = undefined
    this.#usage = objectOf(message['usage'])
    this.#calls.clear()
    return listOf(message['content']).flatMap((block) =>
      isObject(block) ? this.whole(block, this.message) : [],
    )
  }

  #block(index: JsonValue, block: JsonObject): readonly NewEvent[] {
    const { type, id, name, input = {} } = block
    if (type !== 'tool_use' && type !== 'server_tool_use' && type !== 'mcp_tool_use') {
      return this.whole(block, this.message)
    }
    this.#calls.set(index, { id: wordOf(id), name: wordOf(name), input, json: '' })
    return []
  }

  #delta(index: JsonValue, delta: JsonObject, value: JsonObject): readonly NewEvent[] {
    switch (delta['type']) {
      case 'text_delta':
        return ofText(delta['text'], (content) => text(content, this.message))
      case 'thinking_delta':
        return ofText(delta['thinking'], reasoning)
      case 'input_json_delta': {
        const call = this.#calls.get(index)
        if (call !== undefined)
          this.#calls.set(index, { ...call, json: call.json + (textOf(delta['partial_json']) ?? '') })
        return []
      }
      // Only the provider uses the signature.
      case 'signature_delta':
        return []
      default:
        return [custom(value)]
    }
  }

  #called(index: JsonValue): readonly NewEvent[] {
    const call = this.#calls.get(index)
    if (call === undefined) return []
    this.#calls.delete(index)
    return [this.#start(call.id, call.name, call.json === '' ? call.input : parsed(call.json))]
  }

  #start(id: string, name: string, input: JsonValue): NewEvent {
    this.#names.set(id, name)
    return toolStarted(id, name, input)
  }

  #stop(): readonly NewEvent[] {
    const turn = turnOf(this.model, this.#usage, this.stopReason)
    this.message = undefined
    // Messages that only call tools from code have no usage.
    return turn.inputTokens + turn.outputTokens === 0 ? [] : [turnComplete(turn)]
  }
}

class AnthropicIngest implements Ingest {
  readonly kept = new Keeping()
  readonly #messages = new Messages(this.kept)
  #started = false
  #failed = false

  take(value: JsonObject): readonly Ingested[] {
    if (value['type'] === 'error')
      return this.#fail(errorText(value['error'], 'The provider reported an error.'))
    const events = this.#messages.take(value)
    if (events === undefined) {
      if (!this.#started)
        throw unlike('anthropic', 'an event of the Messages API (message_start first)', value)
      return [{ event: custom(value) }]
    }
    const begun = this.#begin(value)
    return [...begun, ...events].map((event) => ({ event }))
  }

  end(): readonly Ingested[] {
    if (!this.#started || this.#failed) return []
    const { message, stopReason, explanation } = this.#messages
    if (message !== undefined) return this.#fail(cutShort)
    if (stopReason === 'refusal') return this.#fail(explanation ?? 'The model refused to answer.')
    return [{ event: runCompleted(stopReason === undefined ? {} : { stop_reason: stopReason }) }]
  }

  #begin(value: JsonObject): readonly NewEvent[] {
    if (this.#started || value['type'] === 'ping') return []
    this.#started = true
    const { model } = objectOf(value['message'])
    return [runStarted(typeof model === 'string' ? { model } : {})]
  }

  #fail(error: string): readonly Ingested[] {
    if (this.#failed) return []
    this.#failed = true
    return [{ event: runFailed(error) }]
  }
}

/** @returns the usage of a message; the provider counts tokens read from or written to its cache separately */
export function turnOf(model: string | undefined, usage: JsonObject, stopReason?: string): Turn {
  const cached = countOf(usage['cache_read_input_tokens'])
  return {
    ...(model !== undefined && { model }),
    ...(stopReason !== undefined && { stopReason }),
    inputTokens: countOf(usage['input_tokens']) + countOf(usage['cache_creation_input_tokens']) + cached,
    outputTokens: countOf(usage['output_tokens']),
    cachedTokens: cached,
  }
}

/** A tool reports a failure by a flag, by an error instead of a result, or by an exit code other than 0. */
function hasFailed(block: JsonObject, result: JsonValue): boolean {
  const { type, return_code: code } = objectOf(result)
  return (
    block['is_error'] === true || wordOf(type).endsWith('_error') || (typeof code === 'number' && code !== 0)
  )
}

function ofText(value: JsonValue | undefined, make: (content: string) => NewEvent): readonly NewEvent[] {
  const content = textOf(value)
  return content === undefined ? [] : [make(content)]
}
