export type { Extensions } from './catalog/catalog.js'
export type { Level, Replay, Traits } from './catalog/traits.js'
export type {
  Dialect,
  DialectEvent,
  DialectQuery,
  DialectRoute,
  DialectStream,
  Following,
} from './codec/dialect.js'
export { dataBlock } from './codec/dialect.js'
export type {
  Block,
  DialectRuns,
  RunDocument,
  RunEnding,
  RunFacts,
  RunQuery,
  RunRoute,
  RunSummary,
  Told,
} from './codec/runs.js'
export type { Connection, ConnectionOptions } from './delivery/connection.js'
export type { Link } from './delivery/link.js'
export type { LocalOptions, LocalSubscription } from './delivery/local.js'
export type { Command } from './hub/commands.js'
export { createHub, Hub } from './hub/hub.js'
export type { HubOptions } from './hub/hub-options.js'
export type { SessionHandle, WorkerHandle } from './hub/session-handle.js'
export type { HubStats, SessionMeasures } from './hub/stats.js'
export type { JsonObject, JsonValue } from './lib/json.js'
export type { SharedLog } from './log/shared-log.js'
export type { MaskingMode, MaskingOptions } from './mask/masking.js'
export type { Pattern } from './mask/patterns.js'
export { ProtocolError } from './protocol/codes.js'
export type { Cursor, Epoch, Offset } from './protocol/cursor.js'
export { foreignId, ownId } from './protocol/foreign-id.js'
export type {
  Cause,
  HubEvent,
  Mode,
  NewEvent,
  PatchOperation,
  Slices,
  StateUpdate,
} from './protocol/frames.js'
export type { TraceContext } from './protocol/trace.js'
export { type RedisLogOptions, redisLog } from './redis/open.js'
export type { Authorize, AuthorizeRequest } from './server/access/authorize.js'
export type { Grant } from './server/access/grant.js'
export { type SignOptions, signToken } from './server/access/sign-token.js'
export type { AuthOptions } from './server/access/tokens.js'
export { type Mount, type MountOptions, mount } from './server/mount.js'
export type { Fields, Log } from './server/operations/log.js'
export { openTelemetry } from './server/operations/open-telemetry.js'
export { type ServeOptions, type Server, serve } from './server/serve.js'
export type { WebhookOptions } from './server/webhooks/webhook-options.js'
export type { Notice, NoticeKind } from './session/notice.js'
export type { StateOptions, StateResult, StateSnapshot } from './session/precondition.js'
export type { SessionSummary } from './session/summary.js'
export type { Figures, Span, Tracer } from './session/tracing.js'
export type { PublishResult } from './sessions/publishing.js'
export type { HistoryPage, HistoryQuery } from './sessions/stored/history-page.js'
export type { LmdbOptions } from './store/lmdb-options.js'
export { openStore } from './store/open.js'
export { type Found, type Outbox, type Retention, type Store, StoreError } from './store/store.js'
