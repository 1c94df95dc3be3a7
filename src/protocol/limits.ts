/** One bound: its value and unit, what it guards, and what exceeding it does. */
interface Limit {
  readonly value: number
  readonly unit: string
  readonly guards: string
  readonly exceeding: string
}

const kib = 1024
const mib = 1024 * kib

/** Every bound of the hub. `docs/operations/limits.md` shows the same table; a test compares them. */
export const limitTable = {
  frameBytesMax: {
    value: mib,
    unit: 'bytes',
    guards: 'one WebSocket frame, one JSON or MessagePack body, one event',
    exceeding: 'closed with 4504, or 413',
  },
  lineBytesMax: {
    value: mib,
    unit: 'bytes',
    guards: 'one line of an NDJSON body',
    exceeding: '413, with the line',
  },
  depthMax: { value: 64, unit: 'levels', guards: 'nesting of a JSON value', exceeding: 'badFrame' },
  idLengthMax: {
    value: 128,
    unit: 'characters',
    guards: 'ids of sessions and workers',
    exceeding: 'badFrame',
  },
  typeLengthMax: { value: 128, unit: 'characters', guards: 'event types', exceeding: 'badFrame' },
  eventIdLengthMax: {
    value: 256,
    unit: 'characters',
    guards: "a producer's event id, key or ref",
    exceeding: 'badFrame',
  },
  publishEventsMax: {
    value: 10_000,
    unit: 'events',
    guards: 'one publish frame or one array body',
    exceeding: 'badFrame',
  },
  patchOperationsMax: { value: 10_000, unit: 'operations', guards: 'one JSON patch', exceeding: 'badFrame' },
  patchWorkMax: {
    value: 32 * mib,
    unit: 'bytes copied and items shifted',
    guards: 'applying one JSON patch',
    exceeding: 'badFrame',
  },
  sliceBytesMax: { value: mib, unit: 'bytes', guards: 'the value of one slice', exceeding: '413' },
  slicesMax: {
    value: 1_000,
    unit: 'slices',
    guards: 'one topic, and the removed slices that it remembers',
    exceeding: 'conflict; the removal of longest ago is forgotten',
  },
  stateBytesMax: { value: 16 * mib, unit: 'bytes', guards: 'all slices of one topic', exceeding: 'conflict' },
  tokenLengthMax: { value: 8_192, unit: 'characters', guards: 'one token', exceeding: 'badFrame' },
  subscriptionsMax: {
    value: 10_000,
    unit: 'subscriptions',
    guards: 'one connection',
    exceeding: 'error conflict',
  },
  filterTypesMax: { value: 64, unit: 'names', guards: '`types` of one filter', exceeding: 'badFrame' },
  filterSlicesMax: { value: 64, unit: 'names', guards: '`slices` of one filter', exceeding: 'badFrame' },
  streamTopicsMax: { value: 100, unit: 'topics', guards: 'one `GET /api/stream`', exceeding: 'badFrame' },
  connectionsMax: { value: 100_000, unit: 'connections', guards: 'the hub', exceeding: '503' },
  sessionsMax: { value: 200_000, unit: 'sessions', guards: 'the hub', exceeding: 'unavailable' },
  workersMax: { value: 10_000, unit: 'workers', guards: 'one session', exceeding: 'conflict' },
  backpressureBytesMax: {
    value: 256 * kib,
    unit: 'bytes',
    guards: 'what waits to be sent to one connection',
    exceeding: 'the connection lags and continues from history',
  },
  laneEventsMax: {
    value: 1_000,
    unit: 'events',
    guards: 'each lane of one topic’s history',
    exceeding: 'the oldest of the lane is evicted',
  },
  historyBytesMax: {
    value: mib,
    unit: 'bytes',
    guards: 'one topic’s history',
    exceeding: 'the oldest droppable events are evicted, then the oldest critical ones',
  },
  pinnedMax: {
    value: 1_000,
    unit: 'events',
    guards: 'latest-per-key events of one topic',
    exceeding: 'the one replaced longest ago is forgotten',
  },
  publishIdsMax: {
    value: 10_000,
    unit: 'ids',
    guards: 'the window of idempotent publishing of one session',
    exceeding: 'the oldest id is forgotten',
  },
  pendingEventsMax: {
    value: 1_024,
    unit: 'events',
    guards: 'what one session publishes within a turn',
    exceeding: 'flushed before the turn ends',
  },
  endedRetentionMs: {
    value: 3_600_000,
    unit: 'ms',
    guards: 'how long a session stays after its end',
    exceeding: 'removed',
  },
  unkeptBytesMax: {
    value: 64 * mib,
    unit: 'bytes',
    guards: 'what was published and is not in the store yet',
    exceeding: 'unavailable',
  },
  idleSessionsMax: {
    value: 1_000,
    unit: 'sessions',
    guards: 'sessions in memory that nobody follows and that the store has whole',
    exceeding: 'the one idle longest leaves memory, and comes back when it is asked for',
  },
  restoredEventsMax: {
    value: 2_000,
    unit: 'events',
    guards: 'what a session brings back into memory; older events are read from the store',
    exceeding: 'the oldest stay in the store',
  },
  handshakeMs: { value: 10_000, unit: 'ms', guards: 'headers of a request', exceeding: 'closed' },
  heartbeatMs: {
    value: 25_000,
    unit: 'ms',
    guards: 'silence of a WebSocket',
    exceeding: 'ping; at twice, closed with 4002',
  },
  stalledMs: {
    value: 120_000,
    unit: 'ms',
    guards: 'silence of a WebSocket that has not read what waits for it',
    exceeding: 'closed with 4002',
  },
  shutdownMs: {
    value: 10_000,
    unit: 'ms',
    guards: 'how long it takes to stop',
    exceeding: 'what is still open is cut; `--shutdown-ms` says otherwise',
  },
  spreadMs: {
    value: 3_000,
    unit: 'ms',
    guards: 'telling the clients that the hub stops, 1 ms for each',
    exceeding: 'more of them are told at a time',
  },
  retryMs: {
    value: 2_000,
    unit: 'ms',
    guards:
      'how soon an SSE client that was cut comes back; at a stop every client, by half of it sooner or later',
    exceeding: 'told to the client in `retry:` or `closing`',
  },
  keepaliveMs: {
    value: 15_000,
    unit: 'ms',
    guards: 'silence of an SSE response',
    exceeding: 'a comment is sent',
  },
} as const satisfies Record<string, Limit>

export type LimitName = keyof typeof limitTable

/** The values alone; `createHub({ limits })` may change any of them. */
export type Limits = { readonly [name in LimitName]: number }

export const defaultLimits: Limits = Object.fromEntries(
  Object.entries(limitTable).map(([name, limit]) => [name, limit.value]),
) as { [name in LimitName]: number }
