import type { Catalog } from '../catalog/catalog.js'
import type { Clock } from '../lib/clock.js'
import type { JsonObject } from '../lib/json.js'
import { ProtocolError } from '../protocol/codes.js'
import type { Offset } from '../protocol/cursor.js'
import type { Attempt } from '../protocol/frames.js'
import type { EventCheck } from '../session/event-check.js'
import type { Session } from '../session/session.js'
import type { Underway } from '../session/steering.js'
import type { Timeline } from '../session/timeline.js'
import type { Worker } from '../session/worker.js'
import type { Sessions } from './sessions.js'

export interface OwnEventsParts {
  readonly catalog: Catalog
  readonly clock: Clock
  readonly check: EventCheck
  readonly sessions: Sessions
  /** Called when a session has something for its followers. */
  readonly onDirty: (timeline: Timeline) => void
}

/** Publishes the hub's own events: lost and stalled publishers, expired commands, superseded attempts. */
export class OwnEvents {
  readonly #catalog: Catalog
  readonly #clock: Clock
  readonly #check: EventCheck
  readonly #sessions: Sessions
  readonly #onDirty: OwnEventsParts['onDirty']
  /** The number of published events. */
  published = 0
  /** The number of expired leases. */
  readonly lost = { sessions: 0, workers: 0 }

  constructor({ catalog, clock, check, sessions, onDirty }: OwnEventsParts) {
    this.#catalog = catalog
    this.#clock = clock
    this.#check = check
    this.#sessions = sessions
    this.#onDirty = onDirty
  }

  /** A new attempt at a step: publishes which events it supersedes. */
  supersede(session: Session, worker: Worker | undefined, attempt: Attempt, now: number): void {
    const offsets = session.supersede(attempt, worker)
    if (offsets !== undefined) this.#tell(session, worker, 'attempt.superseded', { ...attempt, offsets }, now)
  }

  /**
   * Commands may have expired; this is then their final state.
   *
   * @returns when the next one expires. Milliseconds since 1970; nothing if there is none
   */
  expire(sessionId: string): number | undefined {
    const session = this.#timed(sessionId)
    if (session === undefined) return undefined
    const now = this.#clock.now()
    const { expired, nextMs } = session.commands.look()
    this.#expireAll(session, expired, now)
    if (session.followed) this.#onDirty(session)
    return nextMs === undefined ? undefined : now + nextMs
  }

  /** A session is about to end; all open commands expire. */
  endCommands(session: Session, now: number): void {
    this.#expireAll(session, session.commands.open(), now, 'the session has ended')
  }

  #expireAll(session: Session, expired: readonly Underway[], now: number, reason?: string): void {
    for (const { worker, command } of expired) {
      const data = { offset: command.offset, state: 'expired', ...(reason !== undefined && { reason }) }
      this.#tell(session, worker, 'command.done', data, now)
    }
  }

  /**
   * A session or worker may have stalled; if so, the hub publishes it.
   *
   * @returns the time of the next check. Milliseconds since 1970; nothing for never
   */
  stall(sessionId: string, workerId: string | undefined): number | undefined {
    const session = this.#timed(sessionId)
    const worker = workerId === undefined ? undefined : session?.workers.get(workerId)
    if (session === undefined || (workerId !== undefined && worker === undefined)) return undefined
    const now = this.#clock.now()
    const leftMs = session.publishers.stallLeftMs(worker)
    if (leftMs === undefined || leftMs > 0) return leftMs === undefined ? undefined : now + leftMs
    const stalled = session.publishers.stuckIn(worker)
    session.publishers.stall(worker, stalled)
    const type = 'worker.stalled'
    const offset = this.#tell(session, worker, type, stalled, now)
    session.publishers.notify(worker, { kind: 'stalled', type, offset, time: now, stalled })
    if (session.followed) this.#onDirty(session)
    return undefined
  }

  /**
   * A lease may have expired; if so, the hub publishes that its holder is lost.
   *
   * @returns the milliseconds that are left after a sign of life; 0 if the lease is over
   */
  runOut(sessionId: string, workerId: string | undefined): number {
    const session = this.#timed(sessionId)
    if (session === undefined) return 0
    const worker = workerId === undefined ? undefined : session.workers.get(workerId)
    if (workerId !== undefined && worker?.status !== 'running' && worker?.status !== 'paused') {
      if (worker !== undefined) session.publishers.lease(worker, 0)
      return 0
    }
    const now = this.#clock.now()
    const leftMs = session.publishers.leaseLeft(worker)
    if (leftMs > 0) return leftMs
    const type = worker === undefined ? 'session.lost' : 'worker.lost'
    const reason = 'its lease ran out without a sign of life'
    this.lost[worker === undefined ? 'sessions' : 'workers']++
    const offset = this.#tell(session, worker, type, { reason }, now)
    session.publishers.lose(worker, reason, { offset, now })
    if (session.followed) this.#onDirty(session)
    return 0
  }

  /** @returns the session of a timer if it is running and available */
  #timed(id: string): Session | undefined {
    // Events by one hub's own clock would have offsets that other hubs do not know.
    if (this.#sessions.followed !== undefined) return undefined
    try {
      const session = this.#sessions.known(id)
      return session?.status === 'running' || session?.status === 'paused' ? session : undefined
    } catch (error) {
      if (error instanceof ProtocolError) return undefined
      throw error
    }
  }

  #tell(session: Session, worker: Worker | undefined, type: string, data: JsonObject, now: number): Offset {
    const { bytes } = this.#check.value(data, 'data')
    const facts = { traits: this.#catalog.traitsOf(type), bytes, now, isHub: true }
    this.published++
    return session.append({ type, data }, worker, facts)
  }
}
