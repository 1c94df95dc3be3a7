// Checks of an event, a patch or a cause.

import { isObject } from '../lib/json.js'
import { isWellFormed } from '../lib/text.js'
import { type Fault, fault, within } from './fault.js'
import {
  anyFault,
  booleanFault,
  countFault,
  eventIdFault,
  timeFault,
  traceFault,
  traceStateFault,
  typeFault,
} from './field-faults.js'
import type { Limits } from './limits.js'
import { optional, required, type Shape, shapeFault } from './shape.js'

const eventFields = 'type, data?, id?, key?, time?, trace?, tracestate?, attempt?, force?'

/** One pass without a table, the most frequent fields first, because this runs for every published event. */
export function eventFault(value: unknown, limits: Limits): Fault | undefined {
  if (!isObject(value)) return fault(`an event { ${eventFields} }`, value)
  if (value.type === undefined) return within('type', typeFault(undefined, limits))
  for (const name in value) {
    const field = value[name]
    if (field === undefined) continue
    const wrong = eventFieldFault(name, field, limits)
    if (wrong !== undefined) return within(name, wrong)
  }
  return undefined
}

function eventFieldFault(name: string, field: unknown, limits: Limits): Fault | undefined {
  switch (name) {
    case 'type':
      return typeFault(field, limits)
    case 'data':
      return undefined
    case 'id':
    case 'key':
      return eventIdFault(field, limits)
    case 'time':
      return timeFault(field)
    case 'trace':
      return traceFault(field)
    case 'tracestate':
      return traceStateFault(field)
    case 'attempt':
      return attemptFault(field, limits)
    case 'force':
      return booleanFault(field)
    default:
      return fault(`no field but ${eventFields.replaceAll('?', '')}`, field)
  }
}

function attemptFault(value: unknown, limits: Limits): Fault | undefined {
  if (!isObject(value)) return fault('an attempt { step, number }', value)
  return shapeFault(value, attemptShape, limits)
}

const attemptShape: Shape = { step: required(eventIdFault), number: required(countFault) }

export function eventsFault(value: unknown, limits: Limits): Fault | undefined {
  if (!Array.isArray(value) || value.length > limits.publishEventsMax) {
    return fault(`a list of at most ${limits.publishEventsMax} events`, value)
  }
  for (let index = 0; index < value.length; index += 1) {
    const wrong = eventFault(value[index], limits)
    if (wrong !== undefined) return within(index, wrong)
  }
  return undefined
}

const operations: Readonly<Record<string, 'value' | 'from' | 'path'>> = {
  add: 'value',
  replace: 'value',
  test: 'value',
  move: 'from',
  copy: 'from',
  remove: 'path',
}

const pointerPattern = /^(?:\/(?:[^~/]|~[01])*)*$/

function pointerFault(value: unknown): Fault | undefined {
  if (typeof value === 'string' && pointerPattern.test(value)) return undefined
  return fault('a JSON pointer (RFC 6901)', value)
}

/** Fields that RFC 6902 does not define are ignored, as its section 4 requires. */
function operationFault(value: unknown): Fault | undefined {
  if (!isObject(value)) return fault('an operation { op, path, … }', value)
  const { op } = value
  if (typeof op !== 'string' || !Object.hasOwn(operations, op)) {
    return within('op', fault(`one of ${Object.keys(operations).join(', ')}`, op))
  }
  const wrong = within('path', pointerFault(value.path))
  if (wrong !== undefined) return wrong
  if (operations[op] === 'from') return within('from', pointerFault(value.from))
  if (operations[op] === 'value' && value.value === undefined)
    return within('value', fault('any value', undefined))
  return undefined
}

export function patchFault(value: unknown, limits: Limits): Fault | undefined {
  if (!Array.isArray(value) || value.length > limits.patchOperationsMax) {
    return fault(`a list of at most ${limits.patchOperationsMax} operations`, value)
  }
  for (let index = 0; index < value.length; index += 1) {
    const wrong = operationFault(value[index])
    if (wrong !== undefined) return within(index, wrong)
  }
  return undefined
}

export function causeFault(value: unknown, limits: Limits): Fault | undefined {
  if (!isObject(value)) return fault('a cause { type, id?, payload? }', value)
  return shapeFault(value, causeShape, limits)
}

function causeTypeFault(value: unknown, limits: Limits): Fault | undefined {
  if (typeof value === 'string' && value.length >= 1 && value.length <= limits.typeLengthMax) {
    return isWellFormed(value) ? undefined : fault('well-formed Unicode', value)
  }
  return fault(`a text of 1–${limits.typeLengthMax} characters`, value)
}

const causeShape: Shape = {
  type: required(causeTypeFault),
  id: optional(eventIdFault),
  payload: optional(anyFault),
}
