import type { Dialect } from '../codec/dialect.js'
import type { Hub } from '../hub/hub.js'
import type { Rate } from '../lib/bucket.js'
import type { Clock } from '../lib/clock.js'
import type { Limits } from '../protocol/limits.js'
import type { Authenticator } from './access/authenticator.js'
import type { ConnectionGrants } from './access/connection-grants.js'
import type { EntryQueue } from './access/entry-queue.js'
import type { Hosts, OriginRules } from './access/origins.js'
import type { RateLimits } from './access/rate-limits.js'
import type { WorkTurns } from './access/work-turns.js'
import type { BodyBudget } from './http/body-budget.js'
import type { OpenConnections } from './links/connection-log.js'
import type { IdleTimers } from './links/idle-timers.js'
import type { LinkKind, Links } from './links/links.js'
import type { Log } from './operations/log.js'
import type { ServerCounts } from './operations/metric-definitions.js'

/** Dependencies of all parts of a server. */
export interface HubContext {
  readonly hub: Hub
  readonly limits: Limits
  readonly clock: Clock
  /** Called with errors that are not a peer's mistake. */
  readonly report: (error: unknown) => void
}

/** Decides whether a request is admitted, and what it may do. */
export interface AccessContext {
  readonly authenticator: Authenticator
  readonly connectionGrants: ConnectionGrants
  readonly entryQueue: EntryQueue
  readonly rateLimits: RateLimits
  readonly workTurns: WorkTurns
  readonly origins: OriginRules
  readonly hosts: Hosts
}

/** Dependencies of requests with bodies. */
export interface BodyContext
  extends HubContext,
    Pick<AccessContext, 'authenticator' | 'rateLimits' | 'workTurns'> {
  readonly bodyBudget: BodyBudget
  /** Runs a task when the server begins to stop. @returns a function that cancels this */
  readonly onClosing: (task: () => void) => () => void
}

/** Dependencies of connections: WebSockets and SSE responses. */
export interface LinkContext
  extends HubContext,
    Pick<AccessContext, 'authenticator' | 'connectionGrants' | 'entryQueue' | 'rateLimits' | 'workTurns'> {
  readonly links: Links
  /** A silent WebSocket is pinged; an SSE response without data gets a comment. */
  readonly idleTimers: Readonly<Record<LinkKind, IdleTimers>>
  /** The rate limits of one WebSocket. */
  readonly rates: { readonly frames: Rate; readonly bytes: Rate; readonly pulses: Rate }
  readonly log: Log
  readonly connections: OpenConnections
  /** Whether the server is stopping. */
  readonly closing: () => boolean
}

/** Dependencies of requests with a dialect. */
export interface DialectContext extends BodyContext {
  /** The built-in dialects and the users', by name. */
  readonly dialects: ReadonlyMap<string, Dialect>
  /** Interval of the heartbeats of dialects that have some. */
  readonly heartbeatEventMs: number
}

/** Dependencies of streamed responses. */
export interface StreamContext extends DialectContext, LinkContext {}

/** Dependencies of health checks and metrics. */
export interface OperationsContext
  extends Pick<LinkContext, 'hub' | 'limits' | 'links' | 'connections' | 'closing'> {
  readonly counts: ServerCounts
}

/** All dependencies of a server. */
export interface Context extends AccessContext, StreamContext, OperationsContext {}
