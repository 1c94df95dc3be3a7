import { build, type Histogram } from 'hdr-histogram-js'
import { type DialectChoice, dialectOf } from './dialect.js'
import { KnownFrames, Link } from './link.js'
import { countFaults, type Faults, noFaults, Tally } from './tally.js'

/** Connections of one kind, which subscribe alike. */
export interface ConnectOptions {
  readonly port: number
  readonly count: number
  readonly dialect: DialectChoice
  /** Events due are those whose number leaves `residue` when divided by `stride`: all unless given. */
  readonly stride?: number
  readonly residue?: number
  /** Read every frame in full instead of comparing it with one that was read before. */
  readonly decodeAll?: boolean
}

/** What is due from now on. */
export interface Expectation {
  /** Number of the newest event that was published before. */
  readonly after: number
  /** Events that each connection must receive. */
  readonly events: number
  /** Tell about progress each time so many more have arrived, over all connections. */
  readonly progressEvery: number
  /** When nothing comes for so long, what is missing counts as lost. */
  readonly quietMs: number
}

/** Microseconds from publishing to the read of the socket. */
export interface Latency {
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export interface Report {
  readonly connections: number
  /** Events received, over all connections. */
  readonly deliveries: number
  /** Bytes of frames without their heads. */
  readonly bytes: number
  readonly faults: Faults
  /** What the first malformed frames were about. */
  readonly remarks: readonly string[]
  readonly latencyMicros: Latency
  /** CPU that the swarm itself took. */
  readonly cpuMicros: number
}

const dialingMax = 200
const connectMs = 150_000
const remarksMax = 5

/** Thousands of connections in one process, and what they received. */
export class Swarm {
  readonly #links = new Set<Link>()
  readonly #known = new Map<DialectChoice['kind'], KnownFrames>()
  readonly #latency: Histogram = build({
    highestTrackableValue: 60_000_000,
    numberOfSignificantValueDigits: 3,
  })
  #faults = noFaults()
  #remarks: string[] = []
  #deliveries = 0
  #bytes = 0
  #tellAt = Number.POSITIVE_INFINITY
  #expected: Expectation | undefined = undefined
  #cpu = process.cpuUsage()
  #settle: ((report: Report) => void) | undefined = undefined
  #quiet: NodeJS.Timeout | undefined = undefined
  readonly #onProgress: (deliveries: number) => void

  /** @param onProgress told how many events have arrived since the last `expect`, over all connections */
  constructor(onProgress: (deliveries: number) => void = () => {}) {
    this.#onProgress = onProgress
  }

  /**
   * Opens connections and subscribes them.
   *
   * @returns once every one of them is live
   * @throws Error when one is refused, or all are not live within 150 s
   */
  connect(options: ConnectOptions): Promise<void> {
    const dialect = dialectOf(options.dialect)
    const known = options.decodeAll ? undefined : this.#knownFor(options.dialect)
    return new Promise((resolve, reject) => {
      let begun = 0
      let live = 0
      const give = (reason: string) => {
        clearTimeout(deadline)
        reject(
          new Error(
            `${reason}: ${live} of ${options.count} connections are live. ${this.#remarks.join(' ')}`,
          ),
        )
      }
      const deadline = setTimeout(() => give('time is up'), connectMs)
      const dial = () => {
        begun += 1
        const tally = new Tally(this.#faults, options.stride, options.residue)
        const link = new Link(options.port, dialect, tally, known, {
          live: () => {
            live += 1
            if (begun < options.count) dial()
            if (live < options.count) return
            clearTimeout(deadline)
            resolve()
          },
          delivered: (events, bytes, stamp, now) => this.#delivered(events, bytes, now - stamp),
          malformed: (reason) => this.#malformed(reason),
          closed: () => {
            if (!this.#links.delete(link)) return
            this.#faults.closed += 1
            if (live < options.count) give('a connection was closed')
          },
        })
        this.#links.add(link)
      }
      while (begun < Math.min(dialingMax, options.count)) dial()
    })
  }

  /** Connections of one dialect that are due the same events get the same bytes. */
  #knownFor({ kind }: DialectChoice): KnownFrames {
    const known = this.#known.get(kind) ?? new KnownFrames()
    this.#known.set(kind, known)
    return known
  }

  /** Counts from zero, and waits for what is due. Ask for `settled` next. */
  expect(expected: Expectation): void {
    Object.assign(this.#faults, noFaults())
    this.#remarks = []
    this.#latency.reset()
    this.#deliveries = 0
    this.#bytes = 0
    this.#expected = expected
    this.#tellAt = this.#nextTell(expected)
    this.#cpu = process.cpuUsage()
    for (const { tally } of this.#links) {
      tally.startAfter(expected.after)
      tally.missing.clear()
    }
  }

  /** @returns once every connection has what is due, or nothing has come for `quietMs` */
  settled(): Promise<Report> {
    return new Promise((resolve) => {
      this.#settle = resolve
      this.#watchQuiet()
      this.#settleIfComplete()
    })
  }

  /** Stops reading on all connections. */
  pause(): void {
    for (const link of this.#links) link.pause()
  }

  resume(): void {
    for (const link of this.#links) link.resume()
  }

  close(): void {
    const links = [...this.#links]
    this.#links.clear()
    for (const link of links) link.cut()
    clearTimeout(this.#quiet)
  }

  // Called once for each frame and connection.
  #delivered(events: number, bytes: number, latencyMicros: number): void {
    this.#deliveries += events
    this.#bytes += bytes
    this.#latency.recordValueWithCount(Math.max(0, Math.round(latencyMicros)), events)
    if (this.#deliveries < this.#tellAt) return
    const expected = this.#expected
    if (expected === undefined) return
    this.#tellAt = this.#nextTell(expected)
    this.#onProgress(this.#deliveries)
    this.#settleIfComplete()
  }

  #nextTell({ progressEvery, events }: Expectation): number {
    const next = this.#deliveries + progressEvery
    const all = events * this.#links.size
    return this.#deliveries < all ? Math.min(next, all) : next
  }

  #malformed(reason: string): void {
    this.#faults.malformed += 1
    if (this.#remarks.length < remarksMax) this.#remarks.push(reason)
  }

  #settleIfComplete(): void {
    const expected = this.#expected
    if (expected === undefined || this.#settle === undefined) return
    if (this.#deliveries < expected.events * this.#links.size || countFaults(this.#faults) > 0) return
    this.#finish()
  }

  #watchQuiet(): void {
    const seen = this.#deliveries
    this.#quiet = setTimeout(() => {
      if (this.#deliveries === seen) this.#finish()
      else this.#watchQuiet()
    }, this.#expected?.quietMs ?? 0)
  }

  #finish(): void {
    clearTimeout(this.#quiet)
    this.#countTails()
    const settle = this.#settle
    this.#settle = undefined
    settle?.(this.#report())
  }

  /** What is missing at the end of a connection shows in no later event. */
  #countTails(): void {
    const expected = this.#expected
    if (expected === undefined) return
    for (const { tally } of this.#links) {
      this.#faults.lost += tally.owed(expected.after, expected.events)
    }
  }

  #report(): Report {
    const { user, system } = process.cpuUsage(this.#cpu)
    return {
      connections: this.#links.size,
      deliveries: this.#deliveries,
      bytes: this.#bytes,
      faults: { ...this.#faults },
      remarks: this.#remarks,
      latencyMicros: {
        p50: this.#latency.getValueAtPercentile(50),
        p99: this.#latency.getValueAtPercentile(99),
        p999: this.#latency.getValueAtPercentile(99.9),
        max: this.#latency.maxValue,
      },
      cpuMicros: user + system,
    }
  }
}
