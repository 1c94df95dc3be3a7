import type { Result } from '../catalog/traits.js'
import type { HistoryLimits, HistoryTotals } from '../history/history.js'
import type { JsonValue } from '../lib/json.js'
import type { Cause } from '../protocol/frames.js'
import type { Change, Moment, TopicState } from '../state/topic-state.js'
import type { CommandCounts } from './commands.js'
import type { JournalSetting } from './journal.js'
import type { Notice } from './notice.js'
import type { StallLimits } from './stall.js'
import type { SharedPast } from './timeline.js'
import type { OwnTopic, StateSetting } from './topic.js'

/** `waiting`: somebody follows it, but nothing was published yet. */
export type SessionStatus = 'waiting' | 'running' | 'paused' | 'ended'

/** A change of a slice that is still to be made. */
export interface Intent {
  readonly topic: OwnTopic
  readonly slice: string
  /** Milliseconds since 1970. */
  readonly now: number
  readonly cause?: Cause | undefined
  /** Makes the change. Throws when it cannot, and has changed nothing then. */
  readonly make: (state: TopicState, moment: Moment) => Change
}

/** What a session needs of its hub. */
export interface SessionSetting {
  readonly limits: HistoryLimits &
    StallLimits & { readonly publishIdsMax: number; readonly commandTtlMs: number }
  readonly state: StateSetting
  /** Of the histories of all sessions. */
  readonly totals: HistoryTotals
  /** Of the commands of all sessions. */
  readonly commandCounts: CommandCounts
  /** Those who want to be told of what happens; nothing is made for nobody. */
  readonly notices: ReadonlySet<(notice: Notice) => void>
  /** Absent where there is no store. */
  readonly journal: JournalSetting | undefined
  /** Present where a log gives the offsets. */
  readonly past?: SharedPast
  /** The session's mode has kept an event from everybody. */
  withheld(): void
  /** Something has changed that the list of sessions shows of this one. */
  listChanged(session: string): void
  /** It was heard of again: the list says so some time. */
  listTouched(session: string, now: number): void
  /** A command that was sent to it expires then, unless it has its final state. Milliseconds since 1970. */
  commandDue(session: string, at: number): void
  /** It, or a worker, counts as stuck then, unless something happens. */
  stallDue(session: string, worker: string | undefined, at: number): void
}

/** What whoever ends a session says of it. */
export interface SaidEnding {
  readonly outcome?: JsonValue | undefined
  readonly result?: Result | undefined
  readonly reason?: string | undefined
}
