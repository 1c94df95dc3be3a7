import { compare, excuse, formatSpread, median, ratio, type Standing } from '../harness/compare.js'
import { type Spread, typeOf } from '../harness/event.js'
import { flatOut, measure, paced } from '../harness/measure.js'
import {
  closeSides,
  limitFor,
  openSide,
  profiled,
  type Side,
  subscribeGroups,
  type Wish,
} from '../harness/side.js'
import { peerContenders } from '../peers/peers.js'
import { failures, measured } from './fanout.js'
import type { Conditions, Row, Scenario } from './scenario.js'

const connections = 1_000
const types = 100
const eventsPerTurn = 20
const bytes = 200
const filterCounts = [1, 200]

interface Cell {
  /** Share of the events that pass each filter. Percent. */
  readonly hits: number
  /** Different filters, over all connections. */
  readonly filters: number
}

const allCells: readonly Cell[] = [1, 50, 100].flatMap((hits) =>
  filterCounts.map((filters) => ({ hits, filters })),
)

/** Clients take a part of a session's events. */
export const filters: Scenario = {
  name: 'filters',
  about: `${connections} subscribers take 1, 50 and 100 % of the events, with 1 and 200 different filters`,
  cells: () => allCells.map(nameOf),
  async run(conditions) {
    const results: { cell: Cell; standings: Standing[] }[] = []
    for (const cell of allCells.filter((cell) => conditions.wants(nameOf(cell)))) {
      results.push({ cell, standings: await runCell(cell, conditions) })
    }
    return {
      columns,
      rows: results.flatMap(({ cell, standings }) => rowsOf(cell, standings)),
      details: results.map(({ cell, standings }) => ({ ...cell, standings })),
      notes: [
        `${eventsPerTurn} events a turn of ${types} types. cpu/event: server CPU per published event, hit or not.`,
        'limit knows beforehand who is due what, and publishes one ready frame a turn for all who are due the same.',
        'Peers filter by room or topic: one for each type, of which clients join those that they want.',
        ...failures(results.flatMap(({ standings }) => standings)),
      ],
    }
  },
}

function nameOf({ hits, filters }: Cell): string {
  return `${hits}-${filters}`
}

async function runCell(
  cell: Cell,
  { quick, runs, progress, peers, ours, profileDir }: Conditions,
): Promise<Standing[]> {
  const title = `${cell.hits} % hits, ${cell.filters} filters`
  const spread: Spread = { kind: 'types', over: types, stride: 100 / cell.hits }
  const sides: Side[] = []
  try {
    const contenders = [limitFor('ws'), ...ours, ...peerContenders(peers, 'ws', 'filters')]
    for (const contender of profiled(contenders, profileDir, `filters-${nameOf(cell)}`)) {
      progress(`${title}: connecting to ${contender.name}`)
      const side = await openSide(contender)
      sides.push(side)
      await subscribeGroups(side, groupsFor(cell, spread))
    }
    // A round of many turns, for few of them deliver anything where there are few hits.
    const guessMicros = 7 * Math.min(connections, (connections * eventsPerTurn) / spread.stride) + 50
    let turnMicros = 0
    for (const side of sides) {
      try {
        const sample = await measure(side, { ...flatOut(eventsPerTurn, bytes, guessMicros, 80), spread })
        turnMicros ||= (sample.cpuMicros * sample.deliveries) / (sample.published / eventsPerTurn)
      } catch (error) {
        excuse(side, error)
      }
    }
    const load = {
      paced: { ...paced(eventsPerTurn, bytes, turnMicros, quick ? 180 : 300), spread },
      flatOut: { ...flatOut(eventsPerTurn, bytes, turnMicros, 80), spread },
    }
    return await compare(sides, load, runs, (run) => progress(`${title}, run ${run + 1} of ${runs}`))
  } finally {
    await closeSides(sides)
  }
}

/** A type that is never published makes filters differ that take the same. */
function groupsFor({ hits, filters }: Cell, spread: Spread): { wish: Wish; count: number }[] {
  return Array.from({ length: filters }, (_, index) => {
    const residue = index % spread.stride
    const kept =
      hits === 100 ? [] : [hits === 1 ? typeOf(residue, spread) : `${residue === 0 ? 'even' : 'odd'}.*`]
    const types = filters === 1 ? kept : [...kept, `!never.${index}`]
    return {
      wish: { transport: 'ws', spread, residue, ...(types.length > 0 && { types }) },
      count: connections / filters,
    }
  })
}

const columns = [
  { name: 'hits %' },
  { name: 'filters' },
  { name: 'who' },
  { name: 'cpu µs', digits: 3 },
  { name: 'cpu/event µs', digits: 1 },
  { name: 'ratio' },
  { name: 'flat ratio' },
  { name: 'flat k/s', digits: 0 },
  { name: 'p99 ms', digits: 2 },
  { name: 'enc/event' },
]

function rowsOf({ hits, filters }: Cell, standings: readonly Standing[]): Row[] {
  const limit = standings[0] as Standing
  return standings.filter(measured).map((standing) => {
    const { name, paced, flatOut: flat } = standing
    return {
      'hits %': hits,
      filters,
      who: name,
      'cpu µs': median(paced, ({ cpuMicros }) => cpuMicros),
      'cpu/event µs': median(
        paced,
        ({ cpuMicros, deliveries, published }) => (cpuMicros * deliveries) / published,
      ),
      ratio: standing === limit ? '' : formatSpread(ratio(paced, limit.paced, ({ cpuMicros }) => cpuMicros)),
      'flat ratio':
        standing === limit ? '' : formatSpread(ratio(flat, limit.flatOut, ({ cpuMicros }) => cpuMicros)),
      'flat k/s': median(flat, ({ deliveriesPerSecond }) => deliveriesPerSecond) / 1e3,
      'p99 ms': median(paced, ({ latencyMicros }) => latencyMicros.p99) / 1e3,
      'enc/event': standing.encodings?.toFixed(2) ?? '',
    }
  })
}
