import { type Dialect, type DialectEvent, dataBlock } from '../codec/dialect.js'
import type { DialectRuns, RunEnding, RunFacts, RunQuery, Told } from '../codec/runs.js'
import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { HubEvent, NewEvent, StateUpdate } from '../protocol/frames.js'
import {
  after,
  endings,
  endingsOf,
  expanded,
  noThread,
  prelude,
  type Thread,
  withChunk,
} from './ag-ui-thread.js'
import { fieldsOf, objectOf, textField } from './fields.js'
import { type Flow, flowed, type Move, noFlow } from './flow.js'
import { meaningOf, resultText } from './meaning.js'

const types =
  /^(RUN|STEP|TEXT_MESSAGE|TOOL_CALL|STATE|MESSAGES|ACTIVITY|REASONING|SUBAGENT)_[A-Z_]+$|^(RAW|CUSTOM)$/

interface State {
  readonly thread: Thread
  /** The flow of each agent that has published in this run; the session's own has the empty name. */
  readonly flows: { readonly [worker: string]: Flow }
  /** The prefix of this run's ids, because message ids must be unique in the whole thread. */
  readonly run: string
}

/**
 * AG-UI: a thread is a session, a sub-agent a worker of it. `POST /ag-ui/{thread}`, or `/ag-ui` with the thread in the
 * body: the current run, or the next one. The protocol has no cursor: a client that joins during a run gets the state,
 * all messages so far, and the beginnings of all open parts.
 *
 * An event published in this shape keeps its type, and its other fields become the data.
 */
const runs: DialectRuns<State> = {
  routes: [
    { method: 'POST', path: '/ag-ui/{session}', topic: (session) => `sessions/${session}/**` },
    { method: 'POST', path: '/ag-ui', topic: (session) => `sessions/${session}/**`, sessionIn: threadIn },
  ],
  ids: 'none',
  idle: 'next',
  slices: ['*', '!$*'],
  begin: () => ({ thread: noThread, flows: {}, run: '' }),
  tell,
  prelude: ({ thread }, { slices, session }) => blocksOf(prelude(thread, started(session, session), slices)),
  broken: (_, reason) => dataBlock({ type: 'RUN_ERROR', message: reason, code: 'interrupted' }),
  request,
}

export const agUi: Dialect = { name: 'ag-ui', runs, publish: read }

function tell(state: State, event: HubEvent, facts: RunFacts): Told<State> {
  const { type, data, worker } = event
  if (type === 'chat.request') return { state: asked(state, fieldsOf(data)), blocks: [] }
  if (type === 'state.update') return { state, blocks: [{ text: dataBlock(stateDelta(event)) }] }
  const opening = facts.opens ? opened(state, event, facts) : { state, events: [] }
  const own = types.test(type) ? ownEvents(opening.state, event) : undefined
  const meaning = own === undefined ? meaningOf(event) : undefined
  let told = opening
  if (own !== undefined && !facts.opens) told = withChunks(withEvents(told, own), type)
  else if (meaning !== undefined) {
    const agent = worker === undefined ? told : withAgent(told, worker, data)
    const { flow, moves } = flowed(agent.state.flows[worker ?? ''] ?? noFlow, meaning)
    const next = { ...agent.state, flows: { ...agent.state.flows, [worker ?? '']: flow } }
    told = withEvents(
      { ...agent, state: next },
      moves.flatMap((move) => moved(move, next.run, worker)),
    )
  } else if (worker !== undefined) told = ofAgent(told, event, worker)
  if (facts.ending !== undefined) told = withEvents(told, lastEvents(told.state, event, facts, facts.ending))
  const begun = told.events.length > 0 && state.thread.run === undefined && !facts.opens
  const events = begun ? [started(facts.session, facts.session), ...told.events] : told.events
  const thread = begun ? { ...told.state.thread, run: told.state.thread.run ?? events[0] } : told.state.thread
  const isOver = facts.ending !== undefined
  return {
    state: isOver
      ? { ...told.state, flows: {}, thread: { ...thread, run: undefined } }
      : { ...told.state, thread },
    blocks: events.map((object) => ({ text: dataBlock(object) })),
  }
}

interface Telling {
  readonly state: State
  readonly events: readonly JsonObject[]
}

function withEvents({ state, events }: Telling, further: readonly JsonObject[]): Telling {
  const thread = further.reduce((before, event) => after(before, event), state.thread)
  return { state: { ...state, thread }, events: [...events, ...further] }
}

function withChunks({ state, events }: Telling, type: string): Telling {
  return { state: { ...state, thread: withChunk(state.thread, { type }) }, events }
}

/** A run begins. If the client has already got its beginning, because the session had begun before, the run continues. */
function opened(state: State, event: HubEvent, { session }: RunFacts): Telling {
  const run = String(event.offset)
  const fresh = { ...state, run, flows: {} }
  if (state.thread.run !== undefined) return { state: fresh, events: [] }
  const { type, data } = event
  const fields = fieldsOf(data)
  const own =
    type === 'RUN_STARTED' ? { threadId: session, runId: `${session}-${run}`, ...fields } : undefined
  const named = typeof fields['run'] === 'string' ? fields['run'] : `${session}-${run}`
  const begun = own === undefined ? started(session, named) : { type, ...own }
  const { messages, messagesBytes, state: value, stateBytes } = state.thread
  const clean = { ...noThread, messages, messagesBytes, state: value, stateBytes }
  return withEvents({ state: { ...fresh, thread: clean }, events: [] }, [begun])
}

function started(threadId: string, runId: string): JsonObject {
  return { type: 'RUN_STARTED', threadId, runId }
}

/** Events published in this shape. Chunks are sent as the events that they stand for. */
function ownEvents({ thread }: State, { type, data }: HubEvent): readonly JsonObject[] {
  if (type === 'RUN_FINISHED' || type === 'RUN_ERROR') return []
  return expanded(thread, { type, ...fieldsOf(data) })
}

/** A worker's agent begins with its first event. */
function withAgent(told: Telling, worker: string, data: JsonValue): Telling {
  const { agents } = told.state.thread
  const subagentRunId = agentOf(told.state.run, worker)
  if (agents.some((agent) => agent['subagentRunId'] === subagentRunId)) return told
  const { parent } = fieldsOf(data)
  return withEvents(told, [
    {
      type: 'SUBAGENT_STARTED',
      subagentRunId,
      name: worker,
      ...(typeof parent === 'string' && { parentSubagentRunId: agentOf(told.state.run, parent) }),
    },
  ])
}

function agentOf(run: string, worker: string): string {
  return run === '' ? worker : `${worker}-${run}`
}

/** The beginning or the end of a worker. */
function ofAgent(told: Telling, event: HubEvent, worker: string): Telling {
  const { type, data } = event
  if (type === 'execution_started' || type === 'process.started') return withAgent(told, worker, data)
  const agent = agentOf(told.state.run, worker)
  if (!told.state.thread.agents.some((one) => one['subagentRunId'] === agent)) return told
  const { error, reason, code } = fieldsOf(data)
  const failed =
    type === 'execution_failed' || type === 'worker.lost' || (type === 'process.exited' && code !== 0)
  if (!failed && type !== 'execution_completed' && type !== 'process.exited') return told
  const message = [error, reason].find((one) => typeof one === 'string') ?? 'The agent failed.'
  const last: JsonObject = failed
    ? { type: 'SUBAGENT_ERROR', subagentRunId: agent, message }
    : { type: 'SUBAGENT_FINISHED', subagentRunId: agent }
  const { [worker]: _, ...flows } = told.state.flows
  return withEvents({ ...told, state: { ...told.state, flows } }, [
    ...endingsOf(told.state.thread, agent),
    last,
  ])
}

function moved(move: Move, run: string, worker: string | undefined): readonly JsonObject[] {
  const agent = worker === undefined ? {} : { subagentRunId: agentOf(run, worker) }
  const messageId = `${worker === undefined ? '' : `${worker}-`}${run}-${'id' in move ? move.id : ''}`
  switch (move.kind) {
    case 'openText':
      return [{ type: 'TEXT_MESSAGE_START', messageId, role: 'assistant', ...agent }]
    case 'text':
      return [{ type: 'TEXT_MESSAGE_CONTENT', messageId, delta: move.text, ...agent }]
    case 'closeText':
      return [{ type: 'TEXT_MESSAGE_END', messageId, ...agent }]
    case 'openReasoning':
      return [
        { type: 'REASONING_START', messageId, ...agent },
        { type: 'REASONING_MESSAGE_START', messageId, role: 'reasoning', ...agent },
      ]
    case 'reasoning':
      return [{ type: 'REASONING_MESSAGE_CONTENT', messageId, delta: move.text, ...agent }]
    case 'closeReasoning':
      return [
        { type: 'REASONING_MESSAGE_END', messageId, ...agent },
        { type: 'REASONING_END', messageId, ...agent },
      ]
    case 'openCall':
      return [{ type: 'TOOL_CALL_START', toolCallId: move.id, toolCallName: move.name, ...agent }]
    case 'typing':
      return [{ type: 'TOOL_CALL_ARGS', toolCallId: move.id, delta: move.text, ...agent }]
    case 'closeCall': {
      const end = { type: 'TOOL_CALL_END', toolCallId: move.id, ...agent }
      if (move.typed) return [end]
      return [
        { type: 'TOOL_CALL_ARGS', toolCallId: move.id, delta: JSON.stringify(move.input), ...agent },
        end,
      ]
    }
    case 'result': {
      const content = resultText(move.result)
      return [
        {
          type: 'TOOL_CALL_RESULT',
          messageId: `${messageId}-result`,
          toolCallId: move.id,
          content,
          ...agent,
        },
      ]
    }
    case 'turn':
      return []
    case 'other':
      return [{ type: 'CUSTOM', name: move.name, value: move.data, ...agent }]
  }
}

function lastEvents(
  { thread }: State,
  { type, data }: HubEvent,
  { session }: RunFacts,
  { result, reason }: RunEnding,
): readonly JsonObject[] {
  const run = thread.run ?? started(session, session)
  const ids = { threadId: run['threadId'] ?? session, runId: run['runId'] ?? session }
  const closing = endings(thread)
  const own = type === 'RUN_FINISHED' || type === 'RUN_ERROR'
  if (own) return [...closing, { type, ...(type === 'RUN_FINISHED' && ids), ...fieldsOf(data) }]
  switch (result) {
    case 'succeeded':
      return [...closing, { type: 'RUN_FINISHED', ...ids }]
    case 'cancelled':
      return [...closing, { type: 'RUN_FINISHED', ...ids, outcome: { type: 'cancelled' } }]
    case 'failed':
    case 'lost':
      return [...closing, { type: 'RUN_ERROR', message: reason ?? `The run is ${result}.`, code: result }]
  }
}

/** Makes a change of a slice a change of the whole state. */
function stateDelta({ data, worker }: HubEvent): JsonObject {
  const update = data as StateUpdate
  const slice = worker === undefined ? update.slice : `workers/${worker}/${update.slice}`
  const path = `/${slice.replaceAll('~', '~0').replaceAll('/', '~1')}`
  if ('patch' in update) {
    const delta = update.patch.map((operation) => ({
      ...operation,
      path: path + operation.path,
      ...('from' in operation && { from: path + operation.from }),
    }))
    return { type: 'STATE_DELTA', delta }
  }
  const operation: JsonObject =
    'value' in update ? { op: 'add', path, value: update.value } : { op: 'remove', path }
  return { type: 'STATE_DELTA', delta: [operation] }
}

/** The messages of an agent's input belong to the thread. */
function asked(state: State, { messages }: JsonObject): State {
  if (!Array.isArray(messages)) return state
  return {
    ...state,
    thread: { ...state.thread, messages: messages.filter((item): item is JsonObject => isObject(item)) },
  }
}

function blocksOf(events: readonly JsonObject[]): string {
  return events.map((event) => dataBlock(event)).join('')
}

function threadIn(body: JsonValue): string | undefined {
  const { threadId } = fieldsOf(body)
  return typeof threadId === 'string' && threadId !== '' ? threadId : undefined
}

/** Passes the last message of a front-end's request to the agent if a person wrote it; once per run id. */
function request({ body }: RunQuery): NewEvent | undefined {
  const { runId, messages, tools, context, forwardedProps, state, resume } = fieldsOf(body ?? null)
  const last = Array.isArray(messages) ? messages.at(-1) : undefined
  if (!isObject(last) || (last['role'] !== 'user' && last['role'] !== 'tool')) return undefined
  const given = { messages, tools, context, forwardedProps, state, resume } as Record<
    string,
    JsonValue | undefined
  >
  const data = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined),
  ) as JsonObject
  const id = typeof runId === 'string' && runId !== '' ? `ag-ui:${runId}`.slice(0, 128) : undefined
  return { type: 'chat.request', data, ...(id !== undefined && { id }) }
}

function read(value: JsonValue): DialectEvent {
  const object = objectOf(value, 'an event of AG-UI { type, … }')
  const type = textField(object, 'type')
  if (!types.test(type)) {
    const message = `event.type: expected a type of AG-UI, got ${quote(type)}`
    throw new ProtocolError('badFrame', message, { pointer: '/type' })
  }
  const { type: _, ...data } = object
  return { kind: 'event', event: { type, data } }
}
