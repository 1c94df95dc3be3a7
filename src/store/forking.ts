import type { Epoch, Offset } from '../protocol/cursor.js'
import { type StoredEvent, StoreError } from './store.js'

/** A fork, and what a store found of the two sessions. */
interface Forking {
  readonly from: string
  readonly epoch: Epoch
  /** The epoch of the session that is stored; absent if there is none. */
  readonly found: Epoch | undefined
  readonly fork: string
  /** Whether there is a session with the fork's id. */
  readonly isTaken: boolean
}

/** @throws StoreError `failed` when a session cannot be forked */
export function expectForkable({ from, epoch, found, fork, isTaken }: Forking): void {
  if (isTaken) throw new StoreError('failed', `There is a session ${fork} already.`)
  if (found !== epoch) throw new StoreError('failed', `The session ${from} is not there any more.`)
}

/** @returns the events up to an offset, which are the same array if that is all of them */
export function eventsUpTo(events: readonly StoredEvent[], last: Offset): readonly StoredEvent[] {
  if ((events.at(-1)?.offset ?? last) <= last) return events
  return events.filter(({ offset }) => offset <= last)
}
