import type { RunPoint } from '../../codec/run-codec.js'
import type { DialectRuns, RunDocument, RunEnding, RunQuery, RunRoute, RunSummary } from '../../codec/runs.js'
import type { JsonValue } from '../../lib/json.js'
import { checkEvent, checkId } from '../../protocol/check.js'
import { ProtocolError, requestCodes } from '../../protocol/codes.js'
import { formatCursor, type Offset, readCursor, start } from '../../protocol/cursor.js'
import { ownId } from '../../protocol/foreign-id.js'
import type { HubEvent } from '../../protocol/frames.js'
import { formatTopic, parseTopic, type TopicName } from '../../protocol/topic.js'
import type { SessionSummary } from '../../session/summary.js'
import type { Answer } from '../../transport/transport.js'
import type { StreamContext } from '../context.js'
import { bodyKind, parseJson, readBody, utf8 } from '../http/body.js'
import { reads } from '../http/path-topics.js'
import { json, refusal } from '../http/problem.js'
import type { Asked, Call, Route } from '../http/routes.js'
import { keyOf, RunLink } from './run-link.js'
import { RunTelling } from './run-telling.js'
import { cursorOf, open, type Patience } from './stream-link.js'

// The fold of a prelude goes over all of a session; of a longer one over its newest run alone.
const foldedEventsMax = 20_000

/** A dialect that tells runs, by the name that its frames are counted under. */
interface Telling {
  readonly name: string
  readonly runs: DialectRuns
}

/** The routes that a dialect has of its own. */
export function runRoutes(context: StreamContext, name: string, runs: DialectRuns): Route[] {
  return runs.routes.map((route) => {
    const { method = 'GET', path } = route
    const named = path.includes('{session}')
    const topic = (asked: Asked): TopicName => topicOf(context, route, asked, asked.param('session'))
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
  const asked = askedOf(call, sessionIn(topic), undefined)
  return tell(context, call, { name, runs, topic, asked })
}

function topicOf(
  { limits }: StreamContext,
  { path, topic }: RunRoute,
  asked: Pick<Asked, 'query' | 'param'>,
  session: string,
): TopicName {
  const named = path.includes('{worker}') ? asked.param('worker') : asked.query.get('worker')
  const worker = named ? checkId(named, limits, 'worker') : undefined
  if (topic !== undefined) return parseTopic(topic(session, worker), 'topic', limits)
  return worker === undefined ? { kind: 'session', session } : { kind: 'worker', session, worker }
}

function sessionIn(topic: TopicName): string {
  return topic.kind === 'hub' ? '' : topic.session
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
      const asked = { query: call.query, param: permitted.param }
      const found = topicOf(context, route, asked, session)
      permitted.permissions.expectRead(found)
      return found
    })
    const asked = askedOf(call, sessionIn(topic), body)
    const { document } = route
    if (document !== undefined && document.asked?.(asked) !== false) {
      return await documentOf(context, call, { name, runs, topic, asked }, document)
    }
    return await tell(context, call, { name, runs, topic, asked })
  } catch (error) {
    const said = error instanceof ProtocolError && runs.refusal?.(error.code, error.message)
    if (!said) throw error
    return json(requestCodes[error.code], said)
  }
}

async function bodyOf(context: StreamContext, call: Call): Promise<JsonValue | undefined> {
  bodyKind(call.request, ['json'])
  const body = await readBody(context, call)
  return body && (parseJson(utf8(body, 'body'), context.limits, 'body') as JsonValue)
}

function sessionOf({ limits }: StreamContext, route: RunRoute, body: JsonValue | undefined): string {
  const named = body === undefined ? undefined : route.sessionIn?.(body)
  if (named === undefined) throw refusal('body', 'an object that names the session', body)
  return checkId(ownId(named), limits, 'session')
}

function askedOf(call: Call, session: string, body: JsonValue | undefined): RunQuery {
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

interface Asking extends Telling {
  readonly topic: TopicName
  readonly asked: RunQuery
}

/** Where a response begins. */
interface Beginning {
  readonly mode: 'silent' | 'waiting' | 'telling'
  /** What precedes it is folded first, from here. */
  readonly foldFrom: Offset
  /** The client has all up to here. */
  readonly after: Offset
  readonly point: RunPoint
  readonly above?: number
}

async function tell(context: StreamContext, call: Call, asking: Asking): Promise<Answer | undefined> {
  const { hub, limits } = context
  const { runs, topic, asked, name } = asking
  const session = sessionIn(topic)
  const asks = ask(context, call, asking)
  if (runs.idle === 'newest' && hub.find(session) === undefined) {
    throw new ProtocolError('notFound', `There is no session ${session}.`)
  }
  if (runs.idle === 'none' && !isActive(context, topic)) return { status: 204 }
  const codec = hub.codecs.runs(name, runs)
  const variant = runs.variant?.(asked) ?? ''
  const telling = tellingOf(context, asking, variant)
  const begun = await beginning(context, asking, { telling, asks, cursor: cursorOf(call) })
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
    const slices = () => (hub.find(session) === undefined ? {} : hub.state(topic, runs.slices ?? []).slices)
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
  const own = runs.headers?.(asked) ?? {}
  const names = Object.keys(own)
  const exposed = call.headers['access-control-expose-headers']
  await open(context, call, makeLink, {
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

/** Publishes what a posted body asks for, where no run is active and the token allows it. @returns whether it was */
function ask(context: StreamContext, call: Call, { runs, topic, asked }: Asking): boolean {
  const { hub, limits } = context
  const session = sessionIn(topic)
  if (isActive(context, topic) && hub.run(session, workerIn(topic)) !== undefined) return false
  const request = runs.request?.(asked)
  if (request === undefined) return false
  return call.use(({ permissions }) => {
    if (!permissions.mayWrite({ kind: 'session', session })) return false
    if (hub.find(session)?.status === 'ended') return false
    const { duplicates } = hub.publishTo(session, undefined, [checkEvent(request, limits)])
    return duplicates === 0
  })
}

function workerIn(topic: TopicName): string | undefined {
  return topic.kind === 'worker' ? topic.worker : undefined
}

/** Whether something may still be told of the newest run; a session that never says that a run begins is one. */
function isActive({ hub }: StreamContext, topic: TopicName): boolean {
  const session = hub.find(sessionIn(topic))
  if (session === undefined || session.status === 'ended' || session.offset === start) return false
  const run = hub.run(session.id, workerIn(topic))
  return run === undefined || run.until === undefined
}

function tellingOf({ hub }: StreamContext, { runs, topic }: Asking, variant: string): RunTelling {
  const session = sessionIn(topic)
  return new RunTelling({
    runs,
    variant,
    session,
    worker: workerIn(topic),
    catalog: hub.catalog,
    ended: () => endingOf(hub.find(session)),
  })
}

function endingOf(session: SessionSummary | undefined): RunEnding {
  const { result = 'succeeded', reason } = session ?? {}
  return { result, ...(reason !== undefined && { reason }) }
}

interface Joining {
  readonly telling: RunTelling
  readonly asks: boolean
  readonly cursor: string | undefined
}

async function beginning(
  context: StreamContext,
  asking: Asking,
  { telling, asks, cursor }: Joining,
): Promise<Beginning> {
  const { hub } = context
  const { runs, topic, asked } = asking
  const session = hub.find(sessionIn(topic))
  const run = session && hub.run(session.id, workerIn(topic))
  const from = run?.from ?? start
  const before = (from === start ? start : from - 1) as Offset
  // A run that was asked for just now is yet to begin.
  const active = isActive(context, topic) && !asks
  if (runs.prelude !== undefined) {
    const offset = session?.offset ?? start
    const foldFrom = offset > foldedEventsMax ? before : start
    const phase = foldFrom === start && run === undefined && !asks ? 'running' : 'waiting'
    const point = telling.begin(start, phase)
    const mode = active ? 'silent' : 'waiting'
    return folded(context, asking, telling, { mode, foldFrom, after: offset, point })
  }
  if (!active && runs.idle === 'next') {
    const isNew = session === undefined
    const point = telling.begin(start, isNew ? 'running' : 'waiting')
    return { mode: isNew ? 'telling' : 'waiting', foldFrom: start, after: session?.offset ?? start, point }
  }
  const point = telling.begin(from, 'running')
  const whole: Beginning = { mode: 'telling', foldFrom: before, after: before, point }
  if (session === undefined) return whole
  const position = runs.ids === 'cursor' && cursor !== undefined ? readCursor(cursor) : undefined
  if (position?.epoch === session.epoch && position.offset >= before && position.join === undefined) {
    return folded(context, asking, telling, { ...whole, after: min(position.offset, session.offset) })
  }
  const above = runs.after?.(asked)
  return above === undefined
    ? whole
    : folded(context, asking, telling, { ...whole, after: session.offset, above })
}

function min(one: Offset, other: Offset): Offset {
  return one < other ? one : other
}

/** Folds what precedes where a response begins. */
async function folded(
  context: StreamContext,
  { topic }: Asking,
  telling: RunTelling,
  begun: Beginning,
): Promise<Beginning> {
  let { point } = begun
  const { above } = begun
  for await (const event of between(context, topic, begun.foldFrom, begun.after)) {
    const told = telling.tell(point, event)
    // By a client's own count its place is before the first block that it has not. The end is told to whoever asks.
    const isNext = above !== undefined && told.blocks.some(({ number = 0 }) => number > above)
    if (isNext || (begun.mode === 'telling' && told.turn === 'ends')) {
      return { ...begun, after: (event.offset - 1) as Offset, point }
    }
    point = told.point
  }
  return { ...begun, point }
}

/** The events that the topic has of a part of a session. */
async function* between(
  { hub, limits }: StreamContext,
  topic: TopicName,
  from: Offset,
  to: Offset,
): AsyncGenerator<HubEvent> {
  const session = hub.find(sessionIn(topic))
  if (session === undefined) return
  for (let after = from; after < to; ) {
    const page = await hub.readHistory(topic, {
      after: formatCursor(session.epoch, after),
      limit: Math.min(1_000, limits.pageItemsMax),
    })
    for (const event of page.events) {
      if (event.offset > to) return
      yield event
    }
    if (page.next === undefined) return
    after = readCursor(page.next)?.offset ?? to
  }
}

/** A whole answer of what is known of the newest run. */
async function documentOf(
  context: StreamContext,
  call: Call,
  asking: Asking,
  document: RunDocument,
): Promise<Answer> {
  const { hub } = context
  const { runs, topic, asked } = asking
  const session = hub.find(sessionIn(topic))
  if (session === undefined) throw new ProtocolError('notFound', `There is no session ${sessionIn(topic)}.`)
  const telling = tellingOf(context, asking, runs.variant?.(asked) ?? '')
  const from = hub.run(session.id, workerIn(topic))?.from ?? start
  const before = (from === start ? start : from - 1) as Offset
  let point = telling.begin(from, 'running')
  for await (const event of between(context, topic, before, session.offset)) {
    if (point.phase === 'ended') break
    point = telling.tell(point, event).point
  }
  call.use(({ permissions }) => permissions.expectRead(topic))
  return json(200, document.body(point.state, runSummary(context, topic, session), asked))
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
