import type { Random } from '../lib/random.js'
import type { CodecName } from './dial-websocket.js'
import type { BackoffOptions, PauseOptions } from './reconnect.js'
import type { ClientClock, Page, SocketClass } from './surroundings.js'

export interface ConnectOptions {
  /** A JWT, or what makes one: it is called for each attempt to connect. */
  readonly token?: string | (() => string | undefined | Promise<string | undefined>)
  /** Of WebSocket frames. Default `msgpack`. */
  readonly codec?: CodecName
  /** Default `auto`: WebSocket where there is one and it opens, else SSE and POST. */
  readonly transport?: 'auto' | 'websocket' | 'sse'
  /**
   * Shares one connection with the other tabs of this origin that say the same: `true`, or a name that tells groups
   * apart, as the user's id; the token is that of the tab that has the connection. Needs Web Locks, which browsers
   * have in secure contexts; without them, and by default, each tab has its own.
   */
  readonly tabs?: boolean | string
  /** How long a request may take, unless it says otherwise: what waits for a link included. Default 60,000 ms. */
  readonly timeoutMs?: number
  /** Default: 250 ms, doubling, to 15 s at most. */
  readonly backoff?: Partial<BackoffOptions>
  /** Default: never. */
  readonly pause?: PauseOptions
  /** Default: the global one, which Node 20 does not have; `ws` fits. */
  readonly WebSocket?: SocketClass
  /** Default: the global one. */
  readonly fetch?: typeof fetch
  /** For tests. */
  readonly clock?: ClientClock
  readonly random?: Random
  readonly page?: Page
}
