import { ProtocolError, quote } from './codes.js'
import type { Limits } from './limits.js'

/** An error in a value, and its location. Created only for invalid input; valid input allocates nothing. */
export interface Fault {
  readonly expected: string
  readonly got: unknown
  /** Names and indexes that lead to the fault, outermost first. */
  readonly at: readonly (string | number)[]
}

/** @returns the fault of `value`, or undefined */
export type Check = (value: unknown, limits: Limits) => Fault | undefined

export function checked(check: Check, value: unknown, limits: Limits, name: string): unknown {
  const fault = check(value, limits)
  if (fault !== undefined) throw errorOf(fault, name)
  return value
}

export function errorOf({ expected, got, at }: Fault, name: string): ProtocolError {
  const path = at.map((step) => (typeof step === 'number' ? `[${step}]` : `.${printable(step)}`)).join('')
  const pointer = at.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
  const place = at.length === 0 ? {} : { pointer }
  return new ProtocolError('badFrame', `${name}${path}: expected ${expected}, got ${quote(got)}`, place)
}

function printable(name: string): string {
  return /^[\w$-]{1,64}$/.test(name) ? name : quote(name)
}

export function fault(expected: string, got: unknown): Fault {
  return { expected, got, at: [] }
}

export function within(step: string | number, inner: Fault | undefined): Fault | undefined {
  return inner && { ...inner, at: [step, ...inner.at] }
}
