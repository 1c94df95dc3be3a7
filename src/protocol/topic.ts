import { ProtocolError, quote } from './codes.js'
import type { Limits } from './limits.js'

/** The parsed name of a topic. */
export type TopicName =
  | { readonly kind: 'hub' }
  | { readonly kind: 'session'; readonly session: string }
  | { readonly kind: 'worker'; readonly session: string; readonly worker: string }
  | { readonly kind: 'all'; readonly session: string }

// Regular expressions as literals, because bundlers keep those that are constructed, used or not.
export const idPattern = /^[A-Za-z0-9._~-]+$/
const noIdCharacter = /[^A-Za-z0-9._~-]/g

/** @returns the name with a hyphen for each character that no id has; it may be too long, or forbidden */
export function inIdCharacters(name: string): string {
  return name.replaceAll(noIdCharacter, '-')
}

/**
 * Names that are not valid ids. URLs are normalized, which removes `.` and `..`; with the others a careless client would access
 * the prototype of an object whose fields are ids.
 */
export function isForbiddenName(name: string): boolean {
  // Comparing looks at the length first; a set would hash each name.
  return (
    name === '.' || name === '..' || name === '__proto__' || name === 'prototype' || name === 'constructor'
  )
}

/** For messages. */
export const forbiddenNames = '., .., __proto__, prototype, constructor'

/** How long names may be. */
export type NameLimits = Pick<Limits, 'idLengthMax' | 'typeLengthMax'>

/** @returns whether it is an id of a session or worker. */
export function isId(name: string, { idLengthMax }: Pick<NameLimits, 'idLengthMax'>): boolean {
  return name.length <= idLengthMax && idPattern.test(name) && !isForbiddenName(name)
}

const ownTypes: ReadonlySet<string> = new Set([
  'state.initial',
  'state.update',
  'complete',
  'worker.lost',
  'session.lost',
  'worker.stalled',
  'attempt.superseded',
  'stream.json',
  'stream.text',
  'stream.bytes',
  'redacted',
])

/** @returns whether only the hub itself publishes events of that type. */
export function isOwnType(type: string): boolean {
  return type.startsWith('hub.') || ownTypes.has(type)
}

const typePattern = /^[A-Za-z0-9._:-]+$/
/** A type, `prefix*`, or `!` before either. */
export const typeFilterPattern = /^!?(?:[A-Za-z0-9._:-]+\*?|\*)$/

const noTypeCharacter = /[^A-Za-z0-9._:-]/g

/** @returns the name with `_` for each character that no type has; it may be too long */
export function inTypeCharacters(name: string): string {
  return name.replaceAll(noTypeCharacter, '_')
}

/** @returns whether it is a type of events. */
export function isType(name: string, { typeLengthMax }: Pick<NameLimits, 'typeLengthMax'>): boolean {
  return name.length <= typeLengthMax && typePattern.test(name)
}

/** For messages. */
export function expectedType({ typeLengthMax }: Pick<NameLimits, 'typeLengthMax'>): string {
  return `1–${typeLengthMax} of A–Z a–z 0–9 . _ : -`
}

const [sessionsPart, workersPart, allPart] = ['sessions/', '/workers/', '/**']

/** @returns the parsed name; undefined if it is not a topic */
export function readTopic(text: string, limits: Pick<NameLimits, 'idLengthMax'>): TopicName | undefined {
  if (text === 'hub') return { kind: 'hub' }
  if (!text.startsWith(sessionsPart)) return undefined
  const slash = text.indexOf('/', sessionsPart.length)
  const session = text.slice(sessionsPart.length, slash === -1 ? undefined : slash)
  if (!isId(session, limits)) return undefined
  if (slash === -1) return { kind: 'session', session }
  if (text.length === slash + allPart.length && text.endsWith(allPart)) return { kind: 'all', session }
  if (!text.startsWith(workersPart, slash)) return undefined
  const worker = text.slice(slash + workersPart.length)
  return isId(worker, limits) ? { kind: 'worker', session, worker } : undefined
}

/**
 * @param field where the name came from, for the message
 * @throws ProtocolError `badFrame`
 */
export function parseTopic(text: string, field: string, limits: Pick<NameLimits, 'idLengthMax'>): TopicName {
  const name = typeof text === 'string' ? readTopic(text, limits) : undefined
  if (name !== undefined) return name
  throw new ProtocolError(
    'badFrame',
    `${field}: expected sessions/{id}[/workers/{id}|/**] or hub, got ${quote(text)}`,
  )
}

/** @returns the name, parsed unless it is already. @throws ProtocolError `badFrame` */
export function topicNameOf(
  topic: string | TopicName,
  field: string,
  limits: Pick<NameLimits, 'idLengthMax'>,
): TopicName {
  return typeof topic === 'object' ? topic : parseTopic(topic, field, limits)
}

/** The topics that can be published to, for messages. */
export const writableForm = 'sessions/{id}[/workers/{id}]'

/** @returns whether producers may publish to it: a session or a worker, with ids as long as some hub may allow. */
export function isWritableTopic(text: string): boolean {
  const name =
    typeof text === 'string' ? readTopic(text, { idLengthMax: Number.POSITIVE_INFINITY }) : undefined
  return name?.kind === 'session' || name?.kind === 'worker'
}

/** The names of slices that producers may set, for messages. */
export const sliceForm = `a slice of A–Z a–z 0–9 . _ : ~ $ -, not beginning with $, and none of ${forbiddenNames}`

export function formatTopic(name: TopicName): string {
  switch (name.kind) {
    case 'hub':
      return 'hub'
    case 'session':
      return `sessions/${name.session}`
    case 'worker':
      return `sessions/${name.session}/workers/${name.worker}`
    case 'all':
      return `sessions/${name.session}/**`
  }
}

/** A pattern of topics in a token: `*` matches one segment, and a final `**` the rest. */
export type PatternText = string

/** The allowed first and third segments. */
const fixedSegments: readonly (readonly string[] | undefined)[] = [
  ['hub', 'sessions', '*'],
  undefined,
  ['workers', '*'],
]

/**
 * @param field where the pattern came from, for the message
 * @returns its segments
 * @throws ProtocolError `badFrame` when it is not a pattern
 */
export function parsePattern(text: PatternText, field: string): readonly string[] {
  const segments = text.split('/')
  const fits = segments.every((segment, at) => {
    if (segment === '**') return at === segments.length - 1
    return (segment === '*' || idPattern.test(segment)) && (fixedSegments[at]?.includes(segment) ?? at < 4)
  })
  if (fits) return segments
  throw new ProtocolError(
    'badFrame',
    `${field}: expected hub or sessions/{id}[/workers/{id}], with * for one segment or ** for the rest, got ${quote(text)}`,
  )
}
