import { results } from '../catalog/traits.js'
import { isObject, type JsonObject } from '../lib/json.js'
import type { StreamMessage } from '../log/entries.js'
import { checkChoice, checkFields, checkSlice } from '../protocol/check.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import { type Mode, modes, type NewEvent } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import { formatTopic, type TopicName, topicNameOf, writableForm } from '../protocol/topic.js'
import type { EventCheck } from '../session/event-check.js'
import type { StateOptions } from '../session/precondition.js'
import type { EndOptions } from '../session/session-setting.js'

type StateTopicName = Extract<TopicName, { kind: 'session' | 'worker' }>

/** @returns the topic of a change of state, after checking it, the slice, and the names of the options */
export function stateTopicOf(
  topicName: string | TopicName,
  slice: string,
  options: StateOptions,
  limits: Limits,
): StateTopicName {
  const name = topicNameOf(topicName, 'topic', limits)
  if (name.kind !== 'session' && name.kind !== 'worker') {
    throw new ProtocolError('badFrame', `topic: expected ${writableForm}, got ${quote(formatTopic(name))}`)
  }
  checkSlice(slice, limits, 'slice')
  checkFields(options, ['cause', 'unless'], 'options')
  return name
}

/** @returns the messages of a durable stream with canonical data @throws ProtocolError `frameTooLarge` or `badFrame` */
export function checkedMessages(check: EventCheck, given: readonly NewEvent[]): StreamMessage[] {
  return given.map((event, index) => {
    const { value, bytes } = check.value(event.data ?? null, 'message', `/${index}`)
    return { event: value === event.data ? event : { ...event, data: value }, bytes: bytes + 64 }
  })
}

/** @returns the checked configuration, with canonical metadata @throws ProtocolError `badFrame` */
export function checkedConfiguration(
  changed: { readonly mode?: Mode; readonly metadata?: JsonObject },
  check: EventCheck,
): { readonly mode?: Mode; readonly metadata?: JsonObject } {
  checkFields(changed, ['mode', 'metadata'], 'changed')
  const { mode, metadata: given } = changed
  if (mode !== undefined) checkChoice(mode, modes, 'mode')
  if (given !== undefined && !isObject(given)) {
    throw new ProtocolError('badFrame', `metadata: expected an object, got ${quote(given)}`)
  }
  const metadata = given && (check.value(given, 'metadata').value as JsonObject)
  return { ...(mode && { mode }), ...(metadata && { metadata }) }
}

/** @returns how a session ends, with a canonical outcome @throws ProtocolError `badFrame` or `frameTooLarge` */
export function checkedEnding(ending: EndOptions, check: EventCheck): EndOptions {
  checkFields(ending, ['outcome', 'result', 'reason'], 'ending')
  const { outcome, result, reason } = ending
  if (result !== undefined) checkChoice(result, results, 'result')
  if (reason !== undefined && typeof reason !== 'string') {
    throw new ProtocolError('badFrame', `reason: expected a text, got ${quote(reason)}`)
  }
  return outcome === undefined ? ending : { ...ending, outcome: check.value(outcome, 'outcome').value }
}
