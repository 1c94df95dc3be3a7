import { type Dialect, type DialectEvent, dataBlock } from '../codec/dialect.js'
import type { Block, DialectRuns, RunEnding, RunFacts, Told } from '../codec/runs.js'
import type { JsonObject, JsonValue } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { HubEvent } from '../protocol/frames.js'
import { fieldsOf, objectOf, textField } from './fields.js'
import { closed, type Flow, flowed, type Move, noFlow } from './flow.js'
import { failureText, meaningOf, type Usage } from './meaning.js'

const prefix = 'ai-sdk.'

/** Parts that clients of version 6 do not know and fail on. */
const newParts = ['custom', 'reasoning-file', 'reset-step', 'steering-message', 'tool-approval-response']
/** The values of `finishReason`; `interrupted` only in version 7. */
const reasons = ['stop', 'length', 'content-filter', 'tool-calls', 'error', 'other']

interface State {
  readonly variant: '6' | '7'
  readonly begun: boolean
  readonly inStep: boolean
  readonly flow: Flow
  readonly usage: Usage
}

/**
 * The UI message stream of the AI SDK (`ai` 5 to 7): `GET /api/chat/{chat}/stream`, by which its clients resume. They
 * have no cursor: the message that is being written is sent again from its beginning. Without one the answer is 204.
 *
 * A part published in this shape is an event `ai-sdk.<type>`, and its other fields are the data.
 */
const runs: DialectRuns<State> = {
  routes: [{ path: '/api/chat/{session}/stream' }],
  ids: 'cursor',
  idle: 'none',
  variant: ({ query }) => (query.get('v') === '7' ? '7' : '6'),
  begin: (variant) => ({
    variant: variant === '7' ? '7' : '6',
    begun: false,
    inStep: false,
    flow: noFlow,
    usage: { input: 0, output: 0, cached: 0 },
  }),
  tell,
  since({ query }) {
    const given = query.get('since')
    if (given === null || given === '') return undefined
    if (/^\d{1,15}$/.test(given)) return Number(given)
    throw new ProtocolError('badFrame', `since: expected an offset, got ${quote(given)}`)
  },
  headers: () => ({ 'x-vercel-ai-ui-message-stream': 'v1' }),
}

export const aiSdk: Dialect = { name: 'ai-sdk', runs, publish: read }

function tell(state: State, event: HubEvent, facts: RunFacts): Told<State> {
  if (!facts.own) return { state, blocks: [] }
  const { type } = event
  if (type.startsWith(prefix)) return ownPart(state, event, facts)
  const begun = facts.opens ? begin(state, event, facts) : { state, blocks: [] }
  if (facts.ending !== undefined) return joined(begun, finish(begun.state, event, facts, facts.ending))
  const meaning = meaningOf(event)
  if (meaning === undefined) return begun
  const { flow, moves } = flowed(begun.state.flow, meaning)
  const next = begin({ ...begun.state, flow }, event, facts)
  return moves.reduce<Told<State>>((told, move) => joined(told, moved(told.state, move)), joined(begun, next))
}

/** @param then the parts that follow */
function joined(told: Told<State>, then: Told<State>): Told<State> {
  return { state: then.state, blocks: [...told.blocks, ...then.blocks] }
}

/** The message has an id of its own: sent again, it replaces the client's incomplete copy. */
function begin(state: State, event: HubEvent, { session, opens }: RunFacts): Told<State> {
  if (state.begun) return { state, blocks: [] }
  const { message } = fieldsOf(event.data)
  const named = opens && typeof message === 'string' ? message : undefined
  const messageId = named ?? (opens ? `${session}-${event.offset}` : session)
  return { state: { ...state, begun: true }, blocks: [part({ type: 'start', messageId })] }
}

function moved(state: State, move: Move): Told<State> {
  switch (move.kind) {
    case 'openText':
      return inStep(state, { type: 'text-start', id: move.id })
    case 'text':
      return inStep(state, { type: 'text-delta', id: move.id, delta: move.text })
    case 'closeText':
      return inStep(state, { type: 'text-end', id: move.id })
    case 'openReasoning':
      return inStep(state, { type: 'reasoning-start', id: move.id })
    case 'reasoning':
      return inStep(state, { type: 'reasoning-delta', id: move.id, delta: move.text })
    case 'closeReasoning':
      return inStep(state, { type: 'reasoning-end', id: move.id })
    case 'openCall':
      if (!move.typed) return { state, blocks: [] }
      return inStep(state, { type: 'tool-input-start', toolCallId: move.id, toolName: move.name })
    case 'typing':
      return inStep(state, { type: 'tool-input-delta', toolCallId: move.id, inputTextDelta: move.text })
    case 'closeCall': {
      const { id: toolCallId, name: toolName, input } = move
      return inStep(state, { type: 'tool-input-available', toolCallId, toolName, input })
    }
    case 'result': {
      const { id: toolCallId, result, failed } = move
      if (!failed) return inStep(state, { type: 'tool-output-available', toolCallId, output: result })
      return inStep(state, { type: 'tool-output-error', toolCallId, errorText: failureText(result) })
    }
    case 'turn':
      return turn(state, move.usage, move.model)
    case 'other':
      return inStep(state, { type: `data-${move.name.replace(/^data-/, '')}`, data: move.data })
  }
}

function turn(state: State, { input, output, cached }: Usage, model: string | undefined): Told<State> {
  const { usage: before } = state
  const usage = {
    input: before.input + input,
    output: before.output + output,
    cached: before.cached + cached,
  }
  const messageMetadata = {
    ...(model !== undefined && { model }),
    usage: { inputTokens: usage.input, outputTokens: usage.output, cachedInputTokens: usage.cached },
  }
  const blocks = [part({ type: 'message-metadata', messageMetadata })]
  if (state.inStep) blocks.push(part({ type: 'finish-step' }))
  return { state: { ...state, usage, inStep: false }, blocks }
}

/** A step begins with its first part. */
function inStep(state: State, value: JsonObject): Told<State> {
  if (state.inStep) return { state, blocks: [part(value)] }
  return { state: { ...state, inStep: true }, blocks: [part({ type: 'start-step' }), part(value)] }
}

function finish(state: State, event: HubEvent, facts: RunFacts, { result, reason }: RunEnding): Told<State> {
  const begun = begin(state, event, facts)
  const { flow, moves } = closed(begun.state.flow)
  const told = moves.reduce<Told<State>>((before, move) => joined(before, moved(before.state, move)), {
    state: { ...begun.state, flow },
    blocks: begun.blocks,
  })
  const step = told.state.inStep ? [part({ type: 'finish-step' })] : []
  const last = lastPart(result, reason)
  return { state: { ...told.state, inStep: false }, blocks: [...told.blocks, ...step, ...last, done] }
}

function lastPart(result: RunEnding['result'], reason: string | undefined): Block[] {
  switch (result) {
    case 'succeeded':
      return [part({ type: 'finish', finishReason: 'stop' })]
    case 'cancelled':
      return [part({ type: 'abort', ...(reason !== undefined && { reason }) })]
    case 'failed':
    case 'lost':
      return [
        part({
          type: 'error',
          errorText: reason ?? (result === 'lost' ? 'The agent is lost.' : 'The run failed.'),
        }),
      ]
  }
}

/** Parts published in this shape are sent unchanged, if the client knows them. */
function ownPart(state: State, { type: full, offset, data }: HubEvent, facts: RunFacts): Told<State> {
  const type = full === failedFinish ? 'finish' : full.slice(prefix.length)
  const fields: Record<string, JsonValue> = { ...fieldsOf(data) }
  if (type === 'start') fields['messageId'] ??= `${facts.session}-${offset}`
  const next = type === 'start' || state.begun ? { ...state, begun: true } : state
  const begun = next.begun
    ? { state: next, blocks: [] }
    : begin(next, { type: full, offset, data } as HubEvent, facts)
  const reason = fields['finishReason']
  if (state.variant === '6') {
    if (newParts.includes(type)) return begun
    delete fields['citations']
  }
  const known = state.variant === '7' ? [...reasons, 'interrupted'] : reasons
  if (typeof reason === 'string' && !known.includes(reason)) fields['finishReason'] = 'other'
  const own = part({ type, ...fields })
  return { state: begun.state, blocks: [...begun.blocks, own, ...(facts.ending === undefined ? [] : [done])] }
}

function part(value: JsonObject): Block {
  return { text: dataBlock(value) }
}

const done: Block = { text: 'data: [DONE]\n\n' }

/** The parts that the SDK sends after an error; the run has failed nevertheless. */
const failedFinish = `${prefix}finish-failed`

function read(value: JsonValue): DialectEvent {
  const object = objectOf(value, 'a part of a UI message stream { type, … }')
  const type = textField(object, 'type')
  const { type: _, ...data } = object
  const failed = type === 'finish' && data['finishReason'] === 'error'
  return { kind: 'event', event: { type: failed ? failedFinish : `${prefix}${type}`, data } }
}
