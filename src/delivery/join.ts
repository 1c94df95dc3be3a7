import type { About } from '../codec/codec.js'
import { type Position, start } from '../protocol/cursor.js'
import type { GapNotice, Slices, Subscribed, Update } from '../protocol/frames.js'
import type { FilterExpression } from '../session/filter.js'
import type { Feed } from './feed.js'
import type { Subscription } from './subscription.js'

/**
 * Decides where a new subscription begins. One synchronous step with what follows it, so that nothing can be
 * published in between.
 *
 * A fresh join is at the session's offset; what it replays does not move it. A resume is at its cursor. A cursor
 * of another epoch begins this epoch: nothing of it was received.
 */
export function join(
  subscription: Subscription,
  from: Position | undefined,
  replay: boolean | 'all',
): Subscribed {
  const { feed, number: sub } = subscription
  const { topic } = feed
  const { timeline } = topic
  const head = {
    type: 'subscribed',
    sub,
    feed: feed.number,
    topic: topic.name,
    epoch: timeline.epoch,
  } as const
  if (from === undefined) {
    subscription.begin(replay === false ? feed.last() : feed.replay(replay === 'all'))
    return { ...head, offset: timeline.offset, resumed: false, ...snapshotFor(subscription) }
  }
  const same = from.epoch === timeline.epoch && from.offset <= timeline.offset
  const position = same ? from.offset : start
  const loss = topic.lossAfter(position, feed.filter)
  const lost = loss.critical > loss.droppable ? loss.critical : loss.droppable
  subscription.resume(position, lost > position ? lost : position)
  if (same && lost === 0) {
    // A slice that was removed meanwhile may be forgotten: only a snapshot tells of it.
    const state = from.offset <= topic.forgotten ? snapshotFor(subscription) : {}
    return { ...head, offset: from.offset, resumed: true, ...state }
  }
  const gap: GapNotice = { reason: same ? 'evicted' : 'epoch', after: position, offset: lost }
  return { ...head, offset: position, resumed: false, ...snapshotFor(subscription), gap }
}

/** @returns the slices that a client begins with, or begins again with after a gap. */
export function snapshotFor(subscription: Subscription): { readonly slices?: Slices } {
  const { topic, filter } = subscription.feed
  if (!filter.stateful) return {}
  subscription.markSnapshot()
  return { slices: topic.snapshot(filter) }
}

/** @returns the expression after an `update`; `null` sets a field back to its default. */
export function changed(before: FilterExpression, { types, mode, slices }: Update): FilterExpression {
  const typesNow = types === undefined ? before.types : types
  const slicesNow = slices === undefined ? before.slices : slices
  return {
    mode: mode ?? before.mode,
    ...(typesNow ? { types: typesNow } : undefined),
    ...(slicesNow ? { slices: slicesNow } : undefined),
  }
}

/** @returns what a control frame says of the feed that it is about */
export function aboutOf({ topic }: Feed): About {
  return { topic: topic.name, epoch: topic.timeline.epoch }
}
