import { isObject } from '../lib/json.js'
import { ProtocolError, quote } from './codes.js'
import { causeFault, eventFault, eventsFault, patchFault } from './event-faults.js'
import { checked, errorOf, fault } from './fault.js'
import {
  anyFault,
  anyTopic,
  booleanFault,
  cursorFault,
  idFault,
  idsFault,
  integerFault,
  lastFault,
  leaseFault,
  modeFault,
  refFault,
  replayFault,
  sliceFault,
  slicesFault,
  timeFault,
  tokenFault,
  topicFault,
  typesFault,
  writableTopicFault,
} from './field-faults.js'
import type { Cause, ClientFrame, NewEvent, PatchOperation } from './frames.js'
import type { Limits } from './limits.js'
import { optional, orNull, required, type Shape, shapeFault } from './shape.js'
import { readTopic, type TopicName, writableForm } from './topic.js'

/** A checked frame, with its topic parsed. */
export type Checked<Frame> = Frame extends { readonly topic: string }
  ? Omit<Frame, 'topic'> & { readonly topic: TopicName }
  : Frame

/** A frame that has been checked, or one made within the process. */
export type Given<Frame> = Frame | Checked<Frame>

/**
 * Checks one frame of a client: all fields except the contents of `data`, `value`, `merge` and `payload`, which are checked
 * where they are kept.
 *
 * @throws ProtocolError `badFrame`: `subscribe.topic: expected …, got …`, with a pointer into the frame
 */
export function checkFrame(value: unknown, limits: Limits): Checked<ClientFrame> {
  if (!isObject(value)) throw new ProtocolError('badFrame', `frame: expected an object, got ${quote(value)}`)
  const { type } = value
  const shape =
    typeof type === 'string' && Object.hasOwn(shapes, type) ? shapes[type as ClientFrame['type']] : undefined
  if (shape === undefined) {
    const known = Object.keys(shapes).join(', ')
    throw new ProtocolError('badFrame', `frame.type: expected one of ${known}, got ${quote(type)}`, {
      pointer: '/type',
    })
  }
  const wrong = shapeFault(value, shape, limits)
  if (wrong !== undefined) throw errorOf(wrong, type as string)
  if (typeof value.topic === 'string') {
    // In place, because the frame was decoded from bytes and has no other user.
    Object.assign(value, { topic: topicOfFrame(value.topic, type as string, limits) })
  }
  return value as unknown as Checked<ClientFrame>
}

/**
 * Checks one event of a producer: all fields except the content of `data`.
 *
 * @param name what the message calls the event, such as `event` or `events[3]`
 * @throws ProtocolError `badFrame`: `event.type: expected …, got …`, with a pointer into the event
 */
export function checkEvent(value: unknown, limits: Limits, name = 'event'): NewEvent {
  const wrong = eventFault(value, limits)
  if (wrong !== undefined) throw errorOf(wrong, name)
  return value as NewEvent
}

/** @throws ProtocolError `badFrame`: `events[3].type: expected …, got …`, with a pointer into the list */
export function checkEvents(value: unknown, limits: Limits): readonly NewEvent[] {
  const wrong = eventsFault(value, limits)
  if (wrong !== undefined) throw errorOf(wrong, 'events')
  return value as readonly NewEvent[]
}

/** @throws ProtocolError `badFrame` when it is not a list that one request may publish; its events are checked later */
export function checkEventList(value: unknown, { publishEventsMax }: Limits): void {
  if (Array.isArray(value) && value.length <= publishEventsMax) return
  throw errorOf(fault(`a list of at most ${publishEventsMax} events`, value), 'events')
}

/**
 * Checks the names of the fields of an object that a caller within the process passes, as a frame's or a body's are checked.
 *
 * @throws ProtocolError `badFrame`: `ending.reasn: expected no field but result, reason, got …`
 */
export function checkFields(value: unknown, names: readonly string[], name: string): void {
  if (!isObject(value)) throw errorOf(fault(`an object { ${names.join('?, ')}? }`, value), name)
  for (const field in value) {
    if (value[field] === undefined || names.includes(field)) continue
    throw errorOf({ ...fault(`no field but ${names.join(', ')}`, value[field]), at: [field] }, name)
  }
}

/** @throws ProtocolError `badFrame` when it is neither true nor false */
export function checkBoolean(value: unknown, limits: Limits, name: string): boolean {
  return checked(booleanFault, value, limits, name) as boolean
}

/** @throws ProtocolError `badFrame` when it is not an id of a session or a worker */
export function checkId(value: unknown, limits: Limits, name: string): string {
  return checked(idFault, value, limits, name) as string
}

/** @throws ProtocolError `badFrame` when it is not a list of ids, or has more than a filter may name */
export function checkIds(value: unknown, limits: Limits, name: string): readonly string[] {
  return checked(idsFault, value, limits, name) as readonly string[]
}

/** @throws ProtocolError `badFrame` when it is not a `types` filter */
export function checkTypes(value: unknown, limits: Limits, name: string): readonly string[] {
  return checked(typesFault, value, limits, name) as readonly string[]
}

/** @throws ProtocolError `badFrame` when it is not a choice of slices */
export function checkSlices(value: unknown, limits: Limits, name: string): readonly string[] {
  return checked(slicesFault, value, limits, name) as readonly string[]
}

/** @throws ProtocolError `badFrame` when it is not the name of a slice that producers may set */
export function checkSlice(value: unknown, limits: Limits, name: string): string {
  return checked(sliceFault, value, limits, name) as string
}

/** @throws ProtocolError `badFrame` when it is not the length of a lease in milliseconds */
export function checkLease(value: unknown, at: string): number {
  const wrong = leaseFault(value)
  if (wrong !== undefined) throw errorOf(wrong, at)
  return value as number
}

/** @throws ProtocolError `badFrame` when it is not one of the choices */
export function checkChoice<Choice extends string>(
  value: unknown,
  choices: readonly Choice[],
  name: string,
): Choice {
  const choice = choices.find((one) => one === value)
  if (choice !== undefined) return choice
  throw errorOf(fault(`one of ${choices.join(', ')}`, value), name)
}

/** @throws ProtocolError `badFrame` when it is not a number of items that a page may have */
export function checkPageItems(value: unknown, { pageItemsMax }: Limits, name: string): number {
  if (Number.isInteger(value) && Number(value) >= 1 && Number(value) <= pageItemsMax) return value as number
  throw errorOf(fault(`an integer from 1 to ${pageItemsMax}`, value), name)
}

/** @throws ProtocolError `badFrame` when it is not an RFC 6902 patch; whether it applies is checked later */
export function checkPatch(value: unknown, limits: Limits, name: string): readonly PatchOperation[] {
  return checked(patchFault, value, limits, name) as readonly PatchOperation[]
}

/** @throws ProtocolError `badFrame` when it is not a cause */
export function checkCause(value: unknown, limits: Limits, name: string): Cause {
  return checked(causeFault, value, limits, name) as Cause
}

/** @throws ProtocolError `badFrame` when it is not a topic, or not one that this type of frame allows */
function topicOfFrame(text: string, type: string, limits: Limits): TopicName {
  const name = readTopic(text, limits)
  const isWritable = name?.kind === 'session' || name?.kind === 'worker'
  if (name !== undefined && (isWritable || type === 'subscribe')) return name
  const expected = type === 'subscribe' ? anyTopic : writableForm
  throw errorOf({ expected, got: text, at: ['topic'] }, type)
}

const type = required(anyFault)
const sub = required(integerFault)
const ref = optional(refFault)
const topic = required(writableTopicFault)
const slice = required(sliceFault)
const cause = optional(causeFault)

/** Every field of every frame: section "From the client" of `docs/protocol.md`. */
const shapes: Readonly<Record<ClientFrame['type'], Shape>> = {
  subscribe: {
    type,
    sub,
    topic: required(topicFault),
    types: optional(typesFault),
    mode: optional(modeFault),
    slices: optional(slicesFault),
    after: optional(cursorFault),
    replay: optional(replayFault),
    last: optional(lastFault),
    since: optional(timeFault),
  },
  update: {
    type,
    sub,
    types: optional(orNull(typesFault)),
    mode: optional(modeFault),
    slices: optional(orNull(slicesFault)),
  },
  unsubscribe: { type, sub },
  publish: { type, ref, topic, events: required(eventsFault) },
  lease: { type, ref, topic, ms: required(leaseFault) },
  set: { type, ref, topic, slice, value: required(anyFault), cause },
  patch: { type, ref, topic, slice, patch: required(patchFault), cause },
  merge: { type, ref, topic, slice, merge: required(anyFault), cause },
  authorize: { type, token: required(tokenFault) },
  ping: { type, ref },
}
