import type { Clock, Timer } from '../lib/clock.js'
import { StoreError } from '../store/store.js'
import type { EngineNode } from './node.js'
import type { Nodes } from './nodes.js'
import type { Shard } from './shards.js'

/** Canaries that may be under way before the feed counts as dead. */
const missedMax = 2
interface Probe {
  readonly node: EngineNode
  /** Canaries that were sent since one came back, and that were not even taken. */
  missed: number
  untaken: number
  /** When all was well last. */
  wellAt: number
  fault: string
}

interface HealthOptions {
  readonly clock: Clock
  readonly canaryMs: number
  /** For how long the engine or the feed may be gone before `onFault` is told. */
  readonly faultMs: number
  readonly nodes: Nodes
}

/** Looks after the feed end to end: publishes what has to come back, and opens anew what has died without a word. */
export class Health {
  readonly #options: HealthOptions
  /** By the number of the shard. */
  readonly #probes = new Map<number, Probe>()
  #timer: Timer | undefined = undefined
  #listener: ((fault: StoreError | undefined) => void) | undefined = undefined
  #fault: StoreError | undefined = undefined
  /** Why the log has not been begun with yet. */
  #waiting: StoreError | undefined = undefined
  #isStopped = false
  deadFeeds = 0
  feedMs = 0

  constructor(options: HealthOptions) {
    this.#options = options
  }

  onFault(listener: (fault: StoreError | undefined) => void): void {
    this.#listener = listener
    if (this.#fault !== undefined) listener(this.#fault)
  }

  /** The log waits for its engine since the beginning. @param why nothing: it has been reached */
  waiting(why: StoreError | undefined): void {
    this.#waiting = why
    this.#tell()
  }

  start(): void {
    const { clock, canaryMs } = this.#options
    this.#timer = clock.after(canaryMs, () => {
      this.#look()
      if (!this.#isStopped) this.start()
    })
  }

  stop(): void {
    this.#isStopped = true
    this.#timer?.cancel()
  }

  /** A canary came back. */
  heard(message: string): void {
    const [number, at] = message.split(' ')
    const probe = this.#probes.get(Number(number))
    if (probe === undefined) return
    this.feedMs = this.#options.clock.elapsed() - Number(at)
    probe.missed = 0
    probe.wellAt = this.#options.clock.elapsed()
    this.#tell()
  }

  #look(): void {
    const { clock, nodes } = this.#options
    const now = clock.elapsed()
    const looked = new Set<number>()
    for (const [node, shard] of nodes.followed()) {
      looked.add(shard.number)
      let probe = this.#probes.get(shard.number)
      if (probe === undefined || probe.node !== node) {
        probe = { node, missed: 0, untaken: 0, wellAt: probe?.wellAt ?? now, fault: '' }
        this.#probes.set(shard.number, probe)
      }
      this.#send(probe, shard, now)
    }
    for (const number of this.#probes.keys()) if (!looked.has(number)) this.#probes.delete(number)
    this.#tell()
  }

  #send(probe: Probe, shard: Shard, now: number): void {
    const { nodes } = this.#options
    const { node } = probe
    if (probe.untaken >= missedMax && node.commands.connection !== undefined) {
      probe.untaken = 0
      node.commands.drop('it does not answer')
    }
    if (probe.missed >= missedMax && node.feed.connection !== undefined) {
      probe.missed = 0
      this.deadFeeds++
      node.feed.drop('it brings nothing any more')
      nodes.refresh().catch(() => undefined)
    }
    if (node.feed.connection === undefined) probe.fault = 'its feed cannot be opened'
    else probe.fault = 'its feed brings nothing'
    probe.untaken++
    node.canary(shard, `${shard.number} ${now}`).then(
      () => {
        probe.untaken = 0
        if (node.feed.connection !== undefined) probe.missed++
      },
      (error: Error) => {
        probe.untaken = 0
        probe.fault = error.message
        // The slot may have moved.
        nodes.refresh().catch(() => undefined)
      },
    )
  }

  /** Says it once when something has been wrong for too long, and once when all is well. */
  #tell(): void {
    const { clock, faultMs } = this.#options
    const now = clock.elapsed()
    const longest = [...this.#probes.values()].find(({ wellAt }) => now - wellAt > faultMs)
    const fault =
      this.#waiting ?? (longest && new StoreError('failed', `the log is not followed: ${longest.fault}`))
    const isNews = (this.#fault === undefined) !== (fault === undefined)
    this.#fault = fault
    if (isNews) this.#listener?.(fault)
  }
}
