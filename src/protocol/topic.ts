import { ProtocolError, quote } from './codes.js'

/** The name of a topic, taken apart. */
export type TopicName =
  | { readonly kind: 'hub' }
  | { readonly kind: 'session'; readonly session: string }
  | { readonly kind: 'worker'; readonly session: string; readonly worker: string }
  | { readonly kind: 'all'; readonly session: string }

const idPattern = /^[A-Za-z0-9._~-]{1,128}$/

/**
 * Names that are no ids, however they look: a URL loses `.` and `..` on its way, and by the others a careless client
 * reaches the prototype of an object whose fields are ids.
 */
const forbidden: ReadonlySet<string> = new Set(['.', '..', '__proto__', 'prototype', 'constructor'])

/** For messages. */
export const forbiddenNames = [...forbidden].join(', ')

export function isForbiddenName(name: string): boolean {
  return forbidden.has(name)
}

/** @returns whether it is an id of a session or worker. */
export function isId(name: string): boolean {
  return idPattern.test(name) && !isForbiddenName(name)
}

const ownTypes: ReadonlySet<string> = new Set([
  'state.initial',
  'state.update',
  'complete',
  'worker.lost',
  'session.lost',
])

/** @returns whether only the hub itself publishes events of that type. */
export function isOwnType(type: string): boolean {
  return type.startsWith('hub.') || ownTypes.has(type)
}

/** Event types: 1–128 of `A–Z a–z 0–9 . _ : -`. */
export const typePattern = /^[A-Za-z0-9._:-]{1,128}$/

const topicPattern = /^sessions\/([A-Za-z0-9._~-]{1,128})(?:\/(?:workers\/([A-Za-z0-9._~-]{1,128})|(\*\*)))?$/

/**
 * @param field where the name came from, for the message
 * @throws ProtocolError `badFrame`
 */
export function parseTopic(name: string, field: string): TopicName {
  if (name === 'hub') return { kind: 'hub' }
  const match = topicPattern.exec(name)
  if (match === null || isForbiddenName(match[1] as string) || isForbiddenName(match[2] ?? '')) {
    throw new ProtocolError(
      'badFrame',
      `${field}: expected sessions/{id}[/workers/{id}|/**] or hub, got ${quote(name)}`,
    )
  }
  const session = match[1] as string
  if (match[2] !== undefined) return { kind: 'worker', session, worker: match[2] }
  return { kind: match[3] === undefined ? 'session' : 'all', session }
}

/** What may be published to, for messages. */
export const writableForm = 'sessions/{id}[/workers/{id}]'

/** @returns whether producers may publish to it: a session or a worker. */
export function isWritableTopic(name: string): boolean {
  const match = topicPattern.exec(name)
  return (
    match !== null &&
    match[3] === undefined &&
    !isForbiddenName(match[1] as string) &&
    !isForbiddenName(match[2] ?? '')
  )
}

/** The names of slices that producers may set, for messages. */
export const sliceForm = `a slice of 1–128 of A–Z a–z 0–9 . _ : ~ $ -, not beginning with $, and none of ${forbiddenNames}`

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

/** Which topics, as a token says it: a topic in which `*` stands for one segment, and `**` at the end for the rest. */
export type PatternText = string

const segmentPattern = /^(?:\*|[A-Za-z0-9._~-]{1,128})$/
/** What may stand in the first and third segment. */
const fixedSegments: readonly (readonly string[] | undefined)[] = [
  ['hub', 'sessions', '*'],
  undefined,
  ['workers', '*'],
]

/**
 * @param field where the pattern came from, for the message
 * @returns its segments
 * @throws ProtocolError `badFrame` when it is none
 */
export function parsePattern(text: PatternText, field: string): readonly string[] {
  const segments = text.split('/')
  const fits = segments.every((segment, at) => {
    if (segment === '**') return at === segments.length - 1
    return segmentPattern.test(segment) && (fixedSegments[at]?.includes(segment) ?? at < 4)
  })
  if (fits) return segments
  throw new ProtocolError(
    'badFrame',
    `${field}: expected hub or sessions/{id}[/workers/{id}], with * for one segment or ** for the rest, got ${quote(text)}`,
  )
}
