// Longer than 350 lines: a table, one metric after the other.

import type { HubStats } from '../../hub/stats.js'
import type { HistogramReading } from '../../lib/histogram.js'
import { type CloseCode, closeCodes } from '../../protocol/codes.js'
import type { GapReason } from '../../protocol/frames.js'
import { type Links, linkKinds } from '../links/links.js'
import { noWebhookCounts, type WebhookCounts } from '../webhooks/webhooks.js'

// Reported as 0 before they have happened, which distinguishes "never" from "unknown".
const gapReasons: readonly GapReason[] = ['epoch', 'evicted', 'lagging']
const closeNames = Object.keys(closeCodes) as readonly CloseCode[]

/** One number, or one for each value of a label. */
export type Reading = number | Iterable<readonly [label: string, value: number]>

/** Counts of the server itself. */
export interface ServerCounts {
  /** Answers by status. */
  readonly answers: Map<number, number>
  /** Requests in progress. */
  requests: number
  /** Which of several processes on one port this is, from 1; 0 if it is alone. */
  readonly process: number
  /** Errors of the hub that cost one request, and uncaught ones. */
  requestErrors: number
  uncaughtErrors: number
  readonly webhooks: WebhookCounts
}

export function noServerCounts(process = 0): ServerCounts {
  return {
    process,
    answers: new Map(),
    requests: 0,
    requestErrors: 0,
    uncaughtErrors: 0,
    webhooks: noWebhookCounts(),
  }
}

/** The source of the values of one answer. */
export interface Source extends HubStats {
  readonly links: Links
  readonly counts: ServerCounts
}

interface Named {
  readonly name: string
  readonly help: string
  readonly label?: string
}

export interface Counted extends Named {
  readonly kind: 'counter' | 'gauge'
  read(source: Source): Reading
}

export interface Measured extends Named {
  readonly kind: 'histogram'
  /** Converts the hub's unit to the base unit of Prometheus. */
  readonly scale?: number
  read(source: Source): HistogramReading
}

type MetricDefinition = Counted | Measured

/** The metrics of a hub; `docs/operations/metrics.md` shows the same table. */
export const metricDefinitions: readonly MetricDefinition[] = [
  {
    name: 'runcast_events_published_total',
    help: 'Published events, without duplicates.',
    kind: 'counter',
    read: ({ published }) => published,
  },
  {
    name: 'runcast_events_duplicate_total',
    help: 'Events that were not published again because their id had been published before.',
    kind: 'counter',
    read: ({ duplicates }) => duplicates,
  },
  {
    name: 'runcast_events_delivered_total',
    help: 'Events that were sent to connections, counted for each connection.',
    kind: 'counter',
    read: ({ delivered }) => delivered,
  },
  {
    name: 'runcast_delivered_bytes_total',
    help: 'Bytes of the frames in which events were sent to connections.',
    kind: 'counter',
    read: ({ deliveredBytes }) => deliveredBytes,
  },
  {
    name: 'runcast_events_conflated_total',
    help: 'Events that became part of a later one before they were delivered.',
    kind: 'counter',
    read: ({ conflated }) => conflated,
  },
  {
    name: 'runcast_events_dropped_total',
    help: 'Events that were not delivered: `lagging`, skipped for a subscription that was too slow (counted for each, as far as the hub can tell); `mode`, neither kept nor delivered because of the mode of their session.',
    kind: 'counter',
    label: 'reason',
    read: ({ passedOver, withheld }) => [
      ['lagging', passedOver],
      ['mode', withheld],
    ],
  },
  {
    name: 'runcast_masked_total',
    help: 'Secrets that were masked in published values.',
    kind: 'counter',
    label: 'kind',
    read: ({ masked }) => masked,
  },
  {
    name: 'runcast_redacted_events_total',
    help: 'Events from which redactions removed something. Of the hubs of a log, the one that took the request counts them.',
    kind: 'counter',
    read: ({ redacted }) => redacted,
  },
  {
    name: 'runcast_flush_seconds',
    help: 'The duration of a flush. There is one for each turn of the event loop in which something was published.',
    kind: 'histogram',
    scale: 1 / 1_000,
    read: ({ flushMs }) => flushMs,
  },
  {
    name: 'runcast_flush_events',
    help: 'Events of followed topics in one flush.',
    kind: 'histogram',
    read: ({ flushEvents }) => flushEvents,
  },
  {
    name: 'runcast_encodings_total',
    help: 'Encoded forms of events: for an event one JSON text and one in MessagePack, one SSE block for each topic, one message of a durable stream, whatever the number of subscribers.',
    kind: 'counter',
    label: 'codec',
    read: ({ encodings }) => encodings,
  },
  {
    name: 'runcast_state_comparisons_total',
    help: 'Requested changes of state, each compared once with the previous value.',
    kind: 'counter',
    read: ({ state }) => state.comparisons,
  },
  {
    name: 'runcast_state_updates_total',
    help: 'Published changes of state.',
    kind: 'counter',
    label: 'form',
    read: ({ state }) => [
      ['patch', state.patches],
      ['value', state.values],
      ['removed', state.removals],
    ],
  },
  {
    name: 'runcast_state_patch_bytes_total',
    help: 'Bytes of JSON text of changes of state that were published as patches.',
    kind: 'counter',
    read: ({ state }) => state.patchBytes,
  },
  {
    name: 'runcast_state_value_bytes_total',
    help: 'Bytes of JSON text of changes of state that were published as values.',
    kind: 'counter',
    read: ({ state }) => state.valueBytes,
  },
  {
    name: 'runcast_gaps_total',
    help: 'Gaps that were sent to subscriptions.',
    kind: 'counter',
    label: 'reason',
    read: ({ gaps }) => gapReasons.map((reason) => [reason, gaps.get(reason) ?? 0] as const),
  },
  {
    name: 'runcast_closed_total',
    help: 'Connections that the hub closed.',
    kind: 'counter',
    label: 'code',
    read: ({ closed }) =>
      closeNames.map((name) => [String(closeCodes[name]), closed.get(name) ?? 0] as const),
  },
  {
    name: 'runcast_errors_total',
    help: 'Internal errors of the hub: they ended a `connection`, a `request`, or, if they were not caught (`uncaught`), the process. Each is in the log.',
    kind: 'counter',
    label: 'cost',
    read: ({ faults, counts }) => [
      ['connection', faults],
      ['request', counts.requestErrors],
      ['uncaught', counts.uncaughtErrors],
    ],
  },
  {
    name: 'runcast_answers_total',
    help: 'Answers to HTTP requests; SSE responses are connections.',
    kind: 'counter',
    label: 'status',
    read: ({ counts }) => [...counts.answers].map(([status, count]) => [String(status), count] as const),
  },
  {
    name: 'runcast_requests',
    help: 'HTTP requests that are being answered; publishing waits for the store, and for a body that is still arriving.',
    kind: 'gauge',
    read: ({ counts }) => counts.requests,
  },
  {
    name: 'runcast_connections_opened_total',
    help: 'Connections that were opened.',
    kind: 'counter',
    label: 'transport',
    read: ({ links }) => linkKinds.map((kind) => [kind, links.opened(kind)] as const),
  },
  {
    name: 'runcast_connections',
    help: 'Open connections.',
    kind: 'gauge',
    label: 'transport',
    read: ({ links }) => linkKinds.map((kind) => [kind, links.count(kind)] as const),
  },
  {
    name: 'runcast_sessions',
    help: 'Sessions in memory.',
    kind: 'gauge',
    read: ({ sessions }) => sessions,
  },
  {
    name: 'runcast_subscriptions',
    help: 'Subscriptions of all connections.',
    kind: 'gauge',
    read: ({ subscriptions }) => subscriptions,
  },
  {
    name: 'runcast_subscriptions_lagging',
    help: 'Subscriptions that are catching up from history.',
    kind: 'gauge',
    read: ({ lagging }) => lagging,
  },
  {
    name: 'runcast_backpressure_bytes',
    help: 'Bytes that were written to connections and that the system has not accepted yet.',
    kind: 'gauge',
    read: ({ waitingBytes }) => waitingBytes,
  },
  {
    name: 'runcast_history_events',
    help: 'Events in memory.',
    kind: 'gauge',
    read: ({ history }) => history.events,
  },
  {
    name: 'runcast_history_bytes',
    help: 'Approximate bytes of the JSON text of these events; with their encoded forms they take two to seven times as much.',
    kind: 'gauge',
    read: ({ history }) => history.bytes,
  },
  {
    name: 'runcast_history_evicted_total',
    help: 'Events that were evicted from memory because a lane of their topic was full.',
    kind: 'counter',
    label: 'lane',
    read: ({ history }) => [
      ['critical', history.evictedCritical],
      ['droppable', history.evictedDroppable],
    ],
  },
  {
    name: 'runcast_feeds',
    help: 'Topics seen through one filter, each matched and encoded once.',
    kind: 'gauge',
    read: ({ feeds }) => feeds,
  },
  {
    name: 'runcast_commands_total',
    help: 'Commands that have reached each state: sent ones are delivered once an agent follows them, and finally applied, refused or expired.',
    kind: 'counter',
    label: 'state',
    read: ({ commands }) => Object.entries(commands),
  },
  {
    name: 'runcast_leases',
    help: 'Leases that sessions and workers hold.',
    kind: 'gauge',
    read: ({ leases }) => leases.held,
  },
  {
    name: 'runcast_lost_total',
    help: 'Sessions and workers that were lost because their lease expired.',
    kind: 'counter',
    label: 'what',
    read: ({ leases }) => [
      ['session', leases.lost.sessions],
      ['worker', leases.lost.workers],
    ],
  },
  {
    name: 'runcast_webhook_attempts_total',
    help: 'Attempts to send a message to a webhook: `delivered`, `failed` (no answer, or one that is not 2xx), or `refused` by the hub because of the address.',
    kind: 'counter',
    label: 'outcome',
    read: ({ counts }) => Object.entries(counts.webhooks.attempts),
  },
  {
    name: 'runcast_webhook_dropped_total',
    help: 'Messages that were dropped: tried for a day (`expired`), evicted from a full queue (`full`), or for a webhook that was removed from the config (`gone`).',
    kind: 'counter',
    label: 'reason',
    read: ({ counts }) => Object.entries(counts.webhooks.dropped),
  },
  {
    name: 'runcast_webhook_waiting',
    help: 'Messages that wait to be sent to webhooks.',
    kind: 'gauge',
    read: ({ counts }) => counts.webhooks.waiting,
  },
  {
    name: 'runcast_store_commit_seconds',
    help: 'The duration of a commit of the store, failed ones included; acknowledgements wait for it, delivery does not.',
    kind: 'histogram',
    scale: 1 / 1_000,
    read: ({ store }) => store.commitMs,
  },
  {
    name: 'runcast_store_failures_total',
    help: 'Commits that failed; nothing is lost, because the same batch is tried again.',
    kind: 'counter',
    read: ({ store }) => store.failures,
  },
  {
    name: 'runcast_store_failing',
    help: '1 while the last commit has failed: publishing is refused, and the hub is not ready.',
    kind: 'gauge',
    read: ({ store }) => (store.failing ? 1 : 0),
  },
  {
    name: 'runcast_store_damaged_sessions',
    help: 'Sessions that were found damaged in the store, until they are removed; other sessions are not affected.',
    kind: 'gauge',
    read: ({ store }) => store.damagedSessions,
  },
  {
    name: 'runcast_store_waiting_sessions',
    help: 'Sessions with changes that are not stored yet.',
    kind: 'gauge',
    read: ({ store }) => store.waitingSessions,
  },
  {
    name: 'runcast_store_waiting_bytes',
    help: 'Approximate bytes of these changes; beyond `uncommittedBytesMax` publishing is refused.',
    kind: 'gauge',
    read: ({ store }) => store.waitingBytes,
  },
  {
    name: 'runcast_store_sessions',
    help: 'Sessions in the store.',
    kind: 'gauge',
    read: ({ store }) => store.kept.sessions,
  },
  {
    name: 'runcast_store_events',
    help: 'Events in the store.',
    kind: 'gauge',
    read: ({ store }) => store.kept.events,
  },
  {
    name: 'runcast_store_bytes',
    help: 'Bytes of these events as they are stored.',
    kind: 'gauge',
    read: ({ store }) => store.kept.bytes,
  },
  {
    name: 'runcast_process',
    help: 'The number of the process of `--processes` that has answered, from 1; 0 if there is only one.',
    kind: 'gauge',
    read: ({ counts }) => counts.process,
  },
  {
    name: 'runcast_log_appends_total',
    help: 'Batches that this hub has appended to the log that it shares with others.',
    kind: 'counter',
    read: ({ log }) => log.appends,
  },
  {
    name: 'runcast_log_bytes_total',
    help: 'Bytes of these batches.',
    kind: 'counter',
    read: ({ log }) => log.bytes,
  },
  {
    name: 'runcast_log_faults_total',
    help: 'Faults of the log: a `call` failed, a `connection` ended, a `feed` was found dead.',
    kind: 'counter',
    label: 'what',
    read: ({ log }) => [
      ['call', log.failures],
      ['connection', log.reconnects],
      ['feed', log.deadFeeds],
    ],
  },
  {
    name: 'runcast_log_repairs_total',
    help: 'How often batches of a session were read again because the feed may have lost some.',
    kind: 'counter',
    read: ({ log }) => log.broken,
  },
  {
    name: 'runcast_log_failing',
    help: '1 while the log cannot be reached or followed for more than ten seconds: the hub is not ready.',
    kind: 'gauge',
    read: ({ log }) => (log.failing ? 1 : 0),
  },
  {
    name: 'runcast_log_followed_sessions',
    help: 'Sessions of the log that this hub follows.',
    kind: 'gauge',
    read: ({ log }) => log.followed,
  },
  {
    name: 'runcast_log_feed_seconds',
    help: 'How long the newest test message took from its publishing until the feed returned it.',
    kind: 'gauge',
    read: ({ log }) => log.feedMs / 1_000,
  },
  {
    name: 'runcast_log_packed_total',
    help: 'Idle sessions whose batches this hub has packed into one block.',
    kind: 'counter',
    read: ({ log }) => log.packed,
  },
]
