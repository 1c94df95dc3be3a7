import { ProtocolError } from '../../protocol/codes.js'
import type { Context } from '../context.js'
import { json } from './problem.js'
import type { Route } from './routes.js'

export function ticketRoutes({ authenticator, limits }: Context): Route[] {
  return [
    {
      method: 'POST',
      path: '/api/ticket',
      query: [],
      access: { kind: 'any' },
      answer: ({ request, use, sender }) =>
        use(async ({ grant, permissions }) => {
          if (permissions.allowsNothing)
            throw new ProtocolError('forbidden', 'the token permits nothing, so a ticket would be useless')
          const ticket = await authenticator.issueTicket(request, grant, sender)
          return json(200, { ticket, expiresInMs: limits.ticketMs })
        }),
    },
  ]
}
