import type { Offset } from '../protocol/cursor.js'
import type { GapNotice } from '../protocol/frames.js'
import type { Feed } from './feed.js'
import type { Behind } from './subscription.js'

/** The unreported loss of a subscription that is behind. */
export type Lag =
  | { readonly kind: 'none' }
  /** A critical event is missing. */
  | { readonly kind: 'critical' }
  /** `gapTold`, `droppedBefore`: the loss that will have been reported. */
  | {
      readonly kind: 'gap'
      readonly gap: GapNotice
      readonly gapTold: Offset
      readonly droppedBefore: number
    }

/** @returns what it has lost since it fell behind */
export function lagOf({ topic, filter }: Feed, state: Behind): Lag {
  const { position, gapTold, droppedBefore, snapshotAt } = state
  const after = position > gapTold ? position : gapTold
  const loss = topic.lossAfter(after, filter)
  if (loss.critical > 0) return { kind: 'critical' }
  const { forgotten } = topic
  const forgot = filter.stateful && forgotten > position && forgotten > snapshotAt
  if (loss.droppable === 0 && !forgot) return { kind: 'none' }
  // Some of those counted since it fell behind may have been sent before they were dropped.
  const counted = topic.dropped - droppedBefore
  const dropped = Math.min(counted, topic.droppedAfter(after) ?? counted)
  return {
    kind: 'gap',
    gap: {
      reason: 'lagging',
      after: state.clientPosition,
      offset: forgot && forgotten > loss.droppable ? forgotten : loss.droppable,
      ...(dropped > 0 ? { dropped } : undefined),
    },
    gapTold: loss.droppable > 0 ? loss.droppable : gapTold,
    droppedBefore: counted > 0 ? topic.dropped : droppedBefore,
  }
}
