import { formatMark, padFor } from '../harness/event.js'
import type { Round } from '../harness/messages.js'
import { readTokens } from '../harness/tokens.js'

/** The type of an event that holds text, of the built-in catalog. */
export const tokenType = 'llm_text_delta'
/** The slice that changes, and what is known of it when it does. */
export const benchSlice = 'plan'

/** What the events of a round hold. */
export type DataOf = (number: number, stamp: number) => object

/** @returns what makes the `data` of the events of a round that publishes events. */
export function dataFor({ bytes, content }: Round): DataOf {
  if (content === 'tokens') {
    const { texts } = readTokens()
    return (number, stamp) => ({
      mark: formatMark(number, stamp),
      content: texts[number % texts.length] as string,
    })
  }
  const pad = padFor(bytes)
  return (number, stamp) => ({ mark: formatMark(number, stamp), pad })
}

interface Step {
  readonly title: string
  readonly status: string
  readonly notes: string
}

/** A state as an agent's plan is one: a list of steps, of which each change marks one. */
export type Plan = { readonly mark: string; readonly steps: readonly Step[] }

const statuses = ['waiting', 'running', 'done', 'failed']
const stepBytes = 250

/** @returns the first value, of about so many bytes of JSON. */
export function firstPlan(bytes: number): Plan {
  const notes = padFor(stepBytes - 40)
  const steps = Array.from({ length: Math.round(bytes / stepBytes) }, (_, index) => ({
    title: `step ${index}`,
    status: 'waiting',
    notes,
  }))
  return { mark: formatMark(0, 0), steps }
}

/** @returns the next value; it shares with `plan` what has not changed. */
export function nextPlan(plan: Plan, number: number, stamp: number): Plan {
  const at = number % plan.steps.length
  const step = plan.steps[at] as Step
  return {
    mark: formatMark(number, stamp),
    steps: plan.steps.with(at, { ...step, status: statusOf(number, plan) }),
  }
}

/** @returns the patch that leads to what `nextPlan` returns. */
export function patchOf(plan: Plan, number: number, stamp: number): object[] {
  return [
    { op: 'replace', path: '/mark', value: formatMark(number, stamp) },
    { op: 'replace', path: `/steps/${number % plan.steps.length}/status`, value: statusOf(number, plan) },
  ]
}

function statusOf(number: number, { steps }: Plan): string {
  return statuses[Math.floor(number / steps.length + 1) % statuses.length] as string
}
