import { ProtocolError } from '../../protocol/codes.js'
import { formatTopic, type TopicName } from '../../protocol/topic.js'
import type { OperationsContext } from '../context.js'
import { json } from '../http/problem.js'
import { integerOf } from '../http/query.js'
import type { Route } from '../http/routes.js'
import type { ConnectionLog } from '../links/connection-log.js'

/** Topics of a connection that are named; the others are counted. */
const topicsNamed = 20

const hubTopic = (): TopicName => ({ kind: 'hub' })

/** For those who run the hub: who is connected and how each link is doing, what the hub is bounded by, and closing one. */
export function connectionRoutes({ hub, limits, links, connections }: OperationsContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/connections',
      query: ['after', 'limit'],
      access: { kind: 'operate' },
      answer: ({ query, use }) =>
        use(() => {
          const limit = integerOf(query, 'limit', { min: 1, max: limits.pageItemsMax }) ?? limits.pageItemsMax
          const after = integerOf(query, 'after', { min: 0, max: Number.MAX_SAFE_INTEGER }) ?? 0
          const page: ConnectionLog[] = []
          // In the order in which they opened.
          for (const one of connections.values()) {
            if (one.number <= after) continue
            page.push(one)
            if (page.length > limit) break
          }
          const next = page.length > limit ? page[limit - 1]?.number : undefined
          return json(200, {
            total: connections.size,
            connections: page.slice(0, limit).map(describe),
            ...(next !== undefined && { next: String(next) }),
          })
        }),
    },
    {
      method: 'DELETE',
      path: '/api/connections/{connection}',
      query: [],
      access: { kind: 'write', topic: hubTopic },
      answer: ({ use }) =>
        use(({ param }) => {
          const id = param('connection')
          const one = connections.get(id)
          if (one === undefined) throw new ProtocolError('notFound', `There is no connection ${id}.`)
          one.connection.close('forbidden', 'closed by an operator')
          return { status: 204 }
        }),
    },
    {
      method: 'GET',
      path: '/api/hub',
      query: [],
      access: { kind: 'operate' },
      answer: ({ use }) =>
        use(() => {
          const { sessions, subscriptions, lagging, feeds, published, delivered, deliveredBytes, ...more } =
            hub.stats()
          const { waitingBytes, memoryBytes, history, store, log } = more
          return json(200, {
            connections: { websocket: links.count('websocket'), sse: links.count('sse') },
            sessions,
            subscriptions,
            lagging,
            feeds,
            published,
            delivered,
            deliveredBytes,
            waitingBytes,
            memoryBytes,
            history,
            store: {
              kind: hub.storeKind,
              ...(hub.fault !== undefined && { fault: hub.fault }),
              failures: store.failures,
              waitingSessions: store.waitingSessions,
              waitingBytes: store.waitingBytes,
              damagedSessions: store.damagedSessions,
              kept: store.kept,
            },
            ...(hub.isShared && { log: { kind: hub.storeKind, ...log } }),
            limits,
          })
        }),
    },
  ]
}

/** What is told of one connection. */
function describe(one: ConnectionLog): object {
  const { connection, transport, address, received } = one
  const { link, subject } = connection
  const topics = connection.topics()
  return {
    id: connection.id,
    transport,
    codec: link.codec.name,
    address,
    ...(subject !== undefined && { subject }),
    openMs: one.openedFor(),
    subscriptions: connection.size,
    topics: topics.slice(0, topicsNamed).map(formatTopic),
    ...(topics.length > topicsNamed && { topicsMore: topics.length - topicsNamed }),
    lagging: connection.lagging,
    waitingBytes: link.waiting,
    ...(received !== undefined && { received }),
    events: connection.events,
    bytes: connection.bytes,
  }
}
