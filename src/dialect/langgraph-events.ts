import { type Dialect, dataBlock } from '../codec/dialect.js'
import type { Block, DialectRuns, RunEnding, RunFacts, RunQuery, Told } from '../codec/runs.js'
import type { JsonValue } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { HubEvent } from '../protocol/frames.js'
import { fieldsOf } from './fields.js'
import { noFlow } from './flow.js'
import { type MessageMode, type Mode, modesOf } from './langgraph-modes.js'
import {
  closedAll,
  finished,
  type GraphMessage,
  type GraphTranslation,
  resultOf,
  type State,
  type Writing,
  withEvent,
  withMeaning,
} from './langgraph-translation.js'
import { failureText, type Meaning, meaningOf } from './meaning.js'

// Maximum of messages per event: their numbers lie between those of the events before and after it.
const perEvent = 64

// Maximum of messages of a graph that are remembered; beyond it the oldest is forgotten.
const messagesMax = 100

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
  begin: (variant) => ({
    channels: variant.split(','),
    begun: false,
    flow: noFlow,
    message: undefined,
    messages: [],
  }),
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
  let translation: GraphTranslation = { state, events: [], namespace: [] }
  const meaning = meaningOf(event)
  const graph = modesOf(event)
  const isFirst = facts.opens || meaning !== undefined || graph !== undefined || facts.ending !== undefined
  if (isFirst && !state.begun) {
    translation = withEvent(
      translation,
      'lifecycle',
      { event: 'started', graph_name: 'agent' },
      { begun: true },
    )
  }
  if (facts.ending !== undefined) {
    const { ending } = facts
    const isError = graph !== undefined && ending.result === 'failed'
    translation = last(translation, event, isError ? { ...ending, reason: failureText(graph.data) } : ending)
  } else if (graph !== undefined) {
    const within = { ...translation, namespace: graph.namespace }
    translation = graph.modes.reduce((before, mode) => withMode(before, mode, event), within)
  } else if (meaning !== undefined) translation = withMeaning(translation, meaning, event)
  return { state: translation.state, blocks: blocksOf(translation, event) }
}

function withMode(translation: GraphTranslation, mode: Mode, event: HubEvent): GraphTranslation {
  switch (mode.kind) {
    case 'data':
      return withEvent(translation, mode.method, mode.data)
    case 'message':
      return written(translation, mode, event)
    case 'result': {
      const { call, result, failed } = mode
      const calling = translation.state.messages.find(
        ({ over, flow: { open, calls } }) =>
          !over && (calls.some(({ id }) => id === call) || (open?.kind === 'typing' && open.id === call)),
      )
      const before = calling === undefined ? translation : ended(translation, calling, event)
      return withEvent(before, 'tools', resultOf(call, result, failed))
    }
  }
}

/** More of a message of a graph. */
function written(translation: GraphTranslation, mode: MessageMode, event: HubEvent): GraphTranslation {
  const key = [...translation.namespace, mode.id ?? ''].join('|')
  const known = translation.state.messages.find((one) => one.key === key)
  const before: GraphMessage = known ?? {
    key,
    namespace: translation.namespace,
    flow: noFlow,
    message: undefined,
    text: 0,
    reasoning: 0,
    whole: false,
    stops: false,
    over: false,
    usage: undefined,
  }
  // Who publishes chunks and whole messages tells each text twice.
  if (mode.whole ? before.over : before.whole) return translation
  const text = mode.whole ? mode.text.slice(before.text) : mode.text
  const reasoning = mode.whole ? mode.reasoning.slice(before.reasoning) : mode.reasoning
  const more: Meaning[] = [{ kind: 'reasoning', text: reasoning }]
  if (text !== '') more.push({ kind: 'text', text })
  let next = more.reduce(
    (one, meaning) => withMeaning(one, meaning, event),
    taken(translation, before, mode.id),
  )
  for (const call of mode.calls) next = called(next, call, event)
  const message: GraphMessage = {
    ...before,
    text: before.text + text.length,
    reasoning: before.reasoning + reasoning.length,
    whole: mode.whole,
    stops: before.stops || mode.stops,
    over: false,
    usage: mode.usage ?? before.usage,
  }
  const over = mode.over || (message.stops && message.usage !== undefined)
  return over ? ended(kept(next, message), message, event) : kept(next, message)
}

function called(
  translation: GraphTranslation,
  call: MessageMode['calls'][number],
  event: HubEvent,
): GraphTranslation {
  const { open, calls } = translation.state.flow
  if (call.kind === 'call') {
    return calls.some(({ id }) => id === call.id) ? translation : withMeaning(translation, call, event)
  }
  const id = call.id || (open?.kind === 'typing' ? open.id : '')
  return id === '' ? translation : withMeaning(translation, { ...call, id }, event)
}

/** @returns the translation with a message of a graph in hand */
function taken(translation: GraphTranslation, { flow, message }: Writing, named?: string): GraphTranslation {
  return { ...translation, state: { ...translation.state, flow, message }, named }
}

/** Puts back what is in hand. */
function kept(translation: GraphTranslation, about: GraphMessage): GraphTranslation {
  const { flow, message, messages } = translation.state
  const one = { ...about, flow, message }
  const others = messages.filter(({ key }) => key !== about.key)
  const { state, ...rest } = taken(translation, { flow: noFlow, message: undefined })
  return { ...rest, state: { ...state, messages: [...others, one].slice(-messagesMax) } }
}

/** A message of a graph is over. */
function ended(translation: GraphTranslation, { key }: GraphMessage, event: HubEvent): GraphTranslation {
  const one = translation.state.messages.find((message) => message.key === key)
  if (one === undefined || one.over) return translation
  const within = { ...taken(translation, one), namespace: one.namespace }
  const done = kept(finished(closedAll(within, event), one.usage), { ...one, over: true })
  return { ...done, namespace: translation.namespace }
}

function blocksOf({ state, events }: GraphTranslation, { offset, time }: HubEvent): readonly Block[] {
  return events.slice(0, perEvent).flatMap(([method, data, namespace], at) => {
    const number = offset * perEvent + at
    const channel = method.startsWith('input.') ? 'input' : method
    if (!state.channels.includes(channel)) return []
    const params = { namespace, timestamp: time, data }
    return [
      {
        text: dataBlock({ type: 'event', event_id: `${offset}.${at}`, seq: number, method, params }),
        number,
      },
    ]
  })
}

function last(
  translation: GraphTranslation,
  event: HubEvent,
  { result, reason }: RunEnding,
): GraphTranslation {
  const before = translation.state.messages.reduce((one, message) => ended(one, message, event), translation)
  const done = finished(closedAll(before, event), undefined)
  if (result === 'succeeded') return withEvent(done, 'lifecycle', { event: 'completed', graph_name: 'agent' })
  if (result === 'cancelled')
    return withEvent(done, 'lifecycle', { event: 'interrupted', graph_name: 'agent' })
  return withEvent(done, 'lifecycle', {
    event: 'failed',
    graph_name: 'agent',
    error: reason ?? `The run is ${result}.`,
  })
}
