import type { Context } from '../context.js'
import { json } from './problem.js'
import type { Route } from './routes.js'

export function ticketRoutes({ authenticator, limits }: Context): Route[] {
  return [
    {
      method: 'POST',
      path: '/api/ticket',
      access: { kind: 'any' },
      answer: ({ grant }) =>
        json(200, { ticket: authenticator.tickets.issue(grant), expiresInMs: limits.ticketMs }),
    },
  ]
}
