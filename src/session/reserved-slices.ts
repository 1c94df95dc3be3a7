import type { JsonObject, JsonValue } from '../lib/json.js'
import type { Session, Worker } from './session.js'

/** @returns the slices that the hub keeps in a session's topic */
export function slicesOf(session: Session): readonly (readonly [string, JsonValue])[] {
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

function aboutWorker({ status, startedAt, endedAt, events }: Worker): JsonObject {
  return {
    status,
    ...(startedAt !== undefined && { startedAt }),
    ...(endedAt !== undefined && { endedAt }),
    events,
  }
}

/** @returns what a list of sessions shows of one */
export function aboutSession({ status, startedAt, endedAt, workers }: Session): JsonObject {
  return {
    status,
    ...(startedAt !== undefined && { startedAt }),
    ...(endedAt !== undefined && { endedAt }),
    workers: [...workers.values()].filter((worker) => worker.startedAt !== undefined).length,
  }
}
