import type { MessageKind, StreamEnd } from '../../codec/durable-stream.js'
import type { Hub } from '../../hub/hub.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Epoch } from '../../protocol/cursor.js'
import { formatTopic, type TopicName } from '../../protocol/topic.js'
import { mediaTypeOf, messageTypes } from '../../session/durable-stream.js'
import type { StreamRecord } from '../../store/store.js'
import type { Call } from '../http/routes.js'
import { opened } from '../opened.js'

/** A stream that can be read: a durable stream, or any session or worker as a stream of its events. */
export interface Readable extends StreamEnd {
  readonly topic: TopicName
  readonly session: string
  readonly epoch: Epoch
  readonly contentType: string
  readonly kind: MessageKind
  /** The types of its messages; absent: all. */
  readonly types?: readonly string[]
  /** Absent if a session or worker is read as a stream. */
  readonly stream?: StreamRecord
}

/** @returns the kind of the messages of a stream with this content type */
export function kindOf(contentType: string): 'json' | 'text' | 'bytes' {
  const type = mediaTypeOf(contentType)
  if (type === 'application/json' || type.endsWith('+json')) return 'json'
  return type.startsWith('text/') ? 'text' : 'bytes'
}

/** @returns the stream of a request, with everything that any hub has acknowledged; undefined if there is none */
export async function readableStream(hub: Hub, call: Call): Promise<Readable | undefined> {
  const session = call.use(({ param }) => param('path'))
  const stream = await hub.streams.find(session)
  if (stream === undefined) return undefined
  await hub.streams.endClosed(session, stream)
  return call.use(({ topic }) => heldReadable(hub, topic, session))
}

/** @returns the session or worker of a request as a stream. @throws ProtocolError `notFound` */
export async function readableSession(hub: Hub, call: Call): Promise<Readable | undefined> {
  await opened(hub, call)
  return call.use(({ topic, param }) => {
    const session = param('session')
    const found = hub.find(session)
    if (found === undefined) throw new ProtocolError('notFound', `there is no session ${session}`)
    const { epoch, offset: tail, startedAt: lifetime, status } = found
    const rest = { kind: 'events', contentType: 'application/json' } as const
    return { topic, session, epoch, tail, lifetime: lifetime ?? 0, closed: status === 'ended', ...rest }
  })
}

/** @returns the stream of a session in memory */
function heldReadable(hub: Hub, topic: TopicName, session: string): Readable | undefined {
  const epoch = hub.find(session)?.epoch
  const stream = hub.streams.held(session)
  if (epoch === undefined || stream === undefined) return undefined
  const { contentType, tail, lifetime } = stream
  const rest = { kind: kindOf(contentType), types: messageTypes, stream } as const
  return { topic, session, epoch, contentType, tail, lifetime, closed: stream.closed !== undefined, ...rest }
}

/** @returns the end of the stream of a topic that is followed */
export function endOf(hub: Hub, topic: string, kind: MessageKind): StreamEnd | undefined {
  const session = topic.split('/', 2)[1] ?? ''
  if (kind !== 'events') {
    const stream = hub.streams.held(session)
    return stream && { ...stream, closed: stream.closed !== undefined }
  }
  const found = hub.find(session)
  return found && { lifetime: found.startedAt ?? 0, tail: found.offset, closed: found.status === 'ended' }
}

/** @returns the name of the topic, for error messages */
export function nameOf({ topic }: Pick<Readable, 'topic'>): string {
  return formatTopic(topic)
}
