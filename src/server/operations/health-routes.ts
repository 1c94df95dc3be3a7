import { ProtocolError } from '../../protocol/codes.js'
import type { OperationsContext } from '../context.js'
import { json, problem } from '../http/problem.js'
import type { Route } from '../http/routes.js'
import { Metrics } from './metrics.js'

/** Routes for operators: liveness, readiness, metrics. */
export function healthRoutes(context: OperationsContext): Route[] {
  const { hub, closing } = context
  const metrics = new Metrics(context)
  return [
    {
      method: 'GET',
      path: '/healthz',
      access: { kind: 'open' },
      whileClosing: true,
      // So that a refused page can distinguish a refusal from an unreachable hub.
      anyOrigin: true,
      answer: () => json(200, { status: 'ok' }, { 'access-control-allow-origin': '*' }),
    },
    {
      method: 'GET',
      path: '/readyz',
      access: { kind: 'open' },
      whileClosing: true,
      answer: () => {
        if (closing()) return problem(new ProtocolError('unavailable', 'The hub is shutting down.'))
        if (hub.fault !== undefined) return problem(new ProtocolError('unavailable', hub.fault))
        const { damagedSessions } = hub
        return json(200, { status: 'ready', ...(damagedSessions > 0 && { damagedSessions }) })
      },
    },
    {
      method: 'GET',
      path: '/metrics',
      access: { kind: 'hub' },
      whileClosing: true,
      answer: async () => ({
        status: 200,
        headers: { 'content-type': metrics.contentType, 'cache-control': 'no-store' },
        body: await metrics.text(),
      }),
    },
  ]
}
