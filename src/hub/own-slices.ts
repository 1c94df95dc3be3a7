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

/** What the topic `hub` shows: beyond so many sessions those that started last. */
const listedMax = 1_000

/** @returns the slice `sessions` of the topic `hub`: by id, what changes seldom */
export function listOf(sessions: Iterable<Session>): JsonObject {
  const started = [...sessions].filter(({ status }) => status !== 'waiting').slice(-listedMax)
  return Object.fromEntries(
    started.map(({ id, status, startedAt, endedAt, workers }) => [
      id,
      {
        status,
        ...(startedAt !== undefined && { startedAt }),
        ...(endedAt !== undefined && { endedAt }),
        workers: [...workers.values()].filter((worker) => worker.startedAt !== undefined).length,
      },
    ]),
  )
}
