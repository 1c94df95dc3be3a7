import { isObject } from '../lib/json.js'
import { ProtocolError } from './codes.js'
import { errorOf, type Fault, fault } from './fault.js'
import { countFault, eventIdFault } from './field-faults.js'
import type { Limits } from './limits.js'
import { optional, required, type Shape, shapeFault } from './shape.js'

/** The shapes of what commands and receipts say; of commands the agent looks at the rest. */
const commandShape: Shape = { ttlMs: optional(ttlFault), key: optional(eventIdFault) }

const receiptShape: Shape = {
  offset: required(countFault),
  state: required(stateFault),
  reason: optional(textFault),
}

/** Where a value stands that is checked: for messages. */
interface Where {
  readonly name: string
  readonly pointer: string
}

/** @throws ProtocolError `badFrame` when it is not what a command may say */
export function checkCommand(value: unknown, limits: Limits, where: Where): void {
  if (value === undefined || value === null) return
  if (!isObject(value)) throw errorAt(fault('an object', value), where)
  const { ttlMs, key } = value
  const wrong = shapeFault({ ttlMs, key }, commandShape, limits)
  if (wrong !== undefined) throw errorAt(wrong, where)
}

/** @throws ProtocolError `badFrame` when it is not what an agent says of a command */
export function checkReceipt(value: unknown, limits: Limits, where: Where): void {
  const wrong = isObject(value)
    ? shapeFault(value, receiptShape, limits)
    : fault('{ offset, state, reason? }', value)
  if (wrong !== undefined) throw errorAt(wrong, where)
}

function errorAt(wrong: Fault, { name, pointer }: Where): ProtocolError {
  const { code, message, place } = errorOf(wrong, name)
  return new ProtocolError(code, message, { pointer: pointer + (place.pointer ?? '') })
}

function ttlFault(value: unknown, { commandTtlMsMax }: Limits): Fault | undefined {
  const fits = Number.isSafeInteger(value) && Number(value) >= 1 && Number(value) <= commandTtlMsMax
  return fits ? undefined : fault(`1 to ${commandTtlMsMax} milliseconds`, value)
}

/** That a command has expired, only the hub says. */
function stateFault(value: unknown): Fault | undefined {
  return value === 'applied' || value === 'refused' ? undefined : fault('applied or refused', value)
}

function textFault(value: unknown): Fault | undefined {
  return typeof value === 'string' ? undefined : fault('a text', value)
}
