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
export type { Connection, ConnectionOptions } from './hub/connection.js'
export type { HistoryPage, HistoryQuery } from './hub/history-page.js'
export { createHub, Hub, type HubOptions } from './hub/hub.js'
export type { Link } from './hub/link.js'
export type { LocalOptions, LocalSubscription } from './hub/local.js'
export type { PublishResult } from './hub/publishing.js'
export type { SessionHandle, WorkerHandle } from './hub/session-handle.js'
export type { StateOptions, StateResult, StateSnapshot } from './hub/state-change.js'
export type { HubStats } from './hub/stats.js'
export type { SessionMeasures, SessionSummary } from './hub/summary.js'
export type { Figures, Span, Tracer } from './hub/tracing.js'
export type { JsonObject, JsonValue } from './lib/json.js'
export { ProtocolError } from './protocol/codes.js'
export type { Cursor, Epoch, Offset } from './protocol/cursor.js'
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
export type { Fields, Log } from './server/log.js'
export { openTelemetry } from './server/open-telemetry.js'
export { type ServeOptions, type Server, serve } from './server/serve.js'
export type { LmdbOptions } from './store/lmdb.js'
export { openStore } from './store/open.js'
export { type Found, type Retention, type Store, StoreError } from './store/store.js'
