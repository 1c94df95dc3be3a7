import { hookCall } from '../../ingest/claude-hooks.js'
import { underWorker } from '../../ingest/translate.js'
import { isObject } from '../../lib/json.js'
import { checkEvent, checkId } from '../../protocol/check.js'
import { ownId } from '../../protocol/foreign-id.js'
import type { Answer } from '../../transport/transport.js'
import type { DialectContext } from '../context.js'
import { bodyKind, parseBody, readBody } from './body.js'
import { json, refusal } from './problem.js'
import type { Call, Route } from './routes.js'

/** `POST /api/hooks/claude-code`: publishes the hooks of coding agents as events of a session. */
export function hookRoutes(context: DialectContext): Route[] {
  return [
    {
      method: 'POST',
      path: '/api/hooks/claude-code',
      query: ['session', 'worker'],
      access: { kind: 'any' },
      answer: (call) => takeHook(context, call),
    },
  ]
}

/** Publishes to the session of `?session`, or else to one with the agent's own id. The answer leaves decisions to the agent. */
async function takeHook(context: DialectContext, call: Call): Promise<Answer | undefined> {
  const { hub, limits } = context
  bodyKind(call.request, ['json'])
  const body = await readBody(context, call)
  if (body === undefined) return undefined
  const value = await parseBody(context, call, body)
  if (!isObject(value)) throw refusal('body', 'an object { session_id, hook_event_name, … }', value)
  const { session: own, events } = hookCall(value)
  const session = checkId(call.query.get('session') || ownId(own), limits, 'session')
  const base = call.query.get('worker') || undefined
  if (base !== undefined) checkId(base, limits, 'worker')
  const named = base === undefined ? events : underWorker(base, events)
  const workers = named.map(({ worker }) => worker)
  const checked = named.map(({ event }) => checkEvent(event, limits))
  const submitted = call.use(({ permissions }) => {
    for (const worker of new Set(workers)) {
      if (worker === undefined) permissions.expectWrite({ kind: 'session', session })
      else permissions.expectWrite({ kind: 'worker', session, worker: checkId(worker, limits, 'worker') })
    }
    return hub.submitTo(session, workers, checked)
  })
  await submitted
  return json(200, {})
}
