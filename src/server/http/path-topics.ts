import type { TopicName } from '../../protocol/topic.js'
import { flagOf } from './query.js'
import type { Access, Asked } from './routes.js'

/** The topic of a path's session; with `?all` that of all its events. */
export function sessionTopic({ param, query }: Asked): TopicName {
  return { kind: flagOf(query, 'all') ? 'all' : 'session', session: param('session') }
}

/** As `sessionTopic`; whoever names workers means all events. */
export function historyTopic(asked: Asked): TopicName {
  return asked.query.has('workers') ? wholeTopic(asked) : sessionTopic(asked)
}

/** The topic of a path's worker. */
export function workerTopic({ param }: Asked): TopicName {
  return { kind: 'worker', session: param('session'), worker: param('worker') }
}

/** The session's own topic, whatever the query says. */
export function ownTopic({ param }: Asked): TopicName {
  return { kind: 'session', session: param('session') }
}

/** All that belongs to a session. */
export function wholeTopic({ param }: Asked): TopicName {
  return { kind: 'all', session: param('session') }
}

export function reads(topic: (asked: Asked) => TopicName): Access {
  return { kind: 'read', topic }
}

export function writes(topic: (asked: Asked) => TopicName): Access {
  return { kind: 'write', topic }
}

/** What is published there is looked at once it has come: commands may be sent by who may do no more. */
export function commands(topic: (asked: Asked) => TopicName): Access {
  return { kind: 'command', topic }
}
