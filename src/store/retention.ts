import type { Extent, Retention, SessionRecord, Size } from './store.js'

/** A block of events, the unit in which retention drops them. */
export interface Droppable {
  readonly at: number
  readonly count: number
  readonly bytes: number
}

/** @returns whether the whole session is due for removal because of its age */
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

/** @returns whether the oldest block of a session is due: because of its age, or because enough is left without it */
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

/** @returns whether all sessions together exceed the retention */
export function isOver({ events, bytes }: Size, retention: Retention): boolean {
  return events > (retention.events ?? Infinity) || bytes > (retention.bytes ?? Infinity)
}

/**
 * When no ended session is left, sessions with more than an equal share lose their oldest events. So one pass over the sessions
 * is enough, and a busy session does not evict a quiet one.
 */
export function isAboveShare({ events, bytes }: Extent, retention: Retention, { sessions }: Size): boolean {
  return (
    events > (retention.events ?? Infinity) / sessions || bytes > (retention.bytes ?? Infinity) / sessions
  )
}
