import type { Accepts, Entry } from '../history/entry.js'
import type { Offset } from '../protocol/cursor.js'
import type { Subscribe } from '../protocol/frames.js'

/** A part of a replay: the events after `after`, up to `until`. */
export interface Span {
  readonly after: Offset
  readonly until: Offset
}

/** The replay of a fresh join, in the order of its parts. */
export interface Replayed {
  readonly stored?: StoredPart
  readonly entries: readonly Entry[]
}

/** The beginning of a replay, which is not in memory. */
export interface StoredPart {
  readonly before: readonly Entry[]
  /** In the store: the accepted events after this offset, up to `until`. */
  readonly after: Offset
  readonly until: Offset
  /** Events after this offset are not replayed, but delivered live. */
  readonly joined: Offset
  readonly accepts: Accepts
  /** All retained events; those replayed by their traits; or the rest of either after a change of the filter. */
  readonly scope: 'all' | 'traits' | 'rest'
  /** The window that determines the beginning, which has to be looked up. */
  readonly window?: ReplayWindow
}

/** The replay that a fresh join requests. */
export interface ReplayScope {
  /** All retained events, regardless of their traits. */
  readonly all: boolean
  readonly window?: ReplayWindow
}

/** The newest events, those since some time, or the newest since then. */
export interface ReplayWindow {
  readonly last?: number
  /** Milliseconds since 1970: the window begins with the first event of that time or later. */
  readonly since?: number
}

/** @returns the window of a frame; undefined if it has none */
export function windowOf({ last, since }: Pick<Subscribe, 'last' | 'since'>): ReplayWindow | undefined {
  if (last === undefined && since === undefined) return undefined
  return { ...(last !== undefined && { last }), ...(since !== undefined && { since }) }
}

/** @returns the entries in the window, and the rest of the window for the events before them */
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
