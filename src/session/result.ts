import type { Ends, PublisherStatus, Result, Traits } from '../catalog/traits.js'
import { cutText } from '../lib/cut-text.js'
import { fieldsOf, type JsonObject, type JsonValue } from '../lib/json.js'
import type { HubEvent } from '../protocol/frames.js'

/** The result of a worker or session: `lost` if its lease expired. */
export type Outcome = Result | 'lost'

/** A result and its reason. */
export interface Ending {
  readonly result: Outcome
  readonly reason?: string
}

const reasonLengthMax = 200

/** The meaning of the states of an `execution.status`. */
const statuses: Readonly<Record<string, Result | PublisherStatus>> = {
  running: 'running',
  started: 'running',
  resumed: 'running',
  in_progress: 'running',
  paused: 'paused',
  completed: 'succeeded',
  complete: 'succeeded',
  succeeded: 'succeeded',
  success: 'succeeded',
  finished: 'succeeded',
  failed: 'failed',
  failure: 'failed',
  error: 'failed',
  timeout: 'failed',
  cancelled: 'cancelled',
  canceled: 'cancelled',
  aborted: 'cancelled',
  stopped: 'cancelled',
}

/** The new status of an event's publisher, and its result. */
export interface Turn {
  readonly status: PublisherStatus
  readonly ending?: Ending
}

/** @returns the change of status by an event; undefined if there is none */
export function turnOf({ ends, status }: Traits, data: JsonValue | undefined): Turn | undefined {
  if (ends === undefined) return status === undefined ? undefined : { status }
  const fields = fieldsOf(data)
  const found = foundIn(ends, fields)
  if (found === undefined) return undefined
  if (found === 'running' || found === 'paused' || found === 'ended') return { status: found }
  const reason = reasonOf(ends, fields, found)
  return { status: 'ended', ending: { result: found, ...(reason !== undefined && { reason }) } }
}

/** @returns whether an event reports a failure */
export function isError({ type, data }: Pick<HubEvent, 'type' | 'data'>, traits: Traits): boolean {
  const { is_error: isErrorSaid, success } = fieldsOf(data)
  return (
    type === 'error' ||
    isErrorSaid === true ||
    success === false ||
    turnOf(traits, data)?.ending?.result === 'failed'
  )
}

function foundIn(ends: Ends, fields: JsonObject): Result | PublisherStatus | undefined {
  switch (ends) {
    case 'byExit':
      if (fields['cancelled'] === true) return 'cancelled'
      return fields['code'] === 0 ? 'succeeded' : 'failed'
    case 'byStatus': {
      const name = String(typeof fields['status'] === 'string' ? fields['status'] : '').toLowerCase()
      return Object.hasOwn(statuses, name) ? statuses[name] : undefined
    }
    default:
      return ends
  }
}

function reasonOf(ends: Ends, fields: JsonObject, result: Result): string | undefined {
  if (ends === 'byExit') {
    if (typeof fields['error'] === 'string') return reasonText(fields['error'])
    if (typeof fields['signal'] === 'string') return `signal ${reasonText(fields['signal'])}`
    return result === 'succeeded'
      ? undefined
      : `exit ${typeof fields['code'] === 'number' ? fields['code'] : '?'}`
  }
  if (result === 'succeeded') return undefined
  for (const name of ['error', 'message', 'reason', 'code']) {
    const text = textOf(fields[name])
    if (text !== '') return reasonText(text)
  }
  return undefined
}

/** @returns a reason for the slices: one line of at most 200 characters */
export function reasonText(text: string): string {
  return cutText(text.replaceAll(/\s+/g, ' ').trim(), reasonLengthMax)
}

function textOf(value: JsonValue | undefined): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number') return String(value)
  const fields = fieldsOf(value)
  return [fields['message'], fields['code'], fields['type']].find((one) => typeof one === 'string') ?? ''
}

const badness: readonly Outcome[] = ['succeeded', 'cancelled', 'lost', 'failed']

/** @returns the worst of the endings, the first of several equal ones */
export function worst<Ended extends Ending>(endings: Iterable<Ended>): Ended | undefined {
  let found: Ended | undefined
  for (const ending of endings) {
    if (found === undefined || badness.indexOf(ending.result) > badness.indexOf(found.result)) found = ending
  }
  return found
}
