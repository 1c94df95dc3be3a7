import { checkSlices, checkTypes } from '../../protocol/check.js'
import { type Mode, modes } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import { refusal } from './problem.js'

/** @returns the names of `?name=a,b&name=c`; empty if it is empty, undefined if it is absent */
export function listOf(query: URLSearchParams, name: string): readonly string[] | undefined {
  if (!query.has(name)) return undefined
  return query
    .getAll(name)
    .flatMap((text) => text.split(','))
    .filter((text) => text !== '')
}

/** @throws ProtocolError `badFrame` */
export function typesOf(query: URLSearchParams, limits: Limits): readonly string[] | undefined {
  const types = listOf(query, 'types')
  return types && checkTypes(types, limits, 'types')
}

/** @throws ProtocolError `badFrame` */
export function slicesOf(query: URLSearchParams, limits: Limits): readonly string[] | undefined {
  const slices = listOf(query, 'slices')
  return slices && checkSlices(slices, limits, 'slices')
}

/** @throws ProtocolError `badFrame` */
export function replayOf(query: URLSearchParams): boolean | 'all' | undefined {
  const replay = choiceOf(query, 'replay', ['true', 'false', 'all'])
  return replay === undefined || replay === 'all' ? replay : replay === 'true'
}

/** @throws ProtocolError `badFrame` */
export function modeOf(query: URLSearchParams): Mode | undefined {
  return choiceOf(query, 'mode', modes)
}

/** @throws ProtocolError `badFrame` when it is present and not one of the choices */
export function choiceOf<Choice extends string>(
  query: URLSearchParams,
  name: string,
  choices: readonly Choice[],
): Choice | undefined {
  const text = query.get(name)
  if (text === null || text === '') return undefined
  const choice = choices.find((one) => one === text)
  if (choice === undefined) throw refusal(name, `one of ${choices.join(', ')}`, text)
  return choice
}

/** @returns whether `?name`, `?name=1` or `?name=true` is there. */
export function flagOf(query: URLSearchParams, name: string): boolean {
  const choice = choiceOf(query, name, ['1', 'true', '0', 'false'])
  return choice === undefined ? query.has(name) : choice === '1' || choice === 'true'
}

/** @throws ProtocolError `badFrame` when it is present and not an integer within the bounds */
export function integerOf(
  query: URLSearchParams,
  name: string,
  bounds: { readonly min: number; readonly max: number },
): number | undefined {
  const text = query.get(name)
  if (text === null || text === '') return undefined
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (value >= bounds.min && value <= bounds.max) return value
  throw refusal(name, `an integer from ${bounds.min} to ${bounds.max}`, text)
}

/**
 * @returns milliseconds since 1970, from a number or a date of ISO 8601
 * @throws ProtocolError `badFrame` when it is present and neither
 */
export function timeOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name)
  if (text === null || text === '') return undefined
  const value = /^\d{1,15}$/.test(text) ? Number(text) : /^\d{4}-/.test(text) ? Date.parse(text) : Number.NaN
  if (value >= 0) return value
  throw refusal(name, 'milliseconds since 1970, or a date such as 2026-01-31T10:00:00Z', text)
}
