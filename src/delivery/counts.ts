import type { CloseCode } from '../protocol/codes.js'
import type { GapNotice, GapReason } from '../protocol/frames.js'

/** Counts over all connections of a hub. */
export class DeliveryCounts {
  /** Events passed to links, and the bytes of their frames. */
  delivered = 0
  deliveredBytes = 0
  /** Events that became part of another before they were delivered. */
  conflated = 0
  /** Events that were skipped because a subscription lagged, once for each subscription, as far as the hub can tell. */
  passedOver = 0
  /** Errors of the hub itself, each of which cost a connection. */
  faults = 0
  readonly gaps = new Map<GapReason, number>()
  readonly closed = new Map<CloseCode, number>()

  gap({ reason, dropped = 0 }: GapNotice): void {
    this.gaps.set(reason, (this.gaps.get(reason) ?? 0) + 1)
    if (reason === 'lagging') this.passedOver += dropped
  }

  close(code: CloseCode): void {
    this.closed.set(code, (this.closed.get(code) ?? 0) + 1)
  }
}
