import type { JsonObject, JsonValue } from '../lib/json.js'

/** What the reserved slices say of a worker. */
export interface DescribedWorker {
  readonly id: string
  readonly status: string
  /** Milliseconds since 1970; absent while it is only followed. */
  readonly startedAt: number | undefined
  readonly endedAt: number | undefined
  readonly events: number
}

/** What the reserved slices say of a session. */
export interface DescribedSession {
  readonly status: string
  readonly startedAt: number | undefined
  readonly endedAt: number | undefined
  readonly outcome: JsonValue | undefined
  readonly workers: ReadonlyMap<string, DescribedWorker>
}

/** @returns the slices that the hub keeps in a session's topic */
export function slicesOf(session: DescribedSession): readonly (readonly [string, JsonValue])[] {
  const { status, startedAt, endedAt, outcome } = session
  const about = {
    status,
    ...(startedAt !== undefined && { startedAt }),
    ...(endedAt !== undefined && { endedAt }),
    ...(outcome !== undefined && { outcome }),
  }
  const workers = [...session.workers.values()].filter(({ startedAt }) => startedAt !== undefined)
  return [
    ['$session', about],
    ['$workers', Object.fromEntries(workers.map((worker) => [worker.id, aboutWorker(worker)]))],
  ]
}

function aboutWorker({ status, startedAt, endedAt, events }: DescribedWorker): JsonObject {
  return {
    status,
    ...(startedAt !== undefined && { startedAt }),
    ...(endedAt !== undefined && { endedAt }),
    events,
  }
}

/** @returns what a list of sessions shows of one */
export function aboutSession({ status, startedAt, endedAt, workers }: DescribedSession): JsonObject {
  return {
    status,
    ...(startedAt !== undefined && { startedAt }),
    ...(endedAt !== undefined && { endedAt }),
    workers: [...workers.values()].filter((worker) => worker.startedAt !== undefined).length,
  }
}
