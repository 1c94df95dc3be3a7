import type { Chunk } from '../../codec/codec.js'
import type { Dialect, DialectEvent, DialectStream, Following } from '../../codec/dialect.js'
import type { DialectCodec } from '../../codec/dialect-codec.js'
import type { Clock, Timer } from '../../lib/clock.js'
import type { JsonObject, JsonValue } from '../../lib/json.js'
import { type Checked, checkEvent, checkId, checkTypes } from '../../protocol/check.js'
import { ProtocolError } from '../../protocol/codes.js'
import { formatCursor, type Position, readCursor, start } from '../../protocol/cursor.js'
import type { Subscribe } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import { parseTopic, type TopicName } from '../../protocol/topic.js'
import type { Answer } from '../../transport/transport.js'
import type { DialectContext, StreamContext } from '../context.js'
import { reads } from '../http/path-topics.js'
import { refusal } from '../http/problem.js'
import { flagOf, integerOf, listOf, modeOf, replayOf, slicesOf } from '../http/query.js'
import type { Call, RequestHead, Route } from '../http/routes.js'
import { opened } from '../opened.js'
import { runRoutes } from './run-routes.js'
import { cursorOf, hasAll, head, open, type Patience, StreamLink, sessionOf } from './stream-link.js'

type Streaming = Dialect & { readonly stream: DialectStream }

/** The session of requests without a session, whose clients were written for servers with a single one. */
const onlySession = 'default'

/** The routes of the dialects themselves. */
export function dialectRoutes(context: StreamContext): Route[] {
  const routes: Route[] = []
  for (const dialect of context.dialects.values()) {
    if (dialect.runs !== undefined) routes.push(...runRoutes(context, dialect.name, dialect.runs))
    if (!streams(dialect)) continue
    for (const { path, topic } of dialect.stream.routes) {
      const topicOf = (head: RequestHead) => {
        const session = idOf(context, head, path, 'session') ?? onlySession
        const text = topic(session, idOf(context, head, path, 'worker'))
        return parseTopic(text, 'topic', context.limits)
      }
      routes.push({
        method: 'GET',
        path,
        access: reads(topicOf),
        answer: (call) => streamDialect(context, call, dialect),
      })
    }
  }
  return routes
}

function streams(dialect: Dialect): dialect is Streaming {
  return dialect.stream !== undefined
}

/** An id from the path, or from the query if the path has no parameter for it. */
function idOf({ limits }: DialectContext, head: RequestHead, path: string, name: string): string | undefined {
  if (path.includes(`{${name}}`)) return head.param(name)
  const text = head.query.get(name)
  return text ? checkId(text, limits, name) : undefined
}

/**
 * @returns the dialect of `?dialect=`; undefined without this parameter
 * @throws ProtocolError `badFrame` when the dialect does not exist, or has no `part`
 */
export function dialectOf<Part extends 'stream' | 'runs' | 'publish' | 'records'>(
  { dialects }: DialectContext,
  query: URLSearchParams,
  part: Part,
): (Dialect & Required<Pick<Dialect, Part>>) | undefined {
  const name = query.get('dialect')
  if (!name) return undefined
  const dialect = dialects.get(name)
  if (dialect?.[part] !== undefined) return dialect as Dialect & Required<Pick<Dialect, Part>>
  const has = (one: Dialect): boolean =>
    one[part] !== undefined || (part === 'stream' && one.runs !== undefined)
  if (dialect !== undefined && has(dialect)) return undefined
  const known = [...dialects.values()].filter(has)
  throw refusal('dialect', `one of ${known.map((one) => one.name).join(', ')}`, name)
}

/** Reads one object of a producer. */
export type ReadEvent = (value: unknown) => DialectEvent

/** The field with the producer's own id, for shapes without a place for one. It is removed from the event. */
const idName = '$id'

/**
 * @returns the reader of published objects for `?dialect=`; undefined without this parameter. `?force` passes every mode.
 * @throws ProtocolError `badFrame` when there is no such dialect
 */
export function readerOf(context: DialectContext, call: Call): ReadEvent | undefined {
  const { query } = call
  const dialect = dialectOf(context, query, 'publish')
  if (dialect === undefined) return undefined
  const force = flagOf(query, 'force')
  const { limits } = context
  return (value) => {
    const [id, object] = withoutId(value as JsonValue)
    const found = dialect.publish(object)
    if (found.kind === 'end') return found
    const event = { ...found.event, ...(force && { force }), ...(id !== undefined && { id }) }
    const { worker } = found
    if (worker !== undefined) {
      checkId(worker, limits, 'worker')
      call.use(({ permissions, param }) =>
        permissions.expectWrite({ kind: 'worker', session: param('session'), worker }),
      )
    }
    return { ...found, event: checkEvent(event, limits) }
  }
}

function withoutId(value: JsonValue): readonly [JsonValue | undefined, JsonValue] {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, idName)) return [undefined, value]
  const { [idName]: id, ...rest } = value as JsonObject
  return [id, rest]
}

/** Streams a topic in a dialect. */
export async function streamDialect(
  context: StreamContext,
  call: Call,
  dialect: Streaming,
): Promise<Answer | undefined> {
  const { hub, limits, clock } = context
  const topic = call.use((permitted) => permitted.topic)
  const { stream } = dialect
  await opened(hub, call)
  if (stream.unknown !== 'wait' && hub.find(sessionOf(topic)) === undefined) {
    if (stream.unknown === 'empty') return { ...head, body: '' }
    throw new ProtocolError('notFound', `There is no session ${sessionOf(topic)}.`)
  }
  const position = positionOf(call, stream)
  const following = stream.follow({
    list(name) {
      const names = name === 'slices' ? slicesOf(call.query, limits) : listOf(call.query, name)
      return names?.length === 0 ? undefined : names
    },
    isKnown: (type) => hub.catalog.knows(type),
  })
  if (await isOver(context, call, { stream, topic, position, following })) return { status: 204 }
  await opened(hub, call)
  const codec = hub.codecs.dialect(dialect)
  let link: DialectLink | undefined
  const makeLink = (patience: Patience) => {
    link = new DialectLink(codec, { limits, patience, comments: following.comments ?? [] })
    return link
  }
  const connection = await open(context, call, makeLink, {
    subscribes: [subscribeOf(context, call, { topic, position, following })],
    ...(following.notReplayed && { notReplayed: following.notReplayed }),
  })
  if (connection !== undefined) {
    link?.beat(clock, heartbeatMsOf(call) ?? context.heartbeatEventMs, () => !connection.full)
  }
  return undefined
}

/** An id that is not a cursor came from another server, so the client joins afresh. */
function positionOf(call: Call, { ids }: DialectStream): Position | undefined {
  const cursor = ids === 'cursor' ? cursorOf(call) : undefined
  return cursor === undefined ? undefined : readCursor(cursor)
}

interface Returning {
  readonly stream: DialectStream
  readonly topic: TopicName
  readonly position: Position | undefined
  readonly following: Following
}

/** Whether a client that reconnects has everything of an ended session. */
async function isOver(
  context: StreamContext,
  { request }: Call,
  { stream, topic, position, following: { types } }: Returning,
): Promise<boolean> {
  const { hub } = context
  const session = hub.find(sessionOf(topic))
  if (session?.status !== 'ended') return false
  if (stream.ids === 'count') return request.headers.has('last-event-id')
  if (position?.epoch !== session.epoch) return false
  if (hasAll(context, topic, position)) return true
  // Many readers use ids only of blocks with data, and the last block may have none.
  const after = formatCursor(position.epoch, position.offset)
  const { events } = await hub.readHistory(topic, { after, limit: 2, ...(types && { types }) })
  return events.every((event) => stream.block(event, session.id) === '')
}

function heartbeatMsOf({ query }: Call): number | undefined {
  return integerOf(query, 'heartbeat', { min: 100, max: 3_600_000 })
}

function subscribeOf(
  { hub, limits }: StreamContext,
  { query }: Call,
  { topic, position, following }: { topic: TopicName; position: Position | undefined; following: Following },
): Checked<Subscribe> {
  const types = following.types && checkTypes(following.types, limits, 'types')
  const mode = modeOf(query) ?? following.mode
  const { slices } = following
  const replay = replayOf(query)
  // Clients that get everything from the start, unless they ask for less, resume from before it.
  const fromStart = following.fromStart === true && replay !== false
  const session = fromStart ? hub.find(sessionOf(topic)) : undefined
  const from = position ?? (session && { epoch: session.epoch, offset: start })
  return {
    type: 'subscribe',
    sub: 1,
    topic,
    ...(types && { types }),
    ...(mode && { mode }),
    ...(slices && { slices }),
    ...(from && { after: formatCursor(from.epoch, from.offset) }),
    ...(replay !== undefined && { replay }),
  }
}

const encoder = new TextEncoder()

interface DialectLinkOptions {
  readonly limits: Limits
  readonly patience: Patience
  readonly comments: readonly string[]
}

/** A response in a dialect: with its own ids if the dialect counts them, and with heartbeats. */
class DialectLink extends StreamLink {
  readonly #codec: DialectCodec
  #nextId = 1
  #timer: Timer | undefined

  constructor(codec: DialectCodec, { limits, patience, comments }: DialectLinkOptions) {
    super(codec, limits, patience)
    this.#codec = codec
    for (const comment of comments) super.write(encoder.encode(`: ${comment.replaceAll(/[\r\n]/g, ' ')}\n\n`))
  }

  override write(chunk: Chunk): boolean {
    return super.write(chunk instanceof Uint8Array ? this.#numbered(chunk) : chunk)
  }

  /** @param hasRoom heartbeats are skipped while there is no room */
  beat(clock: Clock, ms: number, hasRoom: () => boolean): void {
    this.#timer = clock.after(ms, () => {
      const chunk = this.#codec.heartbeat()
      if (chunk === undefined) return
      if (hasRoom()) this.write(chunk)
      this.beat(clock, ms, hasRoom)
    })
  }

  override gone(): void {
    super.gone()
    this.#timer?.cancel()
  }

  #numbered(chunk: Uint8Array): Uint8Array {
    const places = this.#codec.idPlaces(chunk)
    if (places.length === 0) return chunk
    const parts: Uint8Array[] = []
    let from = 0
    for (const at of places) {
      parts.push(chunk.subarray(from, at), encoder.encode(`id: ${this.#nextId++}\n`))
      from = at
    }
    parts.push(chunk.subarray(from))
    return Buffer.concat(parts)
  }
}
