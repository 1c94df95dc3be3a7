import { isObject, type JsonObject } from '../lib/json.js'
import type { NewEvent } from '../protocol/frames.js'
import {
  custom,
  permissionRequest,
  permissionResponse,
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
import { countOf, cutShort, errorText, objectOf, textOf, unlike, wordOf } from './fields.js'
import type { Ingest, Ingested, IngestKind } from './ingest.js'
import { Keeping } from './keeping.js'

const openers = new Set(['start', 'start-step', 'text-start', 'reasoning-start', 'tool-input-start'])
const known =
  /^(start|finish|abort|error|message-metadata|(start|finish|reset)-step|(text|reasoning)-(start|delta|end)|tool-(input|output|approval)-[a-z]+|source-(url|document)|(reasoning-)?file|custom|steering-message|data-.+)$/

/** The UI message stream of the AI SDK (`ai` 5 to 7). Each message is a run. */
export const aiSdk: IngestKind = {
  name: 'ai-sdk',
  recognizes: ({ type }) => openers.has(wordOf(type)),
  start: () => new UiMessageIngest(),
}

interface Call {
  readonly name: string
  readonly input: JsonObject['input']
}

class UiMessageIngest implements Ingest {
  readonly kept = new Keeping()
  #phase: 'waiting' | 'running' | 'ended' = 'waiting'
  readonly #calls = this.kept.map<string, Call>()
  /** The call that each approval is for. */
  readonly #approvals = this.kept.map<string, string>()
  #usage: JsonObject | undefined
  #model: string | undefined

  take(value: JsonObject): readonly Ingested[] {
    return this.#take(value).map((event) => ({ event }))
  }

  end(): readonly Ingested[] {
    if (this.#phase !== 'running') return []
    this.#phase = 'ended'
    return [{ event: runFailed(cutShort) }]
  }

  #take(value: JsonObject): readonly NewEvent[] {
    const type = wordOf(value['type'])
    if (!known.test(type)) {
      if (this.#phase === 'waiting')
        throw unlike('ai-sdk', 'a part of a UI message stream (start first)', value)
      return [custom(value)]
    }
    this.#note(objectOf(value['messageMetadata']))
    const message = textOf(value['messageId'])
    const begun = this.#begin(message === undefined ? {} : { message })
    return [...begun, ...this.#part(type, value)]
  }

  #part(type: string, value: JsonObject): readonly NewEvent[] {
    const call = wordOf(value['toolCallId'])
    switch (type) {
      case 'text-delta':
        return typeof value['delta'] === 'string' ? [text(value['delta'], textOf(value['id']))] : []
      case 'reasoning-delta':
        return typeof value['delta'] === 'string' ? [reasoning(value['delta'])] : []
      case 'tool-input-available':
      case 'tool-input-error':
        return this.#called(call, value, type === 'tool-input-error')
      case 'tool-output-available':
        // Another output follows a preliminary one.
        return value['preliminary'] === true
          ? [custom(value)]
          : [this.#returned(call, value['output'] ?? null, false)]
      case 'tool-output-error':
        return [this.#returned(call, errorText(value['errorText'], 'The tool failed.'), true)]
      case 'tool-output-denied':
        return [this.#returned(call, 'The call was denied.', true)]
      case 'tool-approval-request': {
        const { name = 'tool', input = {} } = this.#calls.get(call) ?? {}
        this.#approvals.set(wordOf(value['approvalId']), call)
        return [permissionRequest(wordOf(value['approvalId']), name, input)]
      }
      case 'tool-approval-response':
        return [
          permissionResponse(
            wordOf(value['approvalId']),
            value['approved'] === true,
            textOf(value['reason']),
          ),
        ]
      case 'error':
        return this.#finish(runFailed(errorText(value['errorText'], 'The stream reported an error.')))
      case 'abort':
        return this.#finish(runCancelled(textOf(value['reason']) ?? 'The run was aborted.'))
      case 'finish': {
        const reason = textOf(value['finishReason'])
        if (reason === 'error' || reason === 'content-filter')
          return this.#finish(runFailed(`The run ended with ${reason}.`))
        return this.#finish(runCompleted(reason === undefined ? {} : { stop_reason: reason }))
      }
      case 'start':
      case 'message-metadata':
      case 'start-step':
      case 'finish-step':
      case 'text-start':
      case 'text-end':
      case 'reasoning-start':
      case 'reasoning-end':
      case 'tool-input-start':
      case 'tool-input-delta':
        return []
      default:
        return [custom(value)]
    }
  }

  #called(id: string, value: JsonObject, failed: boolean): readonly NewEvent[] {
    const name = textOf(value['toolName']) ?? 'tool'
    const input = value['input'] ?? {}
    this.#calls.set(id, { name, input })
    const started = toolStarted(id, name, input)
    return failed
      ? [started, this.#returned(id, errorText(value['errorText'], 'The input is invalid.'), true)]
      : [started]
  }

  #returned(id: string, result: NonNullable<JsonObject['result']> | null, failed: boolean): NewEvent {
    return toolCompleted(id, this.#calls.get(id)?.name ?? 'tool', result, failed)
  }

  #begin(about: JsonObject): readonly NewEvent[] {
    if (this.#phase === 'running') return []
    this.#phase = 'running'
    return [runStarted(about)]
  }

  /** Applications pass the usage of a run in the metadata of its message. */
  #note(metadata: JsonObject): void {
    const usage = metadata['totalUsage'] ?? metadata['usage']
    if (isObject(usage)) this.#usage = usage
    this.#model = textOf(metadata['model']) ?? this.#model
  }

  #finish(ending: NewEvent): readonly NewEvent[] {
    this.#phase = 'ended'
    const usage = this.#usage
    this.#usage = undefined
    if (usage === undefined) return [ending]
    const cached = usage['cachedInputTokens'] ?? objectOf(usage['inputTokenDetails'])['cacheReadTokens']
    const turn = turnComplete({
      ...(this.#model !== undefined && { model: this.#model }),
      inputTokens: countOf(usage['inputTokens']),
      outputTokens: countOf(usage['outputTokens']),
      ...(cached !== undefined && { cachedTokens: countOf(cached) }),
    })
    return [turn, ending]
  }
}
