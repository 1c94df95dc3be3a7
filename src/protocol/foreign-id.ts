import { idPattern, isForbiddenName } from './topic.js'

const mark = '~~'

/**
 * The id in the hub of a session that has another name elsewhere, such as `user/42#7`.
 *
 * A valid id stays as it is. Any other name becomes `~~` and the name, with everything but letters, digits, `.`, `_` and `-`
 * written as `~` and two hexadecimal digits for each byte of UTF-8: `~~user~2F42~237`.
 *
 * @returns the id; it may be longer than the limit of ids
 */
export function ownId(foreign: string): string {
  if (idPattern.test(foreign) && !isForbiddenName(foreign)) return foreign
  return escapedId(foreign)
}

/**
 * Like `ownId`, but no two names have the same id, because producers create what they name.
 *
 * @param path of a durable stream, decoded
 */
export function streamId(path: string): string {
  return path.startsWith(mark) ? escapedId(path) : ownId(path)
}

function escapedId(foreign: string): string {
  let escaped = mark
  for (const byte of encoder.encode(foreign)) {
    const letter = String.fromCharCode(byte)
    escaped += /[A-Za-z0-9._-]/.test(letter) ? letter : `~${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return escaped
}

/** @returns the name elsewhere, for an id made by `ownId`; any other id unchanged */
export function foreignId(id: string): string {
  if (!id.startsWith(mark)) return id
  try {
    return decodeURIComponent(id.slice(mark.length).replaceAll('~', '%'))
  } catch {
    return id
  }
}

const encoder = new TextEncoder()
