import type { Entry } from '../history/entry.js'
import { type Epoch, type Offset, start } from '../protocol/cursor.js'
import type { HubEvent } from '../protocol/frames.js'
import type { StateRoom } from '../state/room.js'
import type { Following } from './audience.js'
import type { Journal } from './journal.js'

/** The id of the timeline of the topic `hub`, which is not a valid id of a session. */
export const hubTimeline = '$hub'

/** What a hub knows about the past of a session in a shared log. */
export interface SharedPast {
  /** The offset at which the hub opened the session; it does not know slices removed earlier. */
  readonly openedAt: Offset
  /** Events up to here may be missing in the log. */
  readonly trimmed: Offset
  /** As in `Journal`: memory has no events up to here. */
  readonly floor: Offset
  /** @returns the range of offsets around this one that was lost, if it is in one */
  lostAt(offset: Offset): { readonly after: Offset; readonly until: Offset } | undefined
}

/** The past of a session that has not been opened yet. */
export const noPast: SharedPast = { openedAt: start, trimmed: start, floor: start, lostAt: () => undefined }

/** The owner of the offsets of its topics: a session, or a list of sessions. */
export interface Timeline {
  readonly id: string
  readonly epoch: Epoch
  /** The offset of the newest event. */
  readonly offset: Offset
  readonly status: 'waiting' | 'running' | 'paused' | 'ended'
  /** The `complete` of a session that has ended. */
  readonly completion: Entry | undefined
  /** The memory for the state of its topics. */
  readonly room: StateRoom
  /** Its uncommitted changes; absent without a store. */
  readonly journal: Journal | undefined
  /** Present if a log assigns the offsets. */
  readonly past: SharedPast | undefined
  /** The reserved slices are followed and out of date. */
  readonly needsRefresh: boolean
  /** Updates the reserved slices. @param now milliseconds since 1970 */
  refresh(now: number): void
  /** @returns whether a later attempt at its step has superseded a stored event */
  supersedes(event: Pick<HubEvent, 'attempt' | 'worker'>): boolean
  /** The followers of its topics; undefined if there are none. */
  readonly following: Following | undefined
  /** Set by delivery when the first of its topics gets an audience, and unset when the last one loses it. */
  setFollowing(following: Following | undefined): void
}
