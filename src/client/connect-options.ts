import type { Random } from '../lib/random.js'
import type { CodecName } from './dial-websocket.js'
import type { BackoffOptions, PauseOptions } from './reconnect.js'
import type { ClientClock, Page, SocketClass } from './surroundings.js'

export interface ConnectOptions {
  /** A JWT, or a function that returns one, called for each attempt to connect. */
  readonly token?: string | (() => string | undefined | Promise<string | undefined>)
  /** The codec of WebSocket frames. Default `msgpack`. */
  readonly codec?: CodecName
  /** Default `auto`: WebSocket if available and it opens, otherwise SSE and POST. */
  readonly transport?: 'auto' | 'websocket' | 'sse'
  /**
   * Shares one connection with the other tabs of this origin with the same value: `true`, or a name for the group, such as the
   * user's id. The token is that of the tab that holds the connection. Needs Web Locks, which browsers have in secure contexts;
   * without them, and by default, each tab has its own connection.
   */
  readonly tabs?: boolean | string
  /** The default timeout of requests, including the wait for a link. Default 60,000 ms. */
  readonly timeoutMs?: number
  /** Default: 250 ms, doubling, to 15 s at most. */
  readonly backoff?: Partial<BackoffOptions>
  /** Default: never. */
  readonly pause?: PauseOptions
  /** Default: the global class. Node 20 has none; pass that of `ws`. */
  readonly WebSocket?: SocketClass
  /** Default: the global one. */
  readonly fetch?: typeof fetch
  /** For tests. */
  readonly clock?: ClientClock
  readonly random?: Random
  readonly page?: Page
}
