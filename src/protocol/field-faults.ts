// Checks of one field of a frame or an event: names first, then plain values.

import { isWellFormed } from '../lib/text.js'
import { readCursor } from './cursor.js'
import { type Fault, fault, within } from './fault.js'
import { modes } from './frames.js'
import type { Limits } from './limits.js'
import {
  expectedType,
  forbiddenNames,
  isForbiddenName,
  isId,
  isType,
  sliceForm,
  typeFilterPattern,
  writableForm,
} from './topic.js'
import { isTrace, isTraceState } from './trace.js'

const slicePattern = /^[A-Za-z0-9._:~$-]+$/
const sliceFilterPattern = /^(?:[A-Za-z0-9._:~$-]+\*?|\*)$/

export function idFault(value: unknown, limits: Limits): Fault | undefined {
  if (typeof value === 'string' && isId(value, limits)) return undefined
  const expected = `an id of 1–${limits.idLengthMax} of A–Z a–z 0–9 . _ ~ -`
  const isForbidden = typeof value === 'string' && isForbiddenName(value)
  return fault(isForbidden ? `${expected}, but none of ${forbiddenNames}` : expected, value)
}

export function idsFault(value: unknown, limits: Limits): Fault | undefined {
  if (!Array.isArray(value) || value.length > limits.filterTypesMax) {
    return fault(`a list of at most ${limits.filterTypesMax} ids`, value)
  }
  for (const [index, id] of value.entries()) {
    const wrong = idFault(id, limits)
    if (wrong !== undefined) return within(index, wrong)
  }
  return undefined
}

export const anyTopic = 'sessions/{id}[/workers/{id}|/**] or hub'

/** Checks only that it is a text. It is parsed, and thereby checked, when the other fields are valid. */
export function topicFault(value: unknown): Fault | undefined {
  return typeof value === 'string' ? undefined : fault(anyTopic, value)
}

export function writableTopicFault(value: unknown): Fault | undefined {
  return typeof value === 'string' ? undefined : fault(writableForm, value)
}

export function typeFault(value: unknown, limits: Limits): Fault | undefined {
  if (typeof value === 'string' && isType(value, limits)) return undefined
  return fault(`a type of ${expectedType(limits)}`, value)
}

export function typesFault(value: unknown, limits: Limits): Fault | undefined {
  if (!Array.isArray(value) || value.length > limits.filterTypesMax) {
    return fault(`a list of at most ${limits.filterTypesMax} types`, value)
  }
  for (const [index, entry] of value.entries()) {
    if (
      typeof entry === 'string' &&
      entry.length <= limits.typeLengthMax + 2 &&
      typeFilterPattern.test(entry)
    )
      continue
    return within(index, fault('a type, prefix*, or ! before either', entry))
  }
  return undefined
}

export function slicesFault(value: unknown, limits: Limits): Fault | undefined {
  if (!Array.isArray(value) || value.length > limits.filterSlicesMax) {
    return fault(`a list of at most ${limits.filterSlicesMax} names of slices`, value)
  }
  for (const [index, entry] of value.entries()) {
    if (typeof entry === 'string' && entry.length <= limits.idLengthMax + 1 && sliceFilterPattern.test(entry))
      continue
    return within(index, fault('a name of a slice, prefix* or *', entry))
  }
  return undefined
}

/** The slices that producers set; names that begin with `$` are the hub's own. */
export function sliceFault(value: unknown, limits: Limits): Fault | undefined {
  const known = typeof value === 'string' && value.length <= limits.idLengthMax && slicePattern.test(value)
  if (known && !value.startsWith('$') && !isForbiddenName(value)) return undefined
  return fault(sliceForm.replace(' of ', ` of 1–${limits.idLengthMax} of `), value)
}

export function integerFault(value: unknown): Fault | undefined {
  return Number.isSafeInteger(value) ? undefined : fault('an integer', value)
}

/** The shortest and the longest lease. Milliseconds. */
const [leaseMsMin, leaseMsMax] = [1_000, 3_600_000]

export function leaseFault(value: unknown): Fault | undefined {
  const isLease = Number.isSafeInteger(value) && Number(value) >= leaseMsMin && Number(value) <= leaseMsMax
  if (isLease || value === 0) return undefined
  return fault(`${leaseMsMin} to ${leaseMsMax} milliseconds, or 0 to give the lease up`, value)
}

export function modeFault(value: unknown): Fault | undefined {
  return modes.some((mode) => mode === value) ? undefined : fault(`one of ${modes.join(', ')}`, value)
}

export function replayFault(value: unknown): Fault | undefined {
  return typeof value === 'boolean' || value === 'all' ? undefined : fault('true, false or "all"', value)
}

export function lastFault(value: unknown, { pageItemsMax }: Limits): Fault | undefined {
  if (Number.isSafeInteger(value) && Number(value) >= 1 && Number(value) <= pageItemsMax) return undefined
  return fault(`1 to ${pageItemsMax} events`, value)
}

export function cursorFault(value: unknown): Fault | undefined {
  const expected = 'a cursor <epoch>:<offset>'
  return typeof value === 'string' && readCursor(value) !== undefined ? undefined : fault(expected, value)
}

export function refFault(value: unknown, limits: Limits): Fault | undefined {
  if (Number.isFinite(value)) return undefined
  if (typeof value === 'string' && value.length <= limits.eventIdLengthMax) {
    return isWellFormed(value) ? undefined : fault('well-formed Unicode', value)
  }
  return fault(`a number, or a text of at most ${limits.eventIdLengthMax} characters`, value)
}

/** Ids are compared, so they must be the same in every codec. A lone surrogate would become U+FFFD and equal any other one. */
export function eventIdFault(value: unknown, limits: Limits): Fault | undefined {
  if (typeof value === 'string' && value.length >= 1 && value.length <= limits.eventIdLengthMax) {
    return isWellFormed(value) ? undefined : fault('well-formed Unicode', value)
  }
  return fault(`a text of 1–${limits.eventIdLengthMax} characters`, value)
}

/** The latest time of a `Date` (ECMA-262, 21.4.1.1). */
const timeMax = 8.64e15

export function timeFault(value: unknown): Fault | undefined {
  if (typeof value === 'number' && value >= 0 && value <= timeMax) return undefined
  return fault('milliseconds since 1970', value)
}

export function traceFault(value: unknown): Fault | undefined {
  return isTrace(value)
    ? undefined
    : fault('a traceparent 00-<trace>-<span>-<flags> (W3C Trace Context)', value)
}

export function traceStateFault(value: unknown): Fault | undefined {
  return isTraceState(value) ? undefined : fault('a tracestate key=value,… (W3C Trace Context)', value)
}

export function booleanFault(value: unknown): Fault | undefined {
  return typeof value === 'boolean' ? undefined : fault('true or false', value)
}

export function tokenFault(value: unknown, limits: Limits): Fault | undefined {
  if (typeof value === 'string' && value.length >= 1 && value.length <= limits.tokenLengthMax)
    return undefined
  // The value may contain a part of a secret, so the message does not quote it.
  return fault(
    `a token of 1–${limits.tokenLengthMax} characters`,
    typeof value === 'string' ? undefined : value,
  )
}

/** Any value is accepted here; it must only be present. */
export function anyFault(): undefined {
  return undefined
}

export function countFault(value: unknown): Fault | undefined {
  return Number.isSafeInteger(value) && Number(value) >= 0 ? undefined : fault('an integer from 0', value)
}
