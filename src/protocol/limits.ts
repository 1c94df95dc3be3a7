// Longer than 350 lines: a table, one entry for each limit.

import { tokenLengthMax } from './token.js'

/** One bound: its value and unit, what it guards, and what exceeding it does. */
export interface Limit {
  readonly value: number
  readonly unit: string
  readonly guards: string
  readonly exceeding: string
  /** It cannot be changed: it belongs to the transport. */
  readonly fixed?: true
  /** It may be 0, which the text explains; others are positive. */
  readonly orZero?: true
}

const kib = 1024
const mib = 1024 * kib

/** Every bound of the hub. `docs/operations/limits.md` shows the same table; a test compares them. */
export const limitTable = {
  frameBytesMax: {
    value: mib,
    unit: 'bytes',
    guards: 'a WebSocket frame, a JSON or MessagePack body, an event',
    exceeding: 'closed with 4504, or 413',
  },
  lineBytesMax: {
    value: mib,
    unit: 'bytes',
    guards: 'a line of an NDJSON body',
    exceeding: '413, with the number of the line',
  },
  bodiesBytesMax: {
    value: 64 * mib,
    unit: 'bytes',
    guards: 'the received parts of all incomplete bodies and lines',
    exceeding: 'unavailable for the sender that holds most; among those, the body silent for longest first',
  },
  bodiesSilenceMs: {
    value: 5_000,
    unit: 'ms',
    guards: 'silence within an incomplete body, while more than half of `bodiesBytesMax` is in use',
    exceeding: 'unavailable; the senders that hold most first',
  },
  aheadBytesMax: {
    value: 2 * mib,
    unit: 'bytes',
    guards: 'the part of an NDJSON body that is read before its first events are stored',
    exceeding: 'reading pauses',
  },
  headBytesMax: {
    value: 32 * kib,
    unit: 'bytes',
    guards: 'names and values of the headers of a request',
    exceeding: '413; the transport answers 431 above twice the sum of this and `urlLengthMax`',
  },
  urlLengthMax: {
    value: 16 * kib,
    unit: 'characters',
    guards: 'path and query of a request',
    exceeding: '413',
  },
  depthMax: { value: 64, unit: 'levels', guards: 'nesting of a JSON value', exceeding: 'badFrame' },
  namesMax: {
    value: 10_000,
    unit: 'names',
    guards:
      'the names in a body, frame or line, and in one object; objects of up to 100 names with the same names in the same order count once, and 4 arrays or objects count as one name',
    exceeding: 'badFrame',
  },
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
  longPollMs: {
    value: 30_000,
    unit: 'ms',
    guards: 'how long a long-poll of a durable stream waits for data',
    exceeding: 'answered with 204',
  },
  durableSseMs: {
    value: 60_000,
    unit: 'ms',
    guards: 'an SSE response of a durable stream',
    exceeding: 'it ends, and the client reconnects',
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
    orZero: true,
  },
  stalledSilenceMs: {
    value: 900_000,
    unit: 'ms',
    guards: 'silence of a session or worker that holds a lease; 0: for ever',
    exceeding: '`worker.stalled`',
    orZero: true,
  },
  stalledRepeats: {
    value: 10,
    unit: 'calls',
    guards: 'the same call of a tool in a row; 0: any number',
    exceeding: '`worker.stalled`',
    orZero: true,
  },
  publishEventsMax: {
    value: 10_000,
    unit: 'events',
    guards: 'one publish frame, one array body, or one list within the process',
    exceeding: 'badFrame',
  },
  patchOperationsMax: { value: 10_000, unit: 'operations', guards: 'a JSON patch', exceeding: 'badFrame' },
  patchWorkMax: {
    value: 16 * mib,
    unit: 'items shifted; what a `copy` reads, and what is copied after it, counts too: 8 for an item, 1,024 for a member of an object',
    guards: 'applying a JSON patch',
    exceeding: 'badFrame',
  },
  patchCopiedBytesMax: {
    value: mib,
    unit: 'bytes',
    guards: 'all that the `copy` operations of a JSON patch copy',
    exceeding: 'badFrame',
  },
  compareWorkMax: {
    value: 5_000,
    unit: 'operations, or eight list items each',
    guards: 'comparing a value of state with the previous one',
    exceeding: 'the update carries the whole value',
  },
  sliceBytesMax: { value: mib, unit: 'bytes', guards: 'the value of a slice', exceeding: '413' },
  slicesMax: {
    value: 1_000,
    unit: 'slices',
    guards: 'the slices of a topic; also the removed slices that it remembers',
    exceeding: 'conflict; the oldest removal is forgotten',
  },
  stateBytesMax: { value: 16 * mib, unit: 'bytes', guards: 'all slices of a topic', exceeding: 'conflict' },
  tokenPatternsMax: {
    value: 256,
    unit: 'patterns',
    guards: '`subscribe`, `publish` or `command` of a token or grant',
    exceeding: 'unauthorized; 500 for a grant of `authorize`',
  },
  tokensKnownMax: {
    value: 1_000,
    unit: 'tokens',
    guards: 'the cache of verified tokens',
    exceeding: 'the oldest entry is dropped and verified again when needed',
  },
  tokenSkewMs: {
    value: 5_000,
    unit: 'ms',
    guards: 'the difference between the clocks of the hub and of the issuer of a token; 0: none',
    exceeding: 'unauthorized',
    orZero: true,
  },
  keysMax: { value: 64, unit: 'keys', guards: 'keys for tokens', exceeding: 'the hub does not start' },
  keysBytesMax: {
    value: 256 * kib,
    unit: 'bytes',
    guards: 'a key file or JWK set',
    exceeding: 'the hub does not start; later, the previous keys stay in force',
  },
  keysFetchMs: {
    value: 5_000,
    unit: 'ms',
    guards: 'fetching a JWK set',
    exceeding: 'the hub does not start; later, the previous keys stay in force',
  },
  keysMs: {
    value: 60_000,
    unit: 'ms',
    guards: 'the age of the keys for tokens',
    exceeding: 'the keys are read again; tokens of removed keys are no longer valid',
  },
  authorizeMs: {
    value: 5_000,
    unit: 'ms',
    guards: 'an answer of `authorize` or `--authorize-url`',
    exceeding: 'unavailable',
  },
  authorizeBytesMax: {
    value: 64 * kib,
    unit: 'bytes',
    guards: 'an answer of `--authorize-url`',
    exceeding: 'unavailable',
  },
  authorizingMax: {
    value: 1_000,
    unit: 'questions',
    guards: 'concurrent requests to `--authorize-url`; identical ones are combined',
    exceeding: 'unavailable',
  },
  authorizedMax: {
    value: 10_000,
    unit: 'answers',
    guards: 'the cache of answers from `--authorize-url`, each kept for its `maxAge`',
    exceeding: 'the oldest entry is dropped',
  },
  revokedMax: {
    value: 100_000,
    unit: 'ids',
    guards: 'ids in the file of revoked tokens',
    exceeding: 'the hub does not start; later, the previous list stays in force',
  },
  revokedBytesMax: {
    value: 4 * mib,
    unit: 'bytes',
    guards: 'the file of revoked tokens',
    exceeding: 'the hub does not start; later, the previous list stays in force',
  },
  revokedMs: {
    value: 2_000,
    unit: 'ms',
    guards: 'the age of the list of revoked tokens',
    exceeding: 'the file is read again if it has changed',
  },
  ticketMs: { value: 30_000, unit: 'ms', guards: 'the age of a ticket', exceeding: 'unauthorized' },
  ticketsMax: {
    value: 10_000,
    unit: 'tickets',
    guards: 'unused tickets',
    exceeding: 'the oldest ticket of the holder with most tickets becomes void; that holder gets 429',
  },
  ticketsPerHolderMax: {
    value: 1_000,
    unit: 'tickets',
    guards: 'unused tickets of the holder of a token',
    exceeding: '429',
  },
  tokenLengthMax: { value: tokenLengthMax, unit: 'characters', guards: 'a token', exceeding: 'badFrame' },
  subscriptionsMax: {
    value: 10_000,
    unit: 'subscriptions',
    guards: 'subscriptions of a connection',
    exceeding: 'error conflict',
  },
  topicSubscriptionsMax: {
    value: 100,
    unit: 'subscriptions',
    guards: 'subscriptions of a connection to the same topic',
    exceeding: 'error conflict',
  },
  topicFeedsMax: {
    value: 1_000,
    unit: 'feeds',
    guards: 'feeds of a topic: the different filters in use',
    exceeding: 'conflict',
  },
  filterTypesMax: { value: 64, unit: 'names', guards: '`types` of a filter', exceeding: 'badFrame' },
  filterSlicesMax: { value: 64, unit: 'names', guards: '`slices` of a filter', exceeding: 'badFrame' },
  streamTopicsMax: {
    value: 100,
    unit: 'topics',
    guards: 'topics of a `GET /api/stream`',
    exceeding: 'badFrame',
  },
  streamFramesMax: {
    value: 1_000,
    unit: 'frames',
    guards: 'frames of a `POST /api/stream/{connection}`',
    exceeding: 'badFrame',
  },
  cursorSessionsMax: {
    value: 1_000,
    unit: 'sessions',
    guards: 'sessions in a combined cursor',
    exceeding: 'treated as a cursor of another epoch: a gap',
  },
  pageItemsMax: {
    value: 1_000,
    unit: 'items',
    guards: 'a page of events or sessions',
    exceeding: 'badFrame',
  },
  pageBytesMax: {
    value: mib,
    unit: 'bytes',
    guards: 'a page of events, not counting its last event',
    exceeding: 'the page ends, and `next` continues',
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
  connectionsMax: { value: 100_000, unit: 'connections', guards: 'connections of the hub', exceeding: '503' },
  connectionsPerAddressMax: {
    value: 20_000,
    unit: 'connections',
    guards: 'connections of an address; all clients behind an untrusted proxy count as one address',
    exceeding: '429',
  },
  idleLinksMax: {
    value: 1_000,
    unit: 'links',
    guards: 'open links that are not connections: requests in progress, and links without a request',
    exceeding: 'closed without an answer',
  },
  frameRateMax: {
    value: 5_000,
    unit: 'frames a second',
    guards: 'frames of a WebSocket on average, pings and pongs included',
    exceeding: 'closed with 4004',
  },
  frameBurstMax: {
    value: 20_000,
    unit: 'frames',
    guards: 'frames of a WebSocket at once, pings and pongs included',
    exceeding: 'closed with 4004',
  },
  pulseRateMax: {
    value: 100,
    unit: 'pings and pongs a second',
    guards: 'pings and pongs of a WebSocket on average',
    exceeding: 'closed with 4004',
  },
  pulseBurstMax: {
    value: 1_000,
    unit: 'pings and pongs',
    guards: 'pings and pongs of a WebSocket at once',
    exceeding: 'closed with 4004',
  },
  byteRateMax: {
    value: 16 * mib,
    unit: 'bytes a second',
    guards: 'bytes from a WebSocket on average',
    exceeding: 'closed with 4004',
  },
  byteBurstMax: {
    value: 64 * mib,
    unit: 'bytes',
    guards: 'bytes from a WebSocket at once',
    exceeding: 'closed with 4004',
  },
  bodyRateMax: {
    value: 64 * mib,
    unit: 'bytes a second',
    guards: 'bodies sent with the same token, or from the same address without one, on average',
    exceeding: 'reading pauses; the senders take turns',
  },
  bodyBurstMax: {
    value: 64 * mib,
    unit: 'bytes',
    guards: 'bodies sent with the same token, or from the same address without one, at once',
    exceeding: 'reading pauses; the senders take turns',
  },
  bodyWaitMs: {
    value: 5_000,
    unit: 'ms',
    guards: 'how long a body that is not NDJSON waits for its turn; 0: not at all',
    exceeding: '429 with `Retry-After`',
    orZero: true,
  },
  requestRateMax: {
    value: 20_000,
    unit: 'requests and frames a second',
    guards: 'requests and frames with the same token, or from the same address without one, on average',
    exceeding: '429 with `Retry-After`, closed with 4004',
  },
  requestBurstMax: {
    value: 100_000,
    unit: 'requests and frames',
    guards: 'requests and frames with the same token, or from the same address without one, at once',
    exceeding: '429 with `Retry-After`, closed with 4004',
  },
  ratedMax: {
    value: 10_000,
    unit: 'tokens and addresses',
    guards: 'tokens and addresses whose rate is remembered',
    exceeding: 'the first one whose full burst is available again is forgotten',
  },
  sessionsMax: { value: 200_000, unit: 'sessions', guards: 'sessions of the hub', exceeding: 'unavailable' },
  workersMax: { value: 10_000, unit: 'workers', guards: 'workers of a session', exceeding: 'conflict' },
  backpressureBytesMax: {
    value: 256 * kib,
    unit: 'bytes',
    guards: 'data waiting to be sent to a connection',
    exceeding: 'the connection lags and continues from history',
  },
  answerBytesMax: {
    value: 4 * mib,
    unit: 'bytes',
    guards:
      'answers waiting for a client that sends requests and does not read; snapshots wait for room instead',
    exceeding: 'closed with 4001',
  },
  overrunBytesMax: {
    value: 16 * mib,
    unit: 'bytes',
    guards:
      'all data waiting for a peer that sends requests and does not read, and a snapshot that is not in parts',
    exceeding: 'the link is cut; for a snapshot, closed with 4504',
  },
  memoryBytesMax: {
    value: 256 * mib,
    unit: 'bytes',
    guards:
      'history and state of all sessions in memory, their metadata, outcomes, open questions, attempts and ids, and 2 KiB for each worker',
    exceeding:
      'first, history is evicted from sessions that hold more than an eighth and much more than the others; then sessions leave memory: ended ones, while these hold more than a quarter, and stored ones; then history is evicted from the sessions that hold most. State that would take more than half of it is unavailable to sessions that have more than their share',
  },
  laneEventsMax: {
    value: 1_000,
    unit: 'events',
    guards: 'each lane of a topic’s history',
    exceeding: 'the oldest event of the lane is evicted',
  },
  historyBytesMax: {
    value: mib,
    unit: 'bytes',
    guards: 'the history of a topic, and as much again for latest-per-key events that have left it',
    exceeding: 'the oldest droppable events are evicted, then the oldest critical ones',
  },
  pinnedMax: {
    value: 1_000,
    unit: 'events',
    guards: 'latest-per-key events of a topic',
    exceeding: 'the event that was replaced longest ago is forgotten',
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
    guards: 'events that a session publishes within a turn',
    exceeding: 'they are flushed before the turn ends',
  },
  endedRetentionMs: {
    value: 3_600_000,
    unit: 'ms',
    guards: 'how long an ended session stays',
    exceeding: 'the session is removed',
  },
  uncommittedBytesMax: {
    value: 64 * mib,
    unit: 'bytes',
    guards: 'published data that is not stored yet',
    exceeding: 'unavailable',
  },
  logTailBytes: {
    value: 64 * 1024,
    unit: 'bytes',
    guards:
      'what follows the newest checkpoint of a session in a shared log, unless the checkpoint is larger',
    exceeding: 'a hub makes a newer one',
  },
  idleSessionsMax: {
    value: 1_000,
    unit: 'sessions',
    guards: 'sessions in memory that nobody follows and that are stored completely',
    exceeding: 'the one idle for longest leaves memory; it is loaded again when needed',
  },
  restoredEventsMax: {
    value: 2_000,
    unit: 'events',
    guards: 'events that are loaded into memory with a session',
    exceeding: 'older events are read from the store when needed',
  },
  handshakeMs: {
    value: 10_000,
    unit: 'ms',
    guards: 'a link until the headers of its next request are complete',
    exceeding: 'the link is cut',
    fixed: true,
  },
  bodyRateMin: {
    value: 16 * kib,
    unit: 'bytes a second',
    guards: 'the rate of a body, measured over 10 s; NDJSON may be slower',
    exceeding: 'the link is cut',
    fixed: true,
  },
  bodySilenceMs: {
    value: 600_000,
    unit: 'ms',
    guards: 'silence within an NDJSON body; an empty line counts as data',
    exceeding: 'the link is cut',
  },
  heartbeatMs: {
    value: 25_000,
    unit: 'ms',
    guards: 'silence of a WebSocket',
    exceeding: 'a ping; after twice that, closed with 4002',
  },
  stalledMs: {
    value: 120_000,
    unit: 'ms',
    guards: 'a connection that does not read the data waiting for it',
    exceeding: 'closed with 4002',
  },
  shutdownMs: {
    value: 10_000,
    unit: 'ms',
    guards: 'a shutdown; `--shutdown-ms` changes it',
    exceeding: 'open links are cut',
  },
  spreadMs: {
    value: 3_000,
    unit: 'ms',
    guards: 'telling the clients of a shutdown, 1 ms for each',
    exceeding: 'several are told at a time',
  },
  retryMs: {
    value: 2_000,
    unit: 'ms',
    guards:
      'the delay before an SSE client reconnects, and any client after a shutdown; each gets a random value within half of it',
    exceeding: 'the client is told with `retry:` or `closing`',
  },
  heartbeatEventMs: {
    value: 30_000,
    unit: 'ms',
    guards: 'the interval of heartbeats in dialects that have them',
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

/** The values alone. */
export type Limits = { readonly [name in LimitName]: number }

export const defaultLimits: Limits = Object.fromEntries(
  Object.entries(limitTable).map(([name, limit]) => [name, limit.value]),
) as { [name in LimitName]: number }
