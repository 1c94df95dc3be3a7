/**
 * `runcast/client`: the client for browsers and Node.
 *
 * @module
 */

export type { Batch, BatchOptions } from './client/batch.js'
export type { TextDelta } from './client/catalog-shapes.js'
export type {
  BuiltInCatalog,
  CommandEvents,
  ProcessEvents,
  RuntimeEvents,
  SessionBusEvents,
  StreamEvents,
  TaskLogEvents,
} from './client/catalog-types.js'
export { Client, connect, type Watchers } from './client/client.js'
export type { Command, Commands, Outcome, SentCommand } from './client/commands.js'
export type { ConnectOptions } from './client/connect-options.js'
export type { CodecName } from './client/dial-websocket.js'
export { ClosedError, RequestError } from './client/errors.js'
export type { TransportName } from './client/link.js'
export type {
  EndOptions,
  ForkOptions,
  HistoryQuery,
  Need,
  Result,
  SessionSummary,
  SessionsQuery,
  StateSnapshot,
  WorkerSummary,
} from './client/over-http.js'
export type { BackoffOptions, CutShort, PauseOptions, Status } from './client/reconnect.js'
export type { Receipt, RequestOptions, StateReceipt } from './client/requests.js'
export type { Changes, Ending, Listener, SubscribeOptions, Subscription } from './client/subscription.js'
export type { ClientClock, Page, SocketClass, SocketLike } from './client/surroundings.js'
export type {
  AnyCatalog,
  Catalog,
  Chosen,
  Delivered,
  EventOf,
  JsonInput,
  NewEventOf,
  TypePattern,
} from './client/typed.js'
export type { Loss, StateChange } from './client/view-events.js'
export type { JsonObject, JsonValue } from './lib/json.js'
export type { Cursor, Offset } from './protocol/cursor.js'
export type { Cause, GapNotice, HubEvent, Mode, PatchOperation } from './protocol/frames.js'
