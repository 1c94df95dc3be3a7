import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import { ProtocolError, quote } from '../protocol/codes.js'

/** @returns the data of an event as fields to be merged with others; data that is not an object becomes the field `data` */
export function fieldsOf(data: JsonValue): JsonObject {
  return isObject(data) ? data : { data }
}

/** @throws ProtocolError `badFrame` if it is not an object */
export function objectOf(value: JsonValue, expected: string): JsonObject {
  if (isObject(value)) return value
  throw new ProtocolError('badFrame', `event: expected ${expected}, got ${quote(value)}`)
}

/** @throws ProtocolError `badFrame` if the field is not a text */
export function textField(value: JsonObject, name: string): string {
  const text = value[name]
  if (typeof text === 'string') return text
  throw new ProtocolError('badFrame', `event.${name}: expected a text, got ${quote(text)}`, {
    pointer: `/${name}`,
  })
}
