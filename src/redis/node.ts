import type { Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'
import { StoreError } from '../store/store.js'
import { type Argument, type Connection, EngineError, type Target, UnsentError } from './connection.js'
import { Line } from './line.js'
import { type Script, scripts } from './scripts.js'
import type { Shard } from './shards.js'

/** Channels of one `SSUBSCRIBE`. */
const channelsAtOnce = 500

export interface NodeOptions {
  readonly clock: Clock
  readonly random: Random
  readonly target: Target
  readonly waitMs: number
  readonly hub: string
  readonly keys: { readonly era: (shard: Shard) => string; readonly canary: (shard: Shard) => string }
  /** The channels of its sessions that are followed, by shard: they are subscribed on each new feed. */
  readonly channels: () => Iterable<readonly [Shard, readonly string[]]>
  readonly onMessage: (channel: string, message: Buffer) => void
  /** What was published before may not have been told. */
  readonly onFeed: () => void
  /** What the engine holds may be older than what it has answered. */
  readonly onEra: () => void
  readonly onEnd: (line: 'commands' | 'feed', why: string) => void
}

/** The newest era of each shard that this hub has heard of, of whatever node. */
export type Eras = Map<number, number>

/** One server of the engine: a connection for commands, and one that tells of what is published. */
export class EngineNode {
  readonly #options: NodeOptions
  readonly #eras: Eras
  readonly commands: Line
  readonly feed: Line
  /** By connection: the eras that it was told. What is said hello to once counts for as long as the connection lives. */
  #greeted = new Map<number, Promise<number>>()
  /** The one that has found another era than this hub knew. */
  #changed: Connection | undefined = undefined
  #confirming: Promise<number> | undefined = undefined

  constructor(options: NodeOptions, eras: Eras) {
    this.#options = options
    this.#eras = eras
    const { clock, random, target, waitMs, hub, onEnd, onFeed } = options
    const line = { clock, random, target, waitMs }
    this.commands = new Line({
      ...line,
      name: `runcast-${hub}`,
      onOpen: () => {
        this.#greeted = new Map()
        return undefined
      },
      onEnd: (why) => onEnd('commands', why),
    })
    this.feed = new Line({
      ...line,
      name: `runcast-${hub}-feed`,
      onOpen: async (connection) => {
        connection.onMessage(options.onMessage)
        try {
          await this.#subscribeAll(connection)
        } catch (error) {
          // A slot may have moved: where to is asked then.
          onEnd('feed', error instanceof Error ? error.message : String(error))
          throw error
        }
        onFeed()
      },
      onEnd: (why) => onEnd('feed', why),
    })
  }

  close(): void {
    this.commands.close()
    this.feed.close()
  }

  /** @returns once what is published from now on is told */
  async subscribe(shard: Shard, channels: readonly string[]): Promise<void> {
    const { clock, waitMs, keys } = this.#options
    const connection = await this.feed.ready()
    const late = clock.after(waitMs, () => {
      if (this.feed.connection === connection) this.feed.drop('it does not answer')
    })
    try {
      await connection.call('ssubscribe', keys.canary(shard), ...channels)
    } finally {
      late.cancel()
    }
  }

  async #subscribeAll(connection: Connection): Promise<void> {
    const { channels: ownChannels, keys } = this.#options
    const under: Promise<unknown>[] = []
    for (const [shard, channels] of ownChannels()) {
      // One slot a command.
      const all = [keys.canary(shard), ...channels]
      for (let i = 0; i < all.length; i += channelsAtOnce) {
        under.push(connection.call('ssubscribe', ...all.slice(i, i + channelsAtOnce)))
      }
    }
    await Promise.all(under)
  }

  unsubscribe(channels: readonly string[]): void {
    // A connection that is gone has no subscriptions.
    this.feed.connection?.call('sunsubscribe', ...channels).catch(() => undefined)
  }

  /** Runs a script of a shard, whose first key is the era and whose first argument says which this hub takes it for. */
  async run(script: Script, shard: Shard, keys: readonly string[], args: readonly Argument[]): Promise<Ran> {
    // Twice: the first time may find that the engine has changed since this connection said hello, or has just gone.
    for (let round = 0; ; round++) {
      const connection = await this.commands.ready()
      try {
        const era = await this.#hello(connection, shard)
        const answer = await connection.run(script, [this.#options.keys.era(shard), ...keys], [era, ...args])
        return { answer, connection }
      } catch (error) {
        const isOld = error instanceof EngineError && error.code === 'ERA'
        if (!isOld && !(error instanceof UnsentError)) throw error
        if (this.commands.connection === connection) this.commands.drop('the engine has changed, or is gone')
        if (round > 0) throw error
      }
    }
  }

  async call(command: string, ...args: readonly Argument[]): Promise<unknown> {
    return (await this.commands.ready()).call(command, ...args)
  }

  /** Says hello whether it was said or not, and has it come back by the feed. */
  async canary(shard: Shard, message: string): Promise<void> {
    const connection = await this.commands.ready()
    await this.#greet(connection, shard, message)
  }

  /** Waits until a replica has everything that this node was sent so far. @throws StoreError `failed` when none says so in time */
  async confirmed(connection: Connection, timeoutMs: number): Promise<void> {
    if (this.commands.connection !== connection) throw new StoreError('failed', 'the link to the log broke')
    // One for all that were answered in this turn.
    this.#confirming ??= new Promise((resolve, reject) => {
      this.#options.clock.defer(() => {
        this.#confirming = undefined
        connection.call('WAIT', 1, timeoutMs).then((count) => resolve(Number(count)), reject)
      })
    })
    if ((await this.#confirming) < 1) {
      throw new StoreError('failed', `no replica of the log has confirmed it within ${timeoutMs} ms`)
    }
  }

  #hello(connection: Connection, shard: Shard): Promise<number> {
    let greeted = this.#greeted.get(shard.number)
    if (greeted === undefined || this.commands.connection !== connection) {
      const map = this.#greeted
      greeted = this.#greet(connection, shard, '')
      if (this.commands.connection !== connection) return greeted
      map.set(shard.number, greeted)
      greeted.catch(() => map.delete(shard.number))
    }
    return greeted
  }

  async #greet(connection: Connection, shard: Shard, message: string): Promise<number> {
    const { keys, onEra } = this.#options
    const newest = this.#eras.get(shard.number) ?? 0
    const answer = await connection.run(
      scripts.hello,
      [keys.era(shard), keys.canary(shard)],
      [String(newest), message],
    )
    const era = Number(String(answer))
    this.#eras.set(shard.number, Math.max(era, this.#eras.get(shard.number) ?? 0))
    // What goes for one shard of a node may go for all: told once a connection.
    if (newest > 0 && era !== newest && this.#changed !== connection) {
      this.#changed = connection
      onEra()
    }
    return era
  }
}

interface Ran {
  readonly answer: unknown
  /** On which it was answered: `confirmed` asks for it. */
  readonly connection: Connection
}
