// Longer than 350 lines: every call of a log, as one of the engine.

import { Awake, type Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import type {
  Append,
  Appended,
  Checkpoint,
  DescribedPage,
  Description,
  LogFeed,
  LogPast,
  LogStats,
  Opened,
  RemovedOnly,
  RewrittenPast,
  SharedLog,
  Since,
} from '../log/shared-log.js'
import type { Position } from '../protocol/cursor.js'
import { StoreError } from '../store/store.js'
import type { Address } from './address.js'
import { readAppended, readDescribed, readOpened, readSince } from './answers.js'
import { laneArguments, laneBytes, type PublishedMessage, readPublished } from './blocks.js'
import { type Agreed, checkConfig, checkNode } from './checks.js'
import { type Argument, asStoreError } from './connection.js'
import { Health } from './health.js'
import { Idle } from './idle.js'
import { listScripts } from './list-scripts.js'
import { Nodes } from './nodes.js'
import { type Script, scripts } from './scripts.js'
import { type Shard, shardOf, shards } from './shards.js'

/** Entries and bytes that each lane of a session retains up to its checkpoint. */
const laneEntriesMax = 1_000
const laneBytesMax = 1 << 20
/** How long a session that is only mentioned is remembered. Seconds. */
const mentionedSeconds = 86_400
/** How long a replica may take to confirm. */
const confirmMs = 1_000
/** How long `close` waits for what is under way. */
const closeMs = 5_000

export interface RedisLogParts {
  readonly clock: Clock
  readonly random: Random
  readonly address: Address
  readonly tls: object | undefined
  /** Whether an event is acknowledged once the engine has it, or once a replica has it as well. */
  readonly acknowledge: 'engine' | 'replica'
  /** How often the feed is looked after, for how long it may be dead before that is a fault, and how long a call waits for a
   * connection that is gone. */
  readonly canaryMs: number
  readonly faultMs: number
  readonly waitMs: number
  /** After how long without an append a session is packed. */
  readonly idleMs: number
}

/** A log in Redis or Valkey: scripts give the offsets, a channel of each session is its feed. */
export class RedisLog implements SharedLog {
  readonly kind = 'redis'
  readonly nodes: Nodes
  readonly #parts: RedisLogParts
  readonly #prefix: string
  readonly #hub: string
  /** By channel. */
  readonly #feeds = new Map<string, LogFeed>()
  readonly #health: Health
  readonly #idle: Idle
  readonly #awake = new Awake()
  /** Calls that are under way. */
  #under = 0
  #settled: (() => void) | undefined = undefined
  #isClosed = false
  /** Why the engine has not been looked at yet. */
  #waiting: StoreError | undefined = undefined
  readonly #counts = { appends: 0, bytes: 0, failures: 0, reconnects: 0, broken: 0 }

  constructor(parts: RedisLogParts) {
    this.#parts = parts
    const { clock, random, address, tls, canaryMs, faultMs, waitMs, idleMs } = parts
    this.#prefix = address.db === 0 ? 'rc' : `rc${address.db}`
    this.#hub = random.id(12)
    const canary = (shard: Shard) => this.#key(shard, `canary:${this.#hub}`)
    this.nodes = new Nodes({
      clock,
      random,
      address,
      tls,
      waitMs,
      hub: this.#hub,
      keys: { era: (shard) => this.#key(shard, 'era'), canary },
      channelsOf: (shard) => [...(this.#channels.get(shard.number) ?? [])],
      onMessage: (channel, message) => this.#heard(channel, message),
      broken: (which) => this.#broken(which),
      onEnd: () => this.#counts.reconnects++,
    })
    this.#health = new Health({ clock, canaryMs, faultMs, nodes: this.nodes })
    this.#idle = new Idle({
      clock,
      idleMs,
      call: (script, session, args) => this.#call(script, session, args),
    })
    this.#health.start()
  }

  /** Channels that are followed, by the number of their shard. */
  readonly #channels = new Map<number, Set<string>>()

  get stats(): LogStats {
    const { deadFeeds, feedMs } = this.#health
    return { ...this.#counts, deadFeeds, feedMs, packed: this.#idle.packed, followed: this.#feeds.size }
  }

  /**
   * Looks whether the engine can hold a log, and this hub follow it.
   *
   * @returns what may cost events, one sentence each
   * @throws StoreError `refused` with what to do
   */
  async check(agreed: Agreed): Promise<readonly string[]> {
    return this.#counted(async () => {
      const warnings = await this.#checked(agreed).catch((error: unknown) => {
        throw asStoreError(error)
      })
      this.#waiting = undefined
      this.#health.waiting(undefined)
      return warnings
    }, true)
  }

  /** Until `check` resolves, every other call fails with this. */
  wait(why: StoreError): void {
    if (this.#isClosed) return
    this.#waiting = why
    this.#health.waiting(why)
  }

  async #checked(agreed: Agreed): Promise<readonly string[]> {
    await this.nodes.find()
    const warnings = new Set<string>()
    const first = shards[0] as Shard
    const key = this.#key(first, 'config')
    for (const node of this.nodes.all) for (const warning of await checkNode(node, key)) warnings.add(warning)
    const call = (command: string, ...args: readonly Argument[]) => this.nodes.call(first, command, ...args)
    await checkConfig(call, key, agreed)
    await this.nodes.of(first).feed.ready()
    return [...warnings]
  }

  onFault(listener: (fault: StoreError | undefined) => void): void {
    this.#health.onFault(listener)
  }

  /** The engine's URL without the password. */
  get shown(): string {
    return this.#parts.address.shown
  }

  async append(batch: Append): Promise<Appended> {
    const { session, epoch, width, ends = false, critical, droppable, ids = [], held } = batch
    const isConfirmed = this.#parts.acknowledge === 'replica'
    const lanes = [laneBytes(batch, critical), laneBytes(batch, droppable)] as const
    // A batch has to be somewhere.
    if (critical === undefined && droppable === undefined) throw new TypeError('a batch without entries')
    const args: Argument[] = [epoch, width, ends ? 1 : 0, ...lanes, isConfirmed ? 1 : 0]
    const { base = '', bytes } = held ?? {}
    args.push(base, bytes === undefined ? 0 : 1, bytes === undefined ? '' : Buffer.from(bytes))
    for (const { place, name } of ids) args.push(place, name)
    const answer = (await this.#call(scripts.append, session, args, isConfirmed)) as number[]
    const appended = readAppended(answer)
    if (appended.kind === 'appended') {
      this.#counts.appends++
      this.#counts.bytes += lanes[0].length + lanes[1].length
      if (appended.to > appended.from) this.#idle.touched(session)
    }
    return appended
  }

  async open(session: string): Promise<Opened> {
    const args = [this.#parts.random.id(12), mentionedSeconds]
    return readOpened(await this.#call(scripts.open, session, args))
  }

  async since(session: string, { epoch, offset }: Position): Promise<Since> {
    return readSince(await this.#call(scripts.since, session, [epoch, offset]), epoch, offset)
  }

  async checkpoint(session: string, { epoch, offset, bytes }: Checkpoint): Promise<void> {
    const args = [epoch, offset, Buffer.from(bytes), laneEntriesMax, laneBytesMax]
    await this.#call(scripts.checkpoint, session, args)
  }

  async begin(session: string, { checkpoint, batches, whole }: LogPast): Promise<boolean> {
    const { epoch, offset, bytes } = checkpoint
    const args = [epoch, offset, whole, Buffer.from(bytes), ...laneArguments(batches)]
    const isConfirmed = this.#parts.acknowledge === 'replica'
    const begun = (await this.#call(scripts.begin, session, args, isConfirmed)) === 1
    if (begun) this.#idle.touched(session)
    return begun
  }

  async rewrite(session: string, { checkpoint, batches, rewrites, isTold }: RewrittenPast): Promise<boolean> {
    const { epoch, offset, bytes } = checkpoint
    const args = [epoch, rewrites, offset, isTold ? 1 : 0, Buffer.from(bytes), ...laneArguments(batches)]
    const isConfirmed = this.#parts.acknowledge === 'replica'
    const rewritten = (await this.#call(scripts.rewrite, session, args, isConfirmed)) === 1
    if (rewritten) this.#idle.touched(session)
    return rewritten
  }

  async follow(session: string, feed: LogFeed): Promise<void> {
    return this.#counted(async () => {
      const shard = shardOf(session)
      const channel = this.#head(shard, session)
      this.#feeds.set(channel, feed)
      const channels = this.#channels.get(shard.number) ?? new Set()
      this.#channels.set(shard.number, channels.add(channel))
      try {
        await this.nodes.subscribe(shard, channel)
      } catch (error) {
        if (this.#feeds.get(channel) === feed) this.unfollow(session)
        throw error
      }
    })
  }

  unfollow(session: string): void {
    const shard = shardOf(session)
    const channel = this.#head(shard, session)
    if (!this.#feeds.delete(channel)) return
    this.#channels.get(shard.number)?.delete(channel)
    if (!this.#isClosed) this.nodes.of(shard).unsubscribe([channel])
  }

  async remove(session: string, only?: RemovedOnly): Promise<boolean> {
    const answer = await this.#call(scripts.remove, session, [only?.epoch ?? '', only?.offset ?? ''])
    if (answer === -1) return false
    // Where it was gone already, its description may still be there.
    await this.#list(listScripts.forget, session)
    return answer === 1
  }

  async describe(session: string, { epoch, offset, about }: Description): Promise<void> {
    await this.#list(listScripts.describe, session, epoch, offset, about)
  }

  async described(after: number, limit: number): Promise<DescribedPage> {
    return readDescribed(await this.#list(listScripts.described, after, limit), after, limit)
  }

  async sessions(after: string, limit: number): Promise<readonly string[]> {
    const from = after === '' ? '-' : `(${after}`
    const page = (shard: Shard) =>
      this.nodes.call(shard, 'ZRANGE', this.#key(shard, 'list'), from, '+', 'BYLEX', 'LIMIT', 0, limit)
    const pages = await this.#counted(() => Promise.all(shards.map(page)))
    // By code unit, as other lists of sessions.
    return (pages as Buffer[][]).flat().map(String).toSorted().slice(0, limit)
  }

  async put(name: string, bytes: Uint8Array, ms: number): Promise<void> {
    const shard = shardOf(name)
    const key = this.#key(shard, `n:${name}`)
    await this.#counted(() => this.nodes.call(shard, 'SET', key, Buffer.from(bytes), 'PX', Math.ceil(ms)))
  }

  async take(name: string): Promise<Uint8Array | undefined> {
    const shard = shardOf(name)
    const taken = await this.#counted(() => this.nodes.call(shard, 'GETDEL', this.#key(shard, `n:${name}`)))
    return (taken as Buffer | null) ?? undefined
  }

  async living(hub: string, ms: number): Promise<readonly string[]> {
    const [shard] = shards as [Shard]
    const keys = [this.#key(shard, 'living')]
    const run = this.#counted(() => this.nodes.run(listScripts.living, shard, keys, [hub, Math.ceil(ms)]))
    return ((await run).answer as Buffer[]).map(String)
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#health.stop()
    this.#idle.stop()
    this.#feeds.clear()
    this.#channels.clear()
    if (this.#under > 0) {
      await new Promise<void>((resolve) => {
        this.#settled = resolve
        this.#parts.clock.after(closeMs, resolve)
      })
    }
    this.nodes.close()
  }

  #key(shard: Shard, rest: string): string {
    return `${this.#prefix}:{${shard.tag}}:${rest}`
  }

  #head(shard: Shard, session: string): string {
    return this.#key(shard, `s:${session}`)
  }

  #expectOpen(): void {
    if (this.#isClosed) throw new StoreError('closed', 'the log was closed')
  }

  async #call(
    script: Script,
    session: string,
    args: readonly Argument[],
    isConfirmed = false,
  ): Promise<unknown> {
    return this.#counted(async () => {
      const shard = shardOf(session)
      const head = this.#head(shard, session)
      const keys = [head, `${head}:m`, `${head}:c`, `${head}:d`, `${head}:i`, this.#key(shard, 'list')]
      const { answer, connection, node } = await this.nodes.run(script, shard, keys, args)
      if (isConfirmed) await node.confirmed(connection, confirmMs)
      return answer
    })
  }

  async #list(script: Script, ...args: readonly Argument[]): Promise<unknown> {
    const [shard] = shards as [Shard]
    const keys = ['about', 'changed', 'removed'].map((name) => this.#key(shard, name))
    return this.#counted(async () => (await this.nodes.run(script, shard, keys, args)).answer)
  }

  async #counted<T>(call: () => Promise<T>, isCheck = false): Promise<T> {
    this.#expectOpen()
    if (this.#waiting !== undefined && !isCheck) throw this.#waiting
    this.#under++
    this.#awake.hold()
    try {
      return await call()
    } catch (error) {
      this.#counts.failures++
      throw error
    } finally {
      this.#awake.release()
      if (--this.#under === 0) this.#settled?.()
    }
  }

  #heard(channel: string, message: Buffer): void {
    const feed = this.#feeds.get(channel)
    if (feed === undefined) return this.#health.heard(String(message))
    let published: PublishedMessage
    try {
      published = readPublished(message)
    } catch {
      // What cannot be read here is asked for, and said then.
      return feed.broken()
    }
    if (published.kind === 'batch') feed.batch(published.batch)
    else feed.removed(published.epoch)
  }

  #broken(which: readonly Shard[]): void {
    for (const { number } of which) {
      for (const channel of this.#channels.get(number) ?? []) {
        this.#counts.broken++
        this.#feeds.get(channel)?.broken()
      }
    }
  }
}
