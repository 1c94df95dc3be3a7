import type { PublisherStatus } from '../catalog/traits.js'
import type { JsonObject, JsonValue } from '../lib/json.js'
import type { Epoch, Offset } from '../protocol/cursor.js'
import type { Mode } from '../protocol/frames.js'
import type { ForkOrigin } from '../store/store.js'
import type { Need } from './needs.js'
import type { Usage } from './progress.js'
import { shownStatus, usageOf } from './reserved-slices.js'
import type { Outcome } from './result.js'
import type { Session } from './session.js'
import type { SessionStatus } from './session-setting.js'

export interface WorkerSummary {
  readonly id: string
  readonly status: PublisherStatus
  readonly startedAt: number
  readonly endedAt?: number
  readonly events: number
  readonly result?: Outcome
  readonly reason?: string
  readonly needs?: readonly Need[]
  readonly needsMore?: number
  /** Milliseconds since 1970, in steps of five seconds. */
  readonly lastAt?: number
  /** The worker that started it. */
  readonly parent?: string
  readonly usage?: Usage
}

export interface SessionSummary {
  readonly id: string
  readonly status: Exclude<SessionStatus, 'waiting'>
  readonly epoch: Epoch
  /** The offset of the newest event. */
  readonly offset: Offset
  /** Milliseconds since 1970. */
  readonly startedAt: number
  readonly endedAt?: number
  readonly outcome?: JsonValue
  readonly mode: Mode
  readonly metadata: JsonObject
  /** Its result, or that of its own last run. */
  readonly result?: Outcome
  readonly reason?: string
  /** Open needs of its own events; workers have their own. */
  readonly needs?: readonly Need[]
  readonly needsMore?: number
  readonly lastAt?: number
  /** The usage of the session and its workers. */
  readonly usage?: Usage
  /** Where its past is from, if it is a fork. */
  readonly forkedFrom?: ForkOrigin
  readonly workers: readonly WorkerSummary[]
}

/** @param session one that has started */
export function summarize(session: Session): SessionSummary {
  const workers: WorkerSummary[] = []
  for (const { id, status, startedAt, endedAt, events, progress } of session.workers.values()) {
    if (startedAt === undefined) continue
    workers.push({
      id,
      status,
      startedAt,
      ...(endedAt !== undefined && { endedAt }),
      events,
      ...progress.fields(),
    })
  }
  const usage = usageOf(session)
  return {
    id: session.id,
    status: shownStatus(session) as SessionSummary['status'],
    epoch: session.epoch,
    offset: session.offset,
    startedAt: session.startedAt as number,
    ...(session.endedAt === undefined ? undefined : { endedAt: session.endedAt }),
    ...(session.outcome === undefined ? undefined : { outcome: session.outcome }),
    mode: session.mode,
    metadata: session.metadata,
    ...session.progress.fields(),
    ...(usage !== undefined && { usage }),
    ...(session.forkedFrom && { forkedFrom: session.forkedFrom }),
    workers,
  }
}
