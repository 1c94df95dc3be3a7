import type { DialectChoice } from '../swarm/dialect.js'
import { type Child, startServer, startSwarm } from './child.js'
import { benchSession, benchTopic } from './event.js'
import type { ServerCalls, SwarmCalls } from './messages.js'

export type Transport = 'ws' | 'sse'

/** A contestant with its swarm. */
export interface Side {
  readonly name: string
  readonly server: Child<ServerCalls>
  readonly swarm: Child<SwarmCalls>
  connections: number
  /** Number of the newest event that was published. */
  published: number
}

export interface Contender {
  /** As the tables call it. */
  readonly name: string
  /** A file of `server/` or `peers/`. */
  readonly file: string
  readonly profileFile?: string | undefined
}

/** Starts a contestant and a swarm for it. Nothing is connected yet. */
export async function openSide({ name, file, profileFile }: Contender): Promise<Side> {
  const [server, swarm] = await Promise.allSettled([startServer(file, profileFile), startSwarm()])
  if (server.status === 'fulfilled' && swarm.status === 'fulfilled') {
    return { name, server: server.value, swarm: swarm.value, connections: 0, published: 0 }
  }
  for (const child of [server, swarm]) if (child.status === 'fulfilled') await child.value.stop()
  throw server.status === 'rejected' ? server.reason : (swarm as PromiseRejectedResult).reason
}

/** Connects so many subscribers of the bench's topic; returns once they are live. */
export async function subscribe(side: Side, transport: Transport, count: number): Promise<void> {
  await side.swarm.ask('connect', { port: side.server.port, count, dialect: dialectFor(transport) })
  side.connections += count
}

export async function closeSides(sides: readonly Side[]): Promise<void> {
  await Promise.all(sides.flatMap(({ server, swarm }) => [server.stop(), swarm.stop()]))
}

function dialectFor(transport: Transport): DialectChoice {
  return transport === 'ws'
    ? { kind: 'runcast-ws', topic: benchTopic }
    : { kind: 'runcast-sse', path: `/api/sessions/${benchSession}/events` }
}
