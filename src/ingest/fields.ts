import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import { embeddedJson } from '../lib/json-text.js'
import { ProtocolError } from '../protocol/codes.js'
import type { NewEvent } from '../protocol/frames.js'
import { defaultLimits } from '../protocol/limits.js'
import { inIdCharacters } from '../protocol/topic.js'

/** @returns the value if it is an object, otherwise an empty object */
export function objectOf(value: JsonValue | undefined): JsonObject {
  return isObject(value) ? value : {}
}

/** @returns the value if it is a list, otherwise an empty list */
export function listOf(value: JsonValue | undefined): readonly JsonValue[] {
  return Array.isArray(value) ? value : []
}

/** @returns the value if it is a text that is not empty */
export function textOf(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** @returns a text or a number as text; an empty one for anything else */
export function wordOf(value: JsonValue | undefined): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

/** @returns the value if it is a number, otherwise 0 */
export function countOf(value: JsonValue | undefined): number {
  return typeof value === 'number' && value > 0 ? value : 0
}

/** @returns the value of a JSON text; the text itself if it is not JSON; `{}` if it is empty */
export function parsed(value: JsonValue | undefined): JsonValue {
  return typeof value === 'string' ? embeddedJson(value, defaultLimits) : (value ?? {})
}

/** @returns the message of a provider's error, which may be an object or a text */
export function errorText(value: JsonValue | undefined, otherwise: string): string {
  const { message, error, code, type } = objectOf(value)
  return (
    textOf(value) ??
    textOf(message) ??
    textOf(error) ??
    textOf(objectOf(error)['message']) ??
    textOf(code) ??
    textOf(type) ??
    otherwise
  )
}

/** @returns the text of a content, which may be a text or a list of blocks */
export function contentText(content: JsonValue | undefined): string {
  if (typeof content === 'string') return content
  return listOf(content)
    .map((block) => (typeof block === 'string' ? block : (textOf(objectOf(block)['text']) ?? '')))
    .join('')
}

/** @returns a valid id for a foreign name */
export function workerId(name: string): string {
  return inIdCharacters(name).replace(/^\.+$/, 'agent').slice(0, 100) || 'agent'
}

/** @returns the event with the time of its line, which is ISO 8601; unchanged if the line has none */
export function timed(event: NewEvent, timestamp: JsonValue | undefined): NewEvent {
  const time = Date.parse(wordOf(timestamp))
  return time > 0 ? { ...event, time } : event
}

const shownMax = 100

/** @returns the beginning of an object, for a message */
export function shown(value: JsonObject): string {
  const text = JSON.stringify(value)
  return text.length > shownMax ? `${text.slice(0, shownMax)}…` : text
}

/** The error for input that is not of the expected kind. */
export function unlike(kind: string, expected: string, value: JsonObject): ProtocolError {
  return new ProtocolError('badFrame', `expected ${expected}, as ${kind} prints, got ${shown(value)}`)
}

/** The event for a stream that stops before its end. */
export const cutShort = 'The stream ended before the agent said that it had finished.'
