import { countText } from './format.js'
import { type Fields, fieldsOf, type Json } from './model.js'

/** The condition of a session or worker as the page shows it, in order of urgency. */
export const standings = [
  'asks',
  'failed',
  'lost',
  'stalled',
  'running',
  'paused',
  'waiting',
  'cancelled',
  'ended',
  'succeeded',
] as const

export type Standing = (typeof standings)[number]

/** The sign beside a name, because colour alone is not enough. */
export const marks: Readonly<Record<Standing, string>> = {
  asks: '?',
  failed: '✕',
  lost: '⚡',
  stalled: '!',
  running: '●',
  paused: '‖',
  waiting: '○',
  cancelled: '⊘',
  ended: '■',
  succeeded: '✓',
}

/** @returns the standing of a session or worker. @param about its entry in the hub's slices */
export function standingOf(about: Fields): Standing {
  const { status, result } = about
  if (needsOf(about) > 0 && status !== 'ended') return 'asks'
  if (result === 'failed' || result === 'lost' || result === 'cancelled' || result === 'succeeded')
    return result
  if (status === 'running') return about['stalled'] === undefined ? 'running' : 'stalled'
  if (status === 'paused' || status === 'ended') return status
  return 'waiting'
}

/** @returns the number of open questions. The slices of a session list them, the list of sessions has their number. */
export function needsOf({ needs, needsMore }: Fields): number {
  const listed = Array.isArray(needs) ? needs.length : numberOf(needs)
  return listed + numberOf(needsMore)
}

/** @returns the text beside a standing: `exit 3`, the open question, why it is stalled; empty if there is none */
export function reasonOf(about: Fields): string {
  const [need] = listedNeeds(about)
  if (standingOf(about) === 'asks' && need !== undefined) return need.text
  const stalled = fieldsOf(about['stalled'])
  if (standingOf(about) === 'stalled' && typeof stalled['why'] === 'string') return stalled['why']
  return typeof about['reason'] === 'string' ? about['reason'] : ''
}

/** A question to a person, as the slices list it. */
export interface Need {
  readonly kind: string
  readonly key: string
  readonly text: string
  readonly time: number
}

/** @returns a kind or a key as text: keys are strings or offsets */
export function nameIn(value: Json | undefined): string {
  return typeof value === 'string' || typeof value === 'number' ? `${value}` : ''
}

export function listedNeeds({ needs }: Fields): readonly Need[] {
  if (!Array.isArray(needs)) return []
  return needs.map(fieldsOf).map(({ kind, key, text, time }) => ({
    kind: nameIn(kind),
    key: nameIn(key),
    text: typeof text === 'string' && text !== '' ? text : `asks for ${nameIn(kind)}`,
    time: numberOf(time),
  }))
}

/** @returns `12.5 k tokens · $0.04`; empty if there is no usage */
export function usageText(usage: Json | undefined): string {
  const { input_tokens, output_tokens, cost_usd } = fieldsOf(usage)
  const tokens = numberOf(input_tokens) + numberOf(output_tokens)
  const cost = numberOf(cost_usd)
  const texts = [
    tokens === 0 ? '' : tokens < 1_000 ? countText(tokens, 'token') : `${shortNumber(tokens)} tokens`,
    cost === 0 ? '' : `$${cost < 0.01 ? cost.toPrecision(2) : cost.toFixed(2)}`,
  ]
  return texts.filter((text) => text !== '').join(' · ')
}

function shortNumber(count: number): string {
  if (count >= 1e6) return `${(count / 1e6).toFixed(1)} M`
  return count >= 1e5 ? `${Math.round(count / 1e3)} k` : `${(count / 1e3).toFixed(1)} k`
}

export function numberOf(value: Json | undefined): number {
  return typeof value === 'number' ? value : 0
}

/** @returns the sessions or workers in order of urgency; the order within one standing does not change */
export function byStanding<Named>(all: readonly Named[], aboutOf: (one: Named) => Fields): Named[] {
  const rank = (one: Named): number => {
    const at = standings.indexOf(standingOf(aboutOf(one)))
    // Running and ended ones keep their order, so that a row does not move when it ends.
    return at < standings.indexOf('running') ? at : standings.length
  }
  return all.toSorted((one, other) => rank(one) - rank(other))
}
