import type { Clock } from '../lib/clock.js'
import type { Progress } from './progress.js'
import type { SessionLeases } from './session-leases.js'
import { type Heard, mayBeStuck, type Stalled, type StallLimits } from './stall.js'

/** How often to check whether a worker still waits for a person. Milliseconds. */
const waitingLookMs = 60_000

/** A session or a worker. */
interface Publisher {
  readonly status: string
  /** Milliseconds since 1970. */
  readonly startedAt: number | undefined
  readonly progress: Progress
}

/** The part of a session that its stalls depend on. */
interface Stallable extends Publisher {
  readonly workers: ReadonlyMap<string, StallableWorker>
}

type StallableWorker = Publisher & { readonly id: string }

interface StallFacts {
  readonly leases: Pick<SessionLeases, 'of' | 'spokeAt'>
  readonly limits: StallLimits
  /** Does not believe a wall clock that is set ahead. */
  readonly clock: Clock
}

/**
 * @returns how long until the session, or a worker, counts as stalled unless something happens; undefined if nothing can make it
 *   so. Milliseconds
 */
export function stallLeftMs(
  session: Stallable,
  worker: StallableWorker | undefined,
  { leases, limits, clock }: StallFacts,
): number | undefined {
  const publisher = worker ?? session
  if (!mayBeStuck(publisher)) return undefined
  const leftMs = publisher.progress.stallLeftMs(silentSince(session, worker, leases), limits, clock)
  // A publisher that waits for a person or is paused is not stalled.
  const isWaiting = publisher.status === 'paused' || publisher.progress.needs.length > 0
  return leftMs !== undefined && isWaiting ? Math.max(leftMs, waitingLookMs) : leftMs
}

/** @returns what the session, or a worker, is stuck in */
export function stuckIn(
  session: Stallable,
  worker: StallableWorker | undefined,
  { leases, limits, clock }: StallFacts,
): Stalled & { readonly tool?: string } {
  return (worker ?? session).progress.stuckIn(silentSince(session, worker, leases), limits, clock)
}

/** @returns the last event if there is a lease; for a session with running workers, theirs count */
function silentSince(
  session: Stallable,
  worker: StallableWorker | undefined,
  leases: StallFacts['leases'],
): Heard | undefined {
  if (leases.of(worker?.id) === 0) return undefined
  if (worker === undefined && [...session.workers.values()].some(mayBeStuck)) return undefined
  const { progress, startedAt } = worker ?? session
  const at = progress.heardAt || progress.lastAt || startedAt
  return at === undefined ? undefined : { at, elapsed: leases.spokeAt(worker?.id, at) }
}
