import { type Check, type Fault, fault, within } from './fault.js'
import type { Limits } from './limits.js'

/** One field of an object. */
export interface Field {
  readonly check: Check
  readonly required: boolean
}

/** The fields that an object may have, and no others. */
export type Shape = Readonly<Record<string, Field>>

export function required(check: Check): Field {
  return { check, required: true }
}

export function optional(check: Check): Field {
  return { check, required: false }
}

export function orNull(check: Check): Check {
  return (value, limits) => (value === null ? undefined : check(value, limits))
}

/** @returns the first fault of an object, field by field */
export function shapeFault(
  value: Readonly<Record<string, unknown>>,
  shape: Shape,
  limits: Limits,
): Fault | undefined {
  for (const name in value) {
    if (value[name] === undefined) continue
    if (!Object.hasOwn(shape, name)) {
      return within(name, fault(`no field but ${Object.keys(shape).join(', ')}`, value[name]))
    }
    const wrong = shape[name]?.check(value[name], limits)
    if (wrong !== undefined) return within(name, wrong)
  }
  for (const name in shape) {
    const field = shape[name]
    if (field?.required && value[name] === undefined) {
      return within(name, field.check(undefined, limits) ?? fault('a value', undefined))
    }
  }
  return undefined
}
