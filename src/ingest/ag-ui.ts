import type { JsonObject, JsonValue } from '../lib/json.js'
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
} from './events.js'
import { cutShort, errorText, objectOf, parsed, textOf, unlike, wordOf, workerId } from './fields.js'
import type { Ingest, Ingested, IngestKind } from './ingest.js'
import { Keeping } from './keeping.js'

const types =
  /^(RUN|STEP|TEXT_MESSAGE|TOOL_CALL|STATE|MESSAGES|ACTIVITY|REASONING|THINKING|SUBAGENT)_[A-Z_]+$|^(RAW|CUSTOM)$/

/** The events of AG-UI. Sub-agents become workers. */
export const agUi: IngestKind = {
  name: 'ag-ui',
  recognizes: ({ type }) => types.test(wordOf(type)),
  start: () => new AgUiIngest(),
}

interface OpenCall {
  readonly name: string
  readonly json: string
}

class AgUiIngest implements Ingest {
  readonly kept = new Keeping()
  #running = false
  #begun = false
  /** The worker of each sub-agent by its id. */
  readonly #agents = this.kept.map<string, string>()
  #agentsStarted = 0
  readonly #open = this.kept.map<string, OpenCall>()
  readonly #names = this.kept.map<string, string>()
  /** The call and the message that chunks without an id belong to. */
  #chunkCall: string | undefined
  #chunkWorker: string | undefined
  #chunkMessage: string | undefined

  take(value: JsonObject): readonly Ingested[] {
    const type = wordOf(value['type'])
    if (!agUi.recognizes(value)) throw unlike('ag-ui', 'an event of AG-UI (RUN_STARTED first)', value)
    const agent = textOf(value['subagentRunId'])
    const worker = agent === undefined ? undefined : this.#agents.get(agent)
    const closed = type === 'TOOL_CALL_CHUNK' ? [] : this.#closeChunk()
    if (type.startsWith('SUBAGENT_')) return [...closed, ...this.#agent(type, agent ?? '', value)]
    if (type !== 'TOOL_CALL_CHUNK') return [...closed, ...of(worker, this.#event(type, value))]
    return this.#chunk(worker, value)
  }

  end(): readonly Ingested[] {
    if (!this.#running) return []
    this.#running = false
    return [...this.#closeChunk(), { event: runFailed(cutShort) }]
  }

  #event(type: string, value: JsonObject): readonly NewEvent[] {
    const call = textOf(value['toolCallId'])
    const message = textOf(value['messageId'])
    const delta = textOf(value['delta'])
    switch (type) {
      case 'RUN_STARTED':
        this.#running = true
        this.#begun = true
        return [runStarted(named({ run: value['runId'], thread: value['threadId'] }))]
      case 'RUN_FINISHED':
        this.#running = false
        return [runCompleted(named({ result: value['result'] }))]
      case 'RUN_ERROR':
        this.#running = false
        return [
          ...(this.#begun ? [] : [runStarted({})]),
          runFailed(errorText(value['message'], 'The run failed.')),
        ]
      case 'TEXT_MESSAGE_CONTENT':
        return delta === undefined ? [] : [text(delta, message)]
      case 'TEXT_MESSAGE_CHUNK':
        this.#chunkMessage = message ?? this.#chunkMessage
        return delta === undefined ? [] : [text(delta, this.#chunkMessage)]
      case 'REASONING_MESSAGE_CONTENT':
      case 'REASONING_MESSAGE_CHUNK':
      case 'THINKING_TEXT_MESSAGE_CONTENT':
        return delta === undefined ? [] : [reasoning(delta)]
      case 'TOOL_CALL_START':
        if (call !== undefined) this.#open.set(call, { name: wordOf(value['toolCallName']), json: '' })
        return []
      case 'TOOL_CALL_ARGS':
        this.#arguments(call, delta)
        return []
      case 'TOOL_CALL_END':
        return call === undefined ? [] : this.#called(call)
      case 'TOOL_CALL_RESULT': {
        const id = call ?? ''
        return [
          ...this.#called(id),
          toolCompleted(
            id,
            this.#names.get(id) ?? 'tool',
            value['content'] ?? null,
            value['isError'] === true,
          ),
        ]
      }
      case 'TEXT_MESSAGE_START':
      case 'TEXT_MESSAGE_END':
      case 'REASONING_START':
      case 'REASONING_END':
      case 'REASONING_MESSAGE_START':
      case 'REASONING_MESSAGE_END':
      case 'THINKING_START':
      case 'THINKING_END':
      case 'THINKING_TEXT_MESSAGE_START':
      case 'THINKING_TEXT_MESSAGE_END':
        return []
      default:
        return [custom(value)]
    }
  }

  #arguments(call: string | undefined, delta: string | undefined): void {
    const open = this.#open.get(call ?? '')
    if (call !== undefined && open !== undefined)
      this.#open.set(call, { ...open, json: open.json + (delta ?? '') })
  }

  /** A chunk opens the part that it names; the next part closes it. */
  #chunk(worker: string | undefined, value: JsonObject): readonly Ingested[] {
    const call = textOf(value['toolCallId'])
    const closed = call === undefined || call === this.#chunkCall ? [] : this.#closeChunk()
    if (call !== undefined && !this.#open.has(call)) {
      this.#open.set(call, { name: textOf(value['toolCallName']) ?? 'tool', json: '' })
      this.#chunkWorker = worker
    }
    this.#chunkCall = call ?? this.#chunkCall
    this.#arguments(this.#chunkCall, textOf(value['delta']))
    return closed
  }

  #closeChunk(): readonly Ingested[] {
    const call = this.#chunkCall
    this.#chunkCall = undefined
    return call === undefined ? [] : of(this.#chunkWorker, this.#called(call))
  }

  #called(id: string): readonly NewEvent[] {
    const call = this.#open.get(id)
    if (call === undefined) return []
    this.#open.delete(id)
    this.#names.set(id, call.name)
    return [toolStarted(id, call.name, parsed(call.json))]
  }

  #agent(type: string, id: string, value: JsonObject): readonly Ingested[] {
    if (type === 'SUBAGENT_STARTED') {
      const number = ++this.#agentsStarted
      const worker = `${workerId(textOf(value['name']) ?? 'agent')}-${number}`
      const parent = this.#agents.get(textOf(value['parentSubagentRunId']) ?? '')
      this.#agents.set(id, worker)
      return [{ event: runStarted(named({ run: id, parent })), worker }]
    }
    const worker = this.#agents.get(id)
    if (worker === undefined) return [{ event: custom(value) }]
    const failed = type === 'SUBAGENT_ERROR'
    const event = failed
      ? runFailed(errorText(objectOf(value)['message'], 'The sub-agent failed.'))
      : runCompleted()
    return [{ event, worker }]
  }
}

function of(worker: string | undefined, events: readonly NewEvent[]): readonly Ingested[] {
  return events.map((event) => (worker === undefined ? { event } : { event, worker }))
}

/** @returns the fields that are present */
function named(fields: Readonly<Record<string, JsonValue | undefined>>): JsonObject {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as JsonObject
}
