import type { Catalog } from '../catalog/catalog.js'
import type { Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import type { HeldBack, SharedLog } from '../log/shared-log.js'
import type { Offset } from '../protocol/cursor.js'
import type { Limits } from '../protocol/limits.js'
import type { Notice } from '../session/notice.js'
import type { Session } from '../session/session.js'
import type { Timeline } from '../session/timeline.js'
import type { StateSetting } from '../session/topic.js'
import type { Tracing } from '../session/tracing.js'
import type { Retention, Store } from '../store/store.js'
import type { Change } from './redact/redact-memory.js'

/** The dependencies of the sessions on their hub. */
export interface SessionsOptions {
  readonly clock: Clock
  readonly random: Random
  readonly catalog: Catalog
  readonly limits: Limits
  readonly store: Store | undefined
  /** Assigns the offsets for several hubs; then there is no store. */
  readonly log: { readonly log: SharedLog; readonly hub: string } | undefined
  readonly retention: Retention | undefined
  readonly onStore: ((fault: string | undefined) => void) | undefined
  readonly onDamaged: ((session: string, reason: string) => void) | undefined
  readonly tracing: Tracing | undefined
  /** The listeners for notices of sessions. */
  readonly notices: ReadonlySet<(notice: Notice) => void>
  /** Called when a session of a log is redacted, with what redacts a value. */
  readonly redacted: (change: Change) => void
  readonly expose: StateSetting['expose']
  /** Called when a session, or a list of sessions, may have something for its followers. */
  readonly onDirty: (timeline: Timeline) => void
  /** Called for each lease of a session that was loaded. */
  readonly onLease: (session: string, worker: string | undefined, ms: number) => void
  /** As `log`: called with the commands that a follower at this hub has got. */
  readonly onDelivered: (session: string, worker: string | undefined, commands: readonly Offset[]) => void
  /** As `log`: called when what is held back of a session's texts has changed, `isOwn` by this hub; undefined if it leaves memory. */
  readonly onHeld: (session: Session, held: HeldBack | undefined, isOwn: boolean) => void
  /** As `log`: called when a hub has counted watchers of a session anew, and when one that is counted was loaded. */
  readonly onWatchers: (session: Session) => void
  /** As `log`: called when a session has no duties any more, because it has ended or is gone. */
  readonly onOver: (session: string) => void
  /** Called with the time when a command to a session expires. Milliseconds since 1970. */
  readonly onCommandDue: (session: string, at: number) => void
  /** Called with the time when a session expires as a durable stream, unless it is read or written. */
  readonly onStreamDue: (session: string, at: number) => void
  /** Called with the time when a session or worker counts as stalled unless something happens. */
  readonly onStallDue: (session: string, worker: string | undefined, at: number) => void
  /** Called before a session is removed: its subscriptions end. */
  readonly onRemoved: (session: Session) => void
  /** Called when the local state of a session is no longer valid: its followers must join again. */
  readonly onStale: (session: Session) => void
}
