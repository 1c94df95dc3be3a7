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
import type { BodyBudget } from './http/body-budget.js'
import type { IdleTimers } from './links/idle-timers.js'
import type { LinkKind, Links } from './links/links.js'
import type { Log } from './operations/log.js'
import type { ServerCounts } from './operations/metric-definitions.js'

/** What everything that serves a hub needs. */
export interface HubContext {
  readonly hub: Hub
  readonly limits: Limits
  readonly clock: Clock
  /** Told of whatever is no peer's mistake. */
  readonly report: (error: unknown) => void
}

/** What decides whether a request is let in, and what it may do. */
export interface AccessContext {
  readonly authenticator: Authenticator
  readonly connectionGrants: ConnectionGrants
  readonly entryQueue: EntryQueue
  readonly rateLimits: RateLimits
  readonly origins: OriginRules
  readonly hosts: Hosts
}

/** What requests with bodies need. */
export interface BodyContext extends HubContext, Pick<AccessContext, 'authenticator' | 'rateLimits'> {
  readonly bodyBudget: BodyBudget
  /** Runs a task when the server begins to close. @returns what forgets it */
  readonly onClosing: (task: () => void) => () => void
}

/** What the links of connections need, WebSockets and SSE responses. */
export interface LinkContext
  extends HubContext,
    Pick<AccessContext, 'authenticator' | 'connectionGrants' | 'entryQueue' | 'rateLimits'> {
  readonly links: Links
  /** A WebSocket on which nothing came is pinged, an SSE response on which nothing was written gets a comment. */
  readonly idleTimers: Readonly<Record<LinkKind, IdleTimers>>
  /** What may come on one WebSocket. */
  readonly rates: { readonly frames: Rate; readonly bytes: Rate }
  readonly log: Log
  /** Whether the server is about to close. */
  readonly closing: () => boolean
}

/** What requests need that name a dialect. */
export interface DialectContext extends BodyContext {
  /** The built-in dialects and the users', by name. */
  readonly dialects: ReadonlyMap<string, Dialect>
  /** Interval of the heartbeats of dialects that have some. */
  readonly heartbeatEventMs: number
}

/** What requests need that are answered by a stream. */
export interface StreamContext extends DialectContext, LinkContext {}

/** What says how the server is: health, metrics. */
export interface OperationsContext extends Pick<LinkContext, 'hub' | 'links' | 'closing'> {
  readonly counts: ServerCounts
}

/** All that one server is put together from. */
export interface Context extends AccessContext, StreamContext, OperationsContext {}
