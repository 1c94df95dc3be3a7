import type { JsonValue } from '../lib/json.js'
import { embeddedJson } from '../lib/json-text.js'
import { defaultLimits } from '../protocol/limits.js'
import type { Meaning, Usage } from './meaning.js'

/** The open parts in the output of one agent: at most one text, reasoning or growing input at a time. */
export interface Flow {
  readonly open: Open | undefined
  /** Calls whose result has not come. */
  readonly calls: readonly Call[]
  /** The number of parts opened so far. Ids made from it are the same each time the run is sent. */
  readonly opened: number
}

export interface Call {
  readonly id: string
  readonly name: string
}

type Open =
  | { readonly kind: 'text'; readonly id: string; readonly named: string | undefined }
  | { readonly kind: 'reasoning'; readonly id: string }
  | { readonly kind: 'typing'; readonly id: string; readonly name: string; readonly json: string }

/** The steps of protocols that open and close their parts. */
export type Move =
  | { readonly kind: 'openText' | 'closeText' | 'openReasoning' | 'closeReasoning'; readonly id: string }
  | { readonly kind: 'text' | 'reasoning'; readonly id: string; readonly text: string }
  | { readonly kind: 'openCall'; readonly id: string; readonly name: string; readonly typed: boolean }
  | { readonly kind: 'typing'; readonly id: string; readonly text: string }
  | {
      readonly kind: 'closeCall'
      readonly id: string
      readonly name: string
      readonly input: JsonValue
      /** Its input has come in pieces. */
      readonly typed: boolean
    }
  | {
      readonly kind: 'result'
      readonly id: string
      readonly name: string
      readonly result: JsonValue
      readonly failed: boolean
    }
  | { readonly kind: 'turn'; readonly model?: string; readonly usage: Usage }
  | { readonly kind: 'other'; readonly name: string; readonly data: JsonValue }

export interface Flowed {
  readonly flow: Flow
  readonly moves: readonly Move[]
}

export const noFlow: Flow = { open: undefined, calls: [], opened: 0 }

// Maximum of calls without a result; beyond it the oldest is forgotten.
const openCallsMax = 1_000

/** @returns the steps that an event makes for clients that have received everything before it */
export function flowed(flow: Flow, meaning: Meaning): Flowed {
  switch (meaning.kind) {
    case 'text':
      return onText(flow, meaning.id, meaning.text)
    case 'textEnd':
      return closed(flow)
    case 'reasoning': {
      if (meaning.text === '') return { flow, moves: [] }
      const { open } = flow
      if (open?.kind === 'reasoning')
        return { flow, moves: [{ kind: 'reasoning', id: open.id, text: meaning.text }] }
      const before = closed(flow)
      const id = `reasoning-${flow.opened + 1}`
      return {
        flow: { ...before.flow, open: { kind: 'reasoning', id }, opened: flow.opened + 1 },
        moves: [
          ...before.moves,
          { kind: 'openReasoning', id },
          { kind: 'reasoning', id, text: meaning.text },
        ],
      }
    }
    case 'typing':
      return onTyping(flow, meaning)
    case 'call':
      return onCall(flow, meaning)
    case 'result':
      return onResult(flow, meaning)
    case 'turn': {
      const before = closed(flow)
      return { flow: before.flow, moves: [...before.moves, meaning] }
    }
    case 'other':
      return { flow, moves: [meaning] }
  }
}

/** @returns the flow with nothing open */
export function closed(flow: Flow): Flowed {
  const { open } = flow
  if (open === undefined) return { flow, moves: [] }
  const next = { ...flow, open: undefined }
  switch (open.kind) {
    case 'text':
      return { flow: next, moves: [{ kind: 'closeText', id: open.id }] }
    case 'reasoning':
      return { flow: next, moves: [{ kind: 'closeReasoning', id: open.id }] }
    case 'typing': {
      const call = { id: open.id, name: open.name }
      const close: Move = {
        kind: 'closeCall',
        ...call,
        input: embeddedJson(open.json, defaultLimits),
        typed: true,
      }
      return { flow: { ...next, calls: withCall(next.calls, call) }, moves: [close] }
    }
  }
}

function onText(flow: Flow, named: string | undefined, text: string): Flowed {
  const { open } = flow
  if (open?.kind === 'text' && open.named === named) {
    return { flow, moves: text === '' ? [] : [{ kind: 'text', id: open.id, text }] }
  }
  if (text === '' && named === undefined) return { flow, moves: [] }
  const before = closed(flow)
  const opened = flow.opened + 1
  const id = `${named ?? 'text'}-${opened}`
  return {
    flow: { ...before.flow, open: { kind: 'text', id, named }, opened },
    moves: [
      ...before.moves,
      { kind: 'openText', id },
      ...(text === '' ? [] : [{ kind: 'text', id, text } as const]),
    ],
  }
}

function onTyping(flow: Flow, { id, name, text }: Extract<Meaning, { kind: 'typing' }>): Flowed {
  const { open } = flow
  const typed: readonly Move[] = text === '' ? [] : [{ kind: 'typing', id, text }]
  if (open?.kind === 'typing' && open.id === id) {
    return { flow: { ...flow, open: { ...open, json: open.json + text } }, moves: typed }
  }
  const before = closed(flow)
  const called = name ?? 'tool'
  return {
    flow: { ...before.flow, open: { kind: 'typing', id, name: called, json: text } },
    moves: [...before.moves, { kind: 'openCall', id, name: called, typed: true }, ...typed],
  }
}

function onCall(flow: Flow, { id: given, name, input }: Extract<Meaning, { kind: 'call' }>): Flowed {
  const { open } = flow
  if (open?.kind === 'typing' && open.id === given) {
    const call = { id: open.id, name }
    return {
      flow: { ...flow, open: undefined, calls: withCall(flow.calls, call) },
      moves: [{ kind: 'closeCall', ...call, input, typed: true }],
    }
  }
  const before = closed(flow)
  const opened = flow.opened + 1
  const call = { id: given ?? `call-${opened}`, name }
  return {
    flow: { ...before.flow, opened, calls: withCall(before.flow.calls, call) },
    moves: [
      ...before.moves,
      { kind: 'openCall', ...call, typed: false },
      { kind: 'closeCall', ...call, input, typed: false },
    ],
  }
}

/** A result of an unknown call opens the call first. A result without an id belongs to the oldest open call with its name. */
function onResult(flow: Flow, meaning: Extract<Meaning, { kind: 'result' }>): Flowed {
  const before = closed(flow)
  const { result, failed } = meaning
  const call = before.flow.calls.find(({ id, name }) =>
    meaning.id === undefined ? name === meaning.name : id === meaning.id,
  )
  if (call === undefined) {
    const { id, name = 'tool' } = meaning
    const made = onCall(before.flow, { kind: 'call', ...(id !== undefined && { id }), name, input: {} })
    const after = onResult(made.flow, { ...meaning, id: made.flow.calls.at(-1)?.id ?? '' })
    return { flow: after.flow, moves: [...before.moves, ...made.moves, ...after.moves] }
  }
  return {
    flow: { ...before.flow, calls: before.flow.calls.filter((other) => other !== call) },
    moves: [...before.moves, { kind: 'result', ...call, result, failed }],
  }
}

function withCall(calls: readonly Call[], call: Call): readonly Call[] {
  return [...calls.filter(({ id }) => id !== call.id), call].slice(-openCallsMax)
}
