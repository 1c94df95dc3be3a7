import { flagOf } from './query.js'
import type { Access, Asked } from './routes.js'

/** The topic of a path's session; with `?all` that of all its events. */
export function sessionTopic({ param, query }: Asked): string {
  return `sessions/${param('session')}${flagOf(query, 'all') ? '/**' : ''}`
}

/** The topic of a path's worker. */
export function workerTopic({ param }: Asked): string {
  return `sessions/${param('session')}/workers/${param('worker')}`
}

/** The session's own topic, whatever the query says. */
export function ownTopic({ param }: Asked): string {
  return `sessions/${param('session')}`
}

/** All that belongs to a session. */
export function wholeTopic({ param }: Asked): string {
  return `sessions/${param('session')}/**`
}

export function reads(topic: (asked: Asked) => string): Access {
  return { kind: 'read', topic }
}

export function writes(topic: (asked: Asked) => string): Access {
  return { kind: 'write', topic }
}
