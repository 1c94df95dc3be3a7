import { ProtocolError, quote } from '../protocol/codes.js'
import type { Limits } from '../protocol/limits.js'
import type { Permissions } from '../protocol/permissions.js'
import type { TopicName } from '../protocol/topic.js'
import type { Session } from '../session/session.js'
import type { Topic } from '../session/topic.js'
import type { Worker } from '../session/worker.js'
import type { SessionLists } from './lists/session-lists.js'

/** The sources of topics. */
export interface TopicSources {
  readonly lists: SessionLists
  /** Sessions in memory that were not started. */
  readonly waiting: number
  /** @returns the session if it is in memory */
  held(id: string): Session | undefined
  /** @returns the session, made as a placeholder when there is none */
  session(id: string): Session
  /** @throws ProtocolError `notFound` when it was never started */
  started(id: string): Session
}

/** The topics of a hub, by their names. */
export class Topics {
  readonly #sessions: TopicSources
  readonly #limits: Pick<Limits, 'sessionsMax' | 'workersMax'>

  constructor(sessions: TopicSources, limits: Pick<Limits, 'sessionsMax' | 'workersMax'>) {
    this.#sessions = sessions
    this.#limits = limits
  }

  /** As `session`, for followers, which cannot keep producers from publishing. */
  #sessionToFollow(id: string): Session {
    const { sessionsMax } = this.#limits
    const held = this.#sessions.held(id)
    // Opened in a log, it is in memory before anybody follows it.
    const isOpened = held?.status === 'waiting' && !held.followed
    const others = this.#sessions.waiting - (isOpened ? 1 : 0)
    if (others >= sessionsMax && (held === undefined || isOpened)) {
      throw new ProtocolError(
        'unavailable',
        `${sessionsMax} sessions that do not exist yet are followed already (sessionsMax)`,
      )
    }
    return this.#sessions.session(id)
  }

  /** @throws ProtocolError `notFound` when its session or worker was never started */
  started(name: TopicName): Topic {
    if (name.kind === 'hub') return this.#sessions.lists.whole.topic
    const session = this.#sessions.started(name.session)
    if (name.kind === 'session') return session.topic
    if (name.kind === 'all') return session.all
    return startedWorker(session, name.worker).topic
  }

  /**
   * @param permissions decide what the topic `hub` shows
   * @returns the topic, created as a placeholder if its session or worker does not exist yet
   */
  toFollow(name: TopicName, permissions: Permissions): Topic {
    switch (name.kind) {
      case 'hub':
        return this.#sessions.lists.of(permissions).topic
      case 'session':
        return this.#sessionToFollow(name.session).topic
      case 'all':
        return this.#sessionToFollow(name.session).all
      case 'worker':
        return this.#workerToFollow(this.#sessionToFollow(name.session), name.worker).topic
    }
  }

  /** @returns the worker, for followers, which cannot keep producers from publishing */
  #workerToFollow(session: Session, id: string): Worker {
    const { workersMax } = this.#limits
    if (session.waitingWorkers >= workersMax && !session.workers.has(id)) {
      throw new ProtocolError(
        'conflict',
        `${workersMax} workers that do not exist yet are followed already (workersMax)`,
      )
    }
    return session.worker(id)
  }
}

/** @throws ProtocolError `notFound` when it was never started */
export function startedWorker(session: Session, id: string): Worker {
  const worker = session.workers.get(id)
  if (worker?.startedAt !== undefined) return worker
  throw new ProtocolError('notFound', `session ${quote(session.id)} has no worker ${quote(id)}`)
}
