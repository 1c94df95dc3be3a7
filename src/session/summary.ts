import type { PublisherStatus } from '../catalog/traits.js'
import type { JsonObject, JsonValue } from '../lib/json.js'
import type { Epoch, Offset } from '../protocol/cursor.js'
import type { Mode } from '../protocol/frames.js'
import type { Session, SessionStatus } from './session.js'

export interface WorkerSummary {
  readonly id: string
  readonly status: PublisherStatus
  readonly startedAt: number
  readonly endedAt?: number
  readonly events: number
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
  readonly workers: readonly WorkerSummary[]
}

/** @param session one that has started */
export function summarize(session: Session): SessionSummary {
  const workers: WorkerSummary[] = []
  for (const { id, status, startedAt, endedAt, events } of session.workers.values()) {
    if (startedAt === undefined) continue
    workers.push({ id, status, startedAt, ...(endedAt !== undefined && { endedAt }), events })
  }
  return {
    id: session.id,
    status: session.status as SessionSummary['status'],
    epoch: session.epoch,
    offset: session.offset,
    startedAt: session.startedAt as number,
    ...(session.endedAt === undefined ? undefined : { endedAt: session.endedAt }),
    ...(session.outcome === undefined ? undefined : { outcome: session.outcome }),
    mode: session.mode,
    metadata: session.metadata,
    workers,
  }
}
