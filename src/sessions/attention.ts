import type { JsonObject } from '../lib/json.js'

/** How long a failure comes before what runs. Milliseconds. */
const failureMs = 3_600_000

/** A session and what a list shows of it, as `aboutSession`. */
export type Listed = readonly [id: string, about: JsonObject]

/**
 * Puts sessions in the order in which a person looks at them: those that need someone, then those that failed within
 * the hour, then those that run by their last activity, then those that have ended, the newest first.
 *
 * @param now milliseconds since 1970
 */
export function byAttention(sessions: readonly Listed[], now: number): Listed[] {
  const ranked = sessions.map((listed) => ({
    listed,
    rank: rankOf(listed[1], now),
    at: activityOf(listed[1]),
  }))
  ranked.sort((one, other) => one.rank - other.rank || other.at - one.at)
  return ranked.map(({ listed }) => listed)
}

/** @returns the place of its group; the first one is looked at first */
export function rankOf({ needs, failed, result, status, endedAt, lastAt }: JsonObject, now: number): number {
  if (Number(needs ?? 0) > 0) return 0
  const hasFailed = result === 'failed' || result === 'lost' || Number(failed ?? 0) > 0
  if (hasFailed && now - Number(endedAt ?? lastAt ?? 0) < failureMs) return 1
  return status === 'ended' ? 3 : 2
}

/** @returns when it was last heard of, milliseconds since 1970 */
export function activityOf({ endedAt, lastAt, startedAt }: JsonObject): number {
  return Number(endedAt ?? lastAt ?? startedAt ?? 0)
}
