import { ProtocolError, quote } from '../protocol/codes.js'

/**
 * Splits a JSON pointer into the names it goes through; the whole value has none.
 *
 * @param place where in the request the pointer is, itself a JSON pointer
 * @throws ProtocolError `badFrame` when it is no pointer or goes through a prototype
 */
export function parsePointer(pointer: string, place: string): string[] {
  if (pointer === '') return []
  if (typeof pointer !== 'string' || !pointer.startsWith('/') || /~(?![01])/.test(pointer)) {
    throw new ProtocolError('badFrame', `${place}: expected a JSON pointer, got ${quote(pointer)}`, {
      pointer: place,
    })
  }
  const names = pointer.slice(1).split('/')
  for (let at = 0; at < names.length; at++) {
    const name = (names[at] as string).replaceAll('~1', '/').replaceAll('~0', '~')
    if (isUnsafe(name)) {
      throw new ProtocolError(
        'badFrame',
        `${place}: expected a path without __proto__, constructor or prototype, got ${quote(pointer)}`,
        {
          pointer: place,
        },
      )
    }
    names[at] = name
  }
  return names
}

/**
 * Names by which a careless implementation reaches a prototype. Others refuse them, so they are never part of a
 * path, coming or going; an object may have them all the same.
 */
export const unsafeNames: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

/** @returns whether it is one of `unsafeNames` */
export function isUnsafe(name: string): boolean {
  return unsafeNames.has(name)
}
