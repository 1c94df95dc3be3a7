import t from 'tap'
import { createCatalog } from '../../src/catalog/catalog.js'
import { createHub } from '../../src/hub/hub.js'
import type { JsonValue } from '../../src/lib/json.js'
import type { Mode, NewEvent } from '../../src/protocol/frames.js'
import type { StateResult } from '../../src/session/precondition.js'
import { SimulatedClock } from '../kit/clock.js'
import { SeededRandom } from '../kit/random.js'
import { kinds, type Models, SimulatedClient } from './client.js'
import { type Interest, SessionModel } from './model.js'
import { hidden } from './state.js'

const seed = Number(process.env['RUNCAST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const rounds = Number(process.env['RUNCAST_ROUNDS'] ?? 2)

const sessionIds = ['a', 'b', 'c']
const workerIds = ['w1', 'w2', 'w3']
const laneEventsMax = 40
const catalog = createCatalog()

const sliceNames = ['plan', 'plan.notes', 'files', hidden]
const choices: (readonly string[] | undefined)[] = [
  undefined,
  undefined,
  ['*'],
  ['plan*'],
  ['files', hidden],
  ['$workers', 'plan'],
]

const filters: (readonly string[] | undefined)[] = [
  undefined,
  undefined,
  ['tool_*'],
  ['llm_text_delta'],
  ['!llm_text_delta', '!client_*'],
  ['execution_*', 'trigger_*', '!execution_failed'],
  ['process.*', 'client_output_delta'],
  ['node_loop_started', 'credentials_required'],
]

/** The whole hub, its clients and what each of them must have received, under one seed. */
class Simulation implements Models {
  readonly clock = new SimulatedClock()
  readonly random: SeededRandom
  readonly hub
  readonly clients: SimulatedClient[] = []
  readonly #lives = new Map<string, SessionModel>()
  readonly #epochs = new Map<string, SessionModel>()
  readonly #workers = new Map<SessionModel, Set<string>>()
  #ids = 0
  #parts = 0
  #subs = 0

  constructor(seedOfRound: number, clients: number) {
    this.random = new SeededRandom(seedOfRound)
    this.hub = createHub({
      clock: this.clock,
      random: this.random.fork(),
      expose: (slice) => slice !== hidden,
      limits: { laneEventsMax, historyBytesMax: 1e9, pendingEventsMax: 100, pinnedMax: 1000 },
    })
    for (let i = 0; i < clients; i++) {
      const kind = kinds[i % kinds.length] as (typeof kinds)[number]
      this.clients.push(new SimulatedClient(this.hub, this, kind, this.random.integer(500, 8_000)))
    }
  }

  byEpoch(epoch: string): SessionModel {
    const model = this.#epochs.get(epoch)
    if (model !== undefined) return model
    // Followed, but nothing was published in that life yet.
    return new SessionModel('', catalog, laneEventsMax)
  }

  now(topic: string): SessionModel | undefined {
    return this.#lives.get(topic.split('/')[1] as string)
  }

  step(): void {
    const { random } = this
    const dice = random.fraction()
    if (dice < 0.35) this.#publish()
    else if (dice < 0.45) this.#change()
    else if (dice < 0.452) this.#end()
    else if (dice < 0.5) this.clock.runTurn()
    else this.#disturb(random.pick(this.clients))
    if (random.chance(0.3)) this.clock.runTurn()
    if (random.chance(0.3)) for (const client of this.clients) if (random.chance(0.5)) client.read()
  }

  /** Lets everything arrive. */
  settle(): void {
    for (const client of this.clients) {
      client.stalled = false
      if (!client.connected) client.connect()
    }
    for (let i = 0; i < 10_000; i++) {
      this.clock.runTurn()
      for (const client of this.clients) {
        client.read()
        if (!client.connected && !this.#done(client)) client.connect()
      }
      if (!this.clock.busy && this.clients.every(({ idle }) => idle)) return
    }
    throw new Error('the hub did not come to rest')
  }

  /** A response over one topic ends with its session; the client has all of it then. */
  #done(client: SimulatedClient): boolean {
    if (client.kind !== 'sse') return false
    return [...client.views.values()].every(({ interest, live, epoch, position }) => {
      const model = this.now(interest.topic)
      if (model !== this.byEpoch(epoch)) return false
      return live && model?.ended === true && position >= (model.told.at(-1)?.event.offset ?? 0)
    })
  }

  #publish(): void {
    const { random } = this
    const id = random.pick(sessionIds)
    if (this.#lives.get(id)?.ended) return
    const worker = random.chance(0.6) ? random.pick(workerIds) : undefined
    const events: NewEvent[] = []
    const count = random.chance(0.05) ? random.integer(50, 150) : random.integer(1, 6)
    const streaming = random.chance(0.5)
    while (events.length < count) events.push(streaming ? this.#text() : this.#event())
    const topic = worker === undefined ? `sessions/${id}` : `sessions/${id}/workers/${worker}`
    // Many may be flushed in between, and the hub's own slices take an offset then.
    const parts = count > 6 || random.chance(0.3) ? events.map((event) => [event]) : [events]
    for (const part of parts) {
      const { first, last, duplicates } = this.hub.publish(topic, part)
      if (duplicates !== 0) throw new Error('no id was used twice')
      const model = this.#model(id)
      if (worker !== undefined) this.#workers.get(model)?.add(worker)
      const after = `${this.hub.find(id)?.epoch}:${first - 1}`
      const offsets =
        last - first === part.length - 1
          ? part.map((_, i) => first + i)
          : this.hub.history(topic, { after }).events.map(({ offset }) => offset)
      if (offsets.length !== part.length || offsets.at(-1) !== last) throw new Error('each has its offset')
      for (const [i, event] of part.entries())
        model.publish(offsets[i] as number, event, worker, this.clock.now())
    }
  }

  /** Changes a slice in one of the ways there are. */
  #change(): void {
    const { random } = this
    const id = random.pick(sessionIds)
    if (this.#lives.get(id)?.ended) return
    const worker = random.chance(0.5) ? random.pick(workerIds) : undefined
    const topic = worker === undefined ? `sessions/${id}` : `sessions/${id}/workers/${worker}`
    const slice = random.pick(sliceNames)
    const before = this.#lives.get(id)?.state.now(topic, slice)
    let after: JsonValue | undefined
    let result: StateResult
    const dice = random.fraction()
    if (dice < 0.08) result = this.hub.removeState(topic, slice)
    else if (dice < 0.2 && isList(before)) {
      const place = random.integer(0, before.length)
      const value = random.id(6)
      after = before.toSpliced(place, 0, value)
      result = this.hub.patchState(topic, slice, [{ op: 'add', path: `/${place}`, value }])
    } else if (dice < 0.3) {
      after = { ...(typeof before === 'object' && !isList(before) ? before : undefined), [random.id(1)]: 1 }
      result = this.hub.mergeState(topic, slice, after)
    } else {
      after = this.#edited(before)
      result = this.hub.setState(topic, slice, after)
    }
    if (!result.changed) return
    const model = this.#model(id)
    if (worker !== undefined) this.#workers.get(model)?.add(worker)
    model.state.change(topic, slice, { offset: result.offset, value: after })
  }

  /** Mostly a small change, now and then another kind of value. */
  #edited(before: JsonValue | undefined): JsonValue {
    const { random } = this
    if (!isList(before) || before.length > 30 || random.chance(0.1)) {
      return random.pick<() => JsonValue>([
        () => Array.from({ length: 8 }, () => ({ text: random.id(12), 'a/~b': random.integer(0, 9) })),
        () => null,
        () => ({ done: random.integer(0, 3) }),
        () => random.id(4),
      ])()
    }
    const place = random.integer(0, before.length)
    return random.pick<() => JsonValue>([
      () => before.toSpliced(place, 0, random.id(6)),
      () => before.toSpliced(place, 1),
      () => before.with(Math.min(place, before.length - 1), { text: random.id(12) }),
      () => before,
    ])()
  }

  #model(id: string): SessionModel {
    let model = this.#lives.get(id)
    if (model === undefined) {
      model = new SessionModel(id, catalog, laneEventsMax)
      this.#lives.set(id, model)
      this.#epochs.set(this.hub.find(id)?.epoch as string, model)
      this.#workers.set(model, new Set())
    }
    return model
  }

  /** A piece of text that there is once: of a whole text the client can tell its parts. */
  #part(end: string): string {
    return `${this.#parts++}${end}`
  }

  #text(): NewEvent {
    return {
      type: 'llm_text_delta',
      data: { content: this.#part(' '), message: this.random.integer(1, 2) },
    }
  }

  #event(): NewEvent {
    const { random } = this
    const force = random.chance(0.1) ? { force: true } : undefined
    switch (random.integer(0, 7)) {
      case 0:
        return { type: 'trigger_updated', data: { trigger_id: random.integer(1, 3), at: random.id(4) } }
      case 1:
        return { type: 'client_output_delta', data: { content: this.#part(' ') }, ...force }
      case 2:
        return {
          type: 'process.output',
          data: { stream: random.pick(['stdout', 'stderr']), text: this.#part('\n') },
        }
      case 3:
        return {
          type: random.pick(['execution_started', 'execution_failed', 'credentials_required']),
          data: { by: random.id(3) },
        }
      case 4:
        return { type: 'node_loop_started', id: `id-${this.#ids++}`, data: [1, 'zwei', null] }
      case 5:
        return { type: 'execution_paused', data: { é: '…' } }
      default:
        return {
          type: random.pick(['tool_call_started', 'made.up', 'llm_turn_complete']),
          data: { n: random.integer(0, 99) },
          ...force,
        }
    }
  }

  #end(): void {
    const id = this.random.pick(sessionIds)
    const model = this.#lives.get(id)
    if (model === undefined) return
    if (!model.ended) {
      this.hub.endSession(id, { code: 0 })
      const workers = [...(this.#workers.get(model) ?? [])]
      model.end(this.hub.find(id)?.offset as number, this.clock.now(), { outcome: { code: 0 } }, [
        ...workers,
        // Workers that are only followed end as well.
        ...workerIds.filter((worker) => !workers.includes(worker)),
      ])
    } else {
      void this.hub.removeSession(id)
      this.#lives.delete(id)
    }
  }

  #disturb(client: SimulatedClient): void {
    const { random } = this
    if (!client.connected) return client.connect()
    const views = [...client.views.values()]
    const view = views.length > 0 ? random.pick(views) : undefined
    const dice = random.fraction()
    if (dice < 0.2 || view === undefined) return this.#subscribe(client)
    if (dice < 0.3) client.stalled = true
    else if (dice < 0.55) {
      client.stalled = false
      client.read()
    } else if (dice < 0.65) client.cut()
    else if (dice < 0.7) this.#unsubscribe(client, view)
    else if (dice < 0.8 && view.live && !client.kind.startsWith('sse')) {
      const mode: Mode = random.pick(['full', 'full', 'summary', 'control', 'silent'])
      const interest = this.#interest(view.interest.topic, mode)
      const name = JSON.stringify(interest)
      const same = (other: (typeof views)[number]) =>
        [other.interest, ...other.changes].some((each) => JSON.stringify(each) === name)
      if (!views.some(same)) client.update(view, interest)
    }
  }

  #unsubscribe(
    client: SimulatedClient,
    view: (typeof client)['views'] extends Map<number, infer V> ? V : never,
  ): void {
    client.unsubscribe(view)
    // A response over one topic is that topic's; over many, what still comes of the old one must not meet a new one.
    if (client.kind === 'sse') client.cut()
    client.stalled = false
    client.read()
  }

  #subscribe(client: SimulatedClient): void {
    const { random } = this
    const most = client.kind === 'sse' ? 1 : 4
    if (client.views.size >= most) return
    const session = random.pick(sessionIds)
    const topic = random.pick([
      `sessions/${session}`,
      `sessions/${session}/**`,
      `sessions/${session}/workers/${random.pick(workerIds)}`,
    ])
    // An SSE client tells its topics apart by name alone, and `events` name a feed, which is one per filter.
    if ([...client.views.values()].some((view) => view.interest.topic === topic)) return
    const mode: Mode = random.pick(['full', 'full', 'full', 'summary', 'control'])
    const replay = random.pick([true, true, true, false, 'all'] as const)
    client.subscribe(this.#subs++, this.#interest(topic, mode), replay)
  }

  #interest(topic: string, mode: Mode): Interest {
    const types = filters[this.random.integer(0, filters.length - 1)]
    const slices = choices[this.random.integer(0, choices.length - 1)]
    return { topic, mode, ...(types && { types }), ...(slices && { slices }) }
  }
}

function isList(value: JsonValue | undefined): value is readonly JsonValue[] {
  return Array.isArray(value)
}

t.test(`every client gets what it must, whatever happens (RUNCAST_SEED=${seed})`, async (t) => {
  let events = 0
  let gaps = 0
  let joins = 0
  let closes = 0
  let snapshots = 0
  let updates = 0
  let conflated = 0
  for (let round = 0; round < rounds; round++) {
    const simulation = new Simulation(seed + round, 120)
    try {
      for (let i = 0; i < 5_000; i++) simulation.step()
      simulation.settle()
      for (const client of simulation.clients) client.finish()
    } catch (error) {
      t.comment(`RUNCAST_SEED=${seed + round} RUNCAST_ROUNDS=1 repeats this`)
      throw error
    }
    for (const client of simulation.clients) {
      events += client.events
      gaps += client.gaps
      joins += client.joined
      closes += client.closes.length
      snapshots += client.snapshots
      updates += client.updates
      conflated += client.conflated
      client.cut()
    }
    const { connections, subscriptions, feeds, lagging } = simulation.hub.stats()
    t.same(
      { connections, subscriptions, feeds, lagging },
      { connections: 0, subscriptions: 0, feeds: 0, lagging: 0 },
    )
  }
  t.comment(`${events} events came, ${joins} joins, ${gaps} gaps, ${closes} closed as lagging`)
  // The simulation must reach what it is there for.
  t.ok(events > 1_000 && gaps > 10 && joins > 100 && closes > 0)
  t.comment(`${snapshots} snapshots and ${updates} updates of state, ${conflated} of them conflated`)
  t.ok(snapshots > 100 && updates > 1_000 && conflated > 10)
})
