import { isWellFormed } from '../lib/text.js'
import { ProtocolError, quote } from './codes.js'
import { readCursor } from './cursor.js'
import { type Cause, type ClientFrame, modes, type NewEvent, type PatchOperation } from './frames.js'
import type { Limits } from './limits.js'
import {
  expectedType,
  forbiddenNames,
  isForbiddenName,
  isId,
  isType,
  readTopic,
  sliceForm,
  type TopicName,
  writableForm,
} from './topic.js'
import { isTrace, isTraceState } from './trace.js'

/** What is wrong with a value, and where in it. Made only for bad input: good input allocates nothing. */
interface Fault {
  readonly expected: string
  readonly got: unknown
  /** Names and indexes that lead to the fault, outermost first. */
  readonly at: readonly (string | number)[]
}

/** @returns what is wrong with `value`, or nothing. */
type Check = (value: unknown, limits: Limits) => Fault | undefined

interface Field {
  readonly check: Check
  readonly required: boolean
}

type Shape = Readonly<Record<string, Field>>

/** A frame that has been checked: its topic is taken apart. */
export type Checked<Frame> = Frame extends { readonly topic: string }
  ? Omit<Frame, 'topic'> & { readonly topic: TopicName }
  : Frame

/** A frame that has been checked, or one made within the process. */
export type Given<Frame> = Frame | Checked<Frame>

/**
 * Checks one frame of a client, all of its fields but the content of `data`, `value`, `merge` and `payload`,
 * which whoever keeps them measures.
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
  const fault = shapeFault(value, shape, limits)
  if (fault !== undefined) throw errorOf(fault, type as string)
  if (typeof value.topic === 'string') {
    // In place: the frame was made of bytes for this alone.
    Object.assign(value, { topic: topicOfFrame(value.topic, type as string, limits) })
  }
  return value as unknown as Checked<ClientFrame>
}

/**
 * Checks one event of a producer, all but the content of `data`.
 *
 * @param name what the message calls the event, such as `event` or `events[3]`
 * @throws ProtocolError `badFrame`: `event.type: expected …, got …`, with a pointer into the event
 */
export function checkEvent(value: unknown, limits: Limits, name = 'event'): NewEvent {
  const fault = eventFault(value, limits)
  if (fault !== undefined) throw errorOf(fault, name)
  return value as NewEvent
}

/** @throws ProtocolError `badFrame`: `events[3].type: expected …, got …`, with a pointer into the list */
export function checkEvents(value: unknown, limits: Limits): readonly NewEvent[] {
  const fault = eventsFault(value, limits)
  if (fault !== undefined) throw errorOf(fault, 'events')
  return value as readonly NewEvent[]
}

/** @throws ProtocolError `badFrame` when it is not an id of a session or a worker */
export function checkId(value: unknown, limits: Limits, name: string): string {
  return checked(idFault, value, limits, name) as string
}

/** @throws ProtocolError `badFrame` when it is not a `types` filter */
export function checkTypes(value: unknown, limits: Limits, name: string): readonly string[] {
  return checked(typesFault, value, limits, name) as readonly string[]
}

/** @throws ProtocolError `badFrame` when it is not a choice of slices */
export function checkSlices(value: unknown, limits: Limits, name: string): readonly string[] {
  return checked(slicesFault, value, limits, name) as readonly string[]
}

function checked(check: Check, value: unknown, limits: Limits, name: string): unknown {
  const fault = check(value, limits)
  if (fault !== undefined) throw errorOf(fault, name)
  return value
}

function errorOf({ expected, got, at }: Fault, name: string): ProtocolError {
  const path = at.map((step) => (typeof step === 'number' ? `[${step}]` : `.${printable(step)}`)).join('')
  const pointer = at.map((step) => `/${String(step).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
  const place = at.length === 0 ? {} : { pointer }
  return new ProtocolError('badFrame', `${name}${path}: expected ${expected}, got ${quote(got)}`, place)
}

function printable(name: string): string {
  return /^[\w$-]{1,64}$/.test(name) ? name : quote(name)
}

function fault(expected: string, got: unknown): Fault {
  return { expected, got, at: [] }
}

function within(step: string | number, inner: Fault | undefined): Fault | undefined {
  return inner && { ...inner, at: [step, ...inner.at] }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

// Names

const typeFilterPattern = /^!?(?:[A-Za-z0-9._:-]+\*?|\*)$/
const slicePattern = /^[A-Za-z0-9._:~$-]+$/
const sliceFilterPattern = /^(?:[A-Za-z0-9._:~$-]+\*?|\*)$/

function idFault(value: unknown, limits: Limits): Fault | undefined {
  if (typeof value === 'string' && isId(value, limits)) return undefined
  const expected = `an id of 1–${limits.idLengthMax} of A–Z a–z 0–9 . _ ~ -`
  const isForbidden = typeof value === 'string' && isForbiddenName(value)
  return fault(isForbidden ? `${expected}, but none of ${forbiddenNames}` : expected, value)
}

const anyTopic = 'sessions/{id}[/workers/{id}|/**] or hub'

/** Only whether it is there: it is taken apart, and checked with that, once the other fields are right. */
function topicFault(value: unknown): Fault | undefined {
  return typeof value === 'string' ? undefined : fault(anyTopic, value)
}

function writableTopicFault(value: unknown): Fault | undefined {
  return typeof value === 'string' ? undefined : fault(writableForm, value)
}

/** @throws ProtocolError `badFrame` when it is no topic, or none that this kind of frame may be about */
function topicOfFrame(text: string, type: string, limits: Limits): TopicName {
  const name = readTopic(text, limits)
  const isWritable = name?.kind === 'session' || name?.kind === 'worker'
  if (name !== undefined && (isWritable || type === 'subscribe')) return name
  const expected = type === 'subscribe' ? anyTopic : writableForm
  throw errorOf({ expected, got: text, at: ['topic'] }, type)
}

function typeFault(value: unknown, limits: Limits): Fault | undefined {
  if (typeof value === 'string' && isType(value, limits)) return undefined
  return fault(`a type of ${expectedType(limits)}`, value)
}

function typesFault(value: unknown, limits: Limits): Fault | undefined {
  if (!Array.isArray(value) || value.length > limits.filterTypesMax) {
    return fault(`a list of at most ${limits.filterTypesMax} types`, value)
  }
  for (const [index, entry] of value.entries()) {
    if (
      typeof entry === 'string' &&
      entry.length <= limits.typeLengthMax + 2 &&
      typeFilterPattern.test(entry)
    )
      continue
    return within(index, fault('a type, prefix*, or ! before either', entry))
  }
  return undefined
}

function slicesFault(value: unknown, limits: Limits): Fault | undefined {
  if (!Array.isArray(value) || value.length > limits.filterSlicesMax) {
    return fault(`a list of at most ${limits.filterSlicesMax} names of slices`, value)
  }
  for (const [index, entry] of value.entries()) {
    if (typeof entry === 'string' && entry.length <= limits.idLengthMax + 1 && sliceFilterPattern.test(entry))
      continue
    return within(index, fault('a name of a slice, prefix* or *', entry))
  }
  return undefined
}

/** The slices that producers set; names that begin with `$` are the hub's own. */
function sliceFault(value: unknown, limits: Limits): Fault | undefined {
  const known = typeof value === 'string' && value.length <= limits.idLengthMax && slicePattern.test(value)
  if (known && !value.startsWith('$') && !isForbiddenName(value)) return undefined
  return fault(sliceForm, value)
}

/** @throws ProtocolError `badFrame` when it is not the name of a slice that producers may set */
export function checkSlice(value: unknown, limits: Limits, name: string): string {
  return checked(sliceFault, value, limits, name) as string
}

// Plain values

function integerFault(value: unknown): Fault | undefined {
  return Number.isSafeInteger(value) ? undefined : fault('an integer', value)
}

/** The shortest and the longest lease. Milliseconds. */
const [leaseMsMin, leaseMsMax] = [1_000, 3_600_000]

function leaseFault(value: unknown): Fault | undefined {
  const isLease = Number.isSafeInteger(value) && Number(value) >= leaseMsMin && Number(value) <= leaseMsMax
  if (isLease || value === 0) return undefined
  return fault(`${leaseMsMin} to ${leaseMsMax} milliseconds, or 0 to give the lease up`, value)
}

/** @throws ProtocolError `badFrame` */
export function checkLease(value: unknown, at: string): number {
  const fault = leaseFault(value)
  if (fault !== undefined) throw errorOf(fault, at)
  return value as number
}

function modeFault(value: unknown): Fault | undefined {
  return modes.some((mode) => mode === value) ? undefined : fault(`one of ${modes.join(', ')}`, value)
}

function replayFault(value: unknown): Fault | undefined {
  return typeof value === 'boolean' || value === 'all' ? undefined : fault('true, false or "all"', value)
}

function cursorFault(value: unknown): Fault | undefined {
  const expected = 'a cursor <epoch>:<offset>'
  return typeof value === 'string' && readCursor(value) !== undefined ? undefined : fault(expected, value)
}

function refFault(value: unknown, limits: Limits): Fault | undefined {
  if (Number.isFinite(value)) return undefined
  if (typeof value === 'string' && value.length <= limits.eventIdLengthMax) {
    return isWellFormed(value) ? undefined : fault('well-formed Unicode', value)
  }
  return fault(`a number, or a text of at most ${limits.eventIdLengthMax} characters`, value)
}

/** What is compared must be the same in every codec: half a surrogate pair would be U+FFFD, and so would another half. */
function eventIdFault(value: unknown, limits: Limits): Fault | undefined {
  if (typeof value === 'string' && value.length >= 1 && value.length <= limits.eventIdLengthMax) {
    return isWellFormed(value) ? undefined : fault('well-formed Unicode', value)
  }
  return fault(`a text of 1–${limits.eventIdLengthMax} characters`, value)
}

/** The last moment that a `Date` can name (ECMA-262, 21.4.1.1). */
const timeMax = 8.64e15

function timeFault(value: unknown): Fault | undefined {
  if (typeof value === 'number' && value >= 0 && value <= timeMax) return undefined
  return fault('milliseconds since 1970', value)
}

function traceFault(value: unknown): Fault | undefined {
  return isTrace(value)
    ? undefined
    : fault('a traceparent 00-<trace>-<span>-<flags> (W3C Trace Context)', value)
}

function traceStateFault(value: unknown): Fault | undefined {
  return isTraceState(value) ? undefined : fault('a tracestate key=value,… (W3C Trace Context)', value)
}

function booleanFault(value: unknown): Fault | undefined {
  return typeof value === 'boolean' ? undefined : fault('true or false', value)
}

function tokenFault(value: unknown, limits: Limits): Fault | undefined {
  if (typeof value === 'string' && value.length >= 1 && value.length <= limits.tokenLengthMax)
    return undefined
  // What came may be half a secret: the message does not repeat it.
  return fault(
    `a token of 1–${limits.tokenLengthMax} characters`,
    typeof value === 'string' ? undefined : value,
  )
}

/** Its presence is all that is asked here. */
function anyFault(): undefined {
  return undefined
}

// Composed values

const eventFields = 'type, data?, id?, key?, time?, trace?, tracestate?, force?'

/** In the order of likelihood, one pass and no table: this runs for every event that is published. */
function eventFault(value: unknown, limits: Limits): Fault | undefined {
  if (!isObject(value)) return fault(`an event { ${eventFields} }`, value)
  if (value.type === undefined) return within('type', typeFault(undefined, limits))
  for (const name in value) {
    const field = value[name]
    if (field === undefined) continue
    const wrong = eventFieldFault(name, field, limits)
    if (wrong !== undefined) return within(name, wrong)
  }
  return undefined
}

function eventFieldFault(name: string, field: unknown, limits: Limits): Fault | undefined {
  switch (name) {
    case 'type':
      return typeFault(field, limits)
    case 'data':
      return undefined
    case 'id':
    case 'key':
      return eventIdFault(field, limits)
    case 'time':
      return timeFault(field)
    case 'trace':
      return traceFault(field)
    case 'tracestate':
      return traceStateFault(field)
    case 'force':
      return booleanFault(field)
    default:
      return fault(`no field but ${eventFields.replaceAll('?', '')}`, field)
  }
}

function eventsFault(value: unknown, limits: Limits): Fault | undefined {
  if (!Array.isArray(value) || value.length > limits.publishEventsMax) {
    return fault(`a list of at most ${limits.publishEventsMax} events`, value)
  }
  for (let index = 0; index < value.length; index += 1) {
    const wrong = eventFault(value[index], limits)
    if (wrong !== undefined) return within(index, wrong)
  }
  return undefined
}

const operations: Readonly<Record<string, 'value' | 'from' | 'path'>> = {
  add: 'value',
  replace: 'value',
  test: 'value',
  move: 'from',
  copy: 'from',
  remove: 'path',
}

const pointerPattern = /^(?:\/(?:[^~/]|~[01])*)*$/

function pointerFault(value: unknown): Fault | undefined {
  if (typeof value === 'string' && pointerPattern.test(value)) return undefined
  return fault('a JSON pointer (RFC 6901)', value)
}

/** Fields that RFC 6902 does not define are ignored, as its section 4 wants. */
function operationFault(value: unknown): Fault | undefined {
  if (!isObject(value)) return fault('an operation { op, path, … }', value)
  const { op } = value
  if (typeof op !== 'string' || !Object.hasOwn(operations, op)) {
    return within('op', fault(`one of ${Object.keys(operations).join(', ')}`, op))
  }
  const wrong = within('path', pointerFault(value.path))
  if (wrong !== undefined) return wrong
  if (operations[op] === 'from') return within('from', pointerFault(value.from))
  if (operations[op] === 'value' && value.value === undefined)
    return within('value', fault('any value', undefined))
  return undefined
}

function patchFault(value: unknown, limits: Limits): Fault | undefined {
  if (!Array.isArray(value) || value.length > limits.patchOperationsMax) {
    return fault(`a list of at most ${limits.patchOperationsMax} operations`, value)
  }
  for (let index = 0; index < value.length; index += 1) {
    const wrong = operationFault(value[index])
    if (wrong !== undefined) return within(index, wrong)
  }
  return undefined
}

function causeFault(value: unknown, limits: Limits): Fault | undefined {
  if (!isObject(value)) return fault('a cause { type, id?, payload? }', value)
  return shapeFault(value, causeShape, limits)
}

function causeTypeFault(value: unknown, limits: Limits): Fault | undefined {
  if (typeof value === 'string' && value.length >= 1 && value.length <= limits.typeLengthMax) {
    return isWellFormed(value) ? undefined : fault('well-formed Unicode', value)
  }
  return fault(`a text of 1–${limits.typeLengthMax} characters`, value)
}

/** @throws ProtocolError `badFrame` when it is not an RFC 6902 patch; whether it applies is seen later */
export function checkPatch(value: unknown, limits: Limits, name: string): readonly PatchOperation[] {
  return checked(patchFault, value, limits, name) as readonly PatchOperation[]
}

/** @throws ProtocolError `badFrame` when it is not a cause */
export function checkCause(value: unknown, limits: Limits, name: string): Cause {
  return checked(causeFault, value, limits, name) as Cause
}

// Frames

function required(check: Check): Field {
  return { check, required: true }
}

function optional(check: Check): Field {
  return { check, required: false }
}

function orNull(check: Check): Check {
  return (value, limits) => (value === null ? undefined : check(value, limits))
}

const causeShape: Shape = {
  type: required(causeTypeFault),
  id: optional(eventIdFault),
  payload: optional(anyFault),
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

function shapeFault(
  value: Readonly<Record<string, unknown>>,
  shape: Shape,
  limits: Limits,
): Fault | undefined {
  for (const name in value) {
    if (value[name] === undefined) continue
    if (!Object.hasOwn(shape, name)) {
      return within(name, fault(`no field but ${Object.keys(shape).join(', ')}`, value[name]))
    }
    const wrong = shape[name]?.check(value[name], limits)
    if (wrong !== undefined) return within(name, wrong)
  }
  for (const name in shape) {
    const field = shape[name]
    if (field?.required && value[name] === undefined) {
      return within(name, field.check(undefined, limits) ?? fault('a value', undefined))
    }
  }
  return undefined
}
