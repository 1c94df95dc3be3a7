import type { Accepts, Entry } from '../history/entry.js'
import type { Offset } from '../protocol/cursor.js'
import type { Subscribe } from '../protocol/frames.js'

/** What is meant of a replay: what follows `after`, up to `until`. */
export interface Span {
  readonly after: Offset
  readonly until: Offset
}

/** What a fresh join gets, in the order of its parts. */
export interface Replayed {
  readonly stored?: StoredPart
  readonly entries: readonly Entry[]
}

/** The beginning of a replay that memory does not hold. */
export interface StoredPart {
  readonly before: readonly Entry[]
  /** In the store: what is accepted after this offset, up to `until`. */
  readonly after: Offset
  readonly until: Offset
  /** What follows this offset is not replayed: it comes live. */
  readonly joined: Offset
  readonly accepts: Accepts
  /** All that is retained; what is replayed by its traits; or what is left of either once a filter was changed. */
  readonly scope: 'all' | 'traits' | 'rest'
  /** It begins where this says, which has to be found out. */
  readonly window?: ReplayWindow
}

/** What a fresh join asks for. */
export interface ReplayScope {
  /** All that is retained, not what the traits say. */
  readonly all: boolean
  readonly window?: ReplayWindow
}

/** The newest events, those since some time, or the newest since then. */
export interface ReplayWindow {
  readonly last?: number
  /** Milliseconds since 1970: it begins with the first event of that time or a later one. */
  readonly since?: number
}

/** @returns the window that a frame asks for; nothing where it asks for none */
export function windowOf({ last, since }: Pick<Subscribe, 'last' | 'since'>): ReplayWindow | undefined {
  if (last === undefined && since === undefined) return undefined
  return { ...(last !== undefined && { last }), ...(since !== undefined && { since }) }
}

/** @returns what is in the window of entries in offset order, and what is left of it for what precedes them */
export function cutTo(
  { last, since }: ReplayWindow,
  entries: readonly Entry[],
): { readonly entries: readonly Entry[]; readonly isWhole: boolean; readonly left: ReplayWindow } {
  const isDue = ({ event, everywhere }: Entry) => everywhere || event.time >= (since ?? 0)
  const first = since === undefined ? 0 : entries.findIndex(isDue)
  const due = first === -1 ? [] : entries.slice(first)
  const isFull = last !== undefined && due.length >= last
  return {
    entries: isFull ? due.slice(-last) : due,
    isWhole: isFull || (first !== 0 && entries.length > 0),
    left: {
      ...(since !== undefined && { since }),
      ...(last !== undefined && { last: last - due.length }),
    },
  }
}
