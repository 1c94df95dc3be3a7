import { ProtocolError, quote } from '../protocol/codes.js'

/**
 * Splits a JSON pointer into its names; the pointer to the whole value has none.
 *
 * @param placeOf says the location of the pointer in the request, itself a JSON pointer
 * @throws ProtocolError `badFrame` when it is not a pointer or goes through a prototype
 */
export function parsePointer(pointer: string, placeOf: () => string): string[] {
  if (pointer === '') return []
  const isPointer = typeof pointer === 'string' && pointer.startsWith('/')
  const isEscaped = isPointer && pointer.includes('~')
  if (!isPointer || (isEscaped && /~(?![01])/.test(pointer))) {
    const place = placeOf()
    throw new ProtocolError('badFrame', `${place}: expected a JSON pointer, got ${quote(pointer)}`, {
      pointer: place,
    })
  }
  const names = pointer.slice(1).split('/')
  for (let at = 0; at < names.length; at++) {
    let name = names[at] as string
    if (isEscaped) names[at] = name = name.replaceAll('~1', '/').replaceAll('~0', '~')
    if (isUnsafe(name)) {
      const place = placeOf()
      throw new ProtocolError(
        'badFrame',
        `${place}: expected a path without __proto__, constructor or prototype, got ${quote(pointer)}`,
        {
          pointer: place,
        },
      )
    }
  }
  return names
}

/**
 * Names with which a careless implementation would access a prototype. Other implementations refuse them, so the hub neither
 * accepts nor sends a path with them; an object may have fields of these names.
 */
export const unsafeNames: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

/** @returns whether it is one of `unsafeNames` */
export function isUnsafe(name: string): boolean {
  return unsafeNames.has(name)
}
