import type { Catalog } from '../catalog/catalog.js'
import type { Accepts, Entry } from '../history/entry.js'
import { ProtocolError, quote } from '../protocol/codes.js'
import { type Cursor, type Epoch, formatCursor, type Offset, parseCursor, start } from '../protocol/cursor.js'
import type { HubEvent } from '../protocol/frames.js'
import type { Limits } from '../protocol/limits.js'
import { Filter } from '../session/filter.js'
import type { Topic } from '../session/topic.js'
import type { Committing } from './committing.js'
import { isDamaged } from './damaged-sessions.js'
import { entryOf } from './restore.js'

export interface HistoryQuery {
  readonly after?: Cursor
  /** Events of the page; 1 to `pageItemsMax`, 100 unless given. */
  readonly limit?: number
  readonly types?: readonly string[]
}

export interface HistoryPage {
  readonly epoch: Epoch
  /** The oldest and newest offset on the page; 0 when it is empty. */
  readonly first: Offset
  readonly last: Offset
  readonly events: readonly HubEvent[]
  /** Where the next page begins; absent at the end. */
  readonly next?: Cursor
}

/** A part of what the store has of a topic. */
export interface StoredPage {
  readonly entries: readonly Entry[]
  /** Everything up to here was looked at. */
  readonly last: Offset
  /** The store had nothing more. */
  readonly end: boolean
}

/** Reads a topic's events in the store. */
export type ReadStored = (
  topic: Topic,
  filter: Accepts,
  part: { readonly after: Offset; readonly limit: number },
) => Promise<StoredPage>

/** What one page of the store has at most: to read it and to make frames of it must take little of a turn. */
export const storedEventsMax = 250

const pageItems = 100
const storedPageBytes = 256 * 1024

type PageLimits = Pick<Limits, 'pageItemsMax' | 'pageBytesMax'>

/** The events of a page; everything up to `last` was looked at. */
type Part = Omit<StoredPage, 'end'>

/** A query that has been checked. */
interface Reading {
  readonly from: Offset
  readonly limit: number
  readonly filter: Filter
}

/**
 * A page of what memory has of a topic, oldest first.
 *
 * @throws ProtocolError `badFrame`, or `conflict` for a cursor of another epoch
 */
export function pageOf(topic: Topic, query: HistoryQuery, limits: PageLimits): HistoryPage {
  const { from, limit, filter } = readingOf(topic, query, limits)
  const { entries, last } = topic.read(from, filter, limit)
  return page(topic, fitting(entries, last, limits.pageBytesMax))
}

/** `pageOf`, going on in the store where memory does not reach back to. */
export async function storedPageOf(
  topic: Topic,
  query: HistoryQuery,
  { limits, readStored }: { readonly limits: PageLimits; readonly readStored: ReadStored },
): Promise<HistoryPage> {
  const { from, limit, filter } = readingOf(topic, query, limits)
  if (!topic.isInStore(from, filter)) return pageOf(topic, query, limits)
  const entries: Entry[] = []
  let last = from
  let bytes = 0
  for (let end = false; !end && entries.length < limit && bytes <= limits.pageBytesMax; ) {
    const reading = readStored(topic, filter, { after: last, limit: limit - entries.length })
    // What is damaged is told by the request that begins there.
    const part = await (entries.length === 0 ? reading : reading.catch(onlyDamage))
    if (part === undefined) break
    for (const entry of part.entries) {
      entries.push(entry)
      bytes += entry.bytes
    }
    last = part.last
    end = part.end || !topic.isInStore(last, filter)
  }
  return page(topic, fitting(entries, last, limits.pageBytesMax))
}

function onlyDamage(error: unknown): undefined {
  if (!isDamaged(error)) throw error
}

/** Cuts a page that is too large after the event that makes it so: a page has one event at least. */
function fitting(entries: readonly Entry[], last: Offset, bytesMax: number): Part {
  let bytes = 0
  for (const [index, entry] of entries.entries()) {
    bytes += entry.bytes
    if (bytes > bytesMax && index < entries.length - 1) {
      return { entries: entries.slice(0, index + 1), last: entry.place }
    }
  }
  return { entries, last }
}

/** @returns a page of a topic's events that are in the store, once there are any after `after` */
export async function readStored(
  { committing, catalog }: { readonly committing: Committing | undefined; readonly catalog: Catalog },
  topic: Topic,
  filter: Accepts,
  { after, limit }: { readonly after: Offset; readonly limit: number },
): Promise<StoredPage> {
  const { journal } = topic.timeline
  if (committing === undefined || journal === undefined) return { entries: [], last: after, end: true }
  await committing.progress(journal, after)
  const { kept } = journal
  const entries: Entry[] = []
  const reading = committing.store.read(journal.session, after, {
    limit: Math.min(limit, storedEventsMax),
    bytes: storedPageBytes,
    filter: (event) => {
      if (!topic.shows(event, catalog) || topic.timeline.supersedes(event)) return false
      const entry = entryOf(event, catalog)
      if (!filter.accepts(entry)) return false
      entries.push(entry)
      return true
    },
  })
  const stored = await reading.catch((error: unknown) => {
    throw committing.damaged.answerTo(error)
  })
  journal.trimmedTo(stored.trimmed)
  // Offsets up to `kept` that no event has were given out and left empty.
  const last = stored.end && kept > stored.last ? kept : stored.last
  return { entries, last, end: stored.end }
}

function readingOf(
  topic: Topic,
  { after, types, ...query }: HistoryQuery,
  { pageItemsMax }: PageLimits,
): Reading {
  const limit = query.limit ?? Math.min(pageItems, pageItemsMax)
  if (!Number.isInteger(limit) || limit < 1 || limit > pageItemsMax) {
    throw new ProtocolError(
      'badFrame',
      `limit: expected an integer from 1 to ${pageItemsMax}, got ${quote(limit)}`,
    )
  }
  const { epoch } = topic.timeline
  const position = after === undefined ? { epoch, offset: start } : parseCursor(after, 'after')
  if (position.epoch !== epoch) {
    throw new ProtocolError(
      'conflict',
      `after: the session's epoch is ${epoch}, got a cursor of ${position.epoch}`,
    )
  }
  return { from: position.offset, limit, filter: new Filter({ mode: 'full', ...(types && { types }) }) }
}

function page({ timeline }: Topic, { entries, last }: Part): HistoryPage {
  const { epoch, offset } = timeline
  const events = entries.map(({ event }) => event)
  return {
    epoch,
    first: events.at(0)?.offset ?? start,
    last: events.at(-1)?.offset ?? start,
    events,
    ...(last >= offset ? undefined : { next: formatCursor(epoch, last) }),
  }
}
