import { results } from '../catalog/traits.js'
import { isObject, type JsonObject } from '../lib/json.js'
import type { StreamMessage } from '../log/entries.js'
import { checkChoice, checkSlice } from '../protocol/check.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import { type Mode, modes, type NewEvent } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import { formatTopic, type TopicName, topicNameOf } from '../protocol/topic.js'
import type { EventCheck } from '../session/event-check.js'
import type { EndOptions } from '../session/session-setting.js'

type StateTopicName = Extract<TopicName, { kind: 'session' | 'worker' }>

/** @returns the topic of a change of state, after checking it and the slice */
export function stateTopicOf(topicName: string | TopicName, slice: string, limits: Limits): StateTopicName {
  const name = topicNameOf(topicName, 'topic', limits)
  if (name.kind === 'hub') throw new ProtocolError('forbidden', 'topic: only the hub sets the state of hub')
  if (name.kind === 'all') {
    throw new ProtocolError(
      'badFrame',
      `topic: expected a session or a worker, got ${quote(formatTopic(name))}`,
    )
  }
  checkSlice(slice, limits, 'slice')
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
  { mode, metadata: given }: { readonly mode?: Mode; readonly metadata?: JsonObject },
  check: EventCheck,
): { readonly mode?: Mode; readonly metadata?: JsonObject } {
  if (mode !== undefined) checkChoice(mode, modes, 'mode')
  if (given !== undefined && !isObject(given)) {
    throw new ProtocolError('badFrame', `metadata: expected an object, got ${quote(given)}`)
  }
  const metadata = given && (check.value(given, 'metadata').value as JsonObject)
  return { ...(mode && { mode }), ...(metadata && { metadata }) }
}

/** @returns how a session ends, with a canonical outcome @throws ProtocolError `badFrame` or `frameTooLarge` */
export function checkedEnding(ending: EndOptions, check: EventCheck): EndOptions {
  const { outcome, result, reason } = ending
  if (result !== undefined) checkChoice(result, results, 'result')
  if (reason !== undefined && typeof reason !== 'string') {
    throw new ProtocolError('badFrame', `reason: expected a text, got ${quote(reason)}`)
  }
  return outcome === undefined ? ending : { ...ending, outcome: check.value(outcome, 'outcome').value }
}
