import type { About } from '../codec/codec.js'
import { type Offset, type Position, start } from '../protocol/cursor.js'
import type { GapNotice, Slices, Subscribed, Update } from '../protocol/frames.js'
import type { FilterExpression } from '../session/filter.js'
import type { ReplayScope } from '../session/replayed.js'
import type { Feed } from './feed.js'
import { SnapshotParts, type SnapshotPlace } from './snapshot-parts.js'
import type { Beginning, Subscription } from './subscription.js'

/**
 * Decides where a new subscription begins. One synchronous step with what follows it, so that nothing can be
 * published in between.
 *
 * A fresh join is at the session's offset; what it replays does not move it. A resume is at its cursor. A cursor
 * of another epoch begins this epoch: nothing of it was received. A join that was cut goes on where it was, as long as
 * all that follows it is there; otherwise it begins anew.
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
  // A slice that was removed meanwhile may be forgotten: only a snapshot tells of it.
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

/** @returns what is replayed; nothing where nothing is */
function scopeOf({ replay, window }: Beginning): ReplayScope | undefined {
  if (window !== undefined) return { all: true, window }
  return replay === false ? undefined : { all: replay === 'all' }
}

/**
 * What the client has seen after the beginning of the range did not happen. It goes on from its end, which nothing was ever
 * said of, with what the slices are now.
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

/** Whether another hub may have told what the hubs say of a session themselves on another base. */
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

/** @returns what tells that a subscription goes on through another filter */
export function goOn(subscription: Subscription): Subscribed {
  const gap = subscription.takeSkipped()
  return {
    ...headOf(subscription),
    offset: subscription.clientPosition,
    resumed: true,
    // What the filter let pass before may have been less, or nothing.
    ...snapshotFor(subscription),
    ...(gap && { gap }),
  }
}

function headOf({ feed, number: sub }: Subscription) {
  const { name: topic, timeline } = feed.topic
  return { type: 'subscribed', sub, feed: feed.number, topic, epoch: timeline.epoch } as const
}

interface Progress {
  /** The part of the snapshot that has come; absent when all of it has. */
  readonly snapshot?: SnapshotPlace
  /** Up to where the replay has come; absent where none follows. */
  readonly replayed?: Offset
}

/** @returns how far the join has come that a cursor is of; nothing when it was complete */
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

/** Which snapshot a join is to have; `kind` as a cursor names it. */
export interface SnapshotRest {
  readonly kind: 's' | 'g'
  /** What had come of it. */
  readonly from?: SnapshotPlace
  /** What has changed after this offset follows as updates. */
  readonly until?: Offset
}

/** @returns the slices that a client begins with, or begins again with after a gap; or in how many parts they follow */
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
