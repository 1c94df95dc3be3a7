import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'
import {
  custom,
  reasoning,
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

/** The chat completions of OpenAI and compatible servers. A run may take several completions. */
export const openaiChat: IngestKind = {
  name: 'openai-chat',
  recognizes: ({ object, choices }) =>
    object === 'chat.completion.chunk' || object === 'chat.completion' || Array.isArray(choices),
  start: () => new ChatIngest(),
}

/** A tool call whose arguments come in pieces. */
interface OpenCall {
  id: string
  name: string
  readonly json: string
}

class ChatIngest implements Ingest {
  readonly kept = new Keeping()
  #phase: 'waiting' | 'running' | 'ended' = 'waiting'
  /** The completion that is being written. */
  #id: string | undefined
  #model: string | undefined
  #finish: string | undefined
  #usage: JsonObject | undefined
  readonly #calls = this.kept.map<JsonValue, OpenCall>()
  readonly #names = this.kept.map<string, string>()

  take(value: JsonObject): readonly Ingested[] {
    return this.#take(value).map((event) => ({ event }))
  }

  end(): readonly Ingested[] {
    if (this.#phase !== 'running') return []
    this.#phase = 'ended'
    return [...this.#close(), this.#ending()].map((event) => ({ event }))
  }

  #take(value: JsonObject): readonly NewEvent[] {
    if (value['error'] !== undefined && value['error'] !== null) {
      if (this.#phase === 'ended') return []
      this.#phase = 'ended'
      return [...this.#close(), runFailed(errorText(value['error'], 'The provider reported an error.'))]
    }
    if (value['role'] === 'tool') return [this.#result(value)]
    if (!openaiChat.recognizes(value)) {
      if (this.#phase === 'waiting')
        throw unlike('openai-chat', 'a chunk of a chat completion with choices', value)
      return [custom(value)]
    }
    const id = textOf(value['id'])
    const events: NewEvent[] = id !== this.#id && this.#id !== undefined ? [...this.#close()] : []
    this.#id = id ?? this.#id
    this.#model = textOf(value['model']) ?? this.#model
    events.push(...this.#begin())
    for (const choice of listOf(value['choices'])) events.push(...this.#choice(objectOf(choice)))
    if (isObject(value['usage'])) this.#usage = value['usage']
    return events
  }

  #choice(choice: JsonObject): readonly NewEvent[] {
    // Several choices would be merged into one text.
    if (countOf(choice['index']) > 0) return []
    const delta = objectOf(choice['delta'] ?? choice['message'])
    const events: NewEvent[] = []
    const thought = textOf(delta['reasoning_content']) ?? textOf(delta['reasoning'])
    if (thought !== undefined) events.push(reasoning(thought))
    const content = contentText(delta['content']) || textOf(delta['refusal'])
    if (content) events.push(text(content, this.#id))
    for (const [at, call] of listOf(delta['tool_calls']).entries())
      events.push(...this.#call(objectOf(call), at))
    if (isObject(delta['function_call'])) events.push(...this.#call({ function: delta['function_call'] }, 0))
    const finish = textOf(choice['finish_reason'])
    if (finish === undefined) return events
    this.#finish = finish
    return [...events, ...this.#called()]
  }

  #call({ id, index, function: called }: JsonObject, at: number): readonly NewEvent[] {
    const { name, arguments: piece } = objectOf(called)
    const number = index ?? at
    const open = this.#calls.get(number)
    const json = typeof piece === 'string' ? piece : JSON.stringify(piece ?? '')
    if (open !== undefined && (textOf(id) === undefined || id === open.id)) {
      this.#calls.set(number, { ...open, json: open.json + json })
      open.name ||= textOf(name) ?? ''
      return []
    }
    // Some servers send no index; then another id means another call.
    const before = open === undefined ? [] : this.#called()
    const call = textOf(id) ?? `${this.#id ?? 'call'}-${wordOf(number)}`
    this.#calls.set(number, { id: call, name: textOf(name) ?? '', json })
    return before
  }

  /** The arguments of all calls are complete. */
  #called(): readonly NewEvent[] {
    const calls = [...this.#calls.values()]
    this.#calls.clear()
    return calls.map(({ id, name, json }) => {
      this.#names.set(id, name)
      return toolStarted(id, name || 'tool', parsed(json))
    })
  }

  #result(value: JsonObject): NewEvent {
    const call = wordOf(value['tool_call_id'])
    const name = this.#names.get(call) ?? textOf(value['name']) ?? 'tool'
    return toolCompleted(call, name, value['content'] ?? null, value['is_error'] === true)
  }

  #begin(): readonly NewEvent[] {
    if (this.#phase === 'running') return []
    this.#phase = 'running'
    return [runStarted(this.#model === undefined ? {} : { model: this.#model })]
  }

  /** The completion has ended. Its usage comes after its last text, or never. */
  #close(): readonly NewEvent[] {
    const events = [...this.#called()]
    if (this.#id === undefined || this.#finish === undefined) return events
    const usage = this.#usage ?? {}
    const cached =
      objectOf(usage['prompt_tokens_details'])['cached_tokens'] ?? usage['prompt_cache_hit_tokens']
    events.push(
      turnComplete({
        ...(this.#model !== undefined && { model: this.#model }),
        stopReason: this.#finish,
        inputTokens: countOf(usage['prompt_tokens']),
        outputTokens: countOf(usage['completion_tokens']),
        ...(cached !== undefined && { cachedTokens: countOf(cached) }),
      }),
    )
    this.#id = undefined
    this.#usage = undefined
    return events
  }

  #ending(): NewEvent {
    if (this.#finish === undefined) return runFailed(cutShort)
    if (this.#finish === 'content_filter')
      return runFailed('The provider withheld the answer (content_filter).')
    return runCompleted({ stop_reason: this.#finish })
  }
}
