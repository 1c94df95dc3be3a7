import { formatSpread, median, ratio } from '../harness/compare.js'
import type { Production } from '../harness/messages.js'
import {
  type Contender,
  closeSides,
  limitFor,
  openSide,
  profiled,
  runcast,
  type Side,
} from '../harness/side.js'
import { engineOf } from './fanout.js'
import type { Conditions, Row, Scenario } from './scenario.js'

interface Way {
  readonly name: string
  /** Absent: in process. */
  readonly production?: Omit<Production, 'port' | 'bytes'>
  /** In process: each event has an id, as those of clients have. */
  readonly ids?: boolean
}

interface Sample {
  /** Server CPU per event. Microseconds. */
  readonly cpuMicros: number
  readonly eventsPerSecond: number
  readonly engineMicros: number | undefined
}

const bytes = 200
const inProcessTurns = 1_000
const inProcessEvents = 500

const ways: readonly Way[] = [
  { name: 'in process' },
  { name: 'in process, with ids', ids: true },
  { name: 'HTTP JSON, 1 event', production: { as: 'json', producers: 8, requests: 300, events: 1 } },
  { name: 'HTTP JSON, 100 events', production: { as: 'json', producers: 4, requests: 100, events: 100 } },
  { name: 'HTTP NDJSON', production: { as: 'ndjson', producers: 4, requests: 3, events: 10_000 } },
  { name: 'HTTP MessagePack', production: { as: 'msgpack', producers: 4, requests: 100, events: 100 } },
  { name: 'WebSocket, 100 events', production: { as: 'ws', producers: 4, requests: 100, events: 100 } },
]

function contendersOf(ours: readonly Contender[]): readonly Contender[] {
  const single = ours.filter(({ file }) => file === runcast.file)
  const stored = single.map((one) => ({ ...one, name: `${one.name} lmdb`, file: 'server/runcast-lmdb' }))
  return [{ ...limitFor('ws'), file: 'server/limit-publish' }, ...ours, ...stored]
}

/** Nobody watches: what does it cost to take an event in? */
export const publish: Scenario = {
  name: 'publish',
  about: 'taking events in without subscribers: in process, HTTP and WebSocket',
  cells: () => ways.map(({ name }) => name),
  async run(conditions) {
    const sides: Side[] = []
    try {
      const contenders = profiled(contendersOf(conditions.ours), conditions.profileDir, 'publish')
      for (const contender of contenders) sides.push(await openSide(contender))
      const chosen = ways.filter(({ name }) => conditions.wants(name))
      const rows: Row[] = []
      const details: object[] = []
      for (const way of chosen) {
        const samples = await compareWay(sides, way, conditions)
        const entries = sides.map(({ name }, index) => ({ name, samples: samples[index] ?? [] }))
        rows.push(...entries.map((entry) => rowOf(way, entry, entries[0]?.samples ?? [])))
        details.push({ way: way.name, sides: entries })
      }
      return {
        columns,
        rows,
        details,
        notes: [
          `Events have ${bytes} bytes of data; nothing is subscribed. lmdb: an answer comes when its events are stored.`,
          'cpu: server CPU per event. k/s of a core: what a core of the server would take in at that price.',
          'with ids: no two events have the same id, and more have been published than the window of ids holds.',
          'limit: the same bytes parsed with JSON.parse or msgpackr and kept in a ring; nothing is checked.',
        ],
      }
    } finally {
      await closeSides(sides)
    }
  },
}

async function compareWay(
  sides: readonly Side[],
  way: Way,
  { runs, progress }: Conditions,
): Promise<Sample[][]> {
  const samples: Sample[][] = sides.map(() => [])
  // Twice: what the compiler assumed in the first round may turn out wrong in the second.
  for (const side of [...sides, ...sides]) await sample(side, way)
  for (let run = 0; run < runs; run += 1) {
    progress(`${way.name}, run ${run + 1} of ${runs}`)
    const order = run % 2 === 0 ? [...sides.keys()] : [...sides.keys()].reverse()
    for (const index of order) {
      const side = sides[index] as Side
      // As `fillCaches` in the other scenarios.
      await sample(side, way)
      samples[index]?.push(await sample(side, way))
    }
  }
  return samples
}

async function sample(side: Side, { production, ids = false }: Way): Promise<Sample> {
  const events = await (production === undefined ? inProcess(side, ids) : overNetwork(side, production))
  const { cpuMicros, wallMicros, engineMicros } = await side.server.ask('usage', null)
  return {
    cpuMicros: cpuMicros / events,
    eventsPerSecond: events / (wallMicros / 1e6),
    engineMicros: engineMicros === undefined ? undefined : engineMicros / events,
  }
}

async function inProcess({ server }: Side, ids: boolean): Promise<number> {
  await server.ask('run', {
    turns: inProcessTurns,
    events: inProcessEvents,
    bytes,
    turnsPerTick: 0,
    tickMs: 0,
    aheadMax: inProcessTurns,
    ids,
  })
  return inProcessTurns * inProcessEvents
}

async function overNetwork({ name, server, swarm }: Side, production: Omit<Production, 'port' | 'bytes'>) {
  const { producers, requests, events } = production
  await server.ask('begin', null)
  const { accepted } = await swarm.ask('produce', { ...production, port: server.port, bytes })
  const due = producers * requests * events
  if (accepted !== due) throw new Error(`${name}: ${accepted} events were accepted of ${due}`)
  return accepted
}

const columns = [
  { name: 'way' },
  { name: 'who' },
  { name: 'cpu µs', digits: 2 },
  { name: 'ratio' },
  { name: 'k/s of a core', digits: 0 },
  { name: 'k/s measured', digits: 0 },
  { name: 'engine µs', digits: 2 },
]

function rowOf(
  way: Way,
  { name, samples }: { name: string; samples: readonly Sample[] },
  limit: readonly Sample[],
): Row {
  return {
    way: way.name,
    who: name,
    'cpu µs': median(samples, ({ cpuMicros }) => cpuMicros),
    ratio: samples === limit ? '' : formatSpread(ratio(samples, limit, ({ cpuMicros }) => cpuMicros)),
    'k/s of a core': 1e3 / median(samples, ({ cpuMicros }) => cpuMicros),
    'k/s measured': median(samples, ({ eventsPerSecond }) => eventsPerSecond) / 1e3,
    'engine µs': engineOf(samples),
  }
}
