import { messageBytes } from '../../codec/durable-stream.js'
import type { Hub } from '../../hub/hub.js'
import type { StreamChange } from '../../log/entries.js'
import { checkId } from '../../protocol/check.js'
import { ProtocolError } from '../../protocol/codes.js'
import { type Cursor, type Epoch, formatCursor, type Offset, start } from '../../protocol/cursor.js'
import { readPlace } from '../../protocol/durable-stream.js'
import { streamId } from '../../protocol/foreign-id.js'
import type { NewEvent } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import type { TopicName } from '../../protocol/topic.js'
import { mediaTypeOf, messageTypes, type StreamOutcome } from '../../session/durable-stream.js'
import type { StreamRecord } from '../../store/store.js'
import type { Request } from '../../transport/transport.js'
import { refusal } from '../http/problem.js'
import type { Call } from '../http/routes.js'
import { messagesOf } from './messages.js'
import { kindOf } from './readable.js'
import { readPage } from './reading.js'

/** The part of a request that names the past of a fork. */
export interface AskedFork {
  /** The session of the stream that is forked. */
  readonly source: string
  /** Where the fork begins; absent: the end of the source. */
  readonly place: { readonly lifetime: number; readonly offset: Offset } | undefined
  /** The number of messages, or bytes, after the place that the fork also gets. */
  readonly more: number
}

const prefix = '/v1/stream/'

/** @returns the past of the requested fork; undefined if the request creates no fork. @throws ProtocolError `badFrame` */
export function forkOf({ headers }: Request, limits: Limits): AskedFork | undefined {
  const [from, offset, more] = ['stream-forked-from', 'stream-fork-offset', 'stream-fork-sub-offset'].map(
    (name) => headers.get(name),
  )
  if (from === undefined) {
    if (offset === undefined && more === undefined) return undefined
    throw new ProtocolError('badFrame', 'stream-forked-from: expected the path of a stream, got none')
  }
  const place = offset === undefined ? undefined : readPlace(offset)
  if (offset !== undefined && place === undefined) {
    throw refusal('stream-fork-offset', 'an offset of the stream', offset)
  }
  if (more !== undefined && !/^(?:0|[1-9]\d{0,14})$/.test(more)) {
    throw refusal('stream-fork-sub-offset', 'an integer from 0', more)
  }
  const count = Number(more ?? 0)
  if (count > 0 && place === undefined) {
    throw new ProtocolError('badFrame', 'stream-fork-sub-offset: expected it with Stream-Fork-Offset')
  }
  return { source: sourceOf(from, limits), place, more: count }
}

function sourceOf(path: string, limits: Limits): string {
  const at = path.indexOf(prefix)
  if (at === -1) throw refusal('stream-forked-from', `a path below ${prefix}`, path)
  try {
    return checkId(streamId(decodeURIComponent(path.slice(at + prefix.length))), limits, 'stream-forked-from')
  } catch (error) {
    if (error instanceof ProtocolError) throw error
    throw refusal('stream-forked-from', 'percent-encoded UTF-8', path)
  }
}

export interface ForkRequest extends AskedFork {
  readonly settings: Omit<Extract<StreamChange, { kind: 'create' }>, 'contentType' | 'fork'>
  /** The content type as given; absent: that of the source. */
  readonly given: string | undefined
  readonly body: Buffer
}

/**
 * Creates a stream with the past of another one, in three steps: the source gets a reference, so that it is kept; its session
 * is forked; the fork becomes a stream. If a request is interrupted, repeating it completes the fork. A reference to a fork
 * that was never made does not count.
 *
 * @throws ProtocolError `forbidden` without permission to read the source; `badFrame` for a place that it does not have
 */
export async function createFork(hub: Hub, call: Call, request: ForkRequest): Promise<StreamOutcome> {
  const { source: from, place, more, settings, given, body } = request
  const topic: TopicName = { kind: 'session', session: from }
  const id = call.use(({ param, permissions }) => {
    permissions.expectRead(topic)
    return param('path')
  })
  const source = await hub.streams.find(from)
  const epoch = hub.find(from)?.epoch
  if (source === undefined || epoch === undefined)
    return { kind: 'refused', why: 'missing', stream: undefined }
  if (source.isDeleted) return { kind: 'refused', why: 'deleted', stream: source }
  if (given !== undefined && mediaTypeOf(given) !== mediaTypeOf(source.contentType)) {
    return { kind: 'refused', why: 'contentType', expected: source.contentType, stream: source }
  }
  const contentType = given ?? source.contentType
  const fork = { source: from, more, ...(place && { offset: place.offset }) }
  const { ttlSeconds, expiresAt } = source
  const lifetime = settings.ttlSeconds === undefined &&
    settings.expiresAt === undefined && { ttlSeconds, expiresAt }
  const create = { ...settings, ...lifetime, contentType }
  const own = messagesOf(body, contentType, hub.limits)
  if ((await hub.streams.find(id)) !== undefined) {
    const end = { lifetime: source.lifetime, tail: source.tail }
    return call.use(() => hub.streams.submit(id, { ...create, fork: { ...fork, ...end } }, own))
  }
  const { at, rest } = await endOfPast(hub, call, { topic, epoch, source, place, more })
  const referred = await call.use(() => hub.streams.submit(from, { kind: 'refer', fork: id }))
  if (referred.kind === 'refused') return referred
  if (at > start) await forkSession(hub, call, { from, id, at: formatCursor(epoch, at) })
  const change = { ...create, fork: { ...fork, lifetime: source.lifetime, tail: at } }
  return call.use(() => hub.streams.submit(id, change, [...rest, ...own]))
}

async function forkSession(
  hub: Hub,
  call: Call,
  { from, id, at }: { readonly from: string; readonly id: string; readonly at: Cursor },
): Promise<void> {
  try {
    await call.use(() => hub.forkSession(from, { at, session: id, state: 'known' }))
  } catch (error) {
    // An interrupted request may have forked it already; the stream's own check decides.
    if (!(error instanceof ProtocolError && error.code === 'conflict' && hub.find(id) !== undefined))
      throw error
  }
}

/**
 * @returns the end of the past that the fork gets, and the part of the next message that it gets
 * @throws ProtocolError `badFrame` for a place that the source does not have
 */
async function endOfPast(
  hub: Hub,
  call: Call,
  {
    topic,
    epoch,
    source,
    place,
    more,
  }: {
    readonly topic: TopicName
    readonly epoch: Epoch
    readonly source: StreamRecord
    readonly place: AskedFork['place']
    readonly more: number
  },
): Promise<{ readonly at: Offset; readonly rest: readonly NewEvent[] }> {
  const { tail, lifetime, contentType } = source
  if (place === undefined) return { at: tail, rest: [] }
  if (place.offset > tail || (place.offset > start && place.lifetime !== lifetime)) {
    throw refusal('stream-fork-offset', 'an offset of the stream', place.offset)
  }
  const isBytes = kindOf(contentType) !== 'json'
  let [at, left] = [place.offset, more]
  while (left > 0 && at < tail) {
    const page = await readPage(hub, call, { topic, epoch, tail, types: messageTypes }, at)
    for (const event of page.events) {
      if (left === 0) return { at, rest: [] }
      const bytes = isBytes ? messageBytes(event) : undefined
      const size = bytes?.length ?? 1
      if (bytes !== undefined && size > left) {
        return { at, rest: messagesOf(bytes.subarray(0, left), contentType, hub.limits) }
      }
      at = event.offset
      left -= size
    }
    if (page.events.length === 0) break
  }
  if (left > 0) throw refusal('stream-fork-sub-offset', `at most ${more - left} after this offset`, more)
  return { at, rest: [] }
}
