import type { Catalog } from '../../catalog/catalog.js'
import type { Accepts, Entry } from '../../history/entry.js'
import type { Offset } from '../../protocol/cursor.js'
import type { ReplayWindow } from '../../session/replayed.js'
import type { Topic } from '../../session/topic.js'
import type { StoredEvent } from '../../store/store.js'
import type { Committing } from './committing.js'
import { entryOf } from './restore.js'

/** A part of a topic's stored events. */
export interface StoredPage {
  readonly entries: readonly Entry[]
  /** All events up to here were examined; when reading backwards, down to here. */
  readonly last: Offset
  /** The store had nothing more. */
  readonly end: boolean
  /** The number of examined events, including other topics'. */
  readonly lookedAt: number
}

/** Events after an offset, or events before one, the newest first. */
export type StoredPart = ({ readonly after: Offset } | { readonly before: Offset }) & {
  readonly limit: number
}

/** Reads a topic's events in the store. */
export type ReadStored = (topic: Topic, filter: Accepts, part: StoredPart) => Promise<StoredPage>

/** Maximum of events on one stored page: reading it and making its frames must take only a small part of a turn. */
export const storedEventsMax = 250

export const storedPageBytes = 256 * 1024

interface StoredSource {
  readonly committing: Committing | undefined
  readonly catalog: Catalog
}

/** Where windows of replays are looked for. */
interface WindowSource {
  readonly committing: Committing | undefined
  readonly read: ReadStored
  readonly looksMax: number
}

/** @returns a page of a topic's stored events, when there are any after `after` */
export async function readStored(
  { committing, catalog }: StoredSource,
  topic: Topic,
  filter: Accepts,
  part: StoredPart,
): Promise<StoredPage> {
  const { journal } = topic.timeline
  if (committing === undefined || journal === undefined) {
    return { entries: [], last: 'after' in part ? part.after : part.before, end: true, lookedAt: 0 }
  }
  // All events before the offset must be stored first.
  await committing.progress(journal, 'after' in part ? part.after : ((part.before - 2) as Offset))
  const { kept, session } = journal
  const entries: Entry[] = []
  let lookedAt = 0
  const options = {
    limit: Math.min(part.limit, storedEventsMax),
    bytes: storedPageBytes,
    filter: (event: StoredEvent) => {
      lookedAt++
      if (!topic.shows(event, catalog) || topic.timeline.supersedes(event)) return false
      const entry = entryOf(event, catalog)
      if (!filter.accepts(entry)) return false
      entries.push(entry)
      return true
    },
  }
  const { store, damaged } = committing
  const reading =
    'after' in part
      ? store.read(session, part.after, options)
      : store.readBefore(session, part.before, options)
  const stored = await reading.catch((error: unknown) => {
    throw damaged.answerTo(error)
  })
  journal.trimmedTo(stored.trimmed)
  if ('before' in part) {
    const last = stored.end ? ((stored.trimmed + 1) as Offset) : stored.last
    return { entries, last, end: stored.end, lookedAt }
  }
  // Offsets up to `kept` without an event were assigned and left empty.
  const last = stored.end && kept > stored.last ? kept : stored.last
  return { entries, last, end: stored.end, lookedAt }
}

/** The requested beginning of a replay. */
export interface WindowQuery {
  readonly window: ReplayWindow
  readonly accepts: Accepts
  /** It lies between the two. */
  readonly after: Offset
  readonly until: Offset
}

/** Finds the offset after which a window begins. */
export type FindWindow = (topic: Topic, query: WindowQuery) => Promise<Offset>

/** `FindWindow` with a maximum of examined events; the window begins where it is reached. */
export async function findWindow(
  source: WindowSource,
  topic: Topic,
  { window: { last, since }, ...query }: WindowQuery,
): Promise<Offset> {
  const first = since === undefined ? query.after : await beginOf(source, topic, since, query)
  return last === undefined ? first : newestOf(source, topic, last, { ...query, after: first })
}

type Bounds = Omit<WindowQuery, 'window'>

async function beginOf(
  source: WindowSource,
  topic: Topic,
  since: number,
  { accepts, after, until }: Bounds,
): Promise<Offset> {
  const { committing, read, looksMax } = source
  const keptBefore = await committing?.store.keptBefore(topic.timeline.id, since).catch((error: unknown) => {
    throw committing.damaged.answerTo(error)
  })
  let offset = Math.max(keptBefore ?? after, after) as Offset
  for (let lookedAt = 0; offset < until && lookedAt < looksMax; ) {
    const page = await read(topic, accepts, { after: offset, limit: storedEventsMax })
    const first = page.entries.find(({ event }) => event.time >= since)
    if (first !== undefined) return (first.offset - 1) as Offset
    if (page.end) break
    offset = page.last
    lookedAt += page.lookedAt
  }
  return offset
}

async function newestOf(
  source: WindowSource,
  topic: Topic,
  count: number,
  { accepts, after, until }: Bounds,
): Promise<Offset> {
  let offset = (until + 1) as Offset
  let left = count
  for (let lookedAt = 0; lookedAt < source.looksMax && offset > after + 1; ) {
    const page = await source.read(topic, accepts, { before: offset, limit: left })
    left -= page.entries.length
    if (left <= 0) return ((page.entries.at(-1)?.offset ?? offset) - 1) as Offset
    offset = page.last
    lookedAt += page.lookedAt
    if (page.end) return after
  }
  return Math.max(after, offset - 1) as Offset
}
