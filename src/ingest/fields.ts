import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import { ProtocolError } from '../protocol/codes.js'
import type { NewEvent } from '../protocol/frames.js'

/** @returns the value as an object; an empty one when it is none */
export function objectOf(value: JsonValue | undefined): JsonObject {
  return isObject(value) ? value : {}
}

/** @returns the value as a list; an empty one when it is none */
export function listOf(value: JsonValue | undefined): readonly JsonValue[] {
  return Array.isArray(value) ? value : []
}

/** @returns the text; nothing when it is none, or empty */
export function textOf(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** @returns a text or a number as text; an empty one for anything else */
export function wordOf(value: JsonValue | undefined): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

/** @returns the number; 0 when it is none */
export function countOf(value: JsonValue | undefined): number {
  return typeof value === 'number' && value > 0 ? value : 0
}

/** @returns a text of JSON as its value; the text itself where it is no JSON; `{}` for an empty one */
export function parsed(value: JsonValue | undefined): JsonValue {
  if (typeof value !== 'string') return value ?? {}
  if (value.trim() === '') return {}
  try {
    return JSON.parse(value) as JsonValue
  } catch {
    return value
  }
}

/** @returns what an error object or text of a provider says */
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

/** @returns the text of a content that is a text, or a list of blocks with some */
export function contentText(content: JsonValue | undefined): string {
  if (typeof content === 'string') return content
  return listOf(content)
    .map((block) => (typeof block === 'string' ? block : (textOf(objectOf(block)['text']) ?? '')))
    .join('')
}

/** @returns an id of the design's letters that a name of elsewhere stands for */
export function workerId(name: string): string {
  return (
    name
      .replaceAll(/[^A-Za-z0-9._~-]/g, '-')
      .replace(/^\.+$/, 'agent')
      .slice(0, 100) || 'agent'
  )
}

/** @returns the event as of the time that its line says, as ISO 8601; as it is where it says none */
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

/** What a stream of another kind, or something else altogether, is answered with. */
export function unlike(kind: string, expected: string, value: JsonObject): ProtocolError {
  return new ProtocolError('badFrame', `expected ${expected}, as ${kind} prints, got ${shown(value)}`)
}

/** What ends a stream that stops before its end. */
export const cutShort = 'The stream ended before the agent said that it had finished.'
