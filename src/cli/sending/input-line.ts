import { isObject } from '../../lib/json.js'
import { checkEvent, checkId } from '../../protocol/check.js'
import { ProtocolError, quote } from '../../protocol/codes.js'
import { defaultLimits } from '../../protocol/limits.js'
import { inTypeCharacters } from '../../protocol/topic.js'
import { reasonOf } from '../hub-http.js'

/** The input has a line that cannot be published. */
export class InputError extends Error {
  override readonly name = 'InputError'

  constructor(line: number, message: string) {
    super(`line ${line}: ${message}`)
  }
}

/** @throws InputError if the line is not JSON */
export function parseLine(text: string, line: number): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new InputError(line, `expected JSON, got ${quote(text)} (${reasonOf(error)})`)
  }
}

/** An event to send, and the worker that the line names. */
export interface Line {
  readonly json: string
  readonly worker?: string
}

/** @returns the event in the line, with an id and otherwise unchanged */
export function eventOf(value: unknown, text: string, line: number, id: string): Line {
  try {
    if (isExported(value)) return exportedEvent(value, id)
    const json = checkEvent(value, defaultLimits).id === undefined ? `{"id":"${id}",${text.slice(1)}` : text
    return { json }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    throw new InputError(line, `${error.message} (--type or --type-field take any JSON as an event's data)`)
  }
}

/** @returns the object with an id that the hub removes again, because the shape itself may have no field for it */
export function dialectLine(value: unknown, line: number, id: string): Line {
  if (!isObject(value)) {
    throw new InputError(line, `expected an object, got ${quote(value)}`)
  }
  return { json: JSON.stringify({ $id: id, ...value }) }
}

/** A line of `runcast export` has the fields that a hub adds to an event. */
function isExported(value: unknown): value is { readonly offset: unknown; readonly worker?: unknown } {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, 'offset')
}

/** @returns the event as it was published, without its offset, which the new hub assigns */
function exportedEvent(
  { offset: _, worker, ...event }: { offset: unknown; worker?: unknown },
  id: string,
): Line {
  const json = JSON.stringify({ id, ...checkEvent(event, defaultLimits) })
  return worker === undefined ? { json } : { json, worker: checkId(worker, defaultLimits, 'worker') }
}

/** @returns a valid type of an event from a field of the object; undefined if there is none */
export function typeIn(value: unknown, field: string): string | undefined {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, field)) return undefined
  const named = (value as Readonly<Record<string, unknown>>)[field]
  if (typeof named !== 'string' && typeof named !== 'number') return undefined
  const type = String(named).slice(0, defaultLimits.typeLengthMax)
  return type === '' ? undefined : inTypeCharacters(type)
}
