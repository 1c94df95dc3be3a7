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

/** What the routes of one server share. */
export interface Context {
  readonly hub: Hub
  readonly limits: Limits
  readonly clock: Clock
  readonly links: Links
  readonly rateLimits: RateLimits
  readonly bodyBudget: BodyBudget
  readonly origins: OriginRules
  readonly hosts: Hosts
  readonly authenticator: Authenticator
  readonly connectionGrants: ConnectionGrants
  readonly entryQueue: EntryQueue
  /** The built-in dialects and the users', by name. */
  readonly dialects: ReadonlyMap<string, Dialect>
  /** Interval of the heartbeats of dialects that have some. */
  readonly heartbeatEventMs: number
  /** A WebSocket on which nothing came is pinged, an SSE response on which nothing was written gets a comment. */
  readonly idleTimers: Readonly<Record<LinkKind, IdleTimers>>
  /** What may come on one WebSocket. */
  readonly rates: { readonly frames: Rate; readonly bytes: Rate }
  readonly log: Log
  readonly counts: ServerCounts
  /** Told of whatever is no peer's mistake. */
  readonly report: (error: unknown) => void
  /** Whether the server is about to close. */
  readonly closing: () => boolean
  /** Runs a task when the server begins to close. @returns what forgets it */
  readonly onClosing: (task: () => void) => () => void
}
