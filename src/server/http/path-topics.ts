import type { TopicName } from '../../protocol/topic.js'
import { flagOf } from './query.js'
import type { Access, RequestHead } from './routes.js'

/** The topic of a path's session; with `?all` the topic of all its events. */
export function sessionTopic({ param, query }: RequestHead): TopicName {
  return { kind: flagOf(query, 'all') ? 'all' : 'session', session: param('session') }
}

/** Like `sessionTopic`; with `?workers` the topic of all events. */
export function historyTopic(head: RequestHead): TopicName {
  return head.query.has('workers') ? wholeTopic(head) : sessionTopic(head)
}

/** The topic of a path's worker. */
export function workerTopic({ param }: RequestHead): TopicName {
  return { kind: 'worker', session: param('session'), worker: param('worker') }
}

/** The session's own topic, regardless of the query. */
export function ownTopic({ param }: RequestHead): TopicName {
  return { kind: 'session', session: param('session') }
}

/** The topic of a whole session. */
export function wholeTopic({ param }: RequestHead): TopicName {
  return { kind: 'all', session: param('session') }
}

export function reads(topic: (head: RequestHead) => TopicName): Access {
  return { kind: 'read', topic }
}

export function writes(topic: (head: RequestHead) => TopicName): Access {
  return { kind: 'write', topic }
}

/** Requires permission to send commands; the events are checked when they have arrived. */
export function commands(topic: (head: RequestHead) => TopicName): Access {
  return { kind: 'command', topic }
}
