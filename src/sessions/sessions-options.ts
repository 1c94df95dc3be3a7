import type { Catalog } from '../catalog/catalog.js'
import type { Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import type { SharedLog } from '../log/shared-log.js'
import type { Offset } from '../protocol/cursor.js'
import type { Limits } from '../protocol/limits.js'
import type { Notice } from '../session/notice.js'
import type { Session } from '../session/session.js'
import type { Timeline } from '../session/timeline.js'
import type { StateSetting } from '../session/topic.js'
import type { Tracing } from '../session/tracing.js'
import type { Retention, Store } from '../store/store.js'

/** What the sessions need of their hub. */
export interface SessionsOptions {
  readonly clock: Clock
  readonly random: Random
  readonly catalog: Catalog
  readonly limits: Limits
  readonly store: Store | undefined
  /** Gives the offsets, for this hub and others; there is no store then. */
  readonly log: { readonly log: SharedLog; readonly hub: string } | undefined
  readonly retention: Retention | undefined
  readonly onStore: ((fault: string | undefined) => void) | undefined
  readonly tracing: Tracing | undefined
  /** Those who want to be told of what happens in sessions. */
  readonly notices: ReadonlySet<(notice: Notice) => void>
  readonly expose: StateSetting['expose']
  /** Told that a session, or a list of them, may have something for those who follow it. */
  readonly onDirty: (timeline: Timeline) => void
  /** Told of a lease that a session of an earlier life has. */
  readonly onLease: (session: string, worker: string | undefined, ms: number) => void
  /** As `log`: told what somebody who follows here was given of commands. */
  readonly onDelivered: (session: string, worker: string | undefined, commands: readonly Offset[]) => void
  /** As `log`: told that nothing of a session has to be seen to any more, because it has ended or is gone. */
  readonly onOver: (session: string) => void
  /** Told when a command expires that was sent to a session. Milliseconds since 1970. */
  readonly onCommandDue: (session: string, at: number) => void
  /** Told when a session, or a worker, counts as stuck unless something happens. */
  readonly onStallDue: (session: string, worker: string | undefined, at: number) => void
  /** Told that a session is about to be gone: those who follow it have to leave. */
  readonly onRemoved: (session: Session) => void
  /** Told that what memory has of a session is no good: those who follow it have to come back. */
  readonly onStale: (session: Session) => void
}
