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
  /** How the new value was made out of the one before, where the hub said it so. */
  readonly patch?: readonly PatchOperation[]
  readonly cause?: Cause
  readonly offset: Offset
}

/** What is lost: the hub does not have it any more, or what brought it cannot be read here. */
export interface Loss extends Omit<GapNotice, 'reason'> {
  readonly reason: GapReason | 'unreadable'
}

/** What a view shows. */
export interface Interest {
  readonly topic: string
  readonly types?: readonly string[]
  readonly mode?: Mode
  readonly slices?: readonly string[]
  readonly replay?: boolean | 'all'
  readonly last?: number
  readonly since?: number
}

/** What the owner of a view is told. */
export interface ViewEvents {
  /** `replayed`: retained from before the join. */
  event(event: HubEvent, replayed: boolean): void
  gap(gap: Loss): void
  live(): void
  /** `change` is absent when the whole state was replaced by a snapshot. */
  state(change: StateChange | undefined): void
  ended(code: Unsubscribed['code'], reason: string): void
  /** The stream does not continue where the view is: it must subscribe again from its position. */
  diverged(): void
  /** An update of the state builds on something that the mirror does not have. */
  needsSnapshot(): void
}
