import { isForbiddenName } from './topic.js'

const own = /^[A-Za-z0-9._~-]+$/
const mark = '~~'

/**
 * The id by which the hub knows a session that others call by another name, such as `user/42#7`.
 *
 * What can be an id stays as it is. Otherwise it is `~~` and the name, in which all but letters, digits, `.`, `_` and `-`
 * is written as `~` and two hexadecimal digits for each byte of UTF-8: `~~user~2F42~237`.
 *
 * @returns the id; it may be longer than ids can be
 */
export function ownId(foreign: string): string {
  if (own.test(foreign) && !isForbiddenName(foreign)) return foreign
  let escaped = mark
  for (const byte of encoder.encode(foreign)) {
    const letter = String.fromCharCode(byte)
    escaped += /[A-Za-z0-9._-]/.test(letter) ? letter : `~${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return escaped
}

/** @returns the name that others know a session by, for an id that `ownId` made; any other as it is */
export function foreignId(id: string): string {
  if (!id.startsWith(mark)) return id
  try {
    return decodeURIComponent(id.slice(mark.length).replaceAll('~', '%'))
  } catch {
    return id
  }
}

const encoder = new TextEncoder()
