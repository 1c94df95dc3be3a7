import { Histogram, type HistogramReading } from '../lib/histogram.js'
import type { Size } from '../store/store.js'

/** How the store fares. */
export interface StoreStats {
  /** How long commits took, those that failed included. Milliseconds. */
  readonly commitMs: HistogramReading
  /** Commits that failed; the same batch is tried again. */
  readonly failures: number
  readonly failing: boolean
  /** Sessions with something that no commit has taken yet, or that is being kept now. */
  readonly waitingSessions: number
  /** What these sessions have to keep. About the bytes of its JSON text. */
  readonly waitingBytes: number
  readonly kept: Size
  /** Sessions that were found damaged, until they are removed. */
  readonly damagedSessions: number
}

// A commit of the embedded store takes under a millisecond; beyond a second producers have noticed.
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
