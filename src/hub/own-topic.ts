import { checkLease } from '../protocol/check.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import type { Limits } from '../protocol/limits.js'
import { formatTopic, type TopicName, topicNameOf, writableForm } from '../protocol/topic.js'

/** The session or worker that publishes to a topic. */
export interface OwnTopicName {
  readonly session: string
  readonly worker: string | undefined
}

/** @throws ProtocolError unless it is the topic of a session or a worker */
export function ownTopicOf(topic: string | TopicName, field: string, limits: Limits): OwnTopicName {
  return ownTopicName(topicNameOf(topic, field, limits), field)
}

/** @throws ProtocolError unless the topic is that of a session or a worker, and `ms` a valid duration of a lease */
export function leasedTopicOf(topic: string | TopicName, ms: number, limits: Limits): OwnTopicName {
  checkLease(ms, 'lease.ms')
  return ownTopicName(topicNameOf(topic, 'lease.topic', limits), 'lease.topic')
}

function ownTopicName(name: TopicName, field: string): OwnTopicName {
  if (name.kind !== 'session' && name.kind !== 'worker') {
    throw new ProtocolError('badFrame', `${field}: expected ${writableForm}, got ${quote(formatTopic(name))}`)
  }
  return { session: name.session, worker: name.kind === 'worker' ? name.worker : undefined }
}
