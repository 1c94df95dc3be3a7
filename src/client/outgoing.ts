import { ProtocolError, quote } from '../protocol/codes.js'
import { isForbiddenName, isWritableTopic, sliceForm, writableForm } from '../protocol/topic.js'
import { canonicalValue } from '../protocol/value.js'
import { RequestError } from './errors.js'
import type { Request } from './requests.js'

/** The hub has its own bound; this one stops values that contain themselves. */
const depthMax = 1_000

/**
 * Converts a request as the hub would, and refuses what the hub would refuse, with the same messages. Otherwise JSON and
 * MessagePack would change values that are not JSON, and a URL would lose ids such as `..`. Lone surrogates are left to the
 * hub, which knows to which event they belong.
 *
 * @throws RequestError `badFrame`
 */
export function outgoing(request: Request): Request {
  try {
    return checked(request)
  } catch (error) {
    throw asRequestError(error)
  }
}

/** @throws RequestError `badFrame` when it is not the topic of one session or worker */
export function expectWritable(field: string, topic: string): void {
  try {
    checkTopic(field, topic)
  } catch (error) {
    throw asRequestError(error)
  }
}

function checkTopic(field: string, topic: string): void {
  if (!isWritableTopic(topic)) refuse(field, writableForm, topic)
}

function asRequestError(error: unknown): unknown {
  return error instanceof ProtocolError ? new RequestError(error.code, error.message) : error
}

function checked(request: Request): Request {
  const { type, topic } = request
  checkTopic(`${type}.topic`, topic)
  if (request.type === 'publish') {
    const events = request.events.map((event, index) =>
      event.data === undefined ? event : { ...event, data: json(event.data, 'data', `/${index}/data`) },
    )
    return { ...request, events }
  }
  if (request.type === 'lease') return request
  const { slice, cause } = request
  if (isForbiddenName(slice)) refuse(`${type}.slice`, sliceForm, slice)
  const because = cause && { cause: json(cause, 'cause') }
  switch (request.type) {
    case 'set':
      return { ...request, ...because, value: json(request.value, 'value') }
    case 'patch':
      return { ...request, ...because, patch: json(request.patch, 'patch') }
    case 'merge':
      return { ...request, ...because, merge: json(request.merge, 'merge') }
  }
}

/** The converted value has the same type, because conversion only affects parts that are not JSON. */
function json<Value>(value: Value, field: string, pointer = ''): Value {
  return canonicalValue(value, { field, pointer, depthMax, keepsHalves: true }) as Value
}

function refuse(field: string, expected: string, got: unknown): never {
  throw new ProtocolError('badFrame', `${field}: expected ${expected}, got ${quote(got)}`)
}
