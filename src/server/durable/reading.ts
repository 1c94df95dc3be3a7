import { messageBytes, messageJson } from '../../codec/durable-stream.js'
import type { Hub } from '../../hub/hub.js'
import { ProtocolError } from '../../protocol/codes.js'
import { formatCursor, type Offset, parseCursor, start } from '../../protocol/cursor.js'
import { readPlace } from '../../protocol/durable-stream.js'
import type { HubEvent } from '../../protocol/frames.js'
import { isMessage } from '../../session/durable-stream.js'
import type { Answer } from '../../transport/transport.js'
import { refusal } from '../http/problem.js'
import type { Call } from '../http/routes.js'
import { endHeaders, goneAnswer, presentHeaders } from './answers.js'
import { nameOf, type Readable } from './readable.js'

/** The offset after which a request reads; `now`: the end of the stream. */
export type From = Offset | 'now'

/**
 * @param isRequired whether the offset is required, as in live requests
 * @returns the offset of the request; undefined for the beginning
 * @throws ProtocolError `badFrame`
 */
export function givenOffset({ query }: Call, isRequired: boolean): string | undefined {
  const given = query.getAll('offset')
  const [offset] = given
  if (given.length > 1) throw refusal('offset', 'one', given.length)
  if (offset === undefined) {
    if (isRequired) throw refusal('offset', 'an offset, -1 or now', 'none')
    return undefined
  }
  if (offset === '-1') return undefined
  if (offset === 'now' || readPlace(offset) !== undefined) return offset
  throw refusal('offset', '-1, now, or an offset of an earlier answer', offset)
}

/** @returns where to begin; `gone` if the messages after it can no longer be read */
export function fromOf(hub: Hub, readable: Readable, given: string | undefined): From | 'gone' {
  if (given === 'now') return 'now'
  const place = given === undefined ? undefined : readPlace(given)
  if (place === undefined || place.offset === start) {
    return hub.streams.hasLost(readable.topic, start, readable.types) && given !== undefined ? 'gone' : start
  }
  // The offset belongs to an earlier stream with the same name.
  if (place.lifetime !== readable.lifetime) return 'gone'
  if (place.offset >= readable.tail) return readable.tail
  return hub.streams.hasLost(readable.topic, place.offset, readable.types) ? 'gone' : place.offset
}

/** @returns the answer to a request for messages that are no longer retained */
export function gone(readable: Readable): Answer {
  return goneAnswer(
    `${nameOf(readable)}: the messages after this offset are no longer retained; read from offset -1`,
  )
}

interface ReadPage {
  readonly events: readonly HubEvent[]
  /** Everything up to here has been read. */
  readonly last: Offset
}

/** Reads the messages after an offset, at most one page. Checks the permission again. */
export async function readPage(
  hub: Hub,
  call: Pick<Call, 'use'>,
  { topic, epoch, types, tail }: Pick<Readable, 'topic' | 'epoch' | 'types' | 'tail'>,
  after: Offset,
): Promise<ReadPage> {
  if (after >= tail) return { events: [], last: after }
  const query = {
    after: formatCursor(epoch, after),
    limit: hub.limits.pageItemsMax,
    ...(types && { types }),
  }
  const { entries, next } = await call.use(() => hub.readEntries(topic, query))
  const events = entries
    .map(({ event }) => event)
    .filter(({ type }) => types === undefined || isMessage(type))
  const read = next === undefined ? tail : parseCursor(next, 'next').offset
  return { events, last: Math.max(events.at(-1)?.offset ?? after, Math.min(read, tail)) as Offset }
}

/** @returns the messages as a body */
export function bodyOf({ kind }: Readable, events: readonly HubEvent[]): string | Buffer {
  if (kind === 'json' || kind === 'events') {
    return `[${events.map((event) => messageJson(event, kind)).join(',')}]`
  }
  return Buffer.concat(events.map(messageBytes))
}

/** @returns the answer with a page of messages; 304 if the client already has it */
export function pageAnswer(
  call: Call,
  readable: Readable,
  { from, page, end, headers = {} }: PageAnswer,
): Answer {
  const { epoch, contentType, lifetime } = readable
  const isAtEnd = page.last >= end.tail
  const isClosed = isAtEnd && end.closed
  const etag = `"${epoch}:${from}:${page.last}${isClosed ? ':closed' : ''}"`
  const all = {
    etag,
    // A page that ends before the end of the stream never changes.
    'cache-control': isAtEnd && !isClosed ? 'no-cache' : 'public, max-age=60, stale-while-revalidate=300',
    ...headers,
    ...endHeaders({ lifetime, tail: page.last, closed: isClosed }),
    ...(isAtEnd && { 'stream-up-to-date': 'true' }),
  }
  const known = call.request.headers.get('if-none-match')
  if (known !== undefined && known.split(',').some((one) => one.trim().replace(/^W\//, '') === etag)) {
    return { status: 304, headers: all }
  }
  return {
    status: 200,
    headers: { 'content-type': contentType, ...all },
    body: bodyOf(readable, page.events),
  }
}

interface PageAnswer {
  readonly from: Offset
  readonly page: ReadPage
  /** The stream as it was before the page was read. */
  readonly end: Readable
  readonly headers?: Readonly<Record<string, string>>
}

/** @returns the answer to `offset=now`: no messages, and the end of the stream */
export function nowAnswer(readable: Readable): Answer {
  return {
    status: 200,
    headers: { ...presentHeaders(readable), 'stream-up-to-date': 'true' },
    body: bodyOf(readable, []),
  }
}

/** @throws ProtocolError `notFound` */
export function expectFound(readable: Readable | undefined): Readable {
  if (readable !== undefined) return readable
  throw new ProtocolError('notFound', 'There is no such stream.')
}
