import { isObject, type JsonObject, type JsonValue, measure } from '../lib/json.js'
import { defaultLimits } from '../protocol/limits.js'
import { applyPatch } from '../state/apply.js'

/** The state of an AG-UI client that has received the whole thread: its open parts and all messages so far. */
export interface Thread {
  /** `RUN_STARTED` of the current run. */
  readonly run: JsonObject | undefined
  readonly steps: readonly JsonObject[]
  readonly agents: readonly JsonObject[]
  /** Spans of reasoning, outermost first. */
  readonly spans: readonly JsonObject[]
  readonly open: readonly OpenPart[]
  readonly messages: readonly JsonObject[]
  /** Of the messages and the texts of open parts, about. */
  readonly messagesBytes: number
  /** The state that was published in this shape; absent if the slices are the state. */
  readonly state: JsonValue | undefined
  /** At least the bytes of its JSON text, about. */
  readonly stateBytes: number
  /** The part that chunks without an id continue. */
  readonly chunk: OpenPart | undefined
}

interface OpenPart {
  readonly kind: 'text' | 'reasoning' | 'call'
  readonly id: string
  readonly start: JsonObject
  readonly text: string
}

export const noThread: Thread = {
  run: undefined,
  steps: [],
  agents: [],
  spans: [],
  open: [],
  messages: [],
  messagesBytes: 0,
  state: undefined,
  stateBytes: 0,
  chunk: undefined,
}

// A snapshot of a longer thread leaves out the oldest messages.
const messagesMax = 1_000

/** Maximum of all messages and open parts together: the oldest messages are left out, then the rest of a text that is open. Bytes. */
const messagesBytesMax = 4_194_304

/** Maximum of open steps, agents, spans and parts each; the oldest is forgotten, and missing for a client that joins. */
const openMax = 1_000

/** Maximum of a state that was published in this shape, as of a slice. What would lead to a larger one changes nothing. Bytes. */
const stateBytesMax = 1_048_576

/** @returns the thread after an event, which must fit the open parts */
export function after(thread: Thread, event: JsonObject): Thread {
  const { type } = event
  switch (type) {
    case 'RUN_STARTED':
      return { ...thread, run: event }
    case 'RUN_FINISHED':
    case 'RUN_ERROR':
      return { ...thread, run: undefined }
    case 'STEP_STARTED':
      return { ...thread, steps: joined(thread.steps, event) }
    case 'STEP_FINISHED':
      return { ...thread, steps: without(thread.steps, event, ['stepName', 'subagentRunId']) }
    case 'SUBAGENT_STARTED':
      return { ...thread, agents: joined(thread.agents, event) }
    case 'SUBAGENT_FINISHED':
    case 'SUBAGENT_ERROR':
      return { ...thread, agents: without(thread.agents, event, ['subagentRunId']) }
    case 'REASONING_START':
      return { ...thread, spans: joined(thread.spans, event) }
    case 'REASONING_END':
      return { ...thread, spans: without(thread.spans, event, ['messageId']) }
    case 'TEXT_MESSAGE_START':
      return opened(thread, 'text', event)
    case 'REASONING_MESSAGE_START':
      return opened(thread, 'reasoning', event)
    case 'TOOL_CALL_START':
      return opened(thread, 'call', event)
    case 'TEXT_MESSAGE_CONTENT':
    case 'REASONING_MESSAGE_CONTENT':
    case 'TOOL_CALL_ARGS':
      return grown(thread, event)
    case 'TEXT_MESSAGE_END':
    case 'REASONING_MESSAGE_END':
    case 'TOOL_CALL_END':
      return ended(thread, event)
    case 'TOOL_CALL_RESULT':
      return withMessage(thread, {
        id: event['messageId'] ?? `${wordIn(event, 'toolCallId')}-result`,
        role: 'tool',
        toolCallId: event['toolCallId'] ?? '',
        content: event['content'] ?? '',
        ...of(event),
      })
    case 'MESSAGES_SNAPSHOT':
      return withMessages(thread, listOf(event['messages']))
    case 'STATE_SNAPSHOT':
      return withState(thread, event['snapshot'] ?? {})
    case 'STATE_DELTA':
      return patched(thread, listOf(event['delta']))
    default:
      return thread
  }
}

/** @returns the events that an event stands for: a chunk opens the part that it names, and ends the previous one */
export function expanded(thread: Thread, event: JsonObject): readonly JsonObject[] {
  const type = wordIn(event, 'type')
  const { chunk } = thread
  if (!type.endsWith('_CHUNK')) return chunk === undefined ? [event] : [endOf(chunk), event]
  const kind = type.startsWith('TOOL') ? 'call' : type.startsWith('REASONING') ? 'reasoning' : 'text'
  const given = event[kind === 'call' ? 'toolCallId' : 'messageId']
  const goesOn = chunk?.kind === kind && (given === undefined || given === chunk.id)
  if (!goesOn && typeof given !== 'string') return chunk === undefined ? [] : [endOf(chunk)]
  const id = goesOn ? chunk.id : String(given)
  const events: JsonObject[] = []
  if (!goesOn) {
    if (chunk !== undefined) events.push(endOf(chunk))
    events.push(startOf(kind, id, event))
  }
  const { delta } = event
  if (typeof delta === 'string' && delta !== '') events.push(contentOf(kind, id, delta, of(event)))
  return events
}

/** Remembers the part that a chunk leaves open. */
export function withChunk(thread: Thread, event: JsonObject): Thread {
  const isChunk = wordIn(event, 'type').endsWith('_CHUNK')
  const chunk = isChunk ? thread.open.at(-1) : undefined
  return chunk === thread.chunk ? thread : { ...thread, chunk }
}

/** @returns the events that close all open parts, so that the run can end */
export function endings(thread: Thread): readonly JsonObject[] {
  return [
    ...thread.open.toReversed().map(endOf),
    ...thread.spans
      .toReversed()
      .map((span) => ({ type: 'REASONING_END', messageId: span['messageId'] ?? '', ...of(span) })),
    ...thread.steps
      .toReversed()
      .map((step) => ({ type: 'STEP_FINISHED', stepName: step['stepName'] ?? '', ...of(step) })),
    ...thread.agents
      .toReversed()
      .map((agent) => ({ type: 'SUBAGENT_FINISHED', subagentRunId: agent['subagentRunId'] ?? '' })),
  ]
}

/** @returns the events that close all open parts of one agent */
export function endingsOf(thread: Thread, agent: string): readonly JsonObject[] {
  const its = (event: JsonObject): boolean => event['subagentRunId'] === agent
  return endings({
    ...thread,
    open: thread.open.filter(({ start }) => its(start)),
    spans: thread.spans.filter(its),
    steps: thread.steps.filter(its),
    agents: [],
  })
}

/**
 * @returns the first events for a client that joins now: the run, the state, all messages including the incomplete
 *   ones, and the beginnings of all open parts. New events follow
 */
export function prelude(thread: Thread, run: JsonObject, state: JsonObject): readonly JsonObject[] {
  const snapshot = thread.state ?? state
  // Each text counts with its message once it is in it.
  const closed = { ...thread, messagesBytes: thread.messagesBytes - textBytes(thread.open) }
  const { messages } = thread.open.reduce((known, part) => withMessage(known, messageOf(part)), closed)
  return [
    thread.run ?? run,
    { type: 'STATE_SNAPSHOT', snapshot },
    { type: 'MESSAGES_SNAPSHOT', messages },
    ...thread.agents,
    ...thread.steps,
    ...thread.spans,
    ...thread.open.map(({ start }) => start),
  ]
}

function opened(thread: Thread, kind: OpenPart['kind'], start: JsonObject): Thread {
  const id = wordIn(start, kind === 'call' ? 'toolCallId' : 'messageId')
  const part = { kind, id, start, text: '' }
  // Messages are in the order of their beginnings.
  return withMessage({ ...thread, open: joined(thread.open, part) }, messageOf(part))
}

function grown(thread: Thread, event: JsonObject): Thread {
  const part = partOf(thread, event)
  const { delta } = event
  if (part === undefined || typeof delta !== 'string') return thread
  const room = fitting({ ...thread, messagesBytes: thread.messagesBytes + delta.length })
  if (room.messagesBytes > messagesBytesMax) return thread
  return {
    ...room,
    open: thread.open.map((one) => (one === part ? { ...one, text: one.text + delta } : one)),
  }
}

function ended(thread: Thread, event: JsonObject): Thread {
  const part = partOf(thread, event)
  if (part === undefined) return thread
  const open = thread.open.filter((one) => one !== part)
  // Its text counts with its message now.
  const messagesBytes = thread.messagesBytes - part.text.length
  return withMessage({ ...thread, open, messagesBytes }, messageOf(part))
}

function partOf({ open }: Thread, event: JsonObject): OpenPart | undefined {
  const type = wordIn(event, 'type')
  const kind = type.startsWith('TOOL') ? 'call' : type.startsWith('REASONING') ? 'reasoning' : 'text'
  const id = event[kind === 'call' ? 'toolCallId' : 'messageId']
  return open.find((part) => part.kind === kind && part.id === id)
}

function messageOf({ kind, id, start, text }: OpenPart): JsonObject {
  if (kind === 'reasoning') return { id, role: 'reasoning', content: text, ...of(start) }
  if (kind === 'text') return { id, role: start['role'] ?? 'assistant', content: text, ...of(start) }
  const call = { id, type: 'function', function: { name: start['toolCallName'] ?? '', arguments: text } }
  return { id: start['parentMessageId'] ?? id, role: 'assistant', toolCalls: [call], ...of(start) }
}

/** Adds a call to its message. */
function withMessage(thread: Thread, message: JsonObject): Thread {
  const at = thread.messages.findIndex(({ id }) => id === message['id'])
  const before = thread.messages[at]
  if (before === undefined) {
    const messagesBytes = thread.messagesBytes + bytesOf(message)
    return fitting({ ...thread, messages: [...thread.messages, message], messagesBytes })
  }
  const more = listOf(message['toolCalls'])
  const known = listOf(before['toolCalls']).filter((call) => !more.some(({ id }) => id === call['id']))
  const calls = [...known, ...more]
  const merged = { ...before, ...message, ...(calls.length > 0 && { toolCalls: calls }) }
  const messagesBytes = thread.messagesBytes + bytesOf(merged) - bytesOf(before)
  return fitting({ ...thread, messages: thread.messages.with(at, merged), messagesBytes })
}

function withMessages(thread: Thread, messages: readonly JsonObject[]): Thread {
  return fitting({ ...thread, messages, messagesBytes: textBytes(thread.open) + bytesOf(messages) })
}

/** Leaves out the oldest messages of which there are too many, or that are too large. */
function fitting(thread: Thread): Thread {
  const { messages } = thread
  let { messagesBytes } = thread
  let at = 0
  while (
    messages.length - at > messagesMax ||
    (messagesBytes > messagesBytesMax && at < messages.length - 1)
  ) {
    messagesBytes -= bytesOf(messages[at++] as JsonObject)
  }
  return at === 0 && messagesBytes === thread.messagesBytes
    ? thread
    : { ...thread, messages: messages.slice(at), messagesBytes }
}

function textBytes(open: readonly OpenPart[]): number {
  return open.reduce((bytes, { text }) => bytes + text.length, 0)
}

function bytesOf(value: JsonValue): number {
  return measure(value, Number.POSITIVE_INFINITY) + 1
}

function startOf(
  kind: OpenPart['kind'],
  id: string,
  { role, toolCallName, parentMessageId, ...rest }: JsonObject,
): JsonObject {
  if (kind === 'reasoning')
    return { type: 'REASONING_MESSAGE_START', messageId: id, role: 'reasoning', ...of(rest) }
  if (kind === 'text')
    return { type: 'TEXT_MESSAGE_START', messageId: id, role: role ?? 'assistant', ...of(rest) }
  return {
    type: 'TOOL_CALL_START',
    toolCallId: id,
    toolCallName: toolCallName ?? 'tool',
    ...(parentMessageId !== undefined && { parentMessageId }),
    ...of(rest),
  }
}

function contentOf(kind: OpenPart['kind'], id: string, delta: string, agent: JsonObject): JsonObject {
  if (kind === 'call') return { type: 'TOOL_CALL_ARGS', toolCallId: id, delta, ...agent }
  const type = kind === 'text' ? 'TEXT_MESSAGE_CONTENT' : 'REASONING_MESSAGE_CONTENT'
  return { type, messageId: id, delta, ...agent }
}

function endOf({ kind, id, start }: OpenPart): JsonObject {
  if (kind === 'call') return { type: 'TOOL_CALL_END', toolCallId: id, ...of(start) }
  return { type: kind === 'text' ? 'TEXT_MESSAGE_END' : 'REASONING_MESSAGE_END', messageId: id, ...of(start) }
}

/** The fields that name the agent. */
function of({ subagentRunId }: JsonObject): JsonObject {
  return subagentRunId === undefined ? {} : { subagentRunId }
}

function without(
  list: readonly JsonObject[],
  event: JsonObject,
  names: readonly string[],
): readonly JsonObject[] {
  const at = list.findLastIndex((one) => names.every((name) => one[name] === event[name]))
  return at === -1 ? list : list.toSpliced(at, 1)
}

function joined<Item>(list: readonly Item[], item: Item): readonly Item[] {
  return [...list, item].slice(-openMax)
}

function withState(
  thread: Thread,
  state: JsonValue,
  bytes = measure(state, Number.POSITIVE_INFINITY),
): Thread {
  return bytes > stateBytesMax ? thread : { ...thread, state, stateBytes: bytes }
}

/** AG-UI clients also leave the state unchanged if a patch does not apply. */
function patched(thread: Thread, delta: readonly JsonObject[]): Thread {
  let state: JsonValue
  try {
    state = applyPatch(thread.state ?? {}, delta as never, defaultLimits)
  } catch {
    return thread
  }
  // Measuring a state takes long, and without a `copy` it has grown by no more than the patch.
  const bytes = thread.stateBytes + measure(delta, Number.POSITIVE_INFINITY)
  const isCounted = bytes <= stateBytesMax && delta.every(({ op }) => op !== 'copy')
  return withState(thread, state, isCounted ? bytes : undefined)
}

function listOf(value: JsonValue | undefined): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter((item): item is JsonObject => isObject(item)) : []
}

function wordIn(event: JsonObject, name: string): string {
  const word = event[name]
  return typeof word === 'string' ? word : ''
}
