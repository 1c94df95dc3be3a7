import type { JsonObject } from '../../lib/json.js'

/** How long failed sessions are listed before running ones. Milliseconds. */
const failureMs = 3_600_000

/** A session and its entry in a list, see `aboutSession`. */
export type Listed = readonly [id: string, about: JsonObject]

/**
 * Sorts sessions by urgency: those with open needs, those that failed within the last hour, running ones by their last
 * activity, ended ones, the newest first.
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

/** @returns the rank of its group, the most urgent first */
export function rankOf({ needs, failed, result, status, endedAt, lastAt }: JsonObject, now: number): number {
  if (Number(needs ?? 0) > 0) return 0
  const hasFailed = result === 'failed' || result === 'lost' || Number(failed ?? 0) > 0
  if (hasFailed && now - Number(endedAt ?? lastAt ?? 0) < failureMs) return 1
  return status === 'ended' ? 3 : 2
}

/** @returns the time of its last sign of life, milliseconds since 1970 */
export function activityOf({ endedAt, lastAt, startedAt }: JsonObject): number {
  return Number(endedAt ?? lastAt ?? startedAt ?? 0)
}
