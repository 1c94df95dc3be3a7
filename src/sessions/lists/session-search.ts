import type { JsonObject, JsonValue } from '../../lib/json.js'
import { checkBoolean, checkChoice, checkFields, checkPageItems } from '../../protocol/check.js'
import { ProtocolError, quote } from '../../protocol/codes.js'
import type { Limits } from '../../protocol/limits.js'
import { isId } from '../../protocol/topic.js'
import { aboutRecord, aboutSession } from '../../session/reserved-slices.js'
import { Search } from '../../session/search.js'
import { lastOf, type Store } from '../../store/store.js'
import type { Turns } from '../turns.js'
import { activityOf, type Listed, rankOf } from './attention.js'
import type { SessionSources } from './session-pages.js'

export const sessionOrders = ['id', 'attention', 'started', 'active'] as const
export type SessionOrder = (typeof sessionOrders)[number]

export const sessionStatuses = ['running', 'paused', 'ended'] as const
export const sessionResults = ['succeeded', 'failed', 'cancelled', 'lost'] as const

export interface SessionQuery {
  /** `next` of the previous page. */
  readonly after?: string
  /** Maximum of sessions on the page; 1 to `pageItemsMax`. */
  readonly limit: number
  /** By id, the default; by urgency; by start or last activity, the newest first. */
  readonly order?: SessionOrder
  readonly status?: readonly string[]
  readonly result?: readonly string[]
  /** Only those that wait for a person. */
  readonly needs?: boolean
  /** Labels that a session must have, all of them. */
  readonly labels?: readonly string[]
  /** A text in the id, the title, a label or the reason; or a regular expression between slashes. */
  readonly q?: string
}

const queryFields = ['after', 'limit', 'order', 'status', 'result', 'needs', 'labels', 'q']

/** The position of a session in an order: by rank, then by time, the newest first, then by id. */
interface Place {
  readonly rank: number
  readonly time: number
  readonly id: string
}

export interface FoundSessions {
  readonly ids: readonly string[]
  /** Where the next page begins. */
  readonly next?: string
}

/** Maximum of sessions that are examined within one turn: about a millisecond. */
const looksPerTurn = 200

/** Whether a query is more than a page in the order of ids. */
export function isSearch({ order = 'id', status, result, needs, labels, q }: SessionQuery): boolean {
  return order !== 'id' || needs === true || q !== undefined || [status, result, labels].some((list) => list)
}

/**
 * Examines all visible sessions, a bounded number per turn, and keeps no more than a page of them.
 *
 * @throws ProtocolError `badFrame`
 */
export async function findSessions(
  sources: SessionSources,
  query: SessionQuery,
  {
    seen,
    limits,
    turns,
    now,
  }: {
    readonly seen: readonly string[] | undefined
    readonly limits: Limits
    readonly turns: Turns
    readonly now: number
  },
): Promise<FoundSessions> {
  const { order = 'id', limit } = query
  const after = query.after === undefined ? undefined : placeOf(query.after, order, limits)
  const matches = matcherOf(query, limits)
  let found: Place[] = []
  const add = ([id, about]: Listed): void => {
    const place = { ...rankIn(order, about, now), id }
    if ((after !== undefined && compare(place, after) <= 0) || !matches(id, about)) return
    found.push(place)
    if (found.length > 2 * limit + looksPerTurn) found = found.toSorted(compare).slice(0, limit + 1)
  }
  for await (const some of listed(sources, seen)) {
    for (const one of some) add(one)
    await turns.next()
  }
  // One that changes while the others are read is found twice.
  const ids = new Set<string>()
  found = found.toSorted(compare).filter(({ id }) => !ids.has(id) && ids.add(id))
  const last = found[limit - 1]
  return {
    ids: found.slice(0, limit).map(({ id }) => id),
    ...(found.length > limit && last !== undefined && { next: textOf(last, order) }),
  }
}

/** All visible sessions, once each, in parts. */
async function* listed(
  { held, others, aboutInStore }: SessionSources,
  seen: readonly string[] | undefined,
): AsyncGenerator<Listed[]> {
  if (seen !== undefined) {
    for (const id of new Set(seen)) {
      const session = held.get(id)
      const about = session === undefined ? await aboutInStore(id) : aboutSession(session)
      if (about !== undefined && session?.status !== 'waiting') yield [[id, about]]
    }
    return
  }
  // Sessions that are loaded or released meanwhile are listed once.
  const listed = new Set<string>()
  let some: Listed[] = []
  for (const [id, session] of held) {
    if (session.status === 'waiting') continue
    listed.add(id)
    some.push([id, aboutSession(session)])
    if (some.length < looksPerTurn) continue
    yield some
    some = []
  }
  yield some
  for await (const some of others()) {
    yield some.filter(([id]) => !listed.has(id))
  }
}

/** The sessions of a store, in parts. */
export async function* storedSessions(store: Store | undefined): AsyncGenerator<Listed[]> {
  for (let after = '', end = store === undefined; !end; ) {
    const page = await store?.sessions(after, looksPerTurn)
    if (page === undefined) return
    yield page.sessions.map(({ record }) => [record.session, aboutRecord(record)])
    after = lastOf(page) ?? after
    end = page.end
  }
}

function matcherOf(query: SessionQuery, limits: Limits): (id: string, about: JsonObject) => boolean {
  const search = query.q === undefined ? undefined : new Search(query.q, limits)
  return (id, { status, result, needs, labels, title, reason }) => {
    if (query.status?.includes(wordOf(status)) === false) return false
    if (query.result?.includes(wordOf(result)) === false) return false
    if (query.needs === true && !(Number(needs ?? 0) > 0)) return false
    const named = (labels ?? []) as readonly string[]
    if (query.labels?.every((label) => named.includes(label)) === false) return false
    return search === undefined || search.matchesText([id, wordOf(title), ...named, wordOf(reason)])
  }
}

function rankIn(order: SessionOrder, about: JsonObject, now: number): Omit<Place, 'id'> {
  switch (order) {
    case 'id':
      return { rank: 0, time: 0 }
    case 'attention':
      return { rank: rankOf(about, now), time: activityOf(about) }
    case 'started':
      return { rank: 0, time: Number(about['startedAt'] ?? 0) }
    case 'active':
      return { rank: 0, time: activityOf(about) }
  }
}

function compare(one: Place, other: Place): number {
  return (
    one.rank - other.rank || other.time - one.time || (one.id < other.id ? -1 : Number(one.id > other.id))
  )
}

/** In the order of ids it is an id. */
function textOf({ rank, time, id }: Place, order: SessionOrder): string {
  return order === 'id' ? id : `${rank}:${time}:${id}`
}

function placeOf(text: string, order: SessionOrder, limits: Limits): Place {
  const [, rank, time, id = ''] =
    order === 'id' ? [0, 0, 0, text] : (/^(\d):(\d{1,16}):(.+)$/.exec(text) ?? [])
  if (isId(id, limits)) return { rank: Number(rank), time: Number(time), id }
  throw new ProtocolError('badFrame', `after: expected the next of a page in this order, got ${quote(text)}`)
}

/** @throws ProtocolError `badFrame` */
export function checkQuery(query: SessionQuery, limits: Limits): void {
  checkFields(query, queryFields, 'query')
  const { limit, order, status, result, needs, labels } = query
  checkPageItems(limit, limits, 'limit')
  if (order !== undefined) checkChoice(order, sessionOrders, 'order')
  if (needs !== undefined) checkBoolean(needs, limits, 'needs')
  expectSome(status, sessionStatuses, 'status')
  expectSome(result, sessionResults, 'result')
  if (labels !== undefined && !(Array.isArray(labels) && labels.every((label) => typeof label === 'string')))
    throw new ProtocolError('badFrame', `labels: expected a list of labels, got ${quote(labels)}`)
}

function expectSome(values: readonly string[] | undefined, choices: readonly string[], name: string): void {
  const stranger = Array.isArray(values) ? values.find((value) => !choices.includes(value as string)) : values
  if (stranger === undefined) return
  throw new ProtocolError(
    'badFrame',
    `${name}: expected some of ${choices.join(', ')}, got ${quote(stranger)}`,
  )
}

function wordOf(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : ''
}
