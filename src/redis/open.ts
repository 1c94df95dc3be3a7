import type { Extensions } from '../catalog/catalog.js'
import { type Clock, systemClock } from '../lib/clock.js'
import { type Random, systemRandom } from '../lib/random.js'
import { StoreError } from '../store/store.js'
import { readAddress } from './address.js'
import type { Agreed } from './checks.js'
import type { RedisLog } from './redis-log.js'

export interface RedisLogOptions extends Agreed {
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
  /** As the hub has it, like `masking`: a hub that differs from others of the log does not open it. */
  readonly catalog?: Extensions
  /** Told what may cost events; nobody is unless given. */
  readonly onWarning?: (warning: string) => void
  /**
   * Waits for an engine that cannot be reached when the log is opened. The log opens all the same: until the engine is there, every
   * call fails, and the hub is not ready. Without it `redisLog` rejects.
   */
  readonly start?: LogStart
  readonly clock?: Clock
  readonly random?: Random
  /** How often the feed is looked after: 2,000 ms unless given. */
  readonly canaryMs?: number
  /** How long a call waits for a connection that is gone: 5,000 ms unless given. */
  readonly waitMs?: number
  /** After how long without an event a session is packed: 30,000 ms unless given. */
  readonly idleMs?: number
}

export interface LogStart {
  /** How long to wait; for ever unless given. Milliseconds. */
  readonly waitMs?: number
  /** Told at once, and every five seconds while it waits. @param why one sentence that never has the password */
  readonly onWait: (why: string) => void
  /** It has waited for too long, or the engine cannot hold the log: the hub had better end. */
  readonly onFailed: (error: StoreError) => void
}

/** How often the engine is looked for at the start, and how often that is said. */
const lookMs = 1_000
const sayMs = 5_000

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
  const clock = options.clock ?? systemClock
  const log = new RedisLog({
    clock,
    random: options.random ?? systemRandom,
    address,
    tls: options.tls,
    acknowledge: options.acknowledge ?? 'engine',
    canaryMs: options.canaryMs ?? 2_000,
    faultMs,
    waitMs: options.waitMs ?? 5_000,
    idleMs: options.idleMs ?? 30_000,
  })
  const look = async (): Promise<StoreError | undefined> => {
    try {
      for (const warning of await log.check(options)) options.onWarning?.(warning)
      return undefined
    } catch (error) {
      if (error instanceof StoreError)
        return new StoreError(error.kind, `${address.shown}: ${error.message}`, { cause: error })
      await log.close()
      throw error
    }
  }
  const { waitMs = Number.POSITIVE_INFINITY } = options.start ?? {}
  const until = clock.elapsed() + waitMs
  const fault = await look()
  if (fault === undefined) return log
  if (options.start === undefined || !mayPass(fault) || clock.elapsed() >= until) {
    await log.close()
    throw fault
  }
  waitFor(log, fault, { look, clock, until, ...options.start })
  return log
}

interface Waiting extends LogStart {
  readonly look: () => Promise<StoreError | undefined>
  readonly clock: Clock
  readonly until: number
}

/** A password does not become right by waiting, nor a setting. */
function mayPass({ kind }: StoreError): boolean {
  return kind === 'failed' || kind === 'full'
}

/** Looks for the engine until it is there. */
function waitFor(log: RedisLog, first: StoreError, { look, clock, until, onWait, onFailed }: Waiting): void {
  let saidAt = Number.NEGATIVE_INFINITY
  const wait = (fault: StoreError): void => {
    if (fault.kind === 'closed') return
    if (!mayPass(fault) || clock.elapsed() >= until) return onFailed(fault)
    log.wait(fault)
    if (clock.elapsed() - saidAt >= sayMs) {
      saidAt = clock.elapsed()
      onWait(fault.message)
    }
    clock.after(Math.min(lookMs, until - clock.elapsed()), () => {
      void again()
    })
  }
  const again = async (): Promise<void> => {
    try {
      const next = await look()
      if (next !== undefined) wait(next)
    } catch (error) {
      onFailed(new StoreError('refused', String(error), { cause: error }))
    }
  }
  wait(first)
}
