// Longer than 350 lines: a table, one entry for each limit.

import { tokenLengthMax } from './token.js'

/** One bound: its value and unit, what it guards, and what exceeding it does. */
interface Limit {
  readonly value: number
  readonly unit: string
  readonly guards: string
  readonly exceeding: string
  /** Nobody can change it: it is the transport's. */
  readonly fixed?: true
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
  bodiesBytesMax: {
    value: 64 * mib,
    unit: 'bytes',
    guards: 'what has come of all bodies and lines that are not complete yet',
    exceeding: 'unavailable for who holds most, beginning with what has been silent longest',
  },
  bodiesSilenceMs: {
    value: 5_000,
    unit: 'ms',
    guards: 'silence in a body of which something is held, while more than half of `bodiesBytesMax` is taken',
    exceeding: 'unavailable, those who hold most first',
  },
  aheadBytesMax: {
    value: 2 * mib,
    unit: 'bytes',
    guards: 'what is read of one NDJSON body before the first of it is stored',
    exceeding: 'the sender is held up',
  },
  headBytesMax: {
    value: 32 * kib,
    unit: 'bytes',
    guards: 'names and values of the headers of one request',
    exceeding: '413; the transport answers 431 to twice this and `urlLengthMax` together',
  },
  urlLengthMax: {
    value: 16 * kib,
    unit: 'characters',
    guards: 'path and query of one request',
    exceeding: '413',
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
  commandBytesMax: { value: 64 * kib, unit: 'bytes', guards: 'one command, or receipt', exceeding: '413' },
  commandsMax: {
    value: 100,
    unit: 'commands',
    guards: 'commands under way to one topic',
    exceeding: 'conflict',
  },
  commandTtlMs: {
    value: 3_600_000,
    unit: 'ms',
    guards: 'how long a command waits for its final state that says no `ttlMs`',
    exceeding: 'expired',
  },
  commandTtlMsMax: {
    value: 7 * 24 * 3_600_000,
    unit: 'ms',
    guards: '`ttlMs` of a command',
    exceeding: 'badFrame',
  },
  stalledCallMs: {
    value: 900_000,
    unit: 'ms',
    guards: 'an open call of a tool; 0: for ever',
    exceeding: '`worker.stalled`',
  },
  stalledSilenceMs: {
    value: 900_000,
    unit: 'ms',
    guards: 'silence of a session or worker that holds a lease; 0: for ever',
    exceeding: '`worker.stalled`',
  },
  stalledRepeats: {
    value: 10,
    unit: 'calls',
    guards: 'the same call of a tool in a row; 0: any number',
    exceeding: '`worker.stalled`',
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
  compareWorkMax: {
    value: 5_000,
    unit: 'operations, or eight list items each',
    guards: 'comparing a value of state with the one before',
    exceeding: 'the update says the whole value',
  },
  sliceBytesMax: { value: mib, unit: 'bytes', guards: 'the value of one slice', exceeding: '413' },
  slicesMax: {
    value: 1_000,
    unit: 'slices',
    guards: 'one topic, and the removed slices that it remembers',
    exceeding: 'conflict; the removal of longest ago is forgotten',
  },
  stateBytesMax: { value: 16 * mib, unit: 'bytes', guards: 'all slices of one topic', exceeding: 'conflict' },
  tokenPatternsMax: {
    value: 256,
    unit: 'patterns',
    guards: '`subscribe`, `publish` or `command` of one token or grant',
    exceeding: 'unauthorized; 500 for what `authorize` says',
  },
  tokensKnownMax: {
    value: 1_000,
    unit: 'tokens',
    guards: 'verified tokens that are remembered, so that they need not be verified again',
    exceeding: 'the one known longest is verified again',
  },
  tokenSkewMs: {
    value: 5_000,
    unit: 'ms',
    guards: 'how far the clocks of the hub and of a token’s issuer may differ',
    exceeding: 'unauthorized',
  },
  keysMax: { value: 64, unit: 'keys', guards: 'the keys for tokens', exceeding: 'the hub does not start' },
  keysBytesMax: {
    value: 256 * kib,
    unit: 'bytes',
    guards: 'one key file or JWK set',
    exceeding: 'the hub does not start; later, the keys from before stay',
  },
  keysFetchMs: {
    value: 5_000,
    unit: 'ms',
    guards: 'fetching a JWK set',
    exceeding: 'the hub does not start; later, the keys from before stay',
  },
  keysMs: {
    value: 60_000,
    unit: 'ms',
    guards: 'the age of the keys for tokens',
    exceeding: 'they are read again; tokens whose key has gone lose their rights',
  },
  authorizeMs: {
    value: 5_000,
    unit: 'ms',
    guards: 'finding out from `authorize`, or at `--authorize-url`, what a request may do',
    exceeding: 'unavailable',
  },
  authorizeBytesMax: {
    value: 64 * kib,
    unit: 'bytes',
    guards: 'one answer from `--authorize-url`',
    exceeding: 'unavailable',
  },
  authorizingMax: {
    value: 1_000,
    unit: 'questions',
    guards: 'what `--authorize-url` is asked at once; what is the same is asked once',
    exceeding: 'unavailable',
  },
  authorizedMax: {
    value: 10_000,
    unit: 'answers',
    guards: 'answers from `--authorize-url` that are remembered for their `maxAge`',
    exceeding: 'the one known longest is asked for again',
  },
  revokedMax: {
    value: 100_000,
    unit: 'ids',
    guards: 'the file of revoked tokens',
    exceeding: 'the hub does not start; later, those revoked before stay so',
  },
  revokedBytesMax: {
    value: 4 * mib,
    unit: 'bytes',
    guards: 'the file of revoked tokens',
    exceeding: 'the hub does not start; later, those revoked before stay so',
  },
  revokedMs: {
    value: 2_000,
    unit: 'ms',
    guards: 'the age of what is known of the file of revoked tokens',
    exceeding: 'it is read again, if it has changed; tokens in it lose their rights',
  },
  ticketMs: { value: 30_000, unit: 'ms', guards: 'the age of a ticket', exceeding: 'unauthorized' },
  ticketsMax: {
    value: 10_000,
    unit: 'tickets',
    guards: 'tickets not used yet',
    exceeding: 'the oldest of who has most is void; 429 for who has most',
  },
  ticketsPerHolderMax: {
    value: 1_000,
    unit: 'tickets',
    guards: 'tickets not used yet of one token’s holder',
    exceeding: '429',
  },
  tokenLengthMax: { value: tokenLengthMax, unit: 'characters', guards: 'one token', exceeding: 'badFrame' },
  subscriptionsMax: {
    value: 10_000,
    unit: 'subscriptions',
    guards: 'one connection',
    exceeding: 'error conflict',
  },
  topicSubscriptionsMax: {
    value: 100,
    unit: 'subscriptions',
    guards: 'one topic on one connection, each with a filter of its own',
    exceeding: 'error conflict',
  },
  topicFeedsMax: {
    value: 1_000,
    unit: 'feeds',
    guards: 'one topic: the different filters through which it is seen',
    exceeding: 'conflict',
  },
  filterTypesMax: { value: 64, unit: 'names', guards: '`types` of one filter', exceeding: 'badFrame' },
  filterSlicesMax: { value: 64, unit: 'names', guards: '`slices` of one filter', exceeding: 'badFrame' },
  streamTopicsMax: { value: 100, unit: 'topics', guards: 'one `GET /api/stream`', exceeding: 'badFrame' },
  streamFramesMax: {
    value: 1_000,
    unit: 'frames',
    guards: 'one `POST /api/stream/{connection}`',
    exceeding: 'badFrame',
  },
  cursorSessionsMax: {
    value: 1_000,
    unit: 'sessions',
    guards: 'one combined cursor',
    exceeding: 'taken for a foreign one: a gap',
  },
  pageItemsMax: {
    value: 1_000,
    unit: 'items',
    guards: 'one page of events or sessions',
    exceeding: 'badFrame',
  },
  pageBytesMax: {
    value: mib,
    unit: 'bytes',
    guards: 'one page of events, beside its last one',
    exceeding: 'the page ends, and `next` goes on',
  },
  historyLooksMax: {
    value: 20_000,
    unit: 'events',
    guards:
      'what one request for a page of history looks at, and a join at the newest events, whatever it finds',
    exceeding: 'the page ends, and `next` goes on; the join begins there',
  },
  searchLengthMax: { value: 256, unit: 'characters', guards: '`q`', exceeding: 'badFrame' },
  searchWorkMax: {
    value: 32 * mib,
    unit: 'characters, times the instructions of a regular expression',
    guards: 'what one request searches; a single event takes at most a thirty-second of it',
    exceeding: 'the page ends, and `next` goes on; the rest of the event is not searched',
  },
  connectionsMax: { value: 100_000, unit: 'connections', guards: 'the hub', exceeding: '503' },
  connectionsPerAddressMax: {
    value: 20_000,
    unit: 'connections',
    guards: 'one address, or all who come through one proxy that is not trusted',
    exceeding: '429',
  },
  idleLinksMax: {
    value: 1_000,
    unit: 'links',
    guards:
      'links open beside the connections: requests under way, and links that have not asked for anything',
    exceeding: 'cut without an answer',
  },
  frameRateMax: {
    value: 5_000,
    unit: 'frames a second',
    guards: 'what one WebSocket sends on average, pings and pongs included',
    exceeding: 'closed with 4004',
  },
  frameBurstMax: {
    value: 20_000,
    unit: 'frames',
    guards: 'what one WebSocket sends at once, pings and pongs included',
    exceeding: 'closed with 4004',
  },
  byteRateMax: {
    value: 16 * mib,
    unit: 'bytes a second',
    guards: 'what one WebSocket sends on average',
    exceeding: 'closed with 4004',
  },
  byteBurstMax: {
    value: 64 * mib,
    unit: 'bytes',
    guards: 'what one WebSocket sends at once',
    exceeding: 'closed with 4004',
  },
  bodyRateMax: {
    value: 256 * mib,
    unit: 'bytes a second',
    guards: 'what comes in bodies with one token, or from one address without any, on average',
    exceeding: 'they are held up, and take turns',
  },
  bodyBurstMax: {
    value: 1_024 * mib,
    unit: 'bytes',
    guards: 'what comes in bodies with one token, or from one address without any, at once',
    exceeding: 'they are held up, and take turns',
  },
  bodyWaitMs: {
    value: 5_000,
    unit: 'ms',
    guards: 'how long a body that is no stream of lines waits for its turn',
    exceeding: '429 with `Retry-After`',
  },
  requestRateMax: {
    value: 20_000,
    unit: 'requests and frames a second',
    guards: 'all that comes with one token, or from one address without any, on average',
    exceeding: '429 with `Retry-After`, closed with 4004',
  },
  requestBurstMax: {
    value: 100_000,
    unit: 'requests and frames',
    guards: 'all that comes with one token, or from one address without any, at once',
    exceeding: '429 with `Retry-After`, closed with 4004',
  },
  ratedMax: {
    value: 10_000,
    unit: 'tokens and addresses',
    guards: 'those whose rate is remembered',
    exceeding: 'the first whose burst is whole again is forgotten',
  },
  sessionsMax: { value: 200_000, unit: 'sessions', guards: 'the hub', exceeding: 'unavailable' },
  workersMax: { value: 10_000, unit: 'workers', guards: 'one session', exceeding: 'conflict' },
  backpressureBytesMax: {
    value: 256 * kib,
    unit: 'bytes',
    guards: 'what waits to be sent to one connection',
    exceeding: 'the connection lags and continues from history',
  },
  answerBytesMax: {
    value: 4 * mib,
    unit: 'bytes',
    guards: 'answers that wait for one client that asks and does not read; snapshots wait for room instead',
    exceeding: 'closed with 4001',
  },
  overrunBytesMax: {
    value: 16 * mib,
    unit: 'bytes',
    guards: 'what waits for one peer that asks and does not read, and one snapshot that is not in parts',
    exceeding: 'cut; for a snapshot closed with 4504',
  },
  memoryBytesMax: {
    value: 256 * mib,
    unit: 'bytes',
    guards:
      'history and state of all sessions in memory, their metadata and outcomes, and 2 KiB for each worker',
    exceeding:
      'history is evicted of sessions that hold more than an eighth, and much more than others; then sessions leave memory: those that ended, while they hold more than a quarter, and those that the store has; then history is evicted of those that hold most. State that would take more than half of it is unavailable to sessions that have more than their share',
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
    guards: 'one topic’s history, and as much again of latest-per-key events that have left it',
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
    exceeding: 'the oldest id leaves it; repeated later, it is refused where the hub can tell',
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
  handshakeMs: {
    value: 10_000,
    unit: 'ms',
    guards: 'a link until the headers of its next request are complete',
    exceeding: 'cut',
    fixed: true,
  },
  bodyRateMin: {
    value: 16 * kib,
    unit: 'bytes a second',
    guards: 'the sending of a body, seen over 10 s; NDJSON may come as slowly as it likes',
    exceeding: 'cut',
    fixed: true,
  },
  bodySilenceMs: {
    value: 600_000,
    unit: 'ms',
    guards: 'silence in an NDJSON body; an empty line breaks it',
    exceeding: 'cut',
  },
  heartbeatMs: {
    value: 25_000,
    unit: 'ms',
    guards: 'silence of a WebSocket',
    exceeding: 'ping; at twice, closed with 4002',
  },
  stalledMs: {
    value: 120_000,
    unit: 'ms',
    guards: 'a connection that has not read what waits for it',
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
      'how soon an SSE client that was cut comes back, and at a stop every client: by half of it sooner or later',
    exceeding: 'told to the client in `retry:` or `closing`',
  },
  heartbeatEventMs: {
    value: 30_000,
    unit: 'ms',
    guards: 'interval of the heartbeats of dialects that have some',
    exceeding: 'a heartbeat is sent',
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
