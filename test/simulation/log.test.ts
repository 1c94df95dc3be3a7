import assert from 'node:assert/strict'
import { applyPatch, type Operation } from 'rfc6902'
import t from 'tap'
import { createHub, type Hub } from '../../src/hub/hub.js'
import type { Clock, Timer } from '../../src/lib/clock.js'
import type { JsonValue } from '../../src/lib/json.js'
import { type LogEntry, unpackEntries } from '../../src/log/entries.js'
import { ProtocolError } from '../../src/protocol/codes.js'
import type { Offset } from '../../src/protocol/cursor.js'
import type { NewEvent } from '../../src/protocol/frames.js'
import { Commands } from '../../src/session/commands.js'
import { Publishers as SessionPublishers } from '../../src/session/publishers.js'
import { Session } from '../../src/session/session.js'
import { LogFollower } from '../../src/sessions/log-follower.js'
import { LogSessions } from '../../src/sessions/log-sessions.js'
import type { PublishResult } from '../../src/sessions/publishing.js'
import { TopicState } from '../../src/state/topic-state.js'
import { SimulatedClock } from '../kit/clock.js'
import { type Faults, FaultyLink, noFaults, RecordedLog, type Rules } from '../kit/faulty-log.js'
import { SeededRandom } from '../kit/random.js'
import { LogClient, type LogClientCounts } from './log-client.js'

const seed = Number(process.env['RUNCAST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const rounds = Number(process.env['RUNCAST_ROUNDS'] ?? 2)
const stepsPerRound = Number(process.env['RUNCAST_STEPS'] ?? 1_500)

// Each mutation runs until it is found out.
t.setTimeout(300_000)

const sessionIds = ['a', 'b']
const sliceNames = ['plan', 'files', 'notes']
const laneEntries = 15
const faults: Faults = { delayMsMax: 20, lostBefore: 0.02, lostAfter: 0.02, feedLost: 0.03, feedTwice: 0.03 }

/** A hub's clock goes wrong by something of its own. */
class SkewedClock implements Clock {
  readonly #clock: Clock
  readonly #skewMs: number

  constructor(clock: Clock, skewMs: number) {
    this.#clock = clock
    this.#skewMs = skewMs
  }

  now(): number {
    return this.#clock.now() + this.#skewMs
  }

  elapsed(): number {
    return this.#clock.elapsed()
  }

  after(ms: number, task: () => void): Timer {
    return this.#clock.after(ms, task)
  }

  defer(task: () => void): void {
    this.#clock.defer(task)
  }
}

interface Place {
  hub: Hub
  link: FaultyLink
  /** Changes when the hub dies. */
  life: number
}

interface Pending {
  readonly session: string
  readonly worker: string | undefined
  readonly event: NewEvent
  /** The life of the hub that has been asked. */
  asked: { readonly place: Place; readonly life: number } | undefined
}

interface Counts extends LogClientCounts {
  published: number
  duplicates: number
  refused: number
  changes: number
  unchanged: number
  kills: number
  cuts: number
  deafnesses: number
  failovers: number
  lostAcknowledged: number
  removed: number
  ended: number
  leases: number
  losses: number
  reads: number
  commands: number
  receipts: number
  superseded: number
}

/** What the log has of a session in the end. */
interface Truth {
  readonly events: ReadonlyMap<number, NewEvent>
  /** Where events stand that a newer attempt has taken the place of. */
  readonly superseded: ReadonlySet<number>
  /** Where it may stand that somebody is stuck. */
  readonly perhaps: ReadonlySet<number>
  readonly slices: Record<string, JsonValue>
  readonly last: number
}

/** What the entries of a log say of the session and its workers, worked out without the hubs' code. */
class Publishers {
  readonly superseded = new Set<number>()
  readonly #events: Map<number, NewEvent>
  /** By worker; empty for the session: commands that are open, in their order, over all of them. */
  readonly #open = new Map<number, string>()
  readonly #leases = new Map<string, number>()
  readonly #heard = new Map<string, number>()
  readonly #lost = new Set<string>()
  /** By worker and step: the newest attempt, and where events of attempts stand. */
  readonly #attempts = new Map<string, number>()
  readonly #ofAttempts: { readonly name: string; readonly number: number; readonly offset: number }[] = []

  constructor(events: Map<number, NewEvent>) {
    this.#events = events
  }

  changed(offset: number): void {
    this.#heard.set('', offset)
  }

  take(entry: LogEntry, offset: number): void {
    switch (entry.kind) {
      case 'event': {
        const { event, worker = '', byHub = false } = entry
        const isCommand = event.type === 'command.pause'
        if (event.type === 'command.done') {
          const { offset: of } = event.data as { offset: number }
          if (this.#open.get(of) !== worker) return
          this.#open.delete(of)
        }
        if (!isCommand && !byHub) this.#heard.set('', offset)
        if (event.attempt !== undefined) {
          const { step, number } = event.attempt
          const name = `${worker}/${step}`
          if (number < (this.#attempts.get(name) ?? 0)) return
          this.#ofAttempts.push({ name, number, offset })
        }
        if (!isCommand && !byHub && worker !== '') {
          this.#heard.set(worker, offset)
          this.#lost.delete(worker)
        }
        if (isCommand) this.#open.set(offset, worker)
        this.#events.set(offset, event)
        return
      }
      case 'attempt': {
        const { attempt, worker = '', base } = entry
        const name = `${worker}/${attempt.step}`
        if (this.#attempts.get(name) !== base) return
        this.#attempts.set(name, attempt.number)
        for (const one of this.#ofAttempts) {
          if (one.name === name && one.number < attempt.number) this.superseded.add(one.offset)
        }
        if (base !== undefined) this.#events.set(offset, { type: 'attempt.superseded' })
        return
      }
      case 'lease':
        this.#leases.set(entry.worker ?? '', entry.ms)
        this.#heard.set(entry.worker ?? '', offset)
        return
      case 'lost': {
        const { worker = '', seen } = entry
        if ((this.#leases.get(worker) ?? 0) === 0 || (this.#heard.get(worker) ?? 0) > seen) return
        this.#leases.delete(worker)
        if (this.#lost.has(worker)) return
        if (worker !== '') this.#lost.add(worker)
        this.#events.set(offset, { type: worker === '' ? 'session.lost' : 'worker.lost' })
        return
      }
      case 'end': {
        let at = offset
        for (const of of [...this.#open.keys()].slice(0, entry.room)) {
          this.#events.set(at, { type: 'command.done', data: { offset: of } })
          at += 2
        }
        this.#events.set(offset + 2 * entry.room + 2, { type: 'complete' })
        return
      }
      case 'change':
      case 'configure':
      case 'delivered':
      case 'stalled':
        return
    }
  }
}

/** Three hubs over one log, where everything goes wrong that can; and what must hold when it is over. */
class LogSimulation {
  readonly #clock = new SimulatedClock()
  readonly #random: SeededRandom
  readonly #log: RecordedLog
  readonly #rules: Rules
  readonly #places: Place[]
  readonly #clients: LogClient[]
  readonly #pending: Pending[] = []
  readonly #counts: Counts
  #recorded: ReturnType<RecordedLog['recorded']>[] = []
  /** By id: where it was acknowledged. */
  readonly #acknowledged = new Map<string, { session: string; offset: number; epoch: string }>()
  readonly #commands: { readonly topic: string; readonly offset: number }[] = []
  #attempts = 1
  #ids = 0
  /** What went wrong where nobody can be told: in what a client takes, or a hub does. */
  readonly #faults: unknown[] = []

  constructor(seedOfRound: number, counts: Counts, rules: Rules) {
    this.#random = new SeededRandom(seedOfRound)
    this.#counts = counts
    this.#rules = rules
    this.#log = new RecordedLog(this.#clock, this.#random.fork(), laneEntries, rules)
    this.#places = [0, 1, 2].map(() => {
      const place = { life: 0 } as Place
      this.#begin(place)
      return place
    })
    this.#clients = Array.from({ length: 8 }, (_, i) => {
      const session = sessionIds[i % sessionIds.length] as string
      // Those that follow no slices of the hubs' own are not always given a snapshot.
      const slices = i % 4 < 2 ? sliceNames : ['*', '$session', '$workers']
      return new LogClient(session, slices, this.#clock, counts)
    })
  }

  #begin(place: Place): void {
    const random = this.#random
    const clock = new SkewedClock(this.#clock, random.integer(-5_000, 5_000))
    const options = { clock: this.#clock, random: random.fork(), faults, rules: this.#rules }
    place.link = new FaultyLink(this.#log.link(), options)
    const limits = { idleSessionsMax: 1, logTailBytes: 2_000, stalledCallMs: 1_000 }
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
      this.#acknowledged.set(event.id as string, { session, offset: first, epoch: this.#epochOf(session) })
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
    const { session, offset, epoch } = acknowledged
    const { lineage } = this.#log
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
    for (let turn = 0; turn < 400; turn++) {
      for (const pending of this.#pending) {
        if (pending.asked === undefined || pending.asked.life !== pending.asked.place.life)
          this.#publish(pending)
      }
      for (const client of this.#clients) {
        client.resume()
        if (!client.connected) this.#connect(client)
      }
      await this.#clock.pass(50)
      this.#expectNoFault()
      const isQuiet = this.#pending.length === 0 && this.#clients.every((client) => this.#isDone(client))
      if (turn > 100 && isQuiet) return
    }
    const stuck = this.#clients.filter((client) => !this.#isDone(client))
    const where = stuck.map(({ session, position, isLive }) => ({ session, position, isLive }))
    throw new Error(`${this.#pending.length} are not published, clients at ${JSON.stringify(where)}`)
  }

  #isDone(client: LogClient): boolean {
    const truth = this.#truth(client.session, client.epoch)
    const newest = Math.max(0, ...truth.events.keys())
    return client.isLive && client.position >= newest
  }

  #epochOf(session: string): string {
    return this.#log.image().sessions.get(session)?.epoch ?? ''
  }

  /** Every value that a slice has had, in order. */
  #versions(session: string, name: string): (JsonValue | undefined)[] {
    const epoch = this.#epochOf(session)
    const values: (JsonValue | undefined)[] = [undefined]
    this.#truth(session, epoch, (changed, value) => {
      if (changed === name) values.push(value)
    })
    return values
  }

  /** What the batches of the log mean, worked out without the hubs' code. */
  #truth(
    session: string,
    epoch: string,
    changed: (name: string, value: JsonValue | undefined) => void = () => undefined,
  ): Truth {
    const events = new Map<number, NewEvent>()
    const slices = new Map<string, { value: JsonValue; offset: number }>()
    const perhaps = new Set<number>()
    const publishers = new Publishers(events)
    let last = 0
    for (const batch of this.#log.batches(session, epoch)) {
      last = batch.to
      for (const { place, entry } of unpackEntries(batch)) {
        if (batch.known.includes(place)) continue
        const offset = batch.from + place + 1
        if (entry.kind === 'stalled') perhaps.add(offset)
        if (entry.kind !== 'change') {
          publishers.take(entry, offset)
          continue
        }
        const { update, worker } = entry
        const name = worker === undefined ? update.slice : `workers/${worker}/${update.slice}`
        const held = slices.get(name)
        if ((held?.offset ?? 0) !== update.base) continue
        publishers.changed(offset)
        if ('removed' in update) slices.delete(name)
        else if ('value' in update) slices.set(name, { value: update.value, offset })
        else {
          const root = { value: structuredClone(held?.value ?? null) }
          const operations = update.patch.map((one) => ({ ...one, path: `/value${one.path}` }))
          applyPatch(root, structuredClone(operations) as Operation[])
          slices.set(name, { value: root.value, offset })
        }
        changed(name, slices.get(name)?.value)
      }
    }
    const values = Object.fromEntries([...slices].map(([name, { value }]) => [name, value]))
    return { events, slices: values, last, superseded: publishers.superseded, perhaps }
  }

  #check(): void {
    for (const session of sessionIds) {
      const kept = this.#log.image().sessions.get(session)
      if (kept === undefined) continue
      const truth = this.#truth(session, kept.epoch)
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
        this.#checkClient(client, truth)
        if (client.watches) reserved.push(client.slices(true))
      }
      for (const one of reserved)
        assert.deepEqual(one, reserved[0], `${session}: the hubs say the same of it`)
    }
  }

  #checkClient(client: LogClient, { events, slices, superseded, perhaps }: Truth): void {
    const { session, seen, gaps, joinedAt } = client
    const where = (offset: number): string => `${session} at ${offset}, told of ${JSON.stringify(gaps)}`
    for (const [offset, { id, type }] of events) {
      if (offset <= joinedAt) continue
      const got = seen.get(offset)
      if (got === undefined) {
        // Whoever comes later is not given what a newer attempt took the place of.
        if (superseded.has(offset)) continue
        // What is evicted, or skipped by who lags, is told too.
        const isTold = gaps.some(({ after, offset: until }) => offset > after && offset <= until)
        assert(isTold, `${where(offset)}: ${type} ${id} is missing, and nothing was said`)
      } else assert.equal(got.id, id, `${where(offset)}: another event`)
    }
    for (const [offset, { id, type }] of seen) {
      if (events.get(offset)?.id === id && events.get(offset)?.type === type) continue
      if (perhaps.has(offset)) continue
      const isTold = gaps.some(
        ({ reason, after, offset: until }) => reason === 'epoch' && offset > after && offset <= until,
      )
      assert(isTold, `${where(offset)}: ${id} did not happen, and nothing was said`)
    }
    assert.deepEqual(client.slices(false), slices, `${session}: the mirror is what the log has`)
  }
}

function same(one: JsonValue | undefined, other: JsonValue | undefined): boolean {
  try {
    assert.deepEqual(one, other)
    return true
  } catch {
    return false
  }
}

function noCounts(): Counts {
  return {
    events: 0,
    updates: 0,
    gaps: 0,
    lostGaps: 0,
    evicted: 0,
    joins: 0,
    resumes: 0,
    moves: 0,
    comebacks: 0,
    published: 0,
    duplicates: 0,
    refused: 0,
    changes: 0,
    unchanged: 0,
    kills: 0,
    cuts: 0,
    deafnesses: 0,
    failovers: 0,
    lostAcknowledged: 0,
    removed: 0,
    ended: 0,
    leases: 0,
    losses: 0,
    reads: 0,
    commands: 0,
    receipts: 0,
    superseded: 0,
  }
}

t.test(`hubs that share a log: nobody diverges, whatever happens (RUNCAST_SEED=${seed})`, async (t) => {
  const counts = noCounts()
  for (let round = 0; round < rounds; round++) {
    try {
      await new LogSimulation(seed + round, counts, {}).run(stepsPerRound)
    } catch (error) {
      t.comment(`RUNCAST_SEED=${seed + round} RUNCAST_ROUNDS=1 RUNCAST_STEPS=${stepsPerRound} repeats this`)
      throw error
    }
  }
  t.comment(JSON.stringify(counts))
  // The simulation must reach what it is there for; these do not come up in every round.
  const { evicted, unchanged, removed, ended, losses, superseded, ...always } = counts
  const seldom = { evicted, unchanged, removed, ended, losses, superseded }
  t.comment(JSON.stringify(seldom))
  for (const [name, count] of Object.entries(always)) t.ok(count > 0, name)
})

/** Takes a rule away, and says how to put it back. */
type Mutation = { readonly rules: Rules } | { readonly patch: () => () => void }

function patched<Of extends object, Name extends keyof Of>(
  prototype: Of,
  name: Name,
  make: (original: Of[Name]) => Of[Name],
): () => () => void {
  return () => {
    const original = prototype[name]
    prototype[name] = make(original)
    return () => {
      prototype[name] = original
    }
  }
}

const mutations: Readonly<Record<string, Mutation>> = {
  'a log says which positions are lost': { rules: { lost: false } },
  'a log looks whether its feed lives': { rules: { canary: false } },
  'a log knows what was published': { rules: { ids: false } },
  'eras go by time': { rules: { eras: false } },
  'a batch that leaves a hole is not applied': {
    patch: patched(
      LogFollower.prototype,
      'batch',
      (original) =>
        function (this: LogFollower, batch) {
          const { offset } = this.session
          return original.call(this, batch.from > offset ? { ...batch, from: offset } : batch)
        },
    ),
  },
  'a hub catches up with a cursor before it lets it join': {
    patch() {
      const ready = patched(
        LogSessions.prototype,
        'isReady',
        (original) =>
          function (this: LogSessions, id) {
            return original.call(this, id)
          },
      )()
      const open = patched(
        LogSessions.prototype,
        'open',
        (original) =>
          function (this: LogSessions, id) {
            return original.call(this, id)
          },
      )()
      return () => {
        ready()
        open()
      }
    },
  },
  'a cursor in a lost range gets a gap': {
    patch: patched(LogFollower.prototype, 'lostAt', () => () => undefined),
  },
  'a change means nothing when its slice has changed before it': {
    patch: patched(
      TopicState.prototype,
      'follow',
      (original) =>
        function (this: TopicState, update, moment) {
          return original.call(this, { ...update, base: this.offsetOf(update.slice) }, moment)
        },
    ),
  },
  'the first word on a command counts': {
    patch: patched(
      Commands.prototype,
      'isOpen',
      () =>
        function (this: Commands) {
          return true
        },
    ),
  },
  'who was heard of is not lost': {
    patch: patched(SessionPublishers.prototype, 'heardOffset', () => () => 0 as Offset),
  },
  'who reads asks the log first': {
    patch: patched(
      LogSessions.prototype,
      'open',
      (original) =>
        function (this: LogSessions, id, { position } = {}) {
          return original.call(this, id, { position })
        },
    ),
  },
  'what is retained no more is told': {
    patch: patched(
      Session.prototype,
      'setPast',
      (original) =>
        function (this: Session, past) {
          return original.call(this, { ...past, floor: 0 as Offset })
        },
    ),
  },
}

for (const [rule, mutation] of Object.entries(mutations)) {
  t.test(`${rule}: without it, the simulation fails`, async (t) => {
    const restore = 'patch' in mutation ? mutation.patch() : () => undefined
    const rules = 'rules' in mutation ? mutation.rules : {}
    let found: unknown
    let round = 0
    try {
      // The same seeds each time: it is the rule that is tried, and not the luck of a seed.
      for (; round < 40 && found === undefined; round++) {
        await new LogSimulation(100 + round, noCounts(), rules).run(500).catch((error: unknown) => {
          found = error
        })
      }
    } finally {
      restore()
    }
    t.ok(found instanceof Error, `found in round ${round}: ${String(found).slice(0, 200)}`)
  })
}
