import type { Client } from '../../client/client.js'
import type { SessionSummary, WorkerSummary } from '../../client/over-http.js'
import { fieldsOf, type JsonObject, type JsonValue } from '../../lib/json.js'
import type { HubEvent } from '../../protocol/frames.js'
import { type HubHttp, parseObject, problemOf, reach } from '../hub-http.js'
import { idOption } from '../options.js'
import type { Tool } from './mcp-protocol.js'

/** Maximum length of one event's text for a model, whose context is small. Characters. */
const textMax = 4_000
const secondsMax = 600
const outcomeSecondsDefault = 30

const session = { type: 'string', description: 'The id of the session.' } as const
const worker = {
  type: 'string',
  description: 'The id of a worker of the session; without it, the session itself.',
} as const

/** The purpose of the tools, for the model. */
export const instructions =
  'Runcast shows what AI agents, jobs and scripts do while they run. A session is one run; its workers are its parts. ' +
  'Start with list_sessions; read what a worker said with read_events; a session with `needs` waits for an answer.'

/** @returns the tools of a model for a hub, with the permissions of the token */
export function toolsOf(client: Client, hub: HubHttp): readonly Tool[] {
  return [
    {
      name: 'list_sessions',
      description:
        'Lists sessions and their workers: first those that wait for a person, then failed, running and ended ones. ' +
        'Says status, result, reason of failure, open questions (needs), tokens and cost.',
      reads: true,
      input: {
        type: 'object',
        properties: {
          status: { type: 'string', enum: ['running', 'paused', 'ended'] },
          result: { type: 'string', enum: ['succeeded', 'failed', 'cancelled', 'lost'] },
          needs: { type: 'boolean', description: 'Only sessions with open questions.' },
          search: { type: 'string', description: 'A text in the id, title, labels or reason; /regex/ too.' },
          limit: { type: 'integer', minimum: 1, maximum: 200, default: 20 },
        },
        additionalProperties: false,
      },
      call: (args, signal) => listSessions(client, args, signal),
    },
    {
      name: 'read_events',
      description:
        'Reads or searches what a session and its workers published: output, messages, tool calls, errors. The newest ' +
        'first unless order is asc. `next` in the answer, given as `from`, continues.',
      reads: true,
      input: {
        type: 'object',
        properties: {
          session,
          worker,
          search: { type: 'string', description: 'Only events that contain this text; /regex/ too.' },
          errors: { type: 'boolean', description: 'Only events that report a failure.' },
          types: {
            type: 'array',
            items: { type: 'string' },
            description: 'Types, as process.output or llm_*.',
          },
          order: { type: 'string', enum: ['desc', 'asc'], default: 'desc' },
          from: { type: 'string', description: '`next` of an earlier answer.' },
          limit: { type: 'integer', minimum: 1, maximum: 200, default: 50 },
        },
        required: ['session'],
        additionalProperties: false,
      },
      call: (args) => readEvents(hub, args),
    },
    {
      name: 'read_state',
      description: 'Reads the state of a session or worker, such as its plan: the named slices, or all.',
      reads: true,
      input: {
        type: 'object',
        properties: { session, worker, slices: { type: 'array', items: { type: 'string' } } },
        required: ['session'],
        additionalProperties: false,
      },
      call: async (args, signal) =>
        (await client.getState(topicOf(args), args['slices'] as readonly string[] | undefined, { signal }))
          .slices,
    },
    {
      name: 'wait_for_result',
      description:
        'Waits until a session or worker has a result, has ended, or asks a person something, and says which. ' +
        'After `seconds` it says how things stand.',
      reads: true,
      input: {
        type: 'object',
        properties: {
          session,
          worker,
          seconds: { type: 'integer', minimum: 1, maximum: secondsMax, default: 60 },
        },
        required: ['session'],
        additionalProperties: false,
      },
      call: (args, signal) => waitForResult(client, args, signal),
    },
    {
      name: 'answer_need',
      description: 'Answers an open question of a session or worker: see `needs` of list_sessions.',
      reads: false,
      input: {
        type: 'object',
        properties: {
          session,
          worker,
          key: {
            type: ['string', 'number'],
            description: 'The key of the question; the oldest unless given.',
          },
          answer: { type: 'string' },
        },
        required: ['session', 'answer'],
        additionalProperties: false,
      },
      call: ({ key, answer, ...where }, signal) =>
        send(client, where, 'input', { text: answer as string, ...(key !== undefined && { key }) }, signal),
    },
    {
      name: 'send_command',
      description:
        'Asks a session or worker to stop (cancel), to pause or to go on (resume), and says what became of it.',
      reads: false,
      input: {
        type: 'object',
        properties: {
          session,
          worker,
          command: { type: 'string', enum: ['cancel', 'pause', 'resume'] },
          reason: { type: 'string' },
        },
        required: ['session', 'command'],
        additionalProperties: false,
      },
      call: ({ command, reason, ...where }, signal) =>
        send(client, where, command as string, reason === undefined ? {} : { reason }, signal),
    },
  ]
}

/** @throws InvalidArgumentError if an id is not valid, because it becomes a part of a URL */
function topicOf({ session, worker }: JsonObject): string {
  const own = `sessions/${idOption(session as string)}`
  return worker === undefined ? own : `${own}/workers/${idOption(worker as string)}`
}

async function listSessions(client: Client, args: JsonObject, signal: AbortSignal): Promise<JsonValue> {
  const { status, result, needs, search } = args
  const limit = (args['limit'] as number | undefined) ?? 20
  const sessions: JsonObject[] = []
  const listed = client.sessions(
    {
      order: 'attention',
      limit,
      ...(status !== undefined && { status: [status as string] }),
      ...(result !== undefined && { result: [result as 'failed'] }),
      ...(needs === true && { needs }),
      ...(search !== undefined && { q: search as string }),
    },
    { signal },
  )
  for await (const { workers, metadata, ...about } of listed) {
    if (sessions.length === limit) return { sessions, more: true }
    sessions.push({ ...shown(about), ...metadata, workers: workers.map(shown) })
  }
  return { sessions }
}

/** Times as a model reads them. */
function shown(about: Partial<SessionSummary> | WorkerSummary): JsonObject {
  const { epoch: _, mode: __, workers: ___, ...rest } = about as Partial<SessionSummary>
  const fields: Record<string, JsonValue> = { ...(rest as JsonObject) }
  for (const name of ['startedAt', 'endedAt', 'lastAt']) {
    const time = fields[name]
    if (typeof time === 'number') fields[name] = new Date(time).toISOString()
  }
  return fields
}

async function readEvents(hub: HubHttp, args: JsonObject): Promise<JsonValue> {
  const { worker, search, errors, types, from } = args
  const order = (args['order'] as 'asc' | 'desc' | undefined) ?? 'desc'
  const query = new URLSearchParams({ order, limit: String((args['limit'] as number | undefined) ?? 50) })
  if (worker === undefined) query.set('all', '1')
  if (search !== undefined) query.set('q', search as string)
  if (errors === true) query.set('errors', '1')
  if (types !== undefined) query.set('types', (types as readonly string[]).join())
  if (from !== undefined) query.set(order === 'asc' ? 'after' : 'before', from as string)
  const answer = await reach(hub, `/api/${topicOf(args)}/history?${query.toString()}`)
  if (answer.status >= 400) throw new Error(problemOf(answer).detail)
  const { events, next } = parseObject(answer.body) as unknown as {
    readonly events: readonly HubEvent[]
    readonly next?: string
  }
  return { events: events.map(line), ...(next !== undefined && { next }) }
}

function line({ offset, type, time, worker, data }: HubEvent): JsonObject {
  const text = JSON.stringify(data) ?? ''
  const cut = text.length <= textMax ? data : `${text.slice(0, textMax)}… (${text.length} characters in all)`
  return {
    offset,
    time: new Date(time).toISOString(),
    ...(worker !== undefined && { worker }),
    type,
    ...(data !== undefined && { data: cut }),
  }
}

/** @returns the state of a session or worker when it has changed, or the time is over */
function waitForResult(client: Client, args: JsonObject, signal: AbortSignal): Promise<JsonValue> {
  const { session, worker } = args
  const seconds = (args['seconds'] as number | undefined) ?? 60
  return new Promise((resolve, reject) => {
    let standing: JsonObject = {}
    const finish = (task: () => void) => {
      subscription.close()
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      task()
    }
    const abort = () => finish(() => reject(signal.reason as Error))
    const timer = setTimeout(() => finish(() => resolve({ waiting: true, ...standing })), seconds * 1_000)
    const subscription = client.subscribe(
      {
        topic: topicOf({ session } as JsonObject),
        types: ['!*'],
        slices: [worker === undefined ? '$session' : '$workers'],
        replay: false,
      },
      {
        onState({ $session, $workers }) {
          standing = fieldsOf(worker === undefined ? $session : fieldsOf($workers)[worker as string])
          const { status, result, needs } = standing
          const isDone = result !== undefined || status === 'ended'
          if (isDone || (Array.isArray(needs) && needs.length > 0))
            finish(() => resolve(shown(standing as never)))
        },
        onEnd: ({ reason }) => finish(() => reject(new Error(reason))),
      },
    )
    signal.addEventListener('abort', abort)
  })
}

async function send(
  client: Client,
  where: JsonObject,
  command: string,
  data: JsonObject,
  signal: AbortSignal,
): Promise<JsonValue> {
  const sent = await client.command(topicOf(where), command, data, { signal })
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, outcomeSecondsDefault * 1_000, undefined)
  })
  try {
    const outcome = await Promise.race([sent.outcome(), late])
    return outcome === undefined
      ? { state: 'sent', note: `no agent has said within ${outcomeSecondsDefault} s what became of it` }
      : { ...outcome }
  } finally {
    clearTimeout(timer)
  }
}
