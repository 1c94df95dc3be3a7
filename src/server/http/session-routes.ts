import type { Level } from '../../catalog/traits.js'
import { isObject, type JsonObject } from '../../lib/json.js'
import { checkChoice, checkId, checkLease } from '../../protocol/check.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Mode } from '../../protocol/frames.js'
import type { EndOptions } from '../../session/session-setting.js'
import { forkStates } from '../../sessions/forks/fork-past.js'
import { isSearch, type SessionQuery, sessionOrders } from '../../sessions/lists/session-search.js'
import type { RedactOptions } from '../../sessions/redact/redacting.js'
import type { GivenSecret } from '../../sessions/secrets.js'
import { orders } from '../../sessions/stored/history-page.js'
import type { Answer } from '../../transport/transport.js'
import type { DialectContext } from '../context.js'
import { dialectOf } from '../links/dialect-routes.js'
import { opened } from '../opened.js'
import { bodyKind, parseBody, readBody } from './body.js'
import { historyTopic, ownTopic, reads, wholeTopic, workerTopic, writes } from './path-topics.js'
import { json, refusal } from './problem.js'
import { choiceOf, flagOf, integerOf, listOf, typesOf } from './query.js'
import type { Call, Route } from './routes.js'

const historyQuery = ['after', 'before', 'order', 'limit', 'types', 'q', 'errors', 'level', 'dialect']

/** Routes that list, read, create, end and remove sessions, and read their retained events page by page. */
export function sessionRoutes(context: DialectContext): Route[] {
  const { hub } = context
  return [
    {
      method: 'GET',
      path: '/api/sessions',
      query: ['after', 'limit', 'order', 'status', 'result', 'needs', 'label', 'q'],
      access: { kind: 'any' },
      answer: (call) => list(context, call),
    },
    {
      method: 'GET',
      path: '/api/sessions/{session}',
      query: [],
      // Producers of a session need its status too.
      access: { kind: 'either', topic: ownTopic },
      answer: async (call) => {
        await opened(hub, call)
        return call.use(({ param }) => {
          const session = param('session')
          return json(200, { ...summaryOf(context, session), ...hub.measure(session) })
        })
      },
    },
    {
      method: 'PUT',
      path: '/api/sessions/{session}',
      query: [],
      access: writes(ownTopic),
      answer: (call) => create(context, call),
    },
    {
      method: 'DELETE',
      path: '/api/sessions/{session}',
      query: [],
      access: writes(wholeTopic),
      answer: async (call) => {
        await call.use(({ param }) => hub.removeSession(param('session')))
        return { status: 204 }
      },
    },
    {
      method: 'POST',
      path: '/api/sessions/{session}/end',
      query: [],
      access: writes(ownTopic),
      answer: (call) => end(context, call),
    },
    {
      method: 'POST',
      path: '/api/sessions/{session}/fork',
      query: [],
      access: reads(wholeTopic),
      answer: (call) => fork(context, call),
    },
    {
      method: 'POST',
      path: '/api/sessions/{session}/secrets',
      query: [],
      access: writes(ownTopic),
      answer: (call) => registerSecrets(context, call),
    },
    {
      method: 'POST',
      path: '/api/sessions/{session}/redact',
      query: [],
      // It destroys what was published, as removing the session does.
      access: writes(wholeTopic),
      answer: (call) => redact(context, call),
    },
    {
      method: 'PUT',
      path: '/api/sessions/{session}/lease',
      query: [],
      access: writes(ownTopic),
      answer: (call) => lease(context, call),
    },
    {
      method: 'PUT',
      path: '/api/sessions/{session}/workers/{worker}/lease',
      query: [],
      access: writes(workerTopic),
      answer: (call) => lease(context, call),
    },
    {
      method: 'GET',
      path: '/api/sessions/{session}/history',
      query: [...historyQuery, 'all', 'workers'],
      access: reads(historyTopic),
      answer: (call) => history(context, call),
    },
    {
      method: 'GET',
      path: '/api/sessions/{session}/workers/{worker}/history',
      query: historyQuery,
      access: reads(workerTopic),
      answer: (call) => history(context, call),
    },
  ]
}

/** Begins, renews or gives up a lease. */
async function lease(context: DialectContext, call: Call): Promise<Answer | undefined> {
  const fields = await readFields(context, call, ['ms'])
  if (fields === undefined) return undefined
  const ms = checkLease(fields.ms, 'ms')
  await call.use(({ topic }) => context.hub.submitLease(topic, ms))
  return json(200, { ms })
}

/** Lists the permitted sessions in the order of their ids; `next` is the value of `after` for the next page. */
async function list({ hub, limits }: DialectContext, { query, use }: Call): Promise<Answer> {
  const limit = integerOf(query, 'limit', { min: 1, max: limits.pageItemsMax }) ?? limits.pageItemsMax
  const after = query.get('after') ?? ''
  const [status, result] = [listOf(query, 'status'), listOf(query, 'result')]
  const labels = query.getAll('label')
  const q = query.get('q')
  const order = choiceOf(query, 'order', sessionOrders)
  const search: SessionQuery = {
    limit,
    ...(after !== '' && { after }),
    ...(order && { order }),
    ...(status && { status }),
    ...(result && { result }),
    ...(flagOf(query, 'needs') && { needs: true }),
    ...(labels.length > 0 && { labels }),
    ...(q && { q }),
  }
  if (isSearch(search))
    return json(200, await use(({ permissions }) => hub.findSessions(search, permissions)))
  if (after !== '') checkId(after, limits, 'after')
  const { sessions, end } = await use(({ permissions }) => hub.listSessions(after, limit, permissions))
  const next = end ? undefined : sessions.at(-1)?.id
  return json(200, { sessions, ...(next === undefined ? {} : { next }) })
}

function summaryOf({ hub }: DialectContext, session: string): object {
  const summary = hub.find(session)
  if (summary === undefined) throw new ProtocolError('notFound', `There is no session ${session}.`)
  return summary
}

/** What became of a session by what was done to it. */
async function openedSummary(context: DialectContext, session: string): Promise<object> {
  const opening = context.hub.open({ kind: 'session', session })
  if (opening !== undefined) await opening
  return summaryOf(context, session)
}

async function create(context: DialectContext, call: Call): Promise<Answer | undefined> {
  const fields = await readFields(context, call, ['mode', 'metadata'])
  if (fields === undefined) return undefined
  const changed = fields as { mode?: Mode; metadata?: JsonObject }
  const session = call.use(({ param }) => param('session'))
  const isNew = await call.use(() => context.hub.submitSession(session, changed))
  return json(isNew ? 201 : 200, await openedSummary(context, session))
}

async function end(context: DialectContext, call: Call): Promise<Answer | undefined> {
  const fields = await readFields(context, call, ['result', 'reason', 'outcome'])
  if (fields === undefined) return undefined
  const { outcome, ...ending } = fields as EndOptions
  const session = call.use(({ param }) => param('session'))
  await call.use(() => context.hub.submitEnd(session, outcome, ending))
  return json(200, await openedSummary(context, session))
}

/** Makes a session with the past of another: it takes the right to read all of that, and to publish to all of the fork. */
async function fork(context: DialectContext, call: Call): Promise<Answer | undefined> {
  const fields = await readFields(context, call, ['at', 'session', 'state'])
  if (fields === undefined) return undefined
  const { hub, limits } = context
  const { at, session: given = hub.random.id(), state = 'exact' } = fields
  if (at !== undefined && typeof at !== 'string') throw refusal('at', 'a cursor', at)
  const known = checkChoice(state, forkStates, 'state')
  const session = checkId(given, limits, 'session')
  const forked = await call.use(({ param, permissions }) => {
    permissions.expectWrite({ kind: 'all', session })
    return hub.forkSession(param('session'), { at, session, state: known })
  })
  return json(201, forked)
}

/** Values that are to be masked in the session from now on. No answer or error quotes one. */
async function registerSecrets(context: DialectContext, call: Call): Promise<Answer | undefined> {
  const fields = await readFields(context, call, ['values'])
  if (fields === undefined) return undefined
  const values = fields.values as readonly GivenSecret[]
  await call.use(({ param }) => context.hub.submitSecrets(param('session'), values))
  return json(200, { registered: values.length })
}

/** Takes values out of what was published. No answer or error quotes one. */
async function redact(context: DialectContext, call: Call): Promise<Answer | undefined> {
  const fields = await readFields(context, call, ['values', 'patterns', 'after'])
  if (fields === undefined) return undefined
  return json(
    200,
    await call.use(({ param }) => context.hub.redact(param('session'), fields as RedactOptions)),
  )
}

async function history(context: DialectContext, { query, use }: Call): Promise<Answer> {
  const { hub, limits } = context
  const dialect = dialectOf(context, query, 'records')
  const limit = integerOf(query, 'limit', { min: 1, max: limits.pageItemsMax })
  const given = typesOf(query, limits)
  const types = dialect === undefined || (given && given.length > 0) ? given : dialect.records.types
  const [after, before, q] = ['after', 'before', 'q'].map((name) => query.get(name) || undefined)
  const order = choiceOf(query, 'order', orders)
  const workers = listOf(query, 'workers')
  const level = listOf(query, 'level')
  const options = {
    ...(limit && { limit }),
    ...(types && { types }),
    ...(after !== undefined && { after }),
    ...(before !== undefined && { before }),
    ...(order && { order }),
    ...(workers && { workers }),
    ...(level && { level: level as readonly Level[] }),
    ...(flagOf(query, 'errors') && { errors: true }),
    ...(q !== undefined && { q }),
  }
  const page = await use(({ topic }) => hub.readHistory(topic, options))
  if (dialect === undefined) return json(200, page)
  const records = page.events.map(dialect.records.record).filter((record) => record !== undefined)
  return json(200, { ...page, events: records })
}

/** @returns the fields of a JSON object; empty if there is no body; undefined if the peer has gone */
async function readFields(
  context: DialectContext,
  call: Call,
  names: readonly string[],
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const body = await readBody(context, call)
  if (body === undefined || body.length === 0) return body && {}
  bodyKind(call.request, ['json'])
  const value = await parseBody(context, call, body)
  if (!isObject(value)) throw refusal('body', `an object { ${names.join('?, ')}? }`, value)
  const stranger = Object.keys(value).find((name) => !names.includes(name))
  if (stranger !== undefined) throw refusal('body', `no field but ${names.join(', ')}`, stranger)
  return value
}
