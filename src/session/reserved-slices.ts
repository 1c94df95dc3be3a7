import { cutText } from '../lib/cut-text.js'
import { isObject, type JsonObject, type JsonValue } from '../lib/json.js'
import type { SessionRecord } from '../store/store.js'
import { type Progress, sumOf, type Usage } from './progress.js'

/** What was shown of a worker last, and of which version of its progress. */
export interface ShownWorker {
  readonly version: number
  readonly about: JsonObject
}

/** The facts about a worker in the reserved slices. */
export interface DescribedWorker {
  readonly id: string
  readonly status: string
  /** Milliseconds since 1970; absent while it is only followed. */
  readonly startedAt: number | undefined
  readonly endedAt: number | undefined
  readonly events: number
  readonly progress: Progress
  shown: ShownWorker | undefined
}

/** The facts about a session in the reserved slices. */
export interface DescribedSession {
  readonly status: string
  readonly startedAt: number | undefined
  readonly endedAt: number | undefined
  readonly outcome: JsonValue | undefined
  readonly progress: Progress
  readonly workers: ReadonlyMap<string, DescribedWorker>
}

/** The facts about a session in the list of sessions. */
export interface ListedSession extends DescribedSession {
  readonly metadata: JsonObject
  readonly needs: number
  readonly failed: number
  readonly lastAt: number
}

const titleLengthMax = 200
const labelsMax = 20
const labelLengthMax = 64

/** @returns the reserved slices of a session's topic */
export function slicesOf(session: DescribedSession): readonly (readonly [string, JsonValue])[] {
  const { startedAt, endedAt, outcome } = session
  const workers = [...session.workers.values()].filter(({ startedAt }) => startedAt !== undefined)
  const usage = usageOf(session)
  const about = {
    status: shownStatus(session),
    ...(startedAt !== undefined && { startedAt }),
    ...(endedAt !== undefined && { endedAt }),
    ...(outcome !== undefined && { outcome }),
    ...session.progress.fields(),
    ...(usage !== undefined && { usage }),
  }
  return [
    ['$session', about],
    ['$workers', Object.fromEntries(workers.map((worker) => [worker.id, aboutWorker(worker)]))],
  ]
}

/** @returns the usage of a session and its workers */
export function usageOf({ progress, workers }: DescribedSession): Usage | undefined {
  return sumOf([progress.usage, ...[...workers.values()].map((worker) => worker.progress.usage)])
}

/** A lost session accepts events, and appears as ended until its next event. */
export function shownStatus({ status, progress }: Pick<DescribedSession, 'status' | 'progress'>): string {
  return progress.result === 'lost' ? 'ended' : status
}

/** @returns the same object as before where nothing has changed: comparing it then costs nothing */
function aboutWorker(worker: DescribedWorker): JsonObject {
  const { status, startedAt, endedAt, events, progress } = worker
  const { version } = progress
  if (worker.shown?.version === version) {
    const { about } = worker.shown
    const isSame =
      about['events'] === events &&
      about['status'] === status &&
      about['startedAt'] === startedAt &&
      about['endedAt'] === endedAt
    if (isSame) return about
  }
  const about = {
    status,
    ...(startedAt !== undefined && { startedAt }),
    ...(endedAt !== undefined && { endedAt }),
    events,
    ...progress.fields(),
  }
  worker.shown = { version, about }
  return about
}

/** @returns the entry of a session in the list of sessions */
export function aboutSession(session: ListedSession): JsonObject {
  const { startedAt, endedAt, workers, progress, needs, failed, lastAt, metadata } = session
  const { result, reason } = progress.ending ?? {}
  return {
    status: shownStatus(session),
    ...(startedAt !== undefined && { startedAt }),
    ...(endedAt !== undefined && { endedAt }),
    workers: [...workers.values()].filter((worker) => worker.startedAt !== undefined).length,
    ...aboutFacts({ result, reason, needs, failed, lastAt }),
    ...aboutMetadata(metadata),
  }
}

/** @returns the same for a session that is not in memory, without the number of workers, which the store does not have */
export function aboutRecord(record: SessionRecord): JsonObject {
  const { status, startedAt, endedAt, result, needsTotal: needs, metadata } = record
  return {
    status: result === 'lost' ? 'ended' : status,
    startedAt,
    ...(endedAt !== undefined && { endedAt }),
    ...aboutFacts({ ...record, needs }),
    ...aboutMetadata(metadata),
  }
}

/** The outcome of a session in the list. */
function aboutFacts({
  result,
  reason,
  needs = 0,
  failed = 0,
  lastAt = 0,
}: {
  readonly result?: string | undefined
  readonly reason?: string | undefined
  readonly needs?: number | undefined
  readonly failed?: number | undefined
  readonly lastAt?: number | undefined
}): JsonObject {
  return {
    ...(result !== undefined && { result }),
    ...(reason !== undefined && { reason }),
    ...(needs > 0 && { needs }),
    ...(failed > 0 && { failed }),
    ...(lastAt > 0 && { lastAt }),
  }
}

/** @returns the title and the labels in a session's metadata */
function aboutMetadata(metadata: JsonValue | undefined): JsonObject {
  if (!isObject(metadata)) return {}
  const { title, labels } = metadata
  const listed = labelsOf(labels)
  return {
    ...(typeof title === 'string' && title !== '' && { title: cutText(title, titleLengthMax) }),
    ...(listed.length > 0 && { labels: listed }),
  }
}

/** Labels are a list of texts, or an object of texts, each of which becomes `name=text`. */
function labelsOf(labels: JsonValue | undefined): string[] {
  if (typeof labels !== 'object' || labels === null) return []
  const all = Array.isArray(labels)
    ? labels
    : Object.entries(labels).map(([name, value]) => (typeof value === 'object' ? null : `${name}=${value}`))
  const texts = all.filter((label): label is string => typeof label === 'string' && label !== '')
  return texts.slice(0, labelsMax).map((label) => cutText(label, labelLengthMax))
}
