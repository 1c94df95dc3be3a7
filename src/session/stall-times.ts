import type { Progress } from './progress.js'
import type { SessionLeases } from './session-leases.js'
import { mayBeStuck, type Stalled, type StallLimits } from './stall.js'

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
  readonly leases: Pick<SessionLeases, 'of'>
  readonly limits: StallLimits
}

/** @returns when the session, or a worker, counts as stalled unless something happens; undefined if nothing can make it so */
export function stallDueAt(
  session: Stallable,
  worker: StallableWorker | undefined,
  { leases, limits, now }: StallFacts & { readonly now: number },
): number | undefined {
  const publisher = worker ?? session
  if (!mayBeStuck(publisher)) return undefined
  const due = publisher.progress.stallDueAt(silentFrom(session, worker, leases), limits)
  // A publisher that waits for a person or is paused is not stalled.
  const isWaiting = publisher.status === 'paused' || publisher.progress.needs.length > 0
  return due !== undefined && isWaiting ? Math.max(due, now + waitingLookMs) : due
}

/** @returns what the session, or a worker, is stuck in */
export function stuckIn(
  session: Stallable,
  worker: StallableWorker | undefined,
  { leases, limits }: StallFacts,
): Stalled & { readonly tool?: string } {
  return (worker ?? session).progress.stuckIn(silentFrom(session, worker, leases), limits)
}

/** @returns the time of the last sign of life if there is a lease; for a session with running workers, theirs count */
function silentFrom(
  session: Stallable,
  worker: StallableWorker | undefined,
  leases: StallFacts['leases'],
): number | undefined {
  if (leases.of(worker?.id) === 0) return undefined
  if (worker === undefined && [...session.workers.values()].some(mayBeStuck)) return undefined
  const { progress, startedAt } = worker ?? session
  return progress.heardAt || progress.lastAt || startedAt
}
