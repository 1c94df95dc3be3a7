import type { JsonValue } from '../lib/json.js'
import type { Offset } from '../protocol/cursor.js'
import type {
  Cause,
  GapNotice,
  GapReason,
  HubEvent,
  Mode,
  PatchOperation,
  Unsubscribed,
} from '../protocol/frames.js'

/** One change of one slice. */
export interface StateChange {
  /** In `sessions/{s}/**` a worker's slice is named `workers/{w}/{slice}`. */
  readonly slice: string
  /** The new value; absent when the slice was removed. */
  readonly value?: JsonValue
  /** The patch from the previous value, if the hub sent one. */
  readonly patch?: readonly PatchOperation[]
  readonly cause?: Cause
  readonly offset: Offset
}

/** Lost events: the hub no longer has them, or the client could not read them. */
export interface Loss extends Omit<GapNotice, 'reason'> {
  readonly reason: GapReason | 'unreadable'
}

/** The topic and filter of a view. */
export interface Interest {
  readonly topic: string
  readonly types?: readonly string[]
  readonly mode?: Mode
  readonly slices?: readonly string[]
  readonly replay?: boolean | 'all'
  readonly last?: number
  readonly since?: number
}

/** The callbacks of a view. */
export interface ViewEvents {
  /** `replayed`: the event was retained from before the join. */
  event(event: HubEvent, replayed: boolean): void
  gap(gap: Loss): void
  live(): void
  /** `change` is absent when the whole state was replaced by a snapshot. */
  state(change: StateChange | undefined): void
  ended(code: Unsubscribed['code'], reason: string): void
  /** The stream does not continue at the view's position: it must subscribe again from there. */
  diverged(): void
  /** An update of the state has a base that the mirror does not have. */
  needsSnapshot(): void
}
