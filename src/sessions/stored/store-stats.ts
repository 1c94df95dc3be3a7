import { Histogram, type HistogramReading } from '../../lib/histogram.js'
import type { Size } from '../../store/store.js'

/** Statistics of the store. */
export interface StoreStats {
  /** The duration of commits, including failed ones. Milliseconds. */
  readonly commitMs: HistogramReading
  /** Commits that failed; the same batch is tried again. */
  readonly failures: number
  readonly failing: boolean
  /** The number of sessions with uncommitted changes, including those of the current commit. */
  readonly waitingSessions: number
  /** The uncommitted changes of these sessions. About the bytes of their JSON text. */
  readonly waitingBytes: number
  readonly kept: Size
  /** The number of damaged sessions that are not removed. */
  readonly damagedSessions: number
}

// A commit of the embedded store takes less than a millisecond; producers notice more than a second.
export const commitMsBounds = [0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1_000, 5_000]

/** Of a hub without a store. */
export const noStore: StoreStats = {
  commitMs: new Histogram(commitMsBounds).read(),
  failures: 0,
  failing: false,
  waitingSessions: 0,
  waitingBytes: 0,
  kept: { sessions: 0, events: 0, bytes: 0 },
  damagedSessions: 0,
}
