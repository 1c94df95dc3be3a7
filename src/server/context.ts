import type { Dialect } from '../codec/dialect.js'
import type { Hub } from '../hub/hub.js'
import type { Rate } from '../lib/bucket.js'
import type { Clock } from '../lib/clock.js'
import type { Limits } from '../protocol/limits.js'
import type { Admission } from './admission.js'
import type { Bodies } from './bodies.js'
import type { ServerCounts } from './figures.js'
import type { Gate } from './gate.js'
import type { LinkKind, Links } from './links.js'
import type { Log } from './log.js'
import type { Hosts, Origins } from './origins.js'
import type { Rights } from './rights.js'
import type { Silences } from './silence.js'
import type { Turnstile } from './turnstile.js'

/** What the routes of one server share. */
export interface Context {
  readonly hub: Hub
  readonly limits: Limits
  readonly clock: Clock
  readonly links: Links
  readonly admission: Admission
  readonly bodies: Bodies
  readonly origins: Origins
  readonly hosts: Hosts
  readonly gate: Gate
  readonly rights: Rights
  readonly turnstile: Turnstile
  /** The built-in dialects and the users', by name. */
  readonly dialects: ReadonlyMap<string, Dialect>
  /** Interval of the heartbeats of dialects that have some. */
  readonly heartbeatEventMs: number
  /** A WebSocket on which nothing came is pinged, an SSE response on which nothing was written gets a comment. */
  readonly silences: Readonly<Record<LinkKind, Silences>>
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
