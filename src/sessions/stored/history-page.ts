import { type Level, levels } from '../../catalog/traits.js'
import type { Entry } from '../../history/entry.js'
import {
  checkBoolean,
  checkChoice,
  checkFields,
  checkIds,
  checkPageItems,
  checkTypes,
} from '../../protocol/check.js'
import { ProtocolError } from '../../protocol/codes.js'
import {
  type Cursor,
  type Epoch,
  formatCursor,
  type Offset,
  parseCursor,
  start,
} from '../../protocol/cursor.js'
import type { HubEvent } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import { HistoryFilter } from '../../session/history-filter.js'
import { Search } from '../../session/search.js'
import type { Topic } from '../../session/topic.js'
import type { Turns } from '../turns.js'
import { isDamaged } from './damaged-sessions.js'
import { type ReadStored, type StoredPage, storedEventsMax } from './read-stored.js'

export interface HistoryQuery {
  /** Only events after this. */
  readonly after?: Cursor
  /** Only events before this. */
  readonly before?: Cursor
  /** `asc`, the default: the oldest first; `desc`: the newest. */
  readonly order?: Order
  /** Maximum of events on the page; 1 to `pageItemsMax`, default 100. */
  readonly limit?: number
  readonly types?: readonly string[]
  /** Only events of these workers. */
  readonly workers?: readonly string[]
  /** Only events of types of these levels. */
  readonly level?: readonly Level[]
  /** Only events that say that something failed. */
  readonly errors?: boolean
  /** Only events that contain this text, or match a regular expression between slashes. */
  readonly q?: string
}

/** As `HistoryPage`. */
export interface EntryPage extends Pick<HistoryPage, 'next'> {
  readonly entries: readonly Entry[]
}

export const orders = ['asc', 'desc'] as const
export type Order = (typeof orders)[number]

export interface HistoryPage {
  readonly epoch: Epoch
  /** The oldest and newest offset on the page; 0 when it is empty. */
  readonly first: Offset
  readonly last: Offset
  readonly events: readonly HubEvent[]
  /** The `after` of the next page, or with `desc` its `before`; absent at the end. The page may be empty. */
  readonly next?: Cursor
}

const queryFields = ['after', 'before', 'order', 'limit', 'types', 'workers', 'level', 'errors', 'q']
const pageItems = 100
/** How many events are examined within one turn. */
const looksPerTurn = 2_000
/** How much is searched within one turn, in the unit of `searchWorkMax`. */
const workPerTurn = 1024 * 1024

/**
 * A page of a topic's events in memory.
 *
 * @throws ProtocolError `badFrame`, or `conflict` for a cursor of another epoch
 */
export function pageOf(topic: Topic, query: HistoryQuery, limits: Limits): HistoryPage {
  const reading = new Reading(topic, query, limits)
  while (!reading.done) for (const _ of reading.take(reading.held(start))) continue
  return reading.page()
}

interface StoredReading {
  readonly limits: Limits
  readonly readStored: ReadStored
  readonly turns: Turns
}

/** Like `pageOf`, but continues in the store where memory does not reach back. Long work is divided into turns. */
export async function storedPageOf(
  topic: Topic,
  query: HistoryQuery,
  source: StoredReading,
): Promise<HistoryPage> {
  const reading = await read(topic, query, source)
  return reading.page()
}

/** Like `storedPageOf`, with the entry of each event. */
export async function entriesOf(
  topic: Topic,
  query: HistoryQuery,
  source: StoredReading,
): Promise<EntryPage> {
  const { entries, next } = await read(topic, query, source)
  return { entries, ...(next !== undefined && { next }) }
}

async function read(
  topic: Topic,
  query: HistoryQuery,
  { limits, readStored, turns }: StoredReading,
): Promise<Reading> {
  const reading = new Reading(topic, query, limits)
  for (let lookedAt = 0; !reading.done; ) {
    const part = await reading.part(readStored)
    if (part === undefined) break
    for (const _ of reading.take(part)) await turns.next()
    if (reading.lookedAt - lookedAt < looksPerTurn || reading.done) continue
    lookedAt = reading.lookedAt
    await turns.next()
  }
  return reading
}

/** The progress of one request for a page. */
class Reading {
  lookedAt = 0
  #done = false
  /** All events up to here were examined; with `desc`, all from here on. */
  #position: Offset
  #bytes = 0
  readonly entries: Entry[] = []
  readonly #topic: Topic
  readonly #limits: Limits
  readonly #limit: number
  readonly #order: Order
  readonly #after: Offset
  readonly #before: Offset
  readonly #filter: HistoryFilter
  readonly #search: Search | undefined

  constructor(topic: Topic, query: HistoryQuery, limits: Limits) {
    checkFields(query, queryFields, 'query')
    const { order = 'asc', limit = Math.min(pageItems, limits.pageItemsMax) } = query
    checkChoice(order, orders, 'order')
    checkPageItems(limit, limits, 'limit')
    const { types, workers, level, errors, q } = query
    if (types !== undefined) checkTypes(types, limits, 'types')
    if (workers !== undefined) checkIds(workers, limits, 'workers')
    if (errors !== undefined) checkBoolean(errors, limits, 'errors')
    for (const one of level ?? []) checkChoice(one, levels, 'level')
    this.#topic = topic
    this.#limits = limits
    this.#limit = limit
    this.#order = order
    this.#after = this.#offsetOf(query.after, 'after') ?? start
    this.#before = this.#offsetOf(query.before, 'before') ?? (Number.MAX_SAFE_INTEGER as Offset)
    this.#position = order === 'asc' ? this.#after : this.#end
    this.#filter = new HistoryFilter({ types, workers, levels: level, errors })
    this.#search = q === undefined ? undefined : new Search(q, limits)
    this.#done = this.#isAtEnd(this.#position)
  }

  /** The cursor to continue from; undefined at the end. */
  get next(): Cursor | undefined {
    if (this.#isAtEnd(this.#position)) return undefined
    return formatCursor(this.#topic.timeline.epoch, this.#position)
  }

  get done(): boolean {
    return this.#done
  }

  /** The first offset above the requested range. */
  get #end(): Offset {
    return Math.min(this.#before, this.#topic.timeline.offset + 1) as Offset
  }

  #offsetOf(cursor: Cursor | undefined, name: string): Offset | undefined {
    if (cursor === undefined) return undefined
    const { epoch } = this.#topic.timeline
    const position = parseCursor(cursor, name)
    if (position.epoch === epoch) return position.offset
    throw new ProtocolError(
      'conflict',
      `${name}: the session's epoch is ${epoch}, got a cursor of ${position.epoch}`,
    )
  }

  /** @returns the next part, from memory or the store; undefined if it is damaged, unless it is the first */
  async part(readStored: ReadStored): Promise<StoredPage | undefined> {
    const [topic, filter, offset] = [this.#topic, this.#filter, this.#position]
    const limit = this.#search === undefined ? this.#limit - this.entries.length : storedEventsMax
    const whole = topic.wholeAfter
    const isInStore = this.#order === 'asc' ? offset < whole : offset <= whole + 1
    if (whole === start || !isInStore) return this.held(whole)
    const part = this.#order === 'asc' ? { after: offset, limit } : { before: offset, limit }
    const stored = await readStored(topic, filter, part).catch((error: unknown): undefined => {
      // The damage is reported by the request that begins there.
      if (!isDamaged(error) || this.entries.length === 0) throw error
    })
    if (stored?.end !== true) return stored
    if (this.#order === 'desc') return { ...stored, last: (this.#after + 1) as Offset }
    // The store should end where memory begins; if it ends before, there is no more for now.
    if (stored.last < topic.wholeAfter) this.#done = true
    return stored
  }

  /** @returns the next part in memory. @param down the end of reading backwards */
  held(down: Offset): StoredPage {
    const [topic, filter] = [this.#topic, this.#filter]
    const eventsMax = this.#search === undefined ? this.#limit - this.entries.length : storedEventsMax
    const lookedAtMax = Math.min(looksPerTurn, this.#limits.historyLooksMax)
    if (this.#order === 'asc')
      return { ...topic.read(this.#position, filter, eventsMax, lookedAtMax), end: false }
    const after = Math.max(down, this.#after) as Offset
    return { ...topic.readBefore(this.#position, filter, { after, eventsMax, lookedAtMax }), end: false }
  }

  /** Adds the matching entries of a part. The caller gives the turn back at each step. */
  *take({ entries, last, lookedAt }: StoredPage): Generator<void> {
    const search = this.#search
    const { historyLooksMax, searchWorkMax } = this.#limits
    let paid = search?.work ?? 0
    this.lookedAt += lookedAt
    for (const [index, entry] of entries.entries()) {
      const isLast = index === entries.length - 1
      if (entry.offset <= this.#after || entry.offset >= this.#before) continue
      if (search !== undefined) {
        if (search.work - paid >= workPerTurn) {
          yield
          paid = search.work
        }
        const matches = search.matches(entry.event)
        if (matches) this.#add(entry)
        else if (search.work < searchWorkMax) continue
      } else this.#add(entry)
      const isEnough = this.#isFull || (search !== undefined && search.work >= searchWorkMax)
      if (isEnough && !isLast) return this.#stop(entry.offset)
    }
    const isEnough =
      this.lookedAt >= historyLooksMax || (search !== undefined && search.work >= searchWorkMax)
    this.#position = last
    this.#done ||= this.#isFull || isEnough || this.#isAtEnd(last)
  }

  #add(entry: Entry): void {
    this.entries.push(entry)
    this.#bytes += entry.bytes
  }

  /** A page has at least one event, and ends after the one that exceeds the size. */
  get #isFull(): boolean {
    return this.entries.length >= this.#limit || this.#bytes > this.#limits.pageBytesMax
  }

  #stop(offset: Offset): void {
    this.#position = offset
    this.#done = true
  }

  #isAtEnd(offset: Offset): boolean {
    return this.#order === 'asc' ? offset >= this.#end - 1 : offset <= this.#after + 1
  }

  page(): HistoryPage {
    const { epoch } = this.#topic.timeline
    const { next } = this
    const events = this.entries.map(({ event }) => event)
    const [oldest, newest] = this.#order === 'asc' ? [0, -1] : [-1, 0]
    return {
      epoch,
      first: events.at(oldest)?.offset ?? start,
      last: events.at(newest)?.offset ?? start,
      events,
      ...(next !== undefined && { next }),
    }
  }
}
