import type { SseCodec } from '../../codec/sse.js'
import type { Checked } from '../../protocol/check.js'
import {
  formatPosition,
  type Position,
  readCombinedCursor,
  readCursor,
  start,
} from '../../protocol/cursor.js'

import type { Subscribe } from '../../protocol/frames.js'
import { formatTopic, parseTopic, type TopicName } from '../../protocol/topic.js'
import type { Answer } from '../../transport/transport.js'
import type { StreamContext } from '../context.js'
import { parseJson } from '../http/body.js'
import { reads, sessionTopic, workerTopic } from '../http/path-topics.js'
import { refusal } from '../http/problem.js'
import { choiceOf, flagOf, integerOf, modeOf, replayOf, slicesOf, timeOf, typesOf } from '../http/query.js'
import type { Call, Route } from '../http/routes.js'
import { dialectOf, streamDialect } from './dialect-routes.js'
import { tellTopic } from './run-routes.js'
import { change, type OpenStream } from './stream-change.js'
import { cursorOf, hasAll, open, StreamLink, sessionOf } from './stream-link.js'

const framings = ['named', 'data'] as const

const streamQuery = [
  'types',
  'mode',
  'slices',
  'replay',
  'after',
  'last_event_id',
  'framing',
  'gaps',
  'parts',
  'last',
  'since',
]

/** Server-sent events: one topic, or many on one response that `POST` changes live. */
export function streamRoutes(context: StreamContext): Route[] {
  // By connection id, which only the client that opened the response knows.
  const streams = new Map<string, OpenStream>()
  return [
    {
      method: 'GET',
      path: '/api/sessions/{session}/events',
      query: [...streamQuery, 'without', 'all', 'dialect'],
      access: reads(sessionTopic),
      answer: (call) => streamOne(context, call, streams),
    },
    {
      method: 'GET',
      path: '/api/sessions/{session}/workers/{worker}/events',
      query: [...streamQuery, 'without', 'dialect'],
      access: reads(workerTopic),
      answer: (call) => streamOne(context, call, streams),
    },
    {
      method: 'GET',
      path: '/api/stream',
      query: [...streamQuery, 'topic', 'subscribe'],
      access: { kind: 'any' },
      answer: (call) => streamMany(context, call, streams),
    },
    {
      method: 'POST',
      path: '/api/stream/{connection}',
      query: [],
      access: { kind: 'any' },
      answer: (call) => {
        const stream = call.use(({ param }) => streams.get(param('connection')))
        return change(context, call, stream)
      },
    },
  ]
}

async function streamOne(
  context: StreamContext,
  call: Call,
  streams: Map<string, OpenStream>,
): Promise<Answer | undefined> {
  const topic = call.use((permitted) => permitted.topic)
  const dialect = dialectOf(context, call.query, 'stream')
  if (dialect !== undefined) return streamDialect(context, call, dialect)
  const telling = call.query.get('dialect') ? dialectOf(context, call.query, 'runs') : undefined
  if (telling !== undefined) return tellTopic(context, call, telling)
  const without = choiceOf(call.query, 'without', ['topic'])
  const codec = codecOf(context, call, without === undefined ? 'one' : 'unnamed')
  const takesParts = flagOf(call.query, 'parts')
  const after = cursorOf(call)
  const position = after === undefined ? undefined : (readCursor(after) ?? foreign)
  if (position !== undefined) await context.hub.open(topic, formatPosition(position))
  if (position !== undefined && hasAll(context, topic, position)) return { status: 204 }
  const beginning = { takesParts, goesOn: position?.join !== undefined }
  await open(context, call, (patience) => new StreamLink(codec, context.limits, patience, beginning), {
    subscribes: [subscribeOf(context, call, { sub: 1, topic, position })],
    isNamed: true,
    opened: (connection) => streams.set(connection.id, { connection, only: topic }),
    forget: ({ id }) => streams.delete(id),
  })
  return undefined
}

async function streamMany(
  context: StreamContext,
  call: Call,
  streams: Map<string, OpenStream>,
): Promise<Answer | undefined> {
  const { limits } = context
  const codec = codecOf(context, call, 'many')
  const takesParts = flagOf(call.query, 'parts')
  const topics = call.query.getAll('topic')
  const frames = call.query.getAll('subscribe')
  const count = topics.length + frames.length
  if (count > limits.streamTopicsMax) {
    throw refusal('topic', `at most ${limits.streamTopicsMax} topics`, count)
  }
  const after = cursorOf(call)
  const positions =
    after === undefined ? new Map<string, Position>() : readCombinedCursor(after, limits.cursorSessionsMax)
  const positionOf = (topic: TopicName) =>
    positions === undefined ? foreign : (positions.get(formatTopic(topic)) ?? positions.get(sessionOf(topic)))
  const subscribes = topics.map((text, index) => {
    const topic = parseTopic(text, 'topic', limits)
    call.use(({ permissions }) => permissions.expectRead(topic))
    return subscribeOf(context, call, { sub: index + 1, topic, position: positionOf(topic) })
  })
  if (after !== undefined) await context.hub.openAll(subscribes)
  if (
    count > 0 &&
    frames.length === 0 &&
    subscribes.every(({ topic }) => hasAll(context, topic, positionOf(topic)))
  ) {
    return { status: 204 }
  }
  const goesOn = [...(positions?.values() ?? [])].some(({ join }) => join !== undefined)
  const beginning = { takesParts, goesOn }
  await open(context, call, (patience) => new StreamLink(codec, limits, patience, beginning), {
    subscribes,
    frames: frames.map((text) => parseJson(text, limits, 'subscribe')),
    opened: (connection) => streams.set(connection.id, { connection }),
    forget: ({ id }) => streams.delete(id),
  })
  return undefined
}

/**
 * Where a client is whose id is no cursor but that of another server, or a count. A 400 would end an `EventSource` for
 * good. As one of another epoch it gets a gap and begins anew; the epochs that the hub makes are longer.
 */
const foreign: Position = { epoch: 'foreign', offset: start }

function codecOf({ hub }: StreamContext, { query }: Call, topics: 'one' | 'unnamed' | 'many'): SseCodec {
  const dialect = query.get('dialect')
  if (dialect) throw refusal('dialect', 'none, for a response over many topics has none', dialect)
  const framing = choiceOf(query, 'framing', framings) ?? 'named'
  // A named gap is data already.
  const gaps = choiceOf(query, 'gaps', ['data'])
  return hub.codecs.sse(framing === 'data' && gaps !== undefined ? 'data and gaps' : framing, topics)
}

function subscribeOf(
  { limits }: StreamContext,
  { query }: Call,
  { sub, topic, position }: { sub: number; topic: TopicName; position: Position | undefined },
): Checked<Subscribe> {
  const types = typesOf(query, limits)
  const mode = modeOf(query)
  const slices = slicesOf(query, limits)
  const replay = replayOf(query)
  const last = integerOf(query, 'last', { min: 1, max: limits.pageItemsMax })
  const since = timeOf(query, 'since')
  return {
    type: 'subscribe',
    sub,
    topic,
    ...(types && { types }),
    ...(mode && { mode }),
    ...(slices && { slices }),
    ...(position && { after: formatPosition(position) }),
    ...(replay !== undefined && { replay }),
    ...(last !== undefined && { last }),
    ...(since !== undefined && { since }),
  }
}
