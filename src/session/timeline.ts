import type { Entry } from '../history/entry.js'
import { type Epoch, type Offset, start } from '../protocol/cursor.js'
import type { HubEvent } from '../protocol/frames.js'
import type { StateRoom } from '../state/room.js'
import type { Following } from './audience.js'
import type { Journal } from './journal.js'

/** The id of what owns the offsets of the topic `hub`; no session can have it. */
export const hubTimeline = '$hub'

/** What a hub knows of a past that a log keeps for several hubs. */
export interface SharedPast {
  /** Where the hub took the session up: what was removed before it does not know. */
  readonly openedAt: Offset
  /** Droppable events up to here may be missing. */
  readonly floor: Offset
  /** @returns the range of offsets around this one that was lost, if it is in one */
  lostAt(offset: Offset): { readonly after: Offset; readonly until: Offset } | undefined
}

/** Of a session that was not opened yet. */
export const noPast: SharedPast = { openedAt: start, floor: start, lostAt: () => undefined }

/** What gives the events of its topics their offsets: a session, or a list of sessions. */
export interface Timeline {
  readonly id: string
  readonly epoch: Epoch
  /** The offset of the newest event. */
  readonly offset: Offset
  readonly status: 'waiting' | 'running' | 'paused' | 'ended'
  /** The `complete` of a session that has ended. */
  readonly completion: Entry | undefined
  /** What the state of its topics takes of the memory. */
  readonly room: StateRoom
  /** Between it and the store; absent where nothing is stored. */
  readonly journal: Journal | undefined
  /** Present where a log gives the offsets. */
  readonly past: SharedPast | undefined
  /** Somebody follows the slices that the hub keeps, and they do not say yet what has happened. */
  readonly needsRefresh: boolean
  /** Brings the slices that the hub keeps up to date. @param now milliseconds since 1970 */
  refresh(now: number): void
  /** @returns whether a later attempt at its step has taken the place of a stored event */
  supersedes(event: Pick<HubEvent, 'attempt' | 'worker'>): boolean
  /** Who follows any of its topics; nothing while nobody does. */
  readonly following: Following | undefined
  /** Delivery says who follows it: with the first of its topics that gets an audience, until the last one loses it. */
  setFollowing(following: Following | undefined): void
}
