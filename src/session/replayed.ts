import type { Accepts, Entry } from '../history/entry.js'
import type { Offset } from '../protocol/cursor.js'

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
}
