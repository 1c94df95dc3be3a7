import type { TopicName } from '../../protocol/topic.js'
import { flagOf } from './query.js'
import type { Access, Asked } from './routes.js'

/** The topic of a path's session; with `?all` the topic of all its events. */
export function sessionTopic({ param, query }: Asked): TopicName {
  return { kind: flagOf(query, 'all') ? 'all' : 'session', session: param('session') }
}

/** Like `sessionTopic`; with `?workers` the topic of all events. */
export function historyTopic(asked: Asked): TopicName {
  return asked.query.has('workers') ? wholeTopic(asked) : sessionTopic(asked)
}

/** The topic of a path's worker. */
export function workerTopic({ param }: Asked): TopicName {
  return { kind: 'worker', session: param('session'), worker: param('worker') }
}

/** The session's own topic, regardless of the query. */
export function ownTopic({ param }: Asked): TopicName {
  return { kind: 'session', session: param('session') }
}

/** The topic of a whole session. */
export function wholeTopic({ param }: Asked): TopicName {
  return { kind: 'all', session: param('session') }
}

export function reads(topic: (asked: Asked) => TopicName): Access {
  return { kind: 'read', topic }
}

export function writes(topic: (asked: Asked) => TopicName): Access {
  return { kind: 'write', topic }
}

/** Requires permission to send commands; the events are checked when they have arrived. */
export function commands(topic: (asked: Asked) => TopicName): Access {
  return { kind: 'command', topic }
}
