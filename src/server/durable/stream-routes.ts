import type { Hub } from '../../hub/hub.js'
import type { TopicName } from '../../protocol/topic.js'
import type { StreamOutcome } from '../../session/durable-stream.js'
import type { Answer, Request } from '../../transport/transport.js'
import type { StreamContext } from '../context.js'
import { turnFor } from '../http/body.js'
import { ownTopic, reads, workerTopic, writes } from '../http/path-topics.js'
import { refusal } from '../http/problem.js'
import { choiceOf } from '../http/query.js'
import type { Call, RequestHead, Route } from '../http/routes.js'
import { deletedAnswer, endHeaders, presentHeaders, producerHeaders, refused } from './answers.js'
import { createFork, forkOf } from './forking.js'
import { type Find, longPoll, streamSse } from './live.js'
import { messagesOf, readMessages } from './messages.js'
import { kindOf, readableSession, readableStream } from './readable.js'
import { expectFound, fromOf, givenOffset, gone, nowAnswer, pageAnswer, readPage } from './reading.js'
import { closes, givenType, lifetimeOf, producerOf, seqOf, settingsOf } from './stream-headers.js'

const path = '/v1/stream/{path...}'

/** The routes of Durable Streams (PROTOCOL.md 1.0): streams at paths, and every session as a stream of its events. */
export function durableRoutes(context: StreamContext): Route[] {
  const { hub } = context
  const sessionPath = '/v1/stream/sessions/{session}'
  return [
    {
      method: 'GET',
      path: sessionPath,
      access: reads(ownTopic),
      answer: (call) => read(context, call, () => readableSession(hub, call)),
    },
    {
      method: 'GET',
      path: `${sessionPath}/workers/{worker}`,
      access: reads(workerTopic),
      answer: (call) => read(context, call, () => readableSession(hub, call)),
    },
    {
      method: 'GET',
      path,
      access: reads(streamTopic),
      answer: (call) => read(context, call, () => readableStream(hub, call)),
    },
    { method: 'PUT', path, access: writes(streamTopic), answer: (call) => create(context, call) },
    { method: 'POST', path, access: writes(streamTopic), answer: (call) => append(context, call) },
    { method: 'DELETE', path, access: writes(streamTopic), answer: (call) => remove(hub, call) },
  ]
}

function streamTopic({ param }: RequestHead): TopicName {
  return { kind: 'session', session: param('path') }
}

async function read(context: StreamContext, call: Call, find: Find): Promise<Answer | undefined> {
  const { hub } = context
  const { request, query } = call
  if (request.method === 'HEAD') {
    const found = expectFound(await find())
    return found.stream?.isDeleted ? deletedAnswer() : head(found)
  }
  const live = choiceOf(query, 'live', ['long-poll', 'sse'])
  const given = givenOffset(call, live !== undefined)
  const readable = expectFound(await find())
  if (readable.stream?.isDeleted) return deletedAnswer()
  if (readable.stream !== undefined) hub.streams.read(readable.session, readable.stream)
  const from = call.use(() => fromOf(hub, readable, given))
  if (from === 'gone') return gone(readable)
  const offset = from === 'now' ? readable.tail : from
  if (live === 'sse') return streamSse(context, call, { readable, from: offset })
  if (live === 'long-poll') return longPoll(context, call, { readable, from: offset, find })
  if (from === 'now') return nowAnswer(readable)
  const page = await readPage(hub, call, readable, from)
  return pageAnswer(call, readable, { from, page, end: readable })
}

function head(readable: Awaited<ReturnType<Find>> & object): Answer {
  const { stream } = readable
  return { status: 200, headers: { ...presentHeaders(readable), ...(stream && settingsOf(stream)) } }
}

async function create(context: StreamContext, call: Call): Promise<Answer | undefined> {
  const { hub, limits } = context
  const { request, use } = call
  const given = givenType(request)
  const fork = forkOf(request, limits)
  const settings = { kind: 'create', closes: closes(request), ...lifetimeOf(request) } as const
  const body = await readMessages(context, call)
  if (body === undefined) return undefined
  const contentType = given ?? 'application/octet-stream'
  const messages = fork === undefined ? messagesOf(body, contentType, limits) : []
  await turnFor(context, call.sender, body.length)
  const outcome =
    fork === undefined
      ? await use(({ param }) => hub.streams.submit(param('path'), { ...settings, contentType }, messages))
      : await createFork(hub, call, { ...fork, settings, given, body })
  if (outcome.kind === 'refused') return refused(outcome)
  const isNew = outcome.kind === 'created'
  const { stream } = outcome
  return {
    status: isNew ? 201 : 200,
    headers: {
      ...presentHeaders(stream),
      ...settingsOf(stream),
      ...(isNew && { location: urlOf(request) }),
    },
  }
}

async function append(context: StreamContext, call: Call): Promise<Answer | undefined> {
  const { hub, limits } = context
  const { request, use } = call
  const [producer, seq, closing] = [producerOf(request), seqOf(request), closes(request)]
  const body = await readMessages(context, call)
  if (body === undefined) return undefined
  const contentType = body.length === 0 ? undefined : givenType(request)
  if (body.length === 0 && !closing) throw refusal('body', 'something to append', 'nothing')
  const id = use(({ param }) => param('path'))
  const stream = await hub.streams.find(id)
  if (stream === undefined) return refused({ kind: 'refused', why: 'missing', stream })
  if (stream.isDeleted) return deletedAnswer()
  if (body.length > 0 && contentType === undefined) throw refusal('content-type', "the stream's own", 'none')
  // Another content type is refused anyway, so its messages are not read.
  const fits = contentType !== undefined && kindOf(contentType) === kindOf(stream.contentType)
  const messages = fits && stream.closed === undefined ? messagesOf(body, contentType, limits) : []
  if (fits && messages.length === 0 && stream.closed === undefined)
    throw refusal('body', 'at least one message', '[]')
  // They are appended in one step, all or none.
  await turnFor(context, call.sender, body.length)
  const change = { kind: 'append', contentType, closes: closing, seq, producer } as const
  const outcome = await use(() => hub.streams.submit(id, change, messages))
  return appended(outcome, messages.length > 0)
}

function appended(outcome: StreamOutcome, hasMessages: boolean): Answer {
  if (outcome.kind === 'refused') return refused(outcome)
  const isData = hasMessages && outcome.kind === 'appended' && outcome.producer !== undefined
  return {
    status: isData ? 200 : 204,
    headers: {
      'cache-control': 'no-store',
      ...endHeaders(outcome.stream),
      ...producerHeaders(outcome.producer),
    },
  }
}

async function remove(hub: Hub, { use }: Call): Promise<Answer> {
  const id = use(({ param }) => param('path'))
  const stream = await hub.streams.find(id)
  if (stream === undefined) return refused({ kind: 'refused', why: 'missing', stream })
  if (stream.isDeleted) return deletedAnswer()
  await use(() => hub.streams.delete(id, stream))
  return { status: 204 }
}

/** @returns the URL of a request, as its client sees it */
function urlOf({ headers, encrypted, prefix = '', path: own }: Request): string {
  const forwarded = headers.get('x-forwarded-proto')?.split(',', 1)[0]?.trim().toLowerCase()
  const isSecure = forwarded === undefined ? encrypted === true : forwarded === 'https'
  return `${isSecure ? 'https' : 'http'}://${headers.get('host') ?? 'localhost'}${prefix}${own}`
}
