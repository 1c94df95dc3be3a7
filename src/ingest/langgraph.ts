import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'
import {
  custom,
  inputRequest,
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

const modes =
  /^(metadata|values|updates|messages|messages\/(partial|complete|metadata)|custom|debug|tasks|checkpoints|events|error|end)(\|.*)?$/

/**
 * LangGraph and LangChain: the events of `astream_events` (`{ event: "on_…", data, run_id, … }`), and what the
 * stream modes of its server send (`{ event, data }`, as its blocks of an event stream have them).
 */
export const langgraph: IngestKind = {
  name: 'langgraph',
  recognizes: ({ event, data, run_id: run }) =>
    typeof event === 'string' &&
    (event.startsWith('on_')
      ? typeof run === 'string' || data !== undefined
      : modes.test(event) && data !== undefined),
  start: () => new LangGraphIngest(),
}

class LangGraphIngest implements Ingest {
  readonly kept = new Keeping()
  #phase: 'waiting' | 'running' | 'ended' = 'waiting'
  /** The outermost run. */
  #root: string | undefined
  #model: string | undefined
  /** The published text of each message that is repeated as a whole. */
  readonly #told = this.kept.map<string, string>()
  readonly #calls = this.kept.map<string, { name: string; json: string }>()
  readonly #names = this.kept.map<string, string>()
  #lastCall: string | undefined

  take(value: JsonObject): readonly Ingested[] {
    const { event } = value
    if (!langgraph.recognizes(value)) {
      if (this.#phase === 'waiting') throw unlike('langgraph', 'an object { event, data }', value)
      return [{ event: custom(value) }]
    }
    const name = wordOf(event)
    const events = name.startsWith('on_')
      ? this.#ofRun(name, value)
      : this.#ofMode(name.split('|', 1)[0] ?? '', value)
    return events.map((one) => ({ event: one }))
  }

  end(): readonly Ingested[] {
    if (this.#phase !== 'running') return []
    return [...this.#called(), ...this.#finish(runFailed(cutShort))].map((event) => ({ event }))
  }

  #ofRun(name: string, value: JsonObject): readonly NewEvent[] {
    const run = wordOf(value['run_id'])
    const data = objectOf(value['data'])
    const isRoot = listOf(value['parent_ids']).length === 0
    if (name === 'on_chain_start' && isRoot) {
      this.#root ??= run
      return this.#begin(run)
    }
    const begun = this.#begin(run)
    switch (name) {
      case 'on_chat_model_stream':
      case 'on_llm_stream':
        return [...begun, ...this.#chunk(data['chunk'], run)]
      case 'on_chat_model_end':
        return [...begun, ...this.#turn(objectOf(data['output']))]
      case 'on_tool_start':
        this.#names.set(run, wordOf(value['name']))
        return [...begun, toolStarted(run, wordOf(value['name']), data['input'] ?? {})]
      case 'on_tool_end':
        return [
          ...begun,
          this.#returned(run, data['output'] ?? null, objectOf(data['output'])['status'] === 'error'),
        ]
      case 'on_tool_error':
        return [...begun, this.#returned(run, errorText(data['error'], 'The tool failed.'), true)]
      case 'on_custom_event':
        return [...begun, custom({ name: value['name'] ?? null, data: value['data'] ?? null })]
      case 'on_chain_end':
        return run === this.#root ? this.#finish(runCompleted()) : begun
      case 'on_chain_error':
        return run === this.#root
          ? this.#finish(runFailed(errorText(data['error'], 'The run failed.')))
          : begun
      default:
        return begun
    }
  }

  #ofMode(mode: string, value: JsonObject): readonly NewEvent[] {
    const { data } = value
    if (mode === 'error')
      return [...this.#begin(), ...this.#finish(runFailed(errorText(data, 'The run failed.')))]
    if (mode === 'end') return [...this.#begin(), ...this.#called(), ...this.#finish(runCompleted())]
    const begun = this.#begin(textOf(objectOf(data)['run_id']))
    switch (mode) {
      case 'metadata':
      case 'messages/metadata':
      case 'messages/complete':
        return begun
      case 'messages':
        return [...begun, ...this.#message(objectOf(listOf(data)[0]))]
      case 'messages/partial':
        return [...begun, ...listOf(data).flatMap((message) => this.#partial(objectOf(message)))]
      case 'updates':
      case 'values':
        return [...begun, ...this.#interrupts(objectOf(data)), custom(value)]
      default:
        return [...begun, custom(value)]
    }
  }

  /** One chunk of a message, or the result of a tool. */
  #message(message: JsonObject): readonly NewEvent[] {
    const type = wordOf(message['type']).toLowerCase()
    if (type === 'tool' || type === 'toolmessage') {
      const call = wordOf(message['tool_call_id'])
      const failed = message['status'] === 'error'
      return [
        ...this.#called(),
        this.#returned(call, message['content'] ?? null, failed, textOf(message['name'])),
      ]
    }
    if (!type.startsWith('ai')) return []
    const events = this.#chunk(message, textOf(message['id']))
    for (const piece of listOf(message['tool_call_chunks'])) this.#piece(objectOf(piece))
    const last =
      objectOf(message['response_metadata'])['finish_reason'] ??
      objectOf(message['usage_metadata'])['total_tokens']
    return last === undefined ? events : [...events, ...this.#called(), ...this.#turn(message)]
  }

  #chunk(chunk: JsonValue | undefined, message: string | undefined): readonly NewEvent[] {
    const { content } = typeof chunk === 'string' ? { content: chunk } : objectOf(chunk)
    const thought = listOf(content)
      .map((block) => textOf(objectOf(block)['thinking']) ?? textOf(objectOf(block)['reasoning']) ?? '')
      .join('')
    const shown = contentText(content)
    return [...(thought === '' ? [] : [reasoning(thought)]), ...(shown === '' ? [] : [text(shown, message)])]
  }

  /** A message that is repeated as a whole: only the added text is new. */
  #partial(message: JsonObject): readonly NewEvent[] {
    if (!wordOf(message['type']).toLowerCase().startsWith('ai')) return []
    const id = textOf(message['id']) ?? ''
    const whole = contentText(message['content'])
    const told = this.#told.get(id) ?? ''
    this.#told.set(id, whole)
    return whole.startsWith(told) && whole.length > told.length ? [text(whole.slice(told.length), id)] : []
  }

  #piece({ id, name, args }: JsonObject): void {
    const call = textOf(id) ?? this.#lastCall
    if (call === undefined) return
    this.#lastCall = call
    const open = this.#calls.get(call) ?? { name: '', json: '' }
    this.#calls.set(call, { name: open.name || (textOf(name) ?? ''), json: open.json + (textOf(args) ?? '') })
  }

  #called(): readonly NewEvent[] {
    const calls = [...this.#calls]
    this.#calls.clear()
    this.#lastCall = undefined
    return calls.map(([id, { name, json }]) => {
      this.#names.set(id, name)
      return toolStarted(id, name || 'tool', parsed(json))
    })
  }

  #returned(id: string, result: JsonValue, failed: boolean, name?: string): NewEvent {
    return toolCompleted(id, this.#names.get(id) ?? name ?? 'tool', result, failed)
  }

  #turn(message: JsonObject): readonly NewEvent[] {
    const usage = message['usage_metadata']
    const about = objectOf(message['response_metadata'])
    this.#model = textOf(about['model_name']) ?? textOf(about['model']) ?? this.#model
    if (!isObject(usage)) return []
    const cached = objectOf(usage['input_token_details'])['cache_read']
    const stopReason = textOf(about['finish_reason']) ?? textOf(about['stop_reason'])
    return [
      turnComplete({
        ...(this.#model !== undefined && { model: this.#model }),
        ...(stopReason !== undefined && { stopReason }),
        inputTokens: countOf(usage['input_tokens']),
        outputTokens: countOf(usage['output_tokens']),
        ...(cached !== undefined && { cachedTokens: countOf(cached) }),
      }),
    ]
  }

  /** A graph that waits for a person sends an interrupt instead of an update. */
  #interrupts(data: JsonObject): readonly NewEvent[] {
    return listOf(data['__interrupt__']).map((interrupt, at) => {
      const { id, interrupt_id: olderId, value } = objectOf(interrupt)
      const prompt = isObject(value) ? value : { prompt: value ?? 'The graph waits for an answer.' }
      return inputRequest(textOf(id) ?? textOf(olderId) ?? `interrupt-${at}`, prompt)
    })
  }

  #begin(run?: string): readonly NewEvent[] {
    if (this.#phase === 'running') return []
    this.#phase = 'running'
    return [runStarted(run === undefined ? {} : { run })]
  }

  #finish(ending: NewEvent): readonly NewEvent[] {
    if (this.#phase === 'ended') return []
    this.#phase = 'ended'
    this.#root = undefined
    return [ending]
  }
}
