import type { Extent, Retention, SessionRecord, Size } from './store.js'

/** What retention knows of a block of events: the unit in which it drops them. */
export interface Droppable {
  readonly at: number
  readonly count: number
  readonly bytes: number
}

/** @returns whether the whole session is to go for its age. */
export function isExpired(
  record: SessionRecord,
  { at }: Extent,
  retention: Retention,
  now: number,
  held: boolean,
): boolean {
  if (retention.ageMs === undefined) return false
  const since = record.endedAt ?? (held ? undefined : at)
  return since !== undefined && since < now - retention.ageMs
}

/** @returns whether the oldest block of a session is to go: for its age, or since enough is left without it. */
export function isDue(
  oldest: Droppable,
  { events, bytes }: Extent,
  retention: Retention,
  now: number,
): boolean {
  const { ageMs, sessionEvents = Infinity, sessionBytes = Infinity } = retention
  return (
    (ageMs !== undefined && oldest.at < now - ageMs) ||
    events - oldest.count >= sessionEvents ||
    bytes - oldest.bytes >= sessionBytes
  )
}

/** @returns whether all sessions together are too much. */
export function isOver({ events, bytes }: Size, retention: Retention): boolean {
  return events > (retention.events ?? Infinity) || bytes > (retention.bytes ?? Infinity)
}

/**
 * Once no ended session is left, those that have more than an equal share of the whole lose their oldest
 * events: one pass over the sessions is enough, and a busy session does not evict a quiet one.
 */
export function isAboveShare({ events, bytes }: Extent, retention: Retention, { sessions }: Size): boolean {
  return (
    events > (retention.events ?? Infinity) / sessions || bytes > (retention.bytes ?? Infinity) / sessions
  )
}
