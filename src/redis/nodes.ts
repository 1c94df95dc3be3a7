import { StoreError } from '../store/store.js'
import type { Address, Endpoint } from './address.js'
import { type Argument, asStoreError, EngineError, type Target, UnsentError } from './connection.js'
import { EngineNode, type NodeOptions } from './node.js'
import type { Script } from './scripts.js'
import { type Shard, shards } from './shards.js'

/** How often a command follows where the engine says that it belongs. */
const redirectsMax = 5
const againMs = 100

type Shared = Omit<NodeOptions, 'target' | 'channels' | 'onFeed' | 'onEra' | 'onEnd'>

export interface NodesOptions extends Shared {
  readonly address: Address
  /** Certificates and such, beyond what the address says. */
  readonly tls: object | undefined
  /** Channels of a shard's sessions that are followed. */
  readonly channelsOf: (shard: Shard) => readonly string[]
  /** What was published on shards before may not have been told. */
  readonly broken: (shards: readonly Shard[]) => void
  readonly onEnd: (line: 'commands' | 'feed', why: string) => void
}

/** The servers of an engine, and which of them has a shard. */
export class Nodes {
  readonly #options: NodesOptions
  readonly #nodes = new Map<string, EngineNode>()
  readonly #eras = new Map<number, number>()
  /** Of each shard, by its number: the place of its node. */
  readonly #places: string[]
  #asking: Promise<void> | undefined = undefined
  #isClosed = false

  constructor(options: NodesOptions) {
    this.#options = options
    const [first] = options.address.endpoints
    this.#places = Array<string>(shards.length).fill(first === undefined ? '' : placeOf(first))
    this.#node(this.#places[0] as string)
  }

  get all(): readonly EngineNode[] {
    return [...this.#nodes.values()]
  }

  of(shard: Shard): EngineNode {
    return this.#node(this.#places[shard.number] as string)
  }

  /** Shards whose feed has to be looked after, by their node. */
  *followed(): Iterable<readonly [EngineNode, Shard]> {
    const isCluster = this.#options.address.kind === 'cluster'
    const seen = new Set<EngineNode>()
    for (const shard of shards) {
      const node = this.of(shard)
      // Of one server, one shard tells of all; slots move one by one.
      if (seen.has(node) && (!isCluster || this.#options.channelsOf(shard).length === 0)) continue
      seen.add(node)
      yield [node, shard]
    }
  }

  /** Where a shard's sessions are followed has to be found out: of a cluster, before anything is done. */
  async find(): Promise<void> {
    if (this.#options.address.kind === 'cluster') await this.refresh()
    else await this.#node(this.#places[0] as string).commands.ready()
  }

  /** Asks which node has which slots. @throws StoreError `failed` when nobody answers */
  refresh(): Promise<void> {
    if (this.#options.address.kind !== 'cluster') return Promise.resolve()
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  async run(script: Script, shard: Shard, keys: readonly string[], args: readonly Argument[]) {
    return this.#routed(shard, async (node) => ({ ...(await node.run(script, shard, keys, args)), node }))
  }

  /** One command without an era, of a shard: it only reads. */
  async call(shard: Shard, command: string, ...args: readonly Argument[]): Promise<unknown> {
    return this.#routed(shard, (node) => node.call(command, ...args))
  }

  async #routed<T>(shard: Shard, call: (node: EngineNode) => Promise<T>): Promise<T> {
    const { clock, waitMs } = this.#options
    const until = clock.elapsed() + waitMs
    for (let round = 0; ; round++) {
      const node = this.of(shard)
      try {
        return await call(node)
      } catch (error) {
        // None of these has had an effect.
        if (error instanceof UnsentError && !this.#isClosed) await this.#pause()
        else if (!(error instanceof EngineError) || !(await this.#follows(error, shard, node, round)))
          throw asStoreError(error)
        if (clock.elapsed() > until) throw asStoreError(error)
      }
    }
  }

  /** @returns once what is published on a channel from now on is told */
  async subscribe(shard: Shard, channel: string): Promise<void> {
    const { clock, waitMs } = this.#options
    const until = clock.elapsed() + waitMs
    for (;;) {
      const node = this.of(shard)
      try {
        await node.subscribe(shard, [channel])
        // The shard may have moved meanwhile.
        if (this.of(shard) === node) return
      } catch (error) {
        if (clock.elapsed() > until || this.#isClosed || !isPassing(error)) throw asStoreError(error)
        await this.refresh().catch(() => undefined)
      }
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => void this.#options.clock.after(againMs, resolve))
  }

  close(): void {
    this.#isClosed = true
    for (const node of this.#nodes.values()) node.close()
  }

  /** @returns whether it is worth to try again, now */
  async #follows(
    { code, message }: EngineError,
    shard: Shard,
    node: EngineNode,
    round: number,
  ): Promise<boolean> {
    switch (code) {
      case 'MOVED': {
        const [, , to = ''] = message.split(' ')
        this.#move(
          [shard],
          to.startsWith(':')
            ? placeOf({ host: hostOf(this.#places[shard.number]), port: Number(to.slice(1)) })
            : to,
        )
        if (round >= redirectsMax) await this.#pause()
        return true
      }
      case 'ASK':
      case 'TRYAGAIN':
        // A part of the shard is on its way to another node; it is whole again soon.
        await this.#pause()
        return true
      case 'CLUSTERDOWN':
        await this.#pause()
        await this.refresh().catch(() => undefined)
        return true
      case 'READONLY':
      case 'MASTERDOWN':
        // It is a replica by now: a new look finds the node that took over.
        node.commands.drop(message)
        node.feed.drop(message)
        await this.#pause()
        await this.refresh().catch(() => undefined)
        return true
      case 'LOADING':
      case 'BUSY':
        await this.#pause()
        return true
      default:
        return false
    }
  }

  #move(moved: readonly Shard[], place: string): void {
    const gone = moved.filter(({ number }) => this.#places[number] !== place)
    if (gone.length === 0 || this.#isClosed) return
    for (const shard of gone) {
      const { channelsOf, keys } = this.#options
      const channels = [...channelsOf(shard), keys.canary(shard)]
      this.of(shard).unsubscribe(channels)
      this.#places[shard.number] = place
    }
    const node = this.#node(place)
    // Where its feed is not there yet, it subscribes to all that is its own when it is.
    if (node.feed.connection === undefined) return
    const subscribed = gone.map((shard) => node.subscribe(shard, this.#options.channelsOf(shard)))
    Promise.all(subscribed).then(
      () => this.#options.broken(gone),
      () => node.feed.drop('the sessions of a slot that moved could not be followed'),
    )
  }

  async #ask(): Promise<void> {
    const known = [...new Set([...this.#places, ...this.#options.address.endpoints.map(placeOf)])]
    const isThere = (place: string) => this.#nodes.get(place)?.commands.connection !== undefined
    known.sort((a, b) => Number(isThere(b)) - Number(isThere(a)))
    let fault: unknown
    for (const place of known) {
      try {
        const slots = (await this.#node(place).call('CLUSTER', 'SLOTS')) as Slots
        return this.#take(slots, place)
      } catch (error) {
        fault = error
      }
    }
    throw asStoreError(fault)
  }

  #take(slots: Slots, source: string): void {
    const byPlace = new Map<string, Shard[]>()
    for (const [first, last, [host, port]] of slots) {
      // Empty where the node does not know its own address: it is the one that was asked.
      const place = placeOf({
        host: host === null || String(host) === '' ? hostOf(source) : String(host),
        port: Number(port),
      })
      const own = shards.filter(({ slot }) => slot >= first && slot <= last)
      byPlace.set(place, [...(byPlace.get(place) ?? []), ...own])
    }
    for (const [place, own] of byPlace) this.#move(own, place)
    const used = new Set(this.#places)
    for (const [place, node] of this.#nodes) {
      if (used.has(place)) continue
      this.#nodes.delete(place)
      node.close()
    }
  }

  #node(place: string): EngineNode {
    let node = this.#nodes.get(place)
    if (node === undefined) {
      const { channelsOf, broken, ...rest } = this.#options
      const own = () => shards.filter(({ number }) => this.#places[number] === place)
      node = new EngineNode(
        {
          ...rest,
          target: targetOf(this.#options, place),
          // The first one is looked after even where nothing is followed.
          channels: () =>
            own()
              .map((shard) => [shard, channelsOf(shard)] as const)
              .filter(([, channels], index) => index === 0 || channels.length > 0),
          onFeed: () => broken(own()),
          onEra: () => broken(own()),
          onEnd: (line, why) => {
            rest.onEnd(line, why)
            // A replica may have taken its place.
            this.refresh().catch(() => undefined)
          },
        },
        this.#eras,
      )
      if (this.#isClosed) node.close()
      this.#nodes.set(place, node)
    }
    return node
  }
}

type Slots = readonly (readonly [
  first: number,
  last: number,
  master: readonly [host: Buffer | null, port: number],
])[]

function targetOf({ address, tls }: NodesOptions, place: string): Target {
  const { kind, path, username, password, db, name, endpoints } = address
  const access = {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(db !== 0 && { db }),
    ...(address.tls && { tls: { ...tls } }),
  }
  if (kind === 'sentinel') {
    return {
      ...access,
      sentinels: endpoints.map((endpoint) => ({ ...endpoint })),
      ...(name !== undefined && { name }),
      ...(address.tls && { enableTLSForSentinelMode: true, sentinelTLS: { ...tls } }),
    }
  }
  if (path !== undefined) return { ...access, path }
  const divide = place.lastIndexOf(':')
  return { ...access, host: place.slice(0, divide), port: Number(place.slice(divide + 1)) }
}

function placeOf({ host, port }: Endpoint): string {
  return `${host}:${port}`
}

function hostOf(place = ''): string {
  return place.slice(0, place.lastIndexOf(':'))
}

/** The slot has moved, or the link broke: what is asked anew may go well. */
function isPassing(error: unknown): boolean {
  return error instanceof EngineError
    ? error.code === 'MOVED'
    : error instanceof StoreError && error.kind === 'failed'
}
