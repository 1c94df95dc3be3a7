import type { Redis, RedisOptions } from 'ioredis'
import { StoreError } from '../store/store.js'
import type { Script } from './scripts.js'

/** A socket to a node. It never comes back by itself: what follows its end is the node's business. */
export interface Connection {
  /** @throws StoreError `failed` when it ended; the engine's refusals as `EngineError` */
  call(command: string, ...args: readonly Argument[]): Promise<unknown>
  run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown>
  /** Of subscriptions by `SSUBSCRIBE`. */
  onMessage(listener: (channel: string, message: Buffer) => void): void
  /** Resolves with why it ended. */
  readonly ended: Promise<string>
  readonly isOpen: boolean
  end(why: string): void
}

export type Argument = string | number | Buffer

/** How a script is told that the user lacks a right: Redis 7.0, and 7.2 and newer. */
const noPermission = /^ERR (The user executing the script can't|ACL failure in script)/

/** The engine refused a command. `code` is its first word: `MOVED`, `READONLY`, `OOM`; `NOPERM` also within a script. */
export class EngineError extends Error {
  override readonly name = 'EngineError'
  readonly code: string

  constructor(message: string) {
    super(message)
    this.code = noPermission.test(message) ? 'NOPERM' : (/^[A-Z]+/.exec(message)?.[0] ?? '')
  }
}

/** A command that was not even sent: the connection had just ended. */
export class UnsentError extends StoreError {}

/** How to reach one node; with `sentinels` whichever they name. */
export type Target = Omit<RedisOptions, 'replyMapping'>

/** Nothing is kept for later and nothing repeated: each connection begins with a hello of its own. */
const alone = {
  lazyConnect: true,
  protocol: 2,
  retryStrategy: () => null,
  sentinelRetryStrategy: () => null,
  enableOfflineQueue: false,
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: null,
  disableClientInfo: true,
  maxLoadingRetryTime: 0,
  // A node that is loading its data is not ready; it is tried again.
  enableReadyCheck: false,
} as const satisfies RedisOptions

/**
 * Opens a connection.
 *
 * @param connectMs what it may take
 * @throws StoreError `failed`, or `refused` when the password or the rights are wrong
 */
export async function openConnection(target: Target, name: string, connectMs: number): Promise<Connection> {
  const { Redis } = await ioredis()
  const redis = new Redis({ ...target, ...alone, connectionName: name, connectTimeout: connectMs })
  let lastError = 'the connection closed'
  redis.on('error', (error: Error) => (lastError = messageOf(error)))
  const connection = new IoredisConnection(redis, () => lastError)
  try {
    await redis.connect()
    // Tells a wrong password, missing rights and a node that is loading apart from one that is there.
    await connection.call('PING')
    return connection
  } catch (error) {
    redis.disconnect()
    throw connectError(error, lastError)
  }
}

async function ioredis(): Promise<{ readonly Redis: typeof Redis }> {
  return import('ioredis').catch((error: unknown) => {
    throw new StoreError('refused', 'a log in Redis needs the package ioredis: npm install ioredis@6', {
      cause: error,
    })
  })
}

class IoredisConnection implements Connection {
  readonly ended: Promise<string>
  readonly #redis: Redis
  #isOpen = true
  #why: string | undefined

  constructor(redis: Redis, lastError: () => string) {
    this.#redis = redis
    this.ended = new Promise((resolve) => {
      redis.on('end', () => {
        this.#isOpen = false
        resolve(this.#why ?? lastError())
      })
    })
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  // Subscribing is told from other commands by its name in small letters.
  async call(command: string, ...args: readonly Argument[]): Promise<unknown> {
    try {
      return await this.#redis.callBuffer(command, ...args)
    } catch (error) {
      throw callError(error, this.#why)
    }
  }

  async run({ sha, text }: Script, keys: readonly string[], args: readonly Argument[]): Promise<unknown> {
    try {
      return await this.call('EVALSHA', sha, keys.length, ...keys, ...args)
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== 'NOSCRIPT') throw error
      return this.call('EVAL', text, keys.length, ...keys, ...args)
    }
  }

  onMessage(listener: (channel: string, message: Buffer) => void): void {
    this.#redis.on('smessageBuffer', (channel: Buffer, message: Buffer) =>
      listener(channel.toString(), message),
    )
  }

  end(why: string): void {
    if (!this.#isOpen) return
    this.#why ??= why
    this.#isOpen = false
    this.#redis.disconnect()
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function callError(error: unknown, why: string | undefined): Error {
  const message = messageOf(error)
  if (error instanceof Error && error.name === 'ReplyError') return new EngineError(message)
  if (message.startsWith("Stream isn't writeable"))
    return new UnsentError('failed', 'the link to the log broke')
  return new StoreError('failed', `the link to the log broke: ${why ?? message}`, { cause: error })
}

function connectError(error: unknown, lastError: string): StoreError {
  const message = messageOf(error)
  const reason =
    message === 'Connection is closed.' || message.endsWith('the connection closed') ? lastError : message
  const isOfRights = /\b(WRONGPASS|NOAUTH|NOPERM|invalid password|without any password)\b/i.test(reason)
  return new StoreError(isOfRights ? 'refused' : 'failed', reason)
}

/** @returns what who called the log is told */
export function asStoreError(error: unknown): unknown {
  if (!(error instanceof EngineError)) return error
  const { code, message } = error
  switch (code) {
    case 'OOM':
      return new StoreError('full', 'the log is full: Redis has reached its maxmemory', { cause: error })
    case 'NOREPLICAS':
      return new StoreError(
        'failed',
        'the log takes nothing: Redis has fewer replicas in step than min-replicas-to-write',
        {
          cause: error,
        },
      )
    case 'MISCONF':
      return new StoreError('failed', 'the log takes nothing: Redis cannot write to its disk', {
        cause: error,
      })
    case 'NOPERM':
      return new StoreError(
        'refused',
        `the user of the log lacks a right of those in docs/operations/cluster.md: ${message}`,
        { cause: error },
      )
    default:
      return new StoreError('failed', `the log refused a command: ${message}`, { cause: error })
  }
}
