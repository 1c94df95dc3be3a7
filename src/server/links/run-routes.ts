import type { DialectRuns, RunDocument, RunQuery, RunRoute, RunSummary } from '../../codec/runs.js'
import type { JsonValue } from '../../lib/json.js'
import { checkEvent, checkId } from '../../protocol/check.js'
import { ProtocolError, requestCodes } from '../../protocol/codes.js'
import { formatCursor, type Offset, start } from '../../protocol/cursor.js'
import { ownId } from '../../protocol/foreign-id.js'
import { formatTopic, parseTopic, type TopicName } from '../../protocol/topic.js'
import type { SessionSummary } from '../../session/summary.js'
import type { Answer } from '../../transport/transport.js'
import type { StreamContext } from '../context.js'
import { bodyKind, parseBody, readBody } from '../http/body.js'
import { reads } from '../http/path-topics.js'
import { json, refusal } from '../http/problem.js'
import type { Call, RequestHead, Route } from '../http/routes.js'
import {
  type Asking,
  beginning,
  between,
  isActive,
  isWithin,
  sessionIn,
  type Telling,
  tellingOf,
  workerIn,
} from './run-beginning.js'
import { keyOf, RunLink } from './run-link.js'
import { cursorOf, open, type Patience } from './stream-link.js'

/** The routes that a dialect has of its own. */
export function runRoutes(context: StreamContext, name: string, runs: DialectRuns): Route[] {
  return runs.routes.map((route) => {
    const { method = 'GET', path } = route
    const named = path.includes('{session}')
    const topic = (head: RequestHead): TopicName => topicOf(context, route, head, head.param('session'))
    return {
      method,
      path,
      foreignIds: true,
      access: named ? reads(topic) : { kind: 'any' },
      answer: (call) => answerRun(context, call, { name, runs }, route),
    }
  })
}

/** `?dialect=` on the routes of sessions and workers. */
export function tellTopic(
  context: StreamContext,
  call: Call,
  { name, runs }: Telling,
): Promise<Answer | undefined> {
  const topic = call.use((permitted) => permitted.topic)
  const query = runQueryOf(call, sessionIn(topic), undefined)
  return tell(context, call, { name, runs, topic, query })
}

function topicOf(
  { limits }: StreamContext,
  { path, topic }: RunRoute,
  head: Pick<RequestHead, 'query' | 'param'>,
  session: string,
): TopicName {
  const named = path.includes('{worker}') ? head.param('worker') : head.query.get('worker')
  const worker = named ? checkId(named, limits, 'worker') : undefined
  if (topic !== undefined) return parseTopic(topic(session, worker), 'topic', limits)
  return worker === undefined ? { kind: 'session', session } : { kind: 'worker', session, worker }
}

async function answerRun(
  context: StreamContext,
  call: Call,
  { name, runs }: Telling,
  route: RunRoute,
): Promise<Answer | undefined> {
  try {
    const body = route.method === 'POST' ? await bodyOf(context, call) : undefined
    if (route.method === 'POST' && body === undefined) return undefined
    const topic = call.use((permitted) => {
      if (route.path.includes('{session}')) return permitted.topic
      const session = sessionOf(context, route, body)
      const head = { query: call.query, param: permitted.param }
      const found = topicOf(context, route, head, session)
      permitted.permissions.expectRead(found)
      return found
    })
    const query = runQueryOf(call, sessionIn(topic), body)
    const { document } = route
    if (document !== undefined && document.isWanted?.(query) !== false) {
      return await documentOf(context, call, { name, runs, topic, query }, document)
    }
    return await tell(context, call, { name, runs, topic, query })
  } catch (error) {
    const refused = error instanceof ProtocolError && runs.refusal?.(error.code, error.message)
    if (!refused) throw error
    return json(requestCodes[error.code], refused)
  }
}

async function bodyOf(context: StreamContext, call: Call): Promise<JsonValue | undefined> {
  bodyKind(call.request, ['json'])
  const body = await readBody(context, call)
  return body && (await parseBody(context, call, body))
}

function sessionOf({ limits }: StreamContext, route: RunRoute, body: JsonValue | undefined): string {
  const named = body === undefined ? undefined : route.sessionIn?.(body)
  if (named === undefined) throw refusal('body', 'an object that names the session', body)
  return checkId(ownId(named), limits, 'session')
}

function runQueryOf(call: Call, session: string, body: JsonValue | undefined): RunQuery {
  const { request, query } = call
  return {
    path: request.path,
    session,
    query,
    header: (name) => request.headers.get(name),
    param: (name) => call.use(({ param }) => param(name)),
    ...(body !== undefined && { body }),
  }
}

async function tell(context: StreamContext, call: Call, asking: Asking): Promise<Answer | undefined> {
  const { hub, limits } = context
  const { runs, topic, query, name } = asking
  const session = sessionIn(topic)
  await catchUp(context, asking)
  const request = await ask(context, call, asking)
  if (runs.idle === 'newest' && hub.find(session) === undefined) {
    throw new ProtocolError('notFound', `There is no session ${session}.`)
  }
  const cursor = cursorOf(call)
  const since = runs.since?.(query) as Offset | undefined
  const isIdle = since === undefined && !isActive(context, topic) && !isWithin(context, topic, cursor)
  if (runs.idle === 'none' && isIdle) return { status: 204 }
  const codec = hub.codecs.runs(name, runs)
  const variant = runs.variant?.(query) ?? ''
  const telling = tellingOf(context, asking, variant)
  const begun = await beginning(context, asking, { telling, request, cursor, since })
  await catchUp(context, asking)
  const epoch = hub.find(session)?.epoch
  const key = epoch === undefined ? undefined : keyOf(formatTopic(topic), epoch, variant)
  let after = begun.after
  const makeLink = (patience: Patience): RunLink => {
    let { point } = begun
    const known = begun.mode === 'silent' && key !== undefined ? codec.known(key) : undefined
    if (known?.point !== undefined && known.offset >= after) {
      point = known.point
      after = known.offset
    }
    const slices = () =>
      hub.find(session) === undefined ? {} : hub.selected(topic, runs.slices ?? []).slices
    return new RunLink(codec, {
      limits,
      patience,
      telling,
      session,
      point,
      mode: begun.mode,
      above: begun.above,
      variant,
      slices: runs.slices === undefined ? () => ({}) : slices,
    })
  }
  const own = runs.headers?.(query) ?? {}
  const names = Object.keys(own)
  const exposed = call.headers['access-control-expose-headers']
  await open(context, call, makeLink, {
    topic,
    subscribes: () => [
      {
        type: 'subscribe',
        sub: 1,
        topic,
        ...(runs.slices && { slices: runs.slices }),
        ...(epoch !== undefined && { after: formatCursor(epoch, after) }),
      },
    ],
    headers: {
      ...own,
      ...(exposed !== undefined &&
        names.length > 0 && { 'access-control-expose-headers': [exposed, ...names].join(', ') }),
    },
  })
  return undefined
}

/** What is asked of a session next has to see all that was acknowledged at any hub. */
async function catchUp({ hub }: StreamContext, { topic }: Asking): Promise<void> {
  const opening = hub.catchUp(topic)
  if (opening !== undefined) await opening
}

/**
 * Publishes what a posted body asks for, where no run is active and the token allows it.
 *
 * @returns where it stands; nothing where nothing was published now
 */
async function ask(
  context: StreamContext,
  call: Call,
  { runs, topic, query }: Asking,
): Promise<Offset | undefined> {
  const { hub, limits } = context
  const session = sessionIn(topic)
  if (isActive(context, topic) && hub.run(session, workerIn(topic)) !== undefined) return undefined
  const request = runs.request?.(query)
  if (request === undefined) return undefined
  const submitted = call.use(({ permissions }) => {
    if (!permissions.mayWrite({ kind: 'session', session })) return undefined
    if (hub.find(session)?.status === 'ended') return undefined
    return hub.submitTo(session, undefined, [checkEvent(request, limits)])
  })
  if (submitted === undefined) return undefined
  const { first, duplicates } = await submitted
  return duplicates === 0 ? first : undefined
}

/** A whole answer of what is known of the newest run. */
async function documentOf(
  context: StreamContext,
  call: Call,
  asking: Asking,
  document: RunDocument,
): Promise<Answer> {
  const { hub } = context
  const { runs, topic, query } = asking
  await catchUp(context, asking)
  const session = hub.find(sessionIn(topic))
  if (session === undefined) throw new ProtocolError('notFound', `There is no session ${sessionIn(topic)}.`)
  const telling = tellingOf(context, asking, runs.variant?.(query) ?? '')
  const from = hub.run(session.id, workerIn(topic))?.from ?? start
  const before = (from === start ? start : from - 1) as Offset
  let point = telling.begin(from, 'running')
  for await (const event of between(context, topic, before, session.offset)) {
    if (point.phase === 'ended') break
    point = telling.tell(point, event).point
  }
  await catchUp(context, asking)
  call.use(({ permissions }) => permissions.expectRead(topic))
  return json(200, document.body(point.state, runSummary(context, topic, session), query))
}

function runSummary(context: StreamContext, topic: TopicName, session: SessionSummary): RunSummary {
  const worker = session.workers.find(({ id }) => id === workerIn(topic))
  const { result, reason, startedAt, needs = [] } = worker ?? session
  const active = isActive(context, topic)
  return {
    session: session.id,
    status: active ? 'running' : (result ?? (session.status === 'ended' ? 'succeeded' : 'waiting')),
    ...(reason !== undefined && !active && { reason }),
    startedAt,
    needs: needs.length,
  }
}
