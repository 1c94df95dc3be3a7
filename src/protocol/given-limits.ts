import { quote } from './codes.js'
import { defaultLimits, type Limit, type LimitName, type Limits, limitTable } from './limits.js'

/** The limits that a program may pass: those that differ from the defaults. */
export type GivenLimits = Partial<Limits> & {
  /** @deprecated Use `uncommittedBytesMax`. */
  readonly unkeptBytesMax?: number
}

/** Former names of limits, which are still accepted. */
const formerNames: ReadonlyMap<string, LimitName> = new Map([['unkeptBytesMax', 'uncommittedBytesMax']])

/**
 * @param given its name, or its former name
 * @returns the name of a limit that can be changed
 * @throws TypeError `limits.{name}: …`
 */
export function changeableLimit(given: string): LimitName {
  const name = Object.hasOwn(limitTable, given) ? (given as LimitName) : formerNames.get(given)
  if (name === undefined) throw new TypeError(`limits.${given}: unknown limit`)
  if ('fixed' in limitTable[name]) throw new TypeError(`limits.${given}: this limit cannot be changed`)
  return name
}

/** @returns the value of a limit. Rates may be fractions. @throws TypeError `limits.{name}: expected …, got …` */
export function limitValue(name: LimitName, value: unknown): number {
  const limit: Limit = limitTable[name]
  const isRate = limit.unit.endsWith(' a second')
  const isNumber =
    typeof value === 'number' && (isRate ? Number.isFinite(value) : Number.isSafeInteger(value))
  if (isNumber && (value > 0 || (value === 0 && limit.orZero === true))) return value
  const positive = isRate ? 'a positive number' : 'a positive whole number'
  throw new TypeError(
    `limits.${name}: expected ${positive}${limit.orZero ? ', or 0' : ''}, got ${quote(value)}`,
  )
}

/**
 * @param given by their names or former names; those that are undefined have their defaults
 * @returns all limits
 * @throws TypeError that names the limit
 */
export function limitsOf(given: GivenLimits = {}): Limits {
  const limits: Record<LimitName, number> = { ...defaultLimits }
  for (const [name, value] of Object.entries(given)) {
    // All limits of another hub may be given, the fixed ones among them.
    if (value === undefined || (Object.hasOwn(limitTable, name) && value === limits[name as LimitName]))
      continue
    const known = changeableLimit(name)
    limits[known] = limitValue(known, value)
  }
  return limits
}
