import type { DialectChoice } from '../swarm/dialect.js'
import { type Child, startServer, startSwarm } from './child.js'
import { benchSession, benchTopic, channelsOf, type Spread, sessionOf } from './event.js'
import type { ServerCalls, SwarmCalls } from './messages.js'

export type Transport = 'ws' | 'sse'

/** What a client wants to receive. */
export interface Wish {
  readonly transport: Transport
  /** Only the channels of this rest; see `channelsOf`. */
  readonly spread?: Spread
  readonly residue?: number
  /** The type filter that says so, where channels are types. */
  readonly types?: readonly string[]
  readonly slices?: readonly string[]
  /** Retained events come first. */
  readonly replay?: boolean
}

export interface Contender {
  /** As the tables call it. */
  readonly name: string
  /** A file of `server/` or `peers/`. */
  readonly file: string
  readonly profileFile?: string | undefined
  /** Another build of Runcast than that of this folder: its `dist`. */
  readonly dist?: string
  /** What Runcast speaks through; what loads, unless given. */
  readonly transport?: 'node'
  /** Whether Runcast masks secrets; as it does by default, unless given. */
  readonly masking?: 'off'
  /** How a client asks for what it wants. */
  readonly dialect: (wish: Wish) => DialectChoice
  /** Why it takes no further part when it loses or repeats something: a peer's fault is a result. */
  readonly isPeer?: boolean
}

/** A contestant with its swarm. */
export interface Side extends Contender {
  readonly server: Child<ServerCalls>
  readonly swarm: Child<SwarmCalls>
  connections: number
  /** Number of the newest event that was published. */
  published: number
  /** Each connection is due every so manieth event. */
  stride: number
  /** What it did wrong. */
  failed?: string
}

export const runcast: Contender = {
  name: 'runcast',
  file: 'server/runcast',
  dialect({ transport, spread, residue = 0, types, slices }) {
    if (transport === 'sse') return { kind: 'runcast-sse', path: `/api/sessions/${benchSession}/events` }
    const topics =
      spread?.kind === 'sessions'
        ? channelsOf(residue, spread).map((channel) => `sessions/${sessionOf(channel)}/**`)
        : [benchTopic]
    return { kind: 'runcast-ws', topics, ...(types && { types }), ...(slices && { slices }) }
  },
}

/** @returns uWebSockets' own sending of ready bytes. */
export function limitFor(transport: Transport): Contender {
  return {
    name: 'limit',
    file: `server/limit-${transport}`,
    dialect({ spread, residue = 0 }) {
      if (transport === 'sse') return { kind: 'runcast-sse', path: '/' }
      if (spread === undefined) return { kind: 'runcast-ws', topics: [benchTopic] }
      return { kind: 'runcast-ws', topics: [`class/${residue}`], positions: false }
    },
  }
}

/** @returns contenders that write V8 CPU profiles when they end. */
export function profiled(
  contenders: readonly Contender[],
  dir: string | undefined,
  cell: string,
): Contender[] {
  if (dir === undefined) return [...contenders]
  return contenders.map((contender) => ({
    ...contender,
    profileFile: `${dir}/${contender.name}-${cell}.cpuprofile`,
  }))
}

/** Starts a contestant and a swarm for it. Nothing is connected yet. */
export async function openSide(contender: Contender): Promise<Side> {
  const { name } = contender
  const [server, swarm] = await Promise.allSettled([startServer(contender), startSwarm()])
  if (server.status === 'fulfilled' && swarm.status === 'fulfilled') {
    return { ...contender, server: server.value, swarm: swarm.value, connections: 0, published: 0, stride: 1 }
  }
  for (const child of [server, swarm]) if (child.status === 'fulfilled') await child.value.stop()
  const reason = server.status === 'rejected' ? server.reason : (swarm as PromiseRejectedResult).reason
  throw new Error(`${name}: ${reason instanceof Error ? reason.message : String(reason)}`)
}

/** Connects so many subscribers that want the same; returns once they are live. */
export async function subscribe(side: Side, wish: Wish, count: number): Promise<void> {
  const { stride = 1 } = wish.spread ?? {}
  const { ports } = side.server
  for (const [index, port] of ports.entries()) {
    const share = Math.ceil((count - index) / ports.length)
    if (share <= 0) break
    await side.swarm.ask('connect', {
      port,
      count: share,
      dialect: side.dialect(wish),
      ...(wish.spread && { stride, residue: wish.residue ?? 0 }),
    })
  }
  side.connections += count
  side.stride = stride
}

const connectsAtOnce = 40

/** Connects one group of subscribers after the other, some at once. */
export async function subscribeGroups(
  side: Side,
  groups: readonly { readonly wish: Wish; readonly count: number }[],
): Promise<void> {
  for (let at = 0; at < groups.length; at += connectsAtOnce) {
    const some = groups.slice(at, at + connectsAtOnce)
    await Promise.all(some.map(({ wish, count }) => subscribe(side, wish, count)))
  }
}

export async function closeSides(sides: readonly Side[]): Promise<void> {
  await Promise.all(sides.flatMap(({ server, swarm }) => [server.stop(), swarm.stop()]))
}
