import type { Offset } from '../../src/protocol/cursor.js'
import { memoryStore } from '../../src/store/memory.js'
import {
  type Batch,
  type Found,
  type Immediate,
  offsetsAhead,
  type Page,
  type ReadOptions,
  type Retention,
  type SessionPage,
  type Size,
  type Store,
  type StoredSession,
  StoreError,
  type Trimmed,
} from '../../src/store/store.js'
import type { SimulatedClock } from '../kit/clock.js'
import type { SeededRandom } from '../kit/random.js'

/** What goes wrong, and how often. */
export interface DiskFaults {
  /** A write fails and changes nothing. */
  readonly write: number
  /** A read that was waited for fails; one that was not. */
  readonly read: number
  readonly now: number
  /** How late an answer comes at most. Milliseconds. */
  readonly lateMs: number
}

const noFaults: DiskFaults = { write: 0, read: 0, now: 0, lateMs: 1 }

/** What outlives a hub: a store whose writes are kept or not, whatever the hub lives to hear of it. */
export class SimulatedDisk {
  readonly #kept = memoryStore()
  readonly #clock: SimulatedClock
  readonly #random: SeededRandom
  /** How many lives have ended without `close`; and when each session was written last. */
  #unclean = 0
  readonly #writtenIn = new Map<string, number>()
  /** Up to where retention has taken events, and from which epochs on a session is gone. */
  readonly trimmed = new Map<string, number>()
  faults: DiskFaults = noFaults
  #life: SimulatedStore | undefined

  constructor(clock: SimulatedClock, random: SeededRandom) {
    this.#clock = clock
    this.#random = random
  }

  /** A new life of the hub begins; the one before has ended, or been killed. */
  open(): Store {
    this.#life = new SimulatedStore(this)
    return this.#life
  }

  /** The process is killed: what is under way is written or not, and nobody is told. */
  kill(): void {
    this.#life?.kill()
    this.endUncleanly()
  }

  endUncleanly(): void {
    this.#unclean += 1
  }

  heal(): void {
    this.faults = noFaults
  }

  /** What has been kept of a session, whoever knows of it. */
  durable(session: string): StoredSession | undefined {
    return this.#kept.now?.load(session)
  }

  get now(): Immediate {
    const { now } = this.#kept
    if (now === undefined) throw new TypeError('expected a store that answers at once')
    return {
      load: (session) => {
        const stored = now.load(session)
        const behind = this.#unclean - (this.#writtenIn.get(session) ?? 0)
        return stored && { ...stored, last: (stored.last + behind * offsetsAhead) as Offset }
      },
      newest: (session, options) => now.newest(session, options),
    }
  }

  get kept(): Store {
    return this.#kept
  }

  /** Applied at once: the memory behind it does its work before it answers. */
  commit(batch: Batch): void {
    void this.#kept.commit(batch)
    for (const { session } of batch.sessions) this.#writtenIn.set(session, this.#unclean)
  }

  async trim(retention: Retention, now: number, held: (session: string) => boolean): Promise<Trimmed> {
    const step = await this.#kept.trim(retention, now, held)
    for (const { session, trimmed } of step.trimmed) {
      const epoch = this.durable(session)?.record.epoch
      this.trimmed.set(`${session} ${epoch}`, trimmed)
    }
    return step
  }

  chance(odds: number): boolean {
    return this.#random.chance(odds)
  }

  later(task: () => void): void {
    this.#clock.after(this.#random.integer(0, this.faults.lateMs), task)
  }
}

/** A disk as one life of a hub sees it. */
class SimulatedStore implements Store {
  readonly found: Found = { sessions: 0, events: 0, bytes: 0, clean: true }
  readonly #disk: SimulatedDisk
  #isAlive = true
  #isBehind = false
  #isUnclean = false
  #writing: Promise<void> = Promise.resolve()
  /** Of the write under way: what would be written. */
  #pending: (() => void) | undefined

  constructor(disk: SimulatedDisk) {
    this.#disk = disk
  }

  kill(): void {
    this.#isAlive = false
    if (this.#disk.chance(0.5)) this.#pending?.()
  }

  get now(): Immediate {
    const { now } = this.#disk
    const mayFail = (): void => {
      if (this.#disk.chance(this.#disk.faults.now))
        throw new StoreError('failed', 'The disk does not answer.')
    }
    return {
      load: (session) => {
        mayFail()
        return now.load(session)
      },
      newest: (session, options) => {
        mayFail()
        return now.newest(session, options)
      },
    }
  }

  async commit(batch: Batch): Promise<void> {
    this.#isBehind = true
    await this.#write(() => this.#disk.commit(batch))
    this.#isBehind = false
  }

  async remove(session: string): Promise<void> {
    try {
      await this.#write(() => this.#disk.kept.remove(session))
    } catch (error) {
      this.#isUnclean = true
      throw error
    }
  }

  trim(retention: Retention, now: number, held: (session: string) => boolean): Promise<Trimmed> {
    return this.#write(() => this.#disk.trim(retention, now, held))
  }

  load(session: string): Promise<StoredSession | undefined> {
    return this.#read(() => Promise.resolve(this.#disk.now.load(session)))
  }

  read(session: string, after: Offset, options?: ReadOptions): Promise<Page> {
    return this.#read(() => this.#disk.kept.read(session, after, options))
  }

  readBefore(session: string, before: Offset, options?: ReadOptions): Promise<Page> {
    return this.#read(() => this.#disk.kept.readBefore(session, before, options))
  }

  keptBefore(session: string, at: number): Promise<Offset> {
    return this.#read(() => this.#disk.kept.keptBefore(session, at))
  }

  newest(session: string, options?: ReadOptions): Promise<Page> {
    return this.#read(() => this.#disk.kept.newest(session, options))
  }

  sessions(after: string, limit: number): Promise<SessionPage> {
    return this.#read(() => this.#disk.kept.sessions(after, limit))
  }

  size(): Size {
    return this.#disk.kept.size()
  }

  async close(): Promise<void> {
    await this.#writing
    this.#isAlive = false
    if (this.#isBehind || this.#isUnclean) this.#disk.endUncleanly()
  }

  async #read<Result>(make: () => Promise<Result>): Promise<Result> {
    await this.#wait()
    if (this.#disk.chance(this.#disk.faults.read)) throw new StoreError('failed', 'The disk cannot be read.')
    // As it is now, and told later.
    const result = await make()
    await this.#wait()
    return result
  }

  /** One write after the other; kept at one time, and told at another. */
  async #write<Result>(make: () => Result | Promise<Result>): Promise<Result> {
    const before = this.#writing
    const written = before.then(async () => {
      const fails = this.#disk.chance(this.#disk.faults.write)
      let result: Result | Promise<Result> | undefined
      this.#pending = fails ? undefined : () => void (result = make())
      await this.#wait()
      this.#pending?.()
      this.#pending = undefined
      await this.#wait()
      if (fails) throw new StoreError('failed', 'The disk cannot be written.')
      return result as Result | Promise<Result>
    })
    this.#writing = written.then(
      () => undefined,
      () => undefined,
    )
    return written
  }

  /** Never ends in a life that was killed. */
  #wait(): Promise<void> {
    return new Promise((resolve) =>
      this.#disk.later(() => {
        if (this.#isAlive) resolve()
      }),
    )
  }
}
