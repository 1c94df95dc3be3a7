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
  countOf,
  cutShort,
  errorText,
  listOf,
  objectOf,
  parsed,
  textOf,
  unlike,
  wordOf,
  workerId,
} from './fields.js'
import type { Ingest, Ingested, IngestKind } from './ingest.js'
import { Keeping } from './keeping.js'
import { type OtlpItem, otlpItems } from './otlp-items.js'

/** The maximum length of an event's id. */
const idLengthMax = 256

/** Makes events from the spans and log records of one session. */
export class OtlpSession {
  /** Whether the session itself, or a worker, is running, by the events published before. */
  readonly #isRunning: (worker: string | undefined) => boolean
  readonly kept = new Keeping()
  readonly #running = this.kept.map<string | undefined, boolean>()

  constructor(isRunning: (worker: string | undefined) => boolean) {
    this.#isRunning = isRunning
  }

  take(item: OtlpItem): readonly Ingested[] {
    const { attributes } = item
    const agent = textOf(attributes['gen_ai.agent.name'])
    const worker = agent && workerId(agent)
    const events = item.kind === 'span' ? fromSpan(item) : fromLog(item)
    const found: Ingested[] = []
    const say = (event: NewEvent, name: string, time: number): void => {
      const id = item.traceId === '' ? undefined : `otlp-${item.traceId}-${name}`.slice(0, idLengthMax)
      const more = { ...(id !== undefined && { id }), ...(time > 0 && { time }) }
      found.push({ event: { ...event, ...more }, ...(worker !== undefined && { worker }) })
    }
    const ends = item.kind === 'span' && (isAgent(item) || item.parentSpanId === '')
    const isOver = ends && !isAgent(item) && !this.#runs(worker)
    if (events.length === 0 && (!ends || isOver)) return []
    if (!this.#runs(worker)) {
      const model = textOf(attributes['gen_ai.request.model'])
      const service = textOf(attributes['service.name'])
      const data = {
        ...(agent !== undefined && { agent }),
        ...(model !== undefined && { model }),
        ...(service !== undefined && { service }),
      }
      // Once per trace: a span that comes after the end of its run does not begin another run.
      say(runStarted(data), 'run', item.startedAt)
      this.#running.set(worker, true)
    }
    for (const { event, name, isStart } of events) say(event, name, isStart ? item.startedAt : item.endedAt)
    if (ends) {
      say(
        item.error === undefined ? runCompleted() : runFailed(item.error),
        `${item.spanId}-end`,
        item.endedAt,
      )
      this.#running.set(worker, false)
    }
    return found
  }

  /** @returns the ends of runs that began here and whose end was not reported */
  end(): readonly Ingested[] {
    const open = [...this.#running].filter(([, runs]) => runs)
    return open.map(([worker]) => ({ event: runFailed(cutShort), ...(worker !== undefined && { worker }) }))
  }

  #runs(worker: string | undefined): boolean {
    return this.#running.get(worker) ?? this.#isRunning(worker)
  }
}

/** An event and its name within its trace. Spans and log records may report the same thing, which counts once. */
interface Told {
  readonly event: NewEvent
  readonly name: string
  readonly isStart?: true
}

const operation = 'gen_ai.operation.name'
const agentOperations = new Set(['invoke_agent', 'invoke_workflow'])
const modelOperations = new Set(['chat', 'generate_content', 'text_completion'])

function isAgent({ attributes }: OtlpItem): boolean {
  return agentOperations.has(wordOf(attributes[operation]))
}

function fromSpan(span: OtlpItem): Told[] {
  const { attributes, name, spanId } = span
  const does = wordOf(attributes[operation])
  if (agentOperations.has(does)) return []
  if (does === 'execute_tool') return toolOf(span)
  const isModel =
    modelOperations.has(does) || (does === '' && attributes['gen_ai.request.model'] !== undefined)
  if (isModel) return turnOf(span)
  if (does === '' && !Object.keys(attributes).some((key) => key.startsWith('gen_ai.'))) return []
  return [{ event: custom({ name, attributes }), name: spanId }]
}

function fromLog(log: OtlpItem): Told[] {
  const { name, attributes, body, spanId } = log
  switch (name.replace(/^claude_code\./, '')) {
    case 'gen_ai.client.inference.operation.details':
      return turnOf(log)
    case 'gen_ai.choice':
      return choice(log, objectOf(body))
    case 'gen_ai.tool.message':
      return [resultOf(wordOf(objectOf(body)['id']), '', parsed(objectOf(body)['content']), false)]
    case 'gen_ai.system.message':
    case 'gen_ai.user.message':
    case 'gen_ai.assistant.message':
      return []
    case 'api_request':
      return [{ event: usageOf(attributes), name: `${sequence(log)}-turn` }]
    case 'tool_result':
      return claudeTool(log)
    default:
      if (!name.startsWith('gen_ai.') && attributes['session.id'] === undefined) return []
      return [{ event: custom({ name, body, attributes }), name: `${spanId}-${sequence(log)}-log` }]
  }
}

/** One call of a model: its text, its tool calls, the results of earlier calls, and its usage. */
function turnOf(item: OtlpItem): Told[] {
  const { attributes, spanId, events, error } = item
  const told: Told[] = []
  for (const message of messagesIn(attributes['gen_ai.input.messages'])) {
    for (const part of partsOf(message)) {
      if (part['type'] !== 'tool_call_response') continue
      told.push(resultOf(wordOf(part['id']), '', parsed(part['response'] ?? part['result']), false))
    }
  }
  for (const [index, message] of messagesIn(attributes['gen_ai.output.messages']).entries()) {
    told.push(...output(spanId, `${index}`, partsOf(message)))
  }
  for (const { name, attributes: more } of events) {
    if (name === 'gen_ai.choice') told.push(...choice(item, more))
    if (name === 'gen_ai.client.inference.operation.details')
      told.push(...turnOf({ ...item, attributes: more, events: [], error: undefined }).filter(isNoTurn))
  }
  told.push(...numbered(item))
  if (error !== undefined) told.push({ event: custom({ name: item.name, error }), name: `${spanId}-error` })
  return [...told, { event: usageOf(attributes), name: `${spanId}-turn` }]
}

function isNoTurn({ name }: Told): boolean {
  return !name.endsWith('-turn')
}

/** Attributes of instrumentations that are older than the conventions: `gen_ai.completion.0.content`. */
function numbered({ attributes, spanId }: OtlpItem): Told[] {
  const said = textOf(attributes['gen_ai.completion.0.content'])
  return said === undefined ? [] : [{ event: text(said, spanId), name: `${spanId}-text-0-0` }]
}

/** The form of the conventions before 1.37: a choice with an OpenAI message. */
function choice({ spanId }: OtlpItem, body: JsonObject): Told[] {
  const message = objectOf(parsed(body['message']))
  const calls = listOf(message['tool_calls']).map((one) => {
    const { id, function: called } = objectOf(one)
    const { name, arguments: given } = objectOf(called)
    return { type: 'tool_call', id: wordOf(id), name: wordOf(name), arguments: given ?? null }
  })
  const said = textOf(message['content']) ?? textOf(body['content'])
  const parts = [...(said === undefined ? [] : [{ type: 'text', content: said }]), ...calls]
  return output(spanId, wordOf(body['index']) || '0', parts)
}

function output(spanId: string, index: string, parts: readonly JsonObject[]): Told[] {
  return parts.flatMap((part, place): Told[] => {
    const said = textOf(part['content']) ?? textOf(part['text'])
    switch (part['type']) {
      case 'text':
        return said === undefined
          ? []
          : [{ event: text(said, spanId), name: `${spanId}-text-${index}-${place}` }]
      case 'reasoning':
      case 'thinking':
        return said === undefined
          ? []
          : [{ event: reasoning(said), name: `${spanId}-reasoning-${index}-${place}` }]
      case 'tool_call': {
        const { id, name, arguments: given } = part
        return [callOf(wordOf(id) || `${spanId}-${place}`, wordOf(name), parsed(given))]
      }
      default:
        return []
    }
  })
}

function toolOf({ attributes, spanId, error }: OtlpItem): Told[] {
  const id = wordOf(attributes['gen_ai.tool.call.id']) || spanId
  const name = wordOf(attributes['gen_ai.tool.name'])
  const result = error ?? parsed(attributes['gen_ai.tool.call.result'])
  return [
    { ...callOf(id, name, parsed(attributes['gen_ai.tool.call.arguments'])), isStart: true },
    resultOf(id, name, result, error !== undefined),
  ]
}

function claudeTool(log: OtlpItem): Told[] {
  const { attributes } = log
  const id = wordOf(attributes['tool_use_id']) || `tool-${sequence(log)}`
  const name = wordOf(attributes['tool_name'])
  const failed = wordOf(attributes['success']) === 'false' || attributes['success'] === false
  const result = failed ? errorText(attributes['error'], 'failed') : ''
  return [callOf(id, name, parsed(attributes['tool_parameters'])), resultOf(id, name, result, failed)]
}

function callOf(id: string, name: string, input: JsonValue): Told {
  return { event: toolStarted(id, name, input), name: `tool-${id}-call` }
}

function resultOf(id: string, name: string, result: JsonValue, isError: boolean): Told {
  return { event: toolCompleted(id, name, result, isError), name: `tool-${id}-result` }
}

function usageOf(attributes: JsonObject): NewEvent {
  const of = (...names: readonly string[]): number => {
    const name = names.find((one) => attributes[one] !== undefined)
    return name === undefined ? 0 : countOf(Number(attributes[name]))
  }
  const model =
    textOf(attributes['gen_ai.response.model']) ??
    textOf(attributes['gen_ai.request.model']) ??
    textOf(attributes['model'])
  const [stopReason] = listOf(attributes['gen_ai.response.finish_reasons'])
  const cached = of('gen_ai.usage.cache_read.input_tokens', 'cache_read_tokens')
  const cost = of('cost_usd')
  return turnComplete({
    ...(model !== undefined && { model }),
    ...(typeof stopReason === 'string' && { stopReason }),
    // Claude Code counts cached tokens separately.
    inputTokens:
      of('gen_ai.usage.input_tokens', 'gen_ai.usage.prompt_tokens') +
      (attributes['input_tokens'] === undefined
        ? 0
        : of('input_tokens') + of('cache_read_tokens') + of('cache_creation_tokens')),
    outputTokens: of('gen_ai.usage.output_tokens', 'gen_ai.usage.completion_tokens', 'output_tokens'),
    ...(cached > 0 && { cachedTokens: cached }),
    ...(cost > 0 && { costUsd: cost }),
  })
}

/** Messages are a list, or the JSON text of one. */
function messagesIn(value: JsonValue | undefined): readonly JsonObject[] {
  return listOf(parsed(value)).map(objectOf)
}

function partsOf({ parts }: JsonObject): readonly JsonObject[] {
  return listOf(parts).map(objectOf)
}

/** Distinguishes the log records of one trace. */
function sequence({ attributes, endedAt }: OtlpItem): string {
  return wordOf(attributes['event.sequence']) || String(endedAt)
}

/** The format of the file exporter of OpenTelemetry's collector: one request a line. */
export const otlp: IngestKind = {
  name: 'otlp',
  recognizes: ({ resourceSpans, resourceLogs }) =>
    Array.isArray(resourceSpans) || Array.isArray(resourceLogs),
  start: () => new OtlpIngest(),
}

class OtlpIngest implements Ingest {
  readonly #session = new OtlpSession(() => false)
  readonly kept = this.#session.kept

  take(value: JsonObject): readonly Ingested[] {
    if (!isObject(value) || !otlp.recognizes(value))
      throw unlike('otlp', 'an object with resourceSpans or resourceLogs', value)
    return otlpItems(value).flatMap((item) => this.#session.take(item))
  }

  end(): readonly Ingested[] {
    return this.#session.end()
  }
}
