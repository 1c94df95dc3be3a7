import type { Extensions } from '../catalog/catalog.js'
import { type Clock, systemClock } from '../lib/clock.js'
import { type Random, systemRandom } from '../lib/random.js'
import { StoreError } from '../store/store.js'
import { readAddress } from './address.js'
import type { RedisLog } from './redis-log.js'

export interface RedisLogOptions {
  /**
   * `redis://`, `rediss://` (TLS), `redis+unix://`, `redis-sentinel://h1:p,h2:p/NAME` or `redis-cluster://h1:p,h2:p`, with
   * `user:password@` before the first host where there is one.
   */
  readonly url: string
  /** `replica`: an event is acknowledged once a replica has it as well; `engine` unless given. */
  readonly acknowledge?: 'engine' | 'replica'
  /** Certificates, as for `tls.connect`: `ca`, `cert`, `key`. */
  readonly tls?: {
    readonly ca?: string | Buffer
    readonly cert?: string | Buffer
    readonly key?: string | Buffer
  }
  /** As the hub has it: all hubs of a log have the same. */
  readonly catalog?: Extensions
  /** Told what may cost events; nobody is unless given. */
  readonly onWarning?: (warning: string) => void
  readonly clock?: Clock
  readonly random?: Random
  /** How often the feed is looked after: 2,000 ms unless given. */
  readonly canaryMs?: number
  /** How long a call waits for a connection that is gone: 5,000 ms unless given. */
  readonly waitMs?: number
  /** After how long without an event a session is packed: 30,000 ms unless given. */
  readonly idleMs?: number
}

/** For how long the engine or the feed may be gone before the hub says that it is not ready. */
const faultMs = 10_000

/**
 * Opens a log in Redis or Valkey for `createHub({ log })`; the hub closes it. Needs the package `ioredis`.
 *
 * @throws StoreError `refused` or `failed`, with one sentence that never has the password
 */
export async function redisLog(options: RedisLogOptions): Promise<RedisLog> {
  const address = readAddress(options.url)
  const { RedisLog } = await import('./redis-log.js')
  const log = new RedisLog({
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
    address,
    tls: options.tls,
    acknowledge: options.acknowledge ?? 'engine',
    canaryMs: options.canaryMs ?? 2_000,
    faultMs,
    waitMs: options.waitMs ?? 5_000,
    idleMs: options.idleMs ?? 30_000,
  })
  try {
    for (const warning of await log.check(options.catalog ?? {})) options.onWarning?.(warning)
    return log
  } catch (error) {
    await log.close()
    if (!(error instanceof StoreError)) throw error
    throw new StoreError(error.kind, `${address.shown}: ${error.message}`, { cause: error })
  }
}
