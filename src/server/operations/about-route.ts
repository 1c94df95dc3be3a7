import type { TransportChoice } from '../../transport/choice.js'
import type { Context } from '../context.js'
import { json } from '../http/problem.js'
import type { Route } from '../http/routes.js'
import { packageVersion } from '../version.js'

/** Versions and parts of this hub, for diagnosis. */
export function aboutRoute({ hub }: Pick<Context, 'hub'>, transport: TransportChoice): Route {
  const { name, why } = transport
  const about = { version: packageVersion(), node: process.version, transport: { name, why } }
  return {
    method: 'GET',
    path: '/api/about',
    query: [],
    access: { kind: 'any' },
    answer: () => json(200, { ...about, store: hub.storeKind }),
  }
}
