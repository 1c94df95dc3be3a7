import { checkId } from '../../protocol/check.js'
import { ProtocolError } from '../../protocol/codes.js'
import { ownId, streamId } from '../../protocol/foreign-id.js'
import type { Limits } from '../../protocol/limits.js'

function isParam(segment: string): boolean {
  return segment.startsWith('{')
}

/** Whether it is the last parameter, which takes all further segments. */
function isRest(segment: string): boolean {
  return segment.endsWith('...}')
}

/** @returns whether a path has the form of a route */
export function fits(pattern: readonly string[], segments: readonly string[]): boolean {
  const rest = pattern.length - 1
  if (isRest(pattern[rest] ?? '')) {
    return (
      segments.length > rest && segments[rest] !== '' && fits(pattern.slice(0, rest), segments.slice(0, rest))
    )
  }
  if (pattern.length !== segments.length) return false
  return pattern.every((part, at) => (isParam(part) ? segments[at] !== '' : part === segments[at]))
}

/** @returns whether paths of so many segments may have the form of a route */
export function fitsLength(pattern: readonly string[], count: number): boolean {
  return isRest(pattern.at(-1) ?? '') ? count >= pattern.length : count === pattern.length
}

/** Parameters that name sessions and workers are checked here, the others by their routes. */
const ids: readonly string[] = ['session', 'worker']

/**
 * @returns the parameters of a path that fits
 * @throws ProtocolError `badFrame`
 */
export function paramsOf(
  pattern: readonly string[],
  segments: readonly string[],
  limits: Limits,
  foreignIds: boolean,
): ReadonlyMap<string, string> {
  const params = new Map<string, string>()
  pattern.forEach((part, at) => {
    if (!isParam(part)) return
    if (isRest(part)) {
      const path = decoded(segments.slice(at).join('/'), 'path')
      params.set(part.slice(1, -4), checkId(streamId(path), limits, 'path'))
      return
    }
    const name = part.slice(1, -1)
    const value = decoded(segments[at] ?? '', name)
    const id = foreignIds ? ownId(value) : value
    params.set(name, ids.includes(name) ? checkId(id, limits, name) : value)
  })
  return params
}

function decoded(segment: string, name: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw new ProtocolError('badFrame', `${name}: expected percent-encoded UTF-8 in the path`)
  }
}
