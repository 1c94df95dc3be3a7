import { down, heapOf } from '../lib/heap.js'
import type { ReadLane } from '../lib/lane.js'
import type { Offset } from '../protocol/cursor.js'
import type { Accepts, Entry } from './entry.js'
import { type Loss, nothingLost } from './evictions.js'
import type { History } from './history.js'

/** A part of the events after a position. */
export interface Page {
  /** In offset order, without repeats. */
  readonly entries: readonly Entry[]
  /** All accepted events up to here are in `entries`; for `readBefore`, all from here on, and none before. */
  readonly last: Offset
  /** How many events were examined. */
  readonly lookedAt: number
}

type MergedLane = Pick<ReadLane<Entry>, 'at' | 'length' | 'indexAfter'>

interface PageBounds {
  readonly eventsMax: number
  /** Bounds the number of examined events, so that a filter that accepts few does not take long; unbounded by default. */
  readonly lookedAtMax?: number
}

/**
 * Reads histories merged by offset: a topic's own, or all of a session's for `sessions/{s}/**`. A rolled-up event is in two of
 * them and is read once.
 *
 * @param until the newest offset; `last` has this value when the end is reached
 * @param eventsMax bounds `entries`
 */
export function readAfter(
  histories: readonly History[],
  after: Offset,
  filter: Accepts,
  { until, eventsMax, lookedAtMax = Number.POSITIVE_INFINITY }: PageBounds & { readonly until: Offset },
): Page {
  const readers: Reader[] = []
  for (const history of histories) {
    for (const lane of lanesOf(history, after)) {
      const index = lane.indexAfter(after)
      if (index < lane.length) readers.push({ lane, index, offset: lane.at(index).offset })
    }
  }
  const entries: Entry[] = []
  let last = after
  let lookedAt = 0
  // A topic has two or three readers, and so has each worker of a whole session, of which there may be ten thousand.
  heapOf(readers)
  for (; readers.length > 0; lookedAt++) {
    const reader = readers[0] as Reader
    const entry = reader.lane.at(reader.index)
    if (lookedAt >= lookedAtMax && entry.offset !== last) return { entries, last, lookedAt }
    if (entry.offset !== last && filter.accepts(entry)) {
      if (entries.length === eventsMax) return { entries, last, lookedAt }
      entries.push(entry)
    }
    last = entry.offset
    reader.index++
    if (reader.index < reader.lane.length) reader.offset = reader.lane.at(reader.index).offset
    else removeFirst(readers)
    if (readers.length > 1) down(readers, 0)
  }
  return { entries, last: until, lookedAt }
}

/** Like `readAfter`, but the newest first: the events before one offset and after another. */
export function readBefore(
  histories: readonly History[],
  before: Offset,
  filter: Accepts,
  { after, eventsMax, lookedAtMax = Number.POSITIVE_INFINITY }: PageBounds & { readonly after: Offset },
): Page {
  // The offsets in the heap are negative, so that the newest comes first.
  const readers: Reader[] = []
  for (const history of histories) {
    for (const lane of lanesOf(history, after)) {
      const index = lane.indexAfter(before - 1) - 1
      if (index >= 0 && lane.at(index).offset > after)
        readers.push({ lane, index, offset: -(lane.at(index).offset as number) })
    }
  }
  const entries: Entry[] = []
  let last = before
  let lookedAt = 0
  heapOf(readers)
  for (; readers.length > 0; lookedAt++) {
    const reader = readers[0] as Reader
    const entry = reader.lane.at(reader.index)
    if (lookedAt >= lookedAtMax && entry.offset !== last) return { entries, last, lookedAt }
    if (entry.offset !== last && filter.accepts(entry)) {
      if (entries.length === eventsMax) return { entries, last, lookedAt }
      entries.push(entry)
    }
    last = entry.offset
    reader.index--
    const next = reader.index < 0 ? after : reader.lane.at(reader.index).offset
    if (next > after) reader.offset = -(next as number)
    else removeFirst(readers)
    if (readers.length > 1) down(readers, 0)
  }
  return { entries, last: (after + 1) as Offset, lookedAt }
}

/** Removes the first item of a heap: the last one takes its place, and `down` must follow. */
function removeFirst(readers: Reader[]): void {
  const other = readers.pop() as Reader
  if (readers.length > 0) readers[0] = other
}

/** @returns the events of the filter that a fresh join replays: by their traits, or all retained ones */
export function replayable(histories: readonly History[], filter: Accepts, all: boolean): Accepts {
  const { notReplayed } = filter
  const isNewest = newestOf(histories)
  const leavesOut = (type: string): boolean => !all && notReplayed?.has(type) === true
  return {
    accepts: (entry) =>
      filter.accepts(entry) &&
      (entry.everywhere || !leavesOut(entry.event.type)) &&
      (all ||
        entry.everywhere ||
        entry.traits.replay === 'all' ||
        isNewest(entry) ||
        isUnderWay(entry, filter, histories)),
    // The newest event of a key is never missing, because it is pinned.
    wants: (type, traits, force) =>
      (all || (traits.replay === 'all' && !leavesOut(type))) && filter.wants(type, traits, force),
  }
}

/** @returns what a subscription with this filter can no longer get of what follows `after`. */
export function lossAfter(histories: readonly History[], after: Offset, filter: Accepts): Loss {
  if (histories.length === 1) return (histories[0] as History).lossAfter(after, filter)
  let { critical, droppable } = nothingLost
  for (const history of histories) {
    const loss = history.lossAfter(after, filter)
    if (loss.critical > critical) critical = loss.critical
    if (loss.droppable > droppable) droppable = loss.droppable
  }
  return { critical, droppable }
}

interface Reader {
  readonly lane: MergedLane
  index: number
  offset: number
}

/** Pinned events that were evicted from their lane can still be read: as a lane of their own. */
function lanesOf(history: History, after: Offset): readonly MergedLane[] {
  const { critical, droppable } = history
  const evicted: Entry[] = []
  for (const entry of history.pinned()) {
    const lane = entry.traits.critical ? critical : droppable
    if (entry.offset > after && entry.offset < (lane.first?.offset ?? Number.POSITIVE_INFINITY))
      evicted.push(entry)
  }
  if (evicted.length === 0) return [critical, droppable]
  const pinned = {
    length: evicted.length,
    at: (index: number) => evicted[index] as Entry,
    indexAfter(offset: number): number {
      const index = evicted.findIndex((entry) => entry.offset > offset)
      return index === -1 ? evicted.length : index
    },
  }
  return [critical, droppable, pinned]
}

/** @returns a predicate: whether an event is the newest of its type and key in one of the histories */
function newestOf(histories: readonly History[]): (entry: Entry) => boolean {
  const [only] = histories
  if (histories.length === 1 && only !== undefined) {
    return (entry) => entry.traits.replay === 'latest' && only.isPinned(entry)
  }
  // With many workers, asking each history for each event would be slow. Events pinned later are newer than those asked for.
  let pinned: Set<Offset> | undefined
  return ({ traits, offset }) => {
    if (traits.replay !== 'latest') return false
    pinned ??= placesPinned(histories)
    return pinned.has(offset)
  }
}

function placesPinned(histories: readonly History[]): Set<Offset> {
  const places = new Set<Offset>()
  for (const history of histories) for (const { offset } of history.pinned()) places.add(offset)
  return places
}

/** A command without a final state is replayed to every agent that joins, but not to watchers. */
function isUnderWay(entry: Entry, filter: Accepts, histories: readonly History[]): boolean {
  if (entry.traits.command !== 'request' || filter.names?.(entry.event.type) !== true) return false
  return histories.some((history) => history.isPinned(entry))
}
