import assert from 'node:assert/strict'
import t from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { JsonValue } from '../../src/lib/json.js'
import { ProtocolError } from '../../src/protocol/codes.js'
import { SimulatedClock, settle } from '../kit/clock.js'
import { SeededRandom } from '../kit/random.js'
import { SimulatedDisk } from './disk.js'
import { type Life, type Published, type Truth, Watcher, type WatcherCounts } from './watcher.js'

// What clients do, counted. For the long run: RUNCAST_CLIENT_STEPS=10000000 node --import tsx test/simulation/stored.test.ts
const clientSteps = Number(process.env['RUNCAST_CLIENT_STEPS'] ?? 150_000)
const seed = Number(process.env['RUNCAST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
t.setTimeout(60_000 + clientSteps)
const rounds = Number(process.env['RUNCAST_ROUNDS'] ?? Math.max(1, Math.ceil(clientSteps / 50_000)))
const stepsPerRound = Math.ceil(clientSteps / rounds)

const sessionIds = ['a', 'b', 'c', 'd']
const watchersPerSession = 6
const retention = { sessionEvents: 400, ageMs: 3_600_000 }

interface Counts extends WatcherCounts {
  published: number
  acknowledged: number
  refused: number
  kills: number
  restarts: number
  trims: number
  removed: number
}

/** Publishes a few events, all of them again and again until they are acknowledged, whatever becomes of the hub. */
interface Producer {
  readonly session: string
  readonly worker: string | undefined
  next: number
  pending: Pending[]
  waits: boolean
}

interface Pending {
  readonly id: string
  readonly type: string
  readonly data: JsonValue
  /** Where it was published last. */
  told: Published | undefined
  /** Where each life of its session has it: one that was about to be removed may come back. */
  readonly inLives: Map<string, Published>
}

class StoredSimulation implements Truth {
  readonly clock = new SimulatedClock()
  readonly random: SeededRandom
  readonly disk: SimulatedDisk
  readonly watchers: Watcher[] = []
  readonly counts: Counts
  steps = 0
  #hub: Hub
  readonly #lives = new Map<string, Life>()
  readonly #producers: Producer[] = []
  /** What was not kept of sessions that were to be removed; those who had it on its way may still get it. */
  readonly #gone = new Set<Published>()
  /** Which life of the hub it is: answers of one that was killed are nobody's. */
  #number = 0

  constructor(seedOfRound: number, counts: Counts) {
    this.random = new SeededRandom(seedOfRound)
    this.counts = counts
    this.disk = new SimulatedDisk(this.clock, this.random.fork())
    this.disk.faults = { write: 0.03, read: 0.03, now: 0.005, lateMs: 20 }
    this.#hub = this.#open()
    for (const session of sessionIds) {
      for (const worker of [undefined, 'w1'])
        this.#producers.push({ session, worker, next: 0, pending: [], waits: false })
      for (let number = 0; number < watchersPerSession; number++) {
        this.watchers.push(new Watcher(session, this, counts, this.random.integer(1, 30)))
      }
    }
  }

  life(session: string, epoch: string): Life | undefined {
    return this.#lives.get(`${session} ${epoch}`)
  }

  trimmed({ session, epoch }: Life): number {
    return this.disk.trimmed.get(`${session} ${epoch}`) ?? 0
  }

  #open(): Hub {
    return createHub({
      clock: this.clock,
      random: this.random.fork(),
      store: this.disk.open(),
      retention,
      limits: { laneEventsMax: 30, restoredEventsMax: 40, idleSessionsMax: 1 },
      // A store that cannot be read costs a connection.
      report: (error) =>
        assert(error instanceof ProtocolError && error.code === 'unavailable', String(error)),
    })
  }

  async step(): Promise<void> {
    const { random } = this
    for (const producer of this.#producers) if (random.chance(0.4)) this.#produce(producer)
    for (const watcher of this.watchers) if (random.chance(0.5)) this.#watch(watcher)
    const dice = random.fraction()
    if (dice < 0.008) this.#kill()
    else if (dice < 0.012) await this.#restart()
    else if (dice < 0.016) this.#remove(random.pick(sessionIds))
    else if (dice < 0.04) await this.#pass(60_000)
    else await this.#pass(random.integer(0, 25))
  }

  async #pass(ms: number): Promise<void> {
    if (ms >= 60_000) this.counts.trims++
    this.clock.advance(ms)
    await settle()
    this.clock.runTurn()
  }

  #watch(watcher: Watcher): void {
    this.steps++
    const { random } = this
    if (!watcher.connected) return watcher.connect(this.#hub, this.clock)
    const dice = random.fraction()
    if (dice < 0.15) watcher.stall()
    else if (dice < 0.2) watcher.cut()
    else watcher.resume()
  }

  #produce(producer: Producer): void {
    this.steps++
    const { session, worker } = producer
    if (producer.waits) return
    if (producer.pending.length === 0) producer.pending = this.#some(producer)
    const topic = worker === undefined ? `sessions/${session}` : `sessions/${session}/workers/${worker}`
    try {
      for (const pending of producer.pending) {
        const { id, type, data } = pending
        const { first, duplicates } = this.#hub.publish(topic, [{ type, id, data }])
        this.#told(session, pending, first, duplicates === 1)
      }
    } catch (error) {
      assert(error instanceof ProtocolError && error.code === 'unavailable', String(error))
      this.counts.refused++
      return
    }
    void this.#acknowledge(producer)
  }

  #some(producer: Producer): Pending[] {
    const count = this.random.chance(0.2) ? this.random.integer(20, 60) : this.random.integer(1, 4)
    return Array.from({ length: count }, () => {
      const n = producer.next++
      return {
        id: `${producer.session}-${producer.worker ?? ''}-${n}`,
        type: n % 10 === 0 ? 'execution_started' : 'note',
        data: { n, text: 'x'.repeat(this.random.integer(0, 40)) },
        told: undefined,
        inLives: new Map(),
      }
    })
  }

  /** Notes what was published, and that an id is taken once. */
  #told(session: string, pending: Pending, offset: number, isDuplicate: boolean): void {
    const epoch = this.#hub.find(session)?.epoch ?? ''
    let life = this.life(session, epoch)
    if (life === undefined) {
      life = { session, epoch, events: [], byOffset: new Map() }
      this.#lives.set(`${session} ${epoch}`, life)
    }
    const before = pending.inLives.get(epoch)
    const isSame = before !== undefined
    if (isDuplicate) {
      assert(isSame && !before.lost, `${pending.id} was not published before`)
      assert.equal(offset, before.offset)
      pending.told = before
      return
    }
    assert(
      !isSame || before.lost || this.#gone.has(before),
      `${pending.id} is published twice, at ${before?.offset} and ${offset}`,
    )
    assert(!life.byOffset.has(offset), `${session} ${epoch}:${offset} is given out twice`)
    assert(offset > (life.events.at(-1)?.offset ?? 0), 'offsets ascend')
    const told: Published = { offset, id: pending.id, data: pending.data, lost: false, acknowledged: false }
    life.events.push(told)
    life.byOffset.set(offset, told)
    pending.told = told
    pending.inLives.set(epoch, told)
    this.counts.published++
  }

  async #acknowledge(producer: Producer): Promise<void> {
    const { pending } = producer
    const number = this.#number
    producer.waits = true
    try {
      await this.#hub.committed(producer.session)
      // What a killed hub would have answered never arrives.
      if (number !== this.#number) return
      for (const { told } of pending) {
        assert(told !== undefined && !told.lost)
        told.acknowledged = true
      }
      this.counts.acknowledged += pending.length
      producer.pending = []
    } catch (error) {
      assert(error instanceof ProtocolError && error.code === 'unavailable', String(error))
    }
    if (number === this.#number) producer.waits = false
  }

  /** The process is killed: what was not kept is lost, and every client is cut. */
  #kill(): void {
    this.counts.kills++
    this.disk.kill()
    this.#leave()
    this.#begin()
  }

  /** The hub ends in good order, as far as its store lets it, and another one begins. */
  async #restart(): Promise<void> {
    this.counts.restarts++
    const hub = this.#hub
    hub.close()
    this.#leave()
    let isClosed = false
    void hub.closeStore().then(() => (isClosed = true))
    // It tries once to keep what is left: what a failing store has not taken is lost.
    for (let turn = 0; !isClosed; turn++) {
      assert(turn < 10_000, 'the store does not close')
      await this.#pass(10)
    }
    this.#begin()
  }

  #leave(): void {
    this.#number++
    for (const watcher of this.watchers) watcher.cut()
    for (const producer of this.#producers) producer.waits = false
  }

  #begin(): void {
    for (const life of this.#lives.values()) this.#lose(life)
    this.#hub = this.#open()
  }

  /** What the disk has not kept of a life is lost; nothing that was acknowledged may be. */
  #lose({ session, epoch, events }: Life): void {
    const durable = this.disk.durable(session)
    const last = durable?.record.epoch === epoch ? durable.last : -1
    for (let index = events.length - 1; index >= 0; index--) {
      const told = events[index] as Published
      if (told.offset <= last) return
      told.lost = true
      assert(
        !told.acknowledged || last === -1,
        `${session} ${epoch}:${told.offset} was acknowledged, and is lost`,
      )
    }
  }

  #remove(session: string): void {
    const epoch = this.#lookUp(session)
    if (epoch === undefined) return
    this.counts.removed++
    void this.#hub.removeSession(session).catch((error: unknown) => {
      assert(error instanceof ProtocolError && error.code === 'unavailable', String(error))
      // One that the store could not remove is there again, as far as it was kept.
      const last = this.disk.durable(session)?.last ?? 0
      for (const told of this.life(session, epoch)?.events ?? []) {
        if (told.offset <= last || told.lost) continue
        assert(
          !told.acknowledged,
          `${session} ${epoch}:${told.offset} was acknowledged, and went with its session`,
        )
        this.#gone.add(told)
      }
    })
  }

  #lookUp(session: string): string | undefined {
    try {
      return this.#hub.find(session)?.epoch
    } catch (error) {
      assert(error instanceof ProtocolError && error.code === 'unavailable', String(error))
      return undefined
    }
  }

  /** Lets everything arrive, and looks at what there is in the end. */
  async finish(): Promise<void> {
    this.disk.heal()
    for (let turn = 0; turn < 3_000; turn++) {
      for (const producer of this.#producers) if (producer.pending.length > 0) this.#produce(producer)
      for (const watcher of this.watchers) {
        if (!watcher.connected) watcher.connect(this.#hub, this.clock)
        watcher.resume()
      }
      await this.#pass(10)
      const isQuiet = this.#producers.every(({ pending }) => pending.length === 0)
      if (turn > 1_500 && isQuiet && this.watchers.every(({ isLive }) => isLive)) break
    }
    for (const { session, pending } of this.#producers)
      assert.equal(pending.length, 0, `${session} is acknowledged`)
    for (const watcher of this.watchers) watcher.finish()
    for (const session of sessionIds) await this.#compare(session)
  }

  async #compare(session: string): Promise<void> {
    const epoch = this.#lookUp(session)
    const life = epoch === undefined ? undefined : this.life(session, epoch)
    if (life === undefined) return
    const came: number[] = []
    for (let after: string | undefined, isOver = false; !isOver; ) {
      let page: Awaited<ReturnType<Hub['readHistory']>> | undefined
      void this.#hub
        .readHistory(`sessions/${session}/**`, {
          limit: 100,
          ...(after !== undefined && { after }),
        })
        .then((read) => (page = read))
      while (page === undefined) await this.#pass(10)
      const notes = page.events.filter(({ id }) => id !== undefined)
      for (const { offset, id } of notes) assert.equal(life.byOffset.get(offset)?.id, id)
      came.push(...notes.map(({ offset }) => offset))
      after = page.next
      isOver = after === undefined
    }
    const due = life.events.filter(
      (told) => !told.lost && !this.#gone.has(told) && told.offset > this.trimmed(life),
    )
    assert.deepEqual(
      came.filter((offset) => offset > this.trimmed(life)),
      due.map(({ offset }) => offset),
      `${session}: the history is what was published`,
    )
    const ids = due.map(({ id }) => id)
    assert.equal(new Set(ids).size, ids.length, `${session}: no id is there twice`)
  }

  end(): void {
    for (const watcher of this.watchers) watcher.cut()
  }
}

t.test(
  `with a store that fails and hubs that are killed, nothing acknowledged is lost (RUNCAST_SEED=${seed})`,
  async (t) => {
    const counts: Counts = {
      events: 0,
      gaps: 0,
      joins: 0,
      resumes: 0,
      closes: 0,
      published: 0,
      acknowledged: 0,
      refused: 0,
      kills: 0,
      restarts: 0,
      trims: 0,
      removed: 0,
    }
    let steps = 0
    for (let round = 0; round < rounds; round++) {
      const simulation = new StoredSimulation(seed + round, counts)
      try {
        while (simulation.steps < stepsPerRound) await simulation.step()
        await simulation.finish()
        simulation.end()
      } catch (error) {
        t.comment(
          `RUNCAST_SEED=${seed + round} RUNCAST_ROUNDS=1 RUNCAST_CLIENT_STEPS=${stepsPerRound} repeats this`,
        )
        throw error
      }
      steps += simulation.steps
    }
    t.comment(`${steps} steps of clients: ${JSON.stringify(counts)}`)
    // The simulation must reach what it is there for.
    for (const [name, count] of Object.entries(counts)) t.ok(count > 0, name)
  },
)
