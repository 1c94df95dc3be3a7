import type { Codecs } from '../codec/codecs.js'
import type { Delivery, SubscriptionCounts } from '../delivery/delivery.js'
import type { HistoryTotals } from '../history/history.js'
import type { HistogramReading } from '../lib/histogram.js'
import { type LogStats, noLog } from '../log/shared-log.js'
import type { Masking } from '../mask/masking.js'
import type { CloseCode } from '../protocol/codes.js'
import type { Offset } from '../protocol/cursor.js'
import type { GapReason } from '../protocol/frames.js'
import type { CommandCounts } from '../session/commands.js'
import type { Session } from '../session/session.js'
import type { Leases } from '../sessions/due/leases.js'
import type { Submitting } from '../sessions/log/submitting.js'
import type { Publishing } from '../sessions/publishing.js'
import type { Redacting } from '../sessions/redact/redacting.js'
import type { Sessions } from '../sessions/sessions.js'
import { noStore, type StoreStats } from '../sessions/stored/store-stats.js'
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
  readonly commands: Readonly<CommandCounts>
  /** Leases that are held, and those that ran out. */
  readonly leases: {
    readonly held: number
    readonly lost: { readonly sessions: number; readonly workers: number }
  }
  /** Without the slices that the hub keeps itself. */
  readonly state: Readonly<StateCounts>
  /** Secrets that were masked, by kind. */
  readonly masked: ReadonlyMap<string, number>
  /** Events that redactions through this hub have changed. */
  readonly redacted: number
  readonly store: StoreStats
  /** Of the log that several hubs share. */
  readonly log: LogStats & { readonly failing: boolean }
}

/** How many follow a session, and what memory holds of it. */
export interface SessionMeasures extends SubscriptionCounts {
  /** Retained events of all its topics, and about the bytes of their JSON text. */
  readonly history: {
    readonly events: number
    readonly bytes: number
    /** Events that are retained no more, where there is no store. */
    readonly evicted?: number
    /** What the store has kept no more: events up to this offset. */
    readonly trimmed?: Offset
  }
}

export interface Counted {
  readonly sessions: Sessions
  readonly publishing: Publishing
  readonly submitting: Submitting | undefined
  readonly delivery: Delivery
  readonly codecs: Codecs
  readonly leases: Leases
  readonly masking: Masking | undefined
  readonly redacting: Redacting
  readonly log: { readonly stats?: LogStats | undefined; readonly failing: boolean }
}

/** Reads all figures at one moment; walks through the connections. */
export function statsOf({
  sessions,
  publishing,
  submitting,
  delivery,
  codecs,
  leases,
  masking,
  redacting,
  log,
}: Counted): HubStats {
  const { connections, counts, feeds, flush } = delivery
  const { published, duplicates } = submitting?.counts ?? publishing.counts
  let subscriptions = 0
  let lagging = 0
  let waitingBytes = 0
  for (const connection of connections.values()) {
    subscriptions += connection.size
    lagging += connection.lagging
    waitingBytes += connection.link.waiting
  }
  return {
    published,
    duplicates,
    delivered: counts.delivered,
    deliveredBytes: counts.deliveredBytes,
    conflated: counts.conflated,
    passedOver: counts.passedOver,
    withheld: sessions.withheld,
    flushMs: flush.ms.read(),
    flushEvents: flush.events.read(),
    encodings: codecs.encodings(),
    sessions: sessions.size,
    connections: connections.size,
    subscriptions,
    lagging,
    feeds: feeds.size,
    gaps: counts.gaps,
    closed: counts.closed,
    faults: counts.faults,
    waitingBytes,
    history: { ...sessions.totals },
    memoryBytes: sessions.capacity.bytes,
    commands: { ...sessions.commandCounts },
    leases: { held: leases.size, lost: { ...publishing.lost } },
    state: { ...sessions.stateCounts },
    masked: masking?.counts ?? new Map(),
    redacted: redacting.redacted,
    store: sessions.committing?.stats() ?? noStore,
    log: { ...noLog, ...log.stats, failing: log.failing },
  }
}

export function measure(session: Session, subscriptions: SubscriptionCounts): SessionMeasures {
  const history = { events: 0, bytes: 0 }
  for (const { length, bytes } of session.histories()) {
    history.events += length
    history.bytes += bytes
  }
  const { journal } = session
  const evicted = journal === undefined ? session.evicted : 0
  return {
    ...subscriptions,
    history: {
      ...history,
      ...(evicted > 0 && { evicted }),
      ...(journal !== undefined && journal.trimmed > 0 && { trimmed: journal.trimmed }),
    },
  }
}
