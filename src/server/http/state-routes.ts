import type { StateChange } from '../../hub/state-change.js'
import type { JsonValue } from '../../lib/json.js'
import { checkCause, checkPatch } from '../../protocol/check.js'
import { ProtocolError } from '../../protocol/codes.js'
import { formatCursor, parseCursor } from '../../protocol/cursor.js'
import type { Cause } from '../../protocol/frames.js'
import type { Limits } from '../../protocol/limits.js'
import { formatTopic, type TopicName } from '../../protocol/topic.js'
import type { StateOptions, StateSnapshot } from '../../session/precondition.js'
import type { Edit } from '../../state/checked-change.js'
import type { Answer, Request } from '../../transport/transport.js'
import type { BodyContext } from '../context.js'
import { opened } from '../opened.js'
import { inTurns } from '../state-turns.js'
import { bodyKind, contentType, largeBytes, parseBody, parseJson, readBody, turnFor } from './body.js'
import { ownTopic, reads, sessionTopic, workerTopic, writes } from './path-topics.js'
import { json } from './problem.js'
import { slicesOf } from './query.js'
import type { Call, RequestHead, Route } from './routes.js'

/** Routes that read, set, patch and remove slices of sessions and workers. Changes are answered when they are stored. */
export function stateRoutes(context: BodyContext): Route[] {
  return [
    ...routesOf(context, '/api/sessions/{session}/state', {
      whole: sessionTopic,
      own: ownTopic,
      query: ['slices', 'all'],
    }),
    ...routesOf(context, '/api/sessions/{session}/workers/{worker}/state', {
      whole: workerTopic,
      own: workerTopic,
      query: ['slices'],
    }),
  ]
}

/** @param topics the topic of the whole state, and that of single slices */
function routesOf(
  context: BodyContext,
  all: string,
  {
    whole,
    own,
    query,
  }: {
    whole: (head: RequestHead) => TopicName
    own: (head: RequestHead) => TopicName
    query: readonly string[]
  },
): Route[] {
  const one = `${all}/{slice}`
  return [
    {
      method: 'GET',
      path: all,
      query,
      access: reads(whole),
      answer: (call) => readAll(context, call),
    },
    { method: 'GET', path: one, query: [], access: reads(own), answer: (call) => readOne(context, call) },
    { method: 'PUT', path: one, query: [], access: writes(own), answer: (call) => set(context, call) },
    { method: 'PATCH', path: one, query: [], access: writes(own), answer: (call) => patch(context, call) },
    { method: 'DELETE', path: one, query: [], access: writes(own), answer: (call) => remove(context, call) },
  ]
}

async function readAll(context: BodyContext, call: Call): Promise<Answer> {
  const { hub, limits } = context
  const names = slicesOf(call.query, limits)
  await opened(hub, call)
  const snapshot = call.use(({ topic }) => hub.state(topic, names))
  const answer = unlessKnown(call.request, snapshot, null)
  if (answer.status === 304) return answer
  const { epoch, offset } = snapshot
  const head = JSON.stringify({ epoch, offset }).slice(0, -1)
  return { ...answer, body: `${head},"slices":{${await membersOf(snapshot.slices, context, call.sender)}}}` }
}

/**
 * Many large slices are converted to text over several turns. Values are immutable, so the text shows a single moment.
 *
 * @throws ProtocolError `frameTooLarge` when all topics of a session together exceed the bound of one topic
 */
async function membersOf(
  slices: StateSnapshot['slices'],
  context: BodyContext,
  sender: string,
): Promise<string> {
  const { stateBytesMax } = context.limits
  const members: string[] = []
  let length = 0
  let sinceTurn = 0
  for (const [name, value] of Object.entries(slices)) {
    const member = `${JSON.stringify(name)}:${JSON.stringify(value)}`
    members.push(member)
    length += member.length
    sinceTurn += member.length
    // The hub's own slices do not count for a topic's bound, and are small.
    if (length > stateBytesMax + largeBytes * members.length) {
      throw new ProtocolError(
        'frameTooLarge',
        `the state has more than ${stateBytesMax} bytes: ask for some of the slices`,
      )
    }
    if (sinceTurn < largeBytes) continue
    await turnFor(context, sender, sinceTurn)
    sinceTurn = 0
  }
  return members.join(',')
}

/** The value alone. */
async function readOne({ hub }: BodyContext, call: Call): Promise<Answer> {
  await opened(hub, call)
  return call.use(({ topic, param }) => {
    const slice = param('slice')
    const snapshot = hub.state(topic, [slice])
    if (!Object.hasOwn(snapshot.slices, slice)) {
      throw new ProtocolError('notFound', `There is no slice ${slice} in ${formatTopic(topic)}.`)
    }
    return unlessKnown(call.request, snapshot, snapshot.slices[slice] as JsonValue)
  })
}

async function set(context: BodyContext, call: Call): Promise<Answer | undefined> {
  const options = optionsOf(call.request, context.limits)
  bodyKind(call.request, ['json'])
  const body = await readBody(context, call)
  if (body === undefined) return undefined
  const value = await parseBody(context, call, body)
  return changed(context, call, await preparedBy(context, call, body, { value }), options)
}

const patchType = 'application/json-patch+json'
const mergeType = 'application/merge-patch+json'

async function patch(context: BodyContext, call: Call): Promise<Answer | undefined> {
  const { limits } = context
  const options = optionsOf(call.request, limits)
  const type = contentType(call.request)
  if (type !== patchType && type !== mergeType)
    throw new ProtocolError('unsupportedMediaType', `content-type: expected ${patchType} or ${mergeType}`)
  const body = await readBody(context, call)
  if (body === undefined) return undefined
  const value = await parseBody(context, call, body)
  const change = type === mergeType ? { merge: value } : { patch: checkPatch(value, limits, 'patch') }
  return changed(context, call, await preparedBy(context, call, body, change), options)
}

function preparedBy(
  context: BodyContext,
  { sender, use }: Call,
  body: Buffer,
  change: { readonly value: JsonValue } | Edit,
): Promise<StateChange> {
  const given = { change, bytes: body.length, json: body }
  return inTurns(
    context,
    sender,
    use(({ topic, param }) => ({ topic, slice: param('slice'), ...given })),
  )
}

function remove(context: BodyContext, call: Call): Promise<Answer> {
  const options = optionsOf(call.request, context.limits)
  return changed(context, call, { removed: true }, options)
}

async function changed(
  { hub }: BodyContext,
  { use }: Call,
  change: StateChange,
  options: StateOptions,
): Promise<Answer> {
  const submitted = use(({ topic, param }) => hub.submitState(topic, param('slice'), change, options))
  const { epoch, offset, changed } = await submitted
  return json(200, { offset, changed }, { etag: `"${formatCursor(epoch, offset)}"` })
}

/** Answers 304 to a client that already has the snapshot (RFC 9110 section 13.1.2). */
function unlessKnown(request: Request, { epoch, version }: StateSnapshot, body: JsonValue): Answer {
  const etag = `"${formatCursor(epoch, version)}"`
  const headers = { etag, 'cache-control': 'no-cache' }
  const known = (request.headers.get('if-none-match') ?? '')
    .split(',')
    .map((tag) => tag.trim().replace(/^W\//, ''))
  if (known.includes(etag) || known.includes('*')) return { status: 304, headers }
  return {
    status: 200,
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  }
}

function optionsOf(request: Request, limits: Limits): StateOptions {
  const cause = causeOf(request, limits)
  const unless = unlessOf(request)
  return { ...(cause && { cause }), ...(unless && { unless }) }
}

function causeOf({ headers }: Request, limits: Limits): Cause | undefined {
  const text = headers.get('x-cause')
  return text === undefined ? undefined : checkCause(parseJson(text, limits, 'x-cause'), limits, 'x-cause')
}

const tagPattern = /^"([^"]*)"$/

/** `If-Match` (RFC 9110 section 13.1.1): a tag matches as long as the slice has not changed since. */
function unlessOf({ headers }: Request): StateOptions['unless'] {
  const text = headers.get('if-match')
  if (text === undefined) return undefined
  if (text.trim() === '*') return { absent: true }
  const tag = tagPattern.exec(text.trim())?.[1]
  if (tag === undefined) {
    throw new ProtocolError('badFrame', 'if-match: expected * or one ETag of a state, as "<epoch>:<offset>"')
  }
  return { changedSince: parseCursor(tag, 'if-match') }
}
