import type { Codecs } from '../codec/codecs.js'
import type { Connection } from '../delivery/connection.js'
import type { Feeds } from '../delivery/feeds.js'
import type { Delivery } from '../delivery/flush.js'
import type { HistoryTotals } from '../history/history.js'
import type { HistogramReading } from '../lib/histogram.js'
import type { CloseCode } from '../protocol/codes.js'
import type { GapNotice, GapReason } from '../protocol/frames.js'
import { noStore, type StoreStats } from '../sessions/committing.js'
import type { Sessions } from '../sessions/sessions.js'
import type { StateCounts } from '../state/topic-state.js'

/** Figures since the hub was made, and what is open now. */
export interface HubStats {
  readonly published: number
  readonly duplicates: number
  readonly delivered: number
  readonly deliveredBytes: number
  /** Events that became part of another before they were delivered. */
  readonly conflated: number
  /** Events that were passed over because a subscription lagged, once for each, as far as the hub can tell. */
  readonly passedOver: number
  /** Events that nobody got because their session's mode does not carry them. */
  readonly withheld: number
  readonly flushMs: HistogramReading
  readonly flushEvents: HistogramReading
  readonly encodings: ReadonlyMap<string, number>
  readonly sessions: number
  readonly connections: number
  readonly subscriptions: number
  /** Subscriptions that are not in step. */
  readonly lagging: number
  readonly feeds: number
  readonly gaps: ReadonlyMap<GapReason, number>
  readonly closed: ReadonlyMap<CloseCode, number>
  /** Connections that the hub's own mistakes have cost. */
  readonly faults: number
  /** What waits to be sent, over all connections. Bytes. */
  readonly waitingBytes: number
  /** What memory holds of all sessions' events. */
  readonly history: Readonly<HistoryTotals>
  /** What history and state weigh in memory. */
  readonly memoryBytes: number
  /** Without the slices that the hub keeps itself. */
  readonly state: Readonly<StateCounts>
  readonly store: StoreStats
}

/** Counts what no part of the hub counts for itself. */
export class Tally {
  published = 0
  duplicates = 0
  passedOver = 0
  faults = 0
  readonly gaps = new Map<GapReason, number>()
  readonly closed = new Map<CloseCode, number>()

  gap({ reason, dropped = 0 }: GapNotice): void {
    this.gaps.set(reason, (this.gaps.get(reason) ?? 0) + 1)
    this.passedOver += dropped
  }

  close(code: CloseCode): void {
    this.closed.set(code, (this.closed.get(code) ?? 0) + 1)
  }
}

export interface Counted {
  readonly tally: Tally
  readonly connections: ReadonlySet<Connection>
  readonly sessions: Sessions
  readonly delivery: Delivery
  readonly codecs: Codecs
  readonly feeds: Feeds
}

/** Reads all figures at one moment; walks through the connections. */
export function statsOf({ tally, connections, sessions, delivery, codecs, feeds }: Counted): HubStats {
  let subscriptions = 0
  let lagging = 0
  let waitingBytes = 0
  for (const connection of connections) {
    subscriptions += connection.subscriptions.size
    lagging += connection.lagging
    waitingBytes += connection.link.waiting
  }
  return {
    published: tally.published,
    duplicates: tally.duplicates,
    delivered: delivery.delivered,
    deliveredBytes: delivery.deliveredBytes,
    conflated: delivery.conflated,
    passedOver: tally.passedOver,
    withheld: sessions.withheld,
    flushMs: delivery.flushMs.read(),
    flushEvents: delivery.flushEvents.read(),
    encodings: codecs.encodings(),
    sessions: sessions.size,
    connections: connections.size,
    subscriptions,
    lagging,
    feeds: feeds.size,
    gaps: tally.gaps,
    closed: tally.closed,
    faults: tally.faults,
    waitingBytes,
    history: { ...sessions.totals },
    memoryBytes: sessions.capacity.bytes,
    state: { ...sessions.stateCounts },
    store: sessions.committing?.stats() ?? noStore,
  }
}
