import type { About } from '../codec/codec.js'
import { type Offset, type Position, start } from '../protocol/cursor.js'
import type { GapNotice, Slices, Subscribed, Update } from '../protocol/frames.js'
import type { FilterExpression } from '../session/filter.js'
import type { ReplayScope } from '../session/replayed.js'
import type { Feed } from './feed.js'
import { SnapshotParts, type SnapshotPlace } from './snapshot-parts.js'
import type { Beginning, Subscription } from './subscription.js'

/**
 * Decides where a new subscription begins. One synchronous step with what follows it, so that nothing can be published in
 * between.
 *
 * A fresh join begins at the session's offset; its replay does not move the position. A resume begins at its cursor. With a
 * cursor of another epoch it begins at 0, because nothing of this epoch was received. An interrupted join continues if
 * everything after it is retained; otherwise it starts again.
 */
export function join(subscription: Subscription, beginning: Beginning): Subscribed {
  const { from } = beginning
  const scope = scopeOf(beginning)
  const { feed } = subscription
  const { topic } = feed
  const { timeline } = topic
  if (from === undefined) return joinAfresh(subscription, scope)
  const same = from.epoch === timeline.epoch && from.offset <= timeline.offset
  const lostRange = same ? timeline.past?.lostAt(from.offset) : undefined
  if (lostRange !== undefined) return joinAfterLoss(subscription, lostRange)
  const position = same ? from.offset : start
  const loss = topic.lossAfter(position, feed.filter)
  const lost = loss.critical > loss.droppable ? loss.critical : loss.droppable
  const progress = same ? progressOf(from) : undefined
  // The removal of a slice may be forgotten, so only a snapshot shows it.
  const forgot = feed.filter.stateful && (position <= topic.forgotten || isForeign(feed))
  if (progress?.replayed !== undefined && (lost > 0 || forgot)) return joinAfresh(subscription, scope)
  subscription.resume(position, lost > position ? lost : position)
  const head = headOf(subscription)
  const rest = forgot ? undefined : restOf(progress, from)
  if (same && lost === 0) {
    if (progress?.replayed !== undefined) {
      const { replayed } = progress
      subscription.begin(feed.restOfReplay(scope, replayed, from.offset), replayed)
    }
    const state = forgot || rest !== undefined ? snapshotFor(subscription, rest) : {}
    return { ...head, offset: from.offset, resumed: true, ...state }
  }
  const dropped = same && loss.critical === start ? topic.droppedAfter(position) : undefined
  const gap: GapNotice = {
    reason: same ? 'evicted' : 'epoch',
    after: position,
    offset: lost,
    ...(dropped && { dropped }),
  }
  return {
    ...head,
    offset: position,
    resumed: false,
    ...snapshotFor(subscription, rest ?? { kind: 'g' }),
    gap,
  }
}

/** @returns the scope of the replay; undefined if nothing is replayed */
function scopeOf({ replay, window }: Beginning): ReplayScope | undefined {
  if (window !== undefined) return { all: true, window }
  return replay === false ? undefined : { all: replay === 'all' }
}

/**
 * The events that the client has received in the lost range are void. It continues from the end of the range, with the current
 * slices.
 */
function joinAfterLoss(
  subscription: Subscription,
  { after, until }: { readonly after: Offset; readonly until: Offset },
): Subscribed {
  subscription.resume(until, until)
  const gap: GapNotice = { reason: 'epoch', after, offset: until }
  return {
    ...headOf(subscription),
    offset: until,
    resumed: false,
    ...snapshotFor(subscription, { kind: 'g' }),
    gap,
  }
}

/** Whether another hub may have sent reserved slices with another base. */
function isForeign({ filter, topic }: Feed): boolean {
  return filter.watches && topic.timeline.past !== undefined
}

function joinAfresh(subscription: Subscription, scope: ReplayScope | undefined): Subscribed {
  const { feed } = subscription
  subscription.beginAfresh()
  subscription.begin(scope === undefined ? feed.last() : feed.replay(scope))
  const { offset } = feed.topic.timeline
  return { ...headOf(subscription), offset, resumed: false, ...snapshotFor(subscription, { kind: 's' }) }
}

/** @returns the frame for a subscription that continues with another filter */
export function goOn(subscription: Subscription): Subscribed {
  const gap = subscription.takeSkipped()
  return {
    ...headOf(subscription),
    offset: subscription.clientPosition,
    resumed: true,
    // The previous filter may have selected fewer slices, or none.
    ...snapshotFor(subscription),
    ...(gap && { gap }),
  }
}

function headOf({ feed, number: sub }: Subscription) {
  const { name: topic, timeline } = feed.topic
  return { type: 'subscribed', sub, feed: feed.number, topic, epoch: timeline.epoch } as const
}

interface Progress {
  /** The received part of the snapshot; absent if it is complete. */
  readonly snapshot?: SnapshotPlace
  /** The offset up to which the replay was received; absent if there is none. */
  readonly replayed?: Offset
}

/** @returns the progress of the join in a cursor; undefined if it was complete */
function progressOf({ join: text }: Position): Progress | undefined {
  if (text === undefined) return undefined
  if (text.startsWith('r')) return { replayed: Number(text.slice(1)) as Offset }
  const dot = text.indexOf('.')
  const snapshot = { slice: text.slice(dot + 1), units: Number(text.slice(1, dot)) }
  return text.startsWith('s') ? { snapshot, replayed: start } : { snapshot }
}

function restOf(progress: Progress | undefined, { offset: until }: Position): SnapshotRest | undefined {
  if (progress?.snapshot === undefined) return undefined
  return { kind: progress.replayed === undefined ? 'g' : 's', from: progress.snapshot, until }
}

/** The snapshot for a join; `kind` as in a cursor. */
export interface SnapshotRest {
  readonly kind: 's' | 'g'
  /** The received part. */
  readonly from?: SnapshotPlace
  /** Changes after this offset follow as updates. */
  readonly until?: Offset
}

/** @returns the snapshot at the beginning or after a gap, or the number of parts that follow */
export function snapshotFor(
  subscription: Subscription,
  rest?: SnapshotRest,
): { readonly slices?: Slices; readonly parts?: number } {
  const { topic, filter } = subscription.feed
  if (!filter.stateful) return {}
  if (subscription.link.takesParts !== true) {
    subscription.markSnapshot()
    return { slices: topic.snapshot(filter) }
  }
  if (rest?.until === undefined) subscription.markSnapshot()
  const parts = new SnapshotParts(topic.snapshot(filter, rest?.until), rest?.from)
  subscription.send(parts, rest?.kind)
  return { parts: parts.count }
}

/** @returns the expression after an `update`; `null` resets a field to its default */
export function changed(before: FilterExpression, { types, mode, slices }: Update): FilterExpression {
  const typesNow = types === undefined ? before.types : types
  const slicesNow = slices === undefined ? before.slices : slices
  return {
    mode: mode ?? before.mode,
    ...(typesNow ? { types: typesNow } : undefined),
    ...(slicesNow ? { slices: slicesNow } : undefined),
  }
}

/** @returns the subscription of a control frame, for the codec */
export function aboutOf({ topic }: Feed): About {
  return { topic: topic.name, epoch: topic.timeline.epoch }
}
