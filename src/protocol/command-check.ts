import { isObject } from '../lib/json.js'
import { ProtocolError } from './codes.js'
import { errorOf, type Fault, fault } from './fault.js'
import { countFault, eventIdFault } from './field-faults.js'
import type { Limits } from './limits.js'
import { optional, required, type Shape, shapeFault } from './shape.js'

/** The data of commands and receipts. The agent checks the other fields of a command. */
const commandShape: Shape = { ttlMs: optional(ttlFault), key: optional(eventIdFault) }

const receiptShape: Shape = {
  offset: required(countFault),
  state: required(stateFault),
  reason: optional(textFault),
}

/** The location of the checked value, for messages. */
interface Where {
  readonly name: string
  readonly pointer: string
}

/** @throws ProtocolError `badFrame` when it is not valid data of a command */
export function checkCommand(value: unknown, limits: Limits, where: Where): void {
  if (value === undefined || value === null) return
  if (!isObject(value)) throw errorAt(fault('an object', value), where)
  const { ttlMs, key } = value
  const wrong = shapeFault({ ttlMs, key }, commandShape, limits)
  if (wrong !== undefined) throw errorAt(wrong, where)
}

/** @throws ProtocolError `badFrame` when it is not valid data of a receipt */
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

/** Only the hub may set the state `expired`. */
function stateFault(value: unknown): Fault | undefined {
  return value === 'applied' || value === 'refused' ? undefined : fault('applied or refused', value)
}

function textFault(value: unknown): Fault | undefined {
  return typeof value === 'string' ? undefined : fault('a text', value)
}
