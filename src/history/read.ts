import { down, heapOf } from '../lib/heap.js'
import type { Lane } from '../lib/lane.js'
import type { Offset } from '../protocol/cursor.js'
import type { Accepts, Entry } from './entry.js'
import { type History, type Loss, nothingLost } from './history.js'

/** A part of what follows a position. */
export interface Page {
  /** In offset order, without repeats. */
  readonly entries: readonly Entry[]
  /** Everything that was accepted up to here is in `entries`. Of `readBefore`: down to here, and nothing before it. */
  readonly last: Offset
  /** How many were looked at. */
  readonly lookedAt: number
}

interface PageBounds {
  readonly eventsMax: number
  /** Bounds what is looked at, so that a filter that accepts little takes little of a turn; any unless given. */
  readonly lookedAtMax?: number
}

/**
 * Reads histories merged by offset: a topic's own, or all of a session's for `sessions/{s}/**`, where an event
 * that was rolled up stands in two of them and is read once.
 *
 * @param until the newest offset there is; what `last` is when the end is reached
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
  // Two for a topic; for a whole session two and more for each of its workers, of which there may be ten thousand.
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

/** As `readAfter`, the newest first: what is before an offset and after another. */
export function readBefore(
  histories: readonly History[],
  before: Offset,
  filter: Accepts,
  { after, eventsMax, lookedAtMax = Number.POSITIVE_INFINITY }: PageBounds & { readonly after: Offset },
): Page {
  // The newest comes first: the places of the heap are negative.
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

/** The first one of a heap goes: the last takes its place, and is still to go down. */
function removeFirst(readers: Reader[]): void {
  const other = readers.pop() as Reader
  if (readers.length > 0) readers[0] = other
}

/** @returns what of the filter's events a fresh join replays: by the traits, or all that is retained. */
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
    // The newest of its key is never missing: it is pinned.
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

type ReadLane = Pick<Lane<Entry>, 'at' | 'length' | 'indexAfter'>

interface Reader {
  readonly lane: ReadLane
  index: number
  offset: number
}

/** Pinned events that were evicted from their lane are still there to be read: as a lane of their own. */
function lanesOf(history: History, after: Offset): readonly ReadLane[] {
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

/** @returns what tells whether an event is the newest of its type and key in one of the histories */
function newestOf(histories: readonly History[]): (entry: Entry) => boolean {
  const [only] = histories
  if (histories.length === 1 && only !== undefined) {
    return (entry) => entry.traits.replay === 'latest' && only.isPinned(entry)
  }
  // Of as many as a session has workers none is asked for each event. What is pinned later is newer than what is asked.
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

/** A command that has no final state is for every agent that comes, not for those who only watch. */
function isUnderWay(entry: Entry, filter: Accepts, histories: readonly History[]): boolean {
  if (entry.traits.command !== 'request' || filter.names?.(entry.event.type) !== true) return false
  return histories.some((history) => history.isPinned(entry))
}
