import assert from 'node:assert/strict'
import { createHub } from '../../src/hub/hub.js'
import type { JsonValue } from '../../src/lib/json.js'
import { ProtocolError } from '../../src/protocol/codes.js'
import type { PublishResult } from '../../src/sessions/publishing.js'
import { SimulatedClock } from '../kit/clock.js'
import { type Faults, FaultyLink, noFaults, RecordedLog, type Rules } from '../kit/faulty-log.js'
import { SeededRandom } from '../kit/random.js'
import { LogClient } from './log-client.js'
import { type Counts, type Pending, type Place, sessionIds, sliceNames } from './log-publishers.js'
import { checkClient, same, truthOf } from './log-truth.js'
import { LogWriter } from './log-writer.js'
import { SkewedClock } from './skewed-clock.js'

const laneEntries = 15
const faults: Faults = { delayMsMax: 20, lostBefore: 0.02, lostAfter: 0.02, feedLost: 0.03, feedTwice: 0.03 }

/** Where an event was acknowledged. */
interface Acknowledged {
  readonly session: string
  readonly offset: number
  readonly epoch: string
  /** Of the log at that time: a failover since may have lost it. */
  readonly lineage: number
}

/** Three hubs over one log, where everything goes wrong that can; and what must hold when it is over. */
export class LogSimulation {
  readonly #clock = new SimulatedClock()
  readonly #random: SeededRandom
  readonly #log: RecordedLog
  readonly #rules: Rules
  readonly #places: Place[]
  readonly #clients: LogClient[]
  readonly #writers: LogWriter[]
  readonly #textOdds: number
  readonly #pending: Pending[] = []
  readonly #counts: Counts
  #recorded: ReturnType<RecordedLog['recorded']>[] = []
  /** By id: where it was acknowledged. */
  readonly #acknowledged = new Map<string, Acknowledged>()
  readonly #commands: { readonly topic: string; readonly offset: number }[] = []
  #attempts = 1
  #ids = 0
  /** What went wrong where nobody can be told: in what a client takes, or a hub does. */
  readonly #faults: unknown[] = []

  /** @param textOdds how often a writer that has nothing to write begins a text */
  constructor(seedOfRound: number, counts: Counts, rules: Rules, textOdds = 0.05) {
    this.#textOdds = textOdds
    this.#random = new SeededRandom(seedOfRound)
    this.#counts = counts
    this.#rules = rules
    this.#log = new RecordedLog(this.#clock, this.#random.fork(), laneEntries, rules)
    this.#places = [0, 1, 2].map(() => {
      const place = { life: 0 } as Place
      this.#begin(place)
      return place
    })
    const lifetimeOf = (session: string): string => `${this.#epochOf(session)} ${this.#log.lineage}`
    this.#writers = (textOdds === 0 ? [] : ['x', 'y']).map(
      (name) =>
        new LogWriter(name, {
          random: this.#random.fork(),
          clock: this.#clock,
          places: this.#places,
          counts,
          lifetimeOf,
        }),
    )
    this.#clients = Array.from({ length: 8 }, (_, i) => {
      const session = sessionIds[i % sessionIds.length] as string
      // Those that follow no slices of the hubs' own are not always given a snapshot.
      const slices = i % 4 < 2 ? sliceNames : ['*', '$session', '$workers', '$watchers']
      return new LogClient(session, slices, this.#clock, counts)
    })
  }

  #begin(place: Place): void {
    const random = this.#random
    const clock = new SkewedClock(this.#clock, random.integer(-5_000, 5_000))
    const options = { clock: this.#clock, random: random.fork(), faults, rules: this.#rules }
    place.link = new FaultyLink(this.#log.link(), options)
    const limits = { idleSessionsMax: 1, laneEventsMax: 30, logTailBytes: 2_000, stalledCallMs: 1_000 }
    const report = (error: unknown): void => void this.#faults.push(error)
    place.hub = createHub({ clock, random: random.fork(), log: place.link, limits, report })
    place.life++
  }

  async run(steps: number): Promise<void> {
    for (let i = 0; i < steps; i++) {
      this.#step()
      await this.#clock.pass(this.#random.integer(0, 15))
      this.#expectNoFault()
      for (const client of this.#clients) {
        // One of four stays away for long.
        const odds = this.#clients.indexOf(client) % 4 === 0 ? 0.01 : 0.3
        if (!client.connected && this.#random.chance(odds)) this.#connect(client)
      }
    }
    await this.#settle()
    this.#check()
    for (const client of this.#clients) client.cut()
  }

  #expectNoFault(): void {
    if (this.#faults.length > 0) throw this.#faults[0]
  }

  #step(): void {
    const random = this.#random
    const dice = random.fraction()
    if (dice < 0.05) this.#attempt()
    else if (dice < 0.17) this.#command()
    else if (dice < 0.19) this.#lease()
    else if (dice < 0.25) this.#read()
    else if (dice < 0.5) this.#produce()
    else if (dice < 0.65) this.#change()
    else if (dice < 0.75) this.#move()
    else if (dice < 0.8) random.pick(this.#clients).stall()
    else if (dice < 0.88) random.pick(this.#clients).resume()
    else if (dice < 0.9) this.#cut()
    else if (dice < 0.93) this.#deafen()
    else if (dice < 0.945) this.#kill()
    else if (dice < 0.952) this.#failOver()
    else if (dice < 0.965) this.#end()
    for (const writer of this.#writers) writer.write(random.chance(this.#textOdds))
    if (random.chance(0.2)) {
      this.#recorded.push(this.#log.recorded())
      this.#recorded = this.#recorded.slice(-4)
    }
  }

  #produce(): void {
    const random = this.#random
    const idle = this.#pending.filter(({ asked }) => asked === undefined || asked.life !== asked.place.life)
    let pending = idle.length > 0 && random.chance(0.5) ? random.pick(idle) : undefined
    if (pending === undefined) {
      const id = `id-${this.#ids++}`
      const type = random.pick([
        'execution_started',
        'note',
        'note',
        'tool_call_started',
        'tool_call_completed',
      ])
      pending = {
        session: random.pick(sessionIds),
        worker: random.chance(0.4) ? random.pick(['w1', 'w2']) : undefined,
        event: { type, id, data: { n: id, tool_use_id: 't' } },
        asked: undefined,
      }
      this.#pending.push(pending)
    }
    this.#publish(pending)
  }

  #publish(pending: Pending): void {
    const place = this.#random.pick(this.#places)
    const { life } = place
    const { session, worker, event } = pending
    const asked = { place, life }
    pending.asked = asked
    const topic = worker === undefined ? `sessions/${session}` : `sessions/${session}/workers/${worker}`
    const answered = ({ first, duplicates }: PublishResult): void => {
      this.#counts.published++
      this.#counts.duplicates += duplicates
      const { lineage } = this.#log
      const epoch = this.#epochOf(session)
      this.#acknowledged.set(event.id as string, { session, offset: first, epoch, lineage })
      this.#forget(pending)
    }
    place.hub.submit(topic, [event]).then(answered, (error: unknown) => {
      if (pending.asked === asked) pending.asked = undefined
      this.#counts.refused++
      if (this.#isRefusal(error, 'conflict')) this.#forget(pending)
      else this.#expectRefusal(error, 'unavailable')
    })
  }

  #isRefusal(error: unknown, ...codes: readonly string[]): boolean {
    return error instanceof ProtocolError && codes.includes(error.code)
  }

  #expectRefusal(error: unknown, ...codes: readonly string[]): void {
    if (!this.#isRefusal(error, ...codes)) this.#faults.push(error)
  }

  #forget(pending: Pending): void {
    const index = this.#pending.indexOf(pending)
    if (index >= 0) this.#pending.splice(index, 1)
  }

  #change(): void {
    const random = this.#random
    const session = random.pick(sessionIds)
    const slice = random.pick(sliceNames)
    const topic = random.chance(0.3) ? `sessions/${session}/workers/w1` : `sessions/${session}`
    const { hub } = random.pick(this.#places)
    const dice = random.fraction()
    const change =
      dice < 0.1
        ? { removed: true as const }
        : dice < 0.3
          ? { merge: { [random.id(1)]: random.integer(0, 9) } }
          : dice < 0.5
            ? { value: 1 }
            : { value: Array.from({ length: 8 }, (_, i) => ({ text: `${i}`, n: random.integer(0, 3) })) }
    const name = topic.includes('/workers/') ? `workers/w1/${slice}` : slice
    const before = this.#versions(session, name)
    const { lineage } = this.#log
    const epoch = this.#epochOf(session)
    hub.submitState(topic, slice, change).then(
      ({ changed }) => {
        if (changed) this.#counts.changes++
        else if ('value' in change) {
          this.#counts.unchanged++
          // At some moment since it was asked for, the slice was what it was to become.
          const during = [...before.slice(-1), ...this.#versions(session, name).slice(before.length)]
          const isSame = (value: JsonValue | undefined): boolean => same(value, change.value)
          // What was there may have been lost or removed since.
          const isAnother = this.#log.lineage !== lineage || this.#epochOf(session) !== epoch
          if (!isAnother && !during.some(isSame)) {
            this.#faults.push(new Error(`${name} of ${session} was not ${JSON.stringify(change)}`))
          }
        }
      },
      (error: unknown) => this.#expectRefusal(error, 'unavailable', 'conflict'),
    )
  }

  #topicOf(session: string): string {
    return this.#random.chance(0.5) ? `sessions/${session}` : `sessions/${session}/workers/w1`
  }

  #lease(): void {
    const random = this.#random
    const topic = `sessions/${random.pick(sessionIds)}/workers/w3`
    const ms = 1_000
    const ignore = (error: unknown): void => this.#expectRefusal(error, 'unavailable', 'conflict')
    random
      .pick(this.#places)
      .hub.submitLease(topic, ms)
      .then(() => this.#counts.leases++, ignore)
    // Its holder is heard of just before it runs out, just after it, or while a hub says so.
    this.#clock.after(ms + random.integer(-100, 600), () => {
      random
        .pick(this.#places)
        .hub.submit(topic, [{ type: 'note' }])
        .catch(ignore)
    })
  }

  /** What was acknowledged anywhere is there for who reads anywhere. */
  #read(): void {
    const acknowledged = [...this.#acknowledged.values()].at(-1)
    if (acknowledged === undefined) return
    const { session, offset, epoch, lineage } = acknowledged
    const { hub } = this.#random.pick(this.#places)
    const look = (): void => {
      const found = hub.find(session)
      // What was acknowledged may have been lost or removed since.
      if (this.#log.lineage !== lineage || this.#epochOf(session) !== epoch) return
      this.#counts.reads++
      if (found === undefined || found.offset < offset) {
        this.#faults.push(
          new Error(`${session}: read up to ${found?.offset}, and ${offset} was acknowledged`),
        )
      }
    }
    Promise.resolve(hub.catchUp(`sessions/${session}`))
      .then(look)
      .catch((error: unknown) => this.#expectRefusal(error, 'unavailable'))
  }

  /** A command is sent, or one is obeyed or not; by several at once now and then. */
  #command(): void {
    const random = this.#random
    const sent = this.#commands.at(-1)
    if (sent === undefined || random.chance(0.4)) {
      const topic = this.#topicOf(random.pick(sessionIds))
      const command = { type: 'command.pause', data: { ttlMs: random.integer(100, 3_000) } }
      const { hub } = random.pick(this.#places)
      hub.submit(topic, [command]).then(
        ({ first }) => {
          this.#counts.commands++
          this.#commands.push({ topic, offset: first })
        },
        (error: unknown) => this.#expectRefusal(error, 'unavailable', 'conflict', 'notFound'),
      )
      return
    }
    const { topic, offset } = random.pick(this.#commands.slice(-5))
    for (let i = random.integer(1, 2); i > 0; i--) {
      const data = { offset, state: 'refused', reason: random.id(2) }
      const { hub } = random.pick(this.#places)
      hub
        .submit(topic, [{ type: 'command.done', data }])
        .catch((error: unknown) => this.#expectRefusal(error, 'unavailable', 'conflict', 'notFound'))
    }
  }

  /** Somebody works at a step again and again. */
  #attempt(): void {
    const random = this.#random
    const topic = this.#topicOf(random.pick(sessionIds))
    this.#attempts += random.chance(0.3) ? 1 : 0
    const number = Math.max(1, this.#attempts - random.integer(0, 1))
    const events = Array.from({ length: random.integer(1, 3) }, (_, n) => ({
      type: 'note',
      data: { n },
      attempt: { step: 'one', number },
    }))
    const { hub } = random.pick(this.#places)
    hub.submit(topic, events).catch((error: unknown) => this.#expectRefusal(error, 'unavailable', 'conflict'))
  }

  #connect(client: LogClient): void {
    client.connect(this.#random.pick(this.#places).hub)
  }

  #move(): void {
    const client = this.#random.pick(this.#clients)
    client.cut()
    this.#counts.moves++
    this.#connect(client)
  }

  #cut(): void {
    this.#counts.cuts++
    this.#random.pick(this.#places).link.cut(this.#random.integer(1, 300))
  }

  #deafen(): void {
    this.#counts.deafnesses++
    this.#random.pick(this.#places).link.deafen()
  }

  #kill(): void {
    this.#counts.kills++
    const place = this.#random.pick(this.#places)
    place.link.kill()
    for (const connection of place.hub.connections) connection.link.close('shutdown', 'killed')
    this.#begin(place)
  }

  #failOver(): void {
    if (this.#recorded.length === 0) return
    this.#counts.failovers++
    const recorded = this.#random.pick(this.#recorded)
    this.#log.restore(recorded)
    this.#recorded = [recorded]
    for (const { link } of this.#places) link.cut(this.#random.integer(1, 100))
  }

  #end(): void {
    const session = this.#random.pick(sessionIds)
    const { hub } = this.#random.pick(this.#places)
    const ignore = (error: unknown): void => this.#expectRefusal(error, 'unavailable', 'conflict', 'notFound')
    if (this.#random.chance(0.5)) {
      hub.submitEnd(session, { code: 0 }).then(() => this.#counts.ended++, ignore)
    } else {
      try {
        hub.removeSession(session).then(() => this.#counts.removed++, ignore)
      } catch (error) {
        ignore(error)
      }
    }
  }

  /** Nothing goes wrong any more, and everything arrives. */
  async #settle(): Promise<void> {
    for (const { link } of this.#places) link.faults = noFaults
    for (let turn = 0; turn < 600; turn++) {
      for (const pending of this.#pending) {
        if (pending.asked === undefined || pending.asked.life !== pending.asked.place.life)
          this.#publish(pending)
      }
      for (const writer of this.#writers) writer.write(false)
      for (const client of this.#clients) {
        client.resume()
        if (!client.connected) this.#connect(client)
      }
      await this.#clock.pass(50)
      this.#expectNoFault()
      const isWritten = this.#pending.length === 0 && this.#writers.every(({ isIdle }) => isIdle)
      const isQuiet = isWritten && this.#clients.every((client) => this.#isDone(client))
      if (turn > 100 && isQuiet) return
    }
    const stuck = this.#clients.filter((client) => !this.#isDone(client))
    const where = stuck.map(({ session, position, isLive, mirror }) => {
      const watchers = mirror.get('$watchers')?.value
      return { session, position, isLive, watchers }
    })
    throw new Error(`${this.#pending.length} are not published, clients at ${JSON.stringify(where)}`)
  }

  #isDone(client: LogClient): boolean {
    const truth = truthOf(this.#log.batches(client.session, client.epoch))
    const newest = Math.max(0, ...truth.events.keys())
    return client.isLive && client.position >= newest && this.#isCounted(client)
  }

  /** Whether it is told how many watch its session now, at all hubs that live. */
  #isCounted({ session, watches, mirror }: LogClient): boolean {
    const kept = this.#log.image().sessions.get(session)
    if (!watches || kept === undefined || kept.batches.length === 0) return true
    const watchers = this.#clients.filter((one) => one.session === session).length
    return same(mirror.get('$watchers')?.value, kept.ended ? undefined : { count: watchers })
  }

  #epochOf(session: string): string {
    return this.#log.image().sessions.get(session)?.epoch ?? ''
  }

  /** Every value that a slice has had, in order. */
  #versions(session: string, name: string): (JsonValue | undefined)[] {
    const epoch = this.#epochOf(session)
    const values: (JsonValue | undefined)[] = [undefined]
    truthOf(this.#log.batches(session, epoch), (changed, value) => {
      if (changed === name) values.push(value)
    })
    return values
  }

  #check(): void {
    for (const session of sessionIds) {
      const kept = this.#log.image().sessions.get(session)
      if (kept === undefined) continue
      const truth = truthOf(this.#log.batches(session, kept.epoch))
      for (const writer of this.#writers) writer.check(session, truth)
      const ids = [...truth.events.values()].flatMap(({ id }) => id ?? [])
      assert.equal(new Set(ids).size, ids.length, `${session}: an id is in the log twice`)
      const byId = new Map([...truth.events].map(([offset, { id }]) => [id, offset]))
      for (const [id, acknowledged] of this.#acknowledged) {
        if (acknowledged.session === session && byId.get(id) !== acknowledged.offset) {
          this.#counts.lostAcknowledged++
        }
      }
      const receipts = [...truth.events.values()].filter(({ type }) => type === 'command.done')
      const told = receipts.map(({ data }) => (data as { offset: number }).offset)
      assert.equal(new Set(told).size, told.length, `${session}: a command has one final state`)
      this.#counts.receipts += told.length
      this.#counts.losses += [...truth.events.values()].filter(({ type }) => type.endsWith('.lost')).length
      this.#counts.superseded += truth.superseded.size
      const reserved: unknown[] = []
      for (const client of this.#clients) {
        if (client.session !== session) continue
        assert.equal(client.epoch, kept.epoch, `a client of ${session} is in another lifetime`)
        checkClient(client, truth)
        if (client.watches) reserved.push(client.slices(true))
      }
      for (const one of reserved)
        assert.deepEqual(one, reserved[0], `${session}: the hubs say the same of it`)
    }
  }
}
