import { type Dialect, dataBlock } from '../codec/dialect.js'
import type { Block, DialectRuns, RunEnding, RunFacts, RunQuery, Told } from '../codec/runs.js'
import type { JsonObject, JsonValue } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { HubEvent } from '../protocol/frames.js'
import { fieldsOf } from './fields.js'
import { closed, type Flow, flowed, type Move, noFlow } from './flow.js'
import { failureText, saidBy, type Usage } from './said.js'

// Of one event there may be so many: their numbers lie between those of the events before and after it.
const perEvent = 64

const channels = [
  'lifecycle',
  'messages',
  'tools',
  'input',
  'custom',
  'values',
  'updates',
  'checkpoints',
  'tasks',
]

/** What asks a person. */
const asking = new Set(['client_input_requested', 'data-permission-request', 'credentials_required'])

/** The message that is being written, and its blocks. */
interface Open {
  readonly id: string
  readonly index: number
  /** Of the block that is open: what came so far. */
  readonly text: string
}

interface State {
  /** Those that are asked for. */
  readonly channels: readonly string[]
  readonly begun: boolean
  readonly flow: Flow
  readonly message: Open | undefined
}

/** What is told of an event, in the order in which it is told. */
interface Telling {
  readonly state: State
  readonly told: readonly (readonly [method: string, data: JsonObject])[]
}

/**
 * The events of LangGraph's protocol v2: `POST /threads/{thread}/stream/events` with `{ channels, since? }`, where the thread is
 * the session. A response tells one run; its clients come back, and are told the next.
 */
const runs: DialectRuns<State> = {
  routes: [{ method: 'POST', path: '/threads/{session}/stream/events' }],
  ids: 'cursor',
  oneByOne: true,
  idle: 'next',
  variant: (asked) => channelsOf(asked).join(','),
  begin: (variant) => ({ channels: variant.split(','), begun: false, flow: noFlow, message: undefined }),
  tell,
  after({ body }) {
    const { since } = fieldsOf(body ?? null)
    if (since === undefined) return undefined
    if (Number.isSafeInteger(since) && Number(since) >= 0) return Number(since)
    throw new ProtocolError('badFrame', `since: expected a sequence number, got ${quote(since)}`)
  },
  refusal: (code, message) => ({ detail: message, code }),
}

export const langgraphEvents: Dialect = { name: 'langgraph-events', runs }

function channelsOf({ body }: RunQuery): readonly string[] {
  const asked = fieldsOf(body ?? null)['channels'] ?? channels
  const isKnown = (one: JsonValue) =>
    typeof one === 'string' && channels.includes(one.replace(/^custom:.+$/, 'custom'))
  if (!Array.isArray(asked) || asked.length > channels.length || !asked.every(isKnown)) {
    throw new ProtocolError(
      'badFrame',
      `channels: expected a list of ${channels.join(', ')}, got ${quote(asked)}`,
    )
  }
  const names = (asked as readonly string[]).map((name) => name.replace(/^custom:.+$/, 'custom'))
  return [...new Set(names)].sort()
}

function tell(state: State, event: HubEvent, facts: RunFacts): Told<State> {
  if (!facts.own) return { state, blocks: [] }
  let telling: Telling = { state, told: [] }
  const said = saidBy(event)
  const isFirst = facts.opens || said !== undefined || facts.ending !== undefined
  if (isFirst && !state.begun) {
    telling = {
      state: { ...state, begun: true },
      told: [['lifecycle', { event: 'started', graph_name: 'agent' }]],
    }
  }
  if (facts.ending !== undefined) telling = last(telling, event, facts.ending)
  else if (said !== undefined) {
    const { flow, moves } = flowed(telling.state.flow, said)
    telling = moves.reduce((before, move) => moved(before, move, event), {
      ...telling,
      state: { ...telling.state, flow },
    })
  }
  return { state: telling.state, blocks: blocksOf(telling, event) }
}

function blocksOf({ state, told }: Telling, { offset, time }: HubEvent): readonly Block[] {
  return told.slice(0, perEvent).flatMap(([method, data], at) => {
    const number = offset * perEvent + at
    const channel = method.startsWith('input.') ? 'input' : method
    if (!state.channels.includes(channel)) return []
    const params = { namespace: [], timestamp: time, data }
    return [
      {
        text: dataBlock({ type: 'event', event_id: `${offset}.${at}`, seq: number, method, params }),
        number,
      },
    ]
  })
}

function say({ state, told }: Telling, method: string, data: JsonObject, more: Partial<State> = {}): Telling {
  return { state: { ...state, ...more }, told: [...told, [method, data]] }
}

function moved(telling: Telling, move: Move, event: HubEvent): Telling {
  switch (move.kind) {
    case 'openText':
      return openBlock(telling, { type: 'text', text: '' }, event)
    case 'text':
      return grown(telling, { type: 'text-delta', text: move.text }, move.text)
    case 'closeText':
      return closeBlock(telling, (text) => ({ type: 'text', text }))
    case 'openReasoning':
      return openBlock(telling, { type: 'reasoning', reasoning: '' }, event)
    case 'reasoning':
      return grown(telling, { type: 'reasoning-delta', reasoning: move.text }, move.text)
    case 'closeReasoning':
      return closeBlock(telling, (reasoning) => ({ type: 'reasoning', reasoning }))
    case 'openCall':
      return openBlock(telling, { type: 'tool_call_chunk', id: move.id, name: move.name, args: '' }, event)
    case 'typing':
      return grown(telling, { type: 'tool-call-delta', args: move.text }, move.text)
    case 'closeCall': {
      const { id, name, input } = move
      const args = fieldsOf(input)
      const done = closeBlock(telling, () => ({ type: 'tool_call', id, name, args }))
      return say(done, 'tools', { event: 'tool-started', tool_call_id: id, tool_name: name, input })
    }
    case 'result': {
      const { id, result, failed } = move
      const data: JsonObject = failed
        ? { event: 'tool-error', tool_call_id: id, message: failureText(result) }
        : { event: 'tool-finished', tool_call_id: id, output: result }
      return say(finished(telling, undefined), 'tools', data)
    }
    case 'turn':
      return finished(telling, move.usage)
    case 'other': {
      const { name, data } = move
      if (!asking.has(name)) return say(telling, 'custom', { name, payload: data })
      const { request_id: id } = fieldsOf(data)
      const asked = typeof id === 'string' ? id : String(event.offset)
      return say(telling, 'input.requested', { interrupt_id: asked, payload: data })
    }
  }
}

/** A block begins, and with the first the message that it is in. */
function openBlock(telling: Telling, content: JsonObject, { offset }: HubEvent): Telling {
  const { message } = telling.state
  const id = message?.id ?? `message-${offset}`
  const index = message === undefined ? 0 : message.index + 1
  const begun =
    message === undefined ? say(telling, 'messages', { event: 'message-start', role: 'ai', id }) : telling
  return say(
    begun,
    'messages',
    { event: 'content-block-start', index, content },
    { message: { id, index, text: '' } },
  )
}

function grown(telling: Telling, delta: JsonObject, text: string): Telling {
  const { message } = telling.state
  if (message === undefined) return telling
  const next = { ...message, text: message.text + text }
  const data = { event: 'content-block-delta', index: message.index, delta }
  return say(telling, 'messages', data, { message: next })
}

function closeBlock(telling: Telling, content: (text: string) => JsonObject): Telling {
  const { message } = telling.state
  if (message === undefined) return telling
  const { index, text } = message
  return say(telling, 'messages', { event: 'content-block-finish', index, content: content(text) })
}

function finished(telling: Telling, usage: Usage | undefined): Telling {
  if (telling.state.message === undefined) return telling
  const about = usage && {
    usage: {
      input_tokens: usage.input,
      output_tokens: usage.output,
      total_tokens: usage.input + usage.output,
      input_token_details: { cache_read: usage.cached },
    },
  }
  return say(telling, 'messages', { event: 'message-finish', ...about }, { message: undefined })
}

function last(telling: Telling, event: HubEvent, { result, reason }: RunEnding): Telling {
  const { flow, moves } = closed(telling.state.flow)
  const before = { ...telling, state: { ...telling.state, flow } }
  const done = finished(
    moves.reduce((one, move) => moved(one, move, event), before),
    undefined,
  )
  if (result === 'succeeded') return say(done, 'lifecycle', { event: 'completed', graph_name: 'agent' })
  if (result === 'cancelled') return say(done, 'lifecycle', { event: 'interrupted', graph_name: 'agent' })
  return say(done, 'lifecycle', {
    event: 'failed',
    graph_name: 'agent',
    error: reason ?? `The run is ${result}.`,
  })
}
