import type { Result } from '../catalog/traits.js'
import type { HistoryLimits, HistoryTotals } from '../history/history.js'
import type { Clock } from '../lib/clock.js'
import type { JsonValue } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import type { Cause } from '../protocol/frames.js'
import type { Change, Moment, TopicState } from '../state/topic-state.js'
import type { CommandCounts } from './commands.js'
import type { JournalSetting } from './journal.js'
import type { Notice } from './notice.js'
import type { StallLimits } from './stall.js'
import type { SharedPast } from './timeline.js'
import type { OwnTopic, StateSetting } from './topic.js'

/** `waiting`: it is followed, but nothing has been published yet. */
export type SessionStatus = 'waiting' | 'running' | 'paused' | 'ended'

/** A requested change of a slice. */
export interface Intent {
  readonly topic: OwnTopic
  readonly slice: string
  /** Milliseconds since 1970. */
  readonly now: number
  readonly cause?: Cause | undefined
  readonly mask?: Moment['mask']
  /** Makes the change, or throws without having changed anything. */
  readonly make: (state: TopicState, moment: Moment) => Change
}

/** Dependencies of a session. */
export interface SessionSetting {
  readonly limits: HistoryLimits &
    StallLimits & { readonly publishIdsMax: number; readonly commandTtlMs: number }
  readonly state: StateSetting
  /** The totals of the histories of all sessions. */
  readonly totals: HistoryTotals
  /** The counts of the commands of all sessions. */
  readonly commandCounts: CommandCounts
  /** Those who want to be told of what happens; nothing is made for nobody. */
  readonly notices: ReadonlySet<(notice: Notice) => void>
  /** Absent without a store. */
  readonly journal: JournalSetting | undefined
  /** For leases, commands and stalls, which have their time: it does not believe a wall clock that is set ahead (`withoutJumpsAhead`). */
  readonly steady: Clock
  /** Present if a log assigns the offsets. */
  readonly past?: SharedPast
  /** As `past`: somebody follows who was given commands. All hubs have to be told before anything is changed. */
  readonly delivered?: (session: string, worker: string | undefined, commands: readonly Offset[]) => void
  /** As `past`: a hub has counted watchers anew. */
  readonly watchersChanged?: (session: string) => void
  /** Called when the session's mode has withheld an event. */
  withheld(): void
  /** Called when the session's entry in the list of sessions has changed. */
  listChanged(session: string): void
  /** Called after a sign of life, which the list shows at some time. */
  listTouched(session: string, now: number): void
  /** Called with the time when a command expires, unless it has a final state by then. Milliseconds since 1970. */
  commandDue(session: string, at: number): void
  /** Called with the time when it expires as a durable stream, unless it is read or written. Milliseconds since 1970. */
  streamDue(session: string, at: number): void
  /** Called with the time when it, or a worker, counts as stalled unless something happens. */
  stallDue(session: string, worker: string | undefined, at: number): void
}

/** The arguments of ending a session. */
export interface EndOptions {
  readonly outcome?: JsonValue | undefined
  readonly result?: Result | undefined
  readonly reason?: string | undefined
}
