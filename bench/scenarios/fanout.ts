import { compare, excuse, formatSpread, median, ratio, type Standing, standing } from '../harness/compare.js'
import { flatOut, measure, paced, type Sample } from '../harness/measure.js'
import {
  closeSides,
  limitFor,
  openSide,
  profiled,
  type Side,
  subscribe,
  type Transport,
} from '../harness/side.js'
import { peerContenders } from '../peers/peers.js'
import type { Conditions, Row, Scenario } from './scenario.js'

interface Cell {
  readonly events: number
  readonly bytes: number
}

interface Group {
  readonly transport: Transport
  readonly connections: number
  readonly cells: readonly Cell[]
}

const turnSizes = [1, 10, 50]

/** Every event goes to everyone: what does one delivery cost the server? */
export const fanout: Scenario = {
  name: 'fanout',
  about: '1, 10 and 50 events a turn to 10, 1,000 and 10,000 connections, WebSocket and SSE',
  cells: (quick) => allGroups(quick).flatMap((group) => group.cells.map((cell) => cellName(group, cell))),
  async run(conditions) {
    const results: { group: Group; cell: Cell; standings: Standing[] }[] = []
    for (const group of groupsFor(conditions)) {
      for (const { cell, standings } of await runGroup(group, conditions))
        results.push({ group, cell, standings })
    }
    return {
      columns,
      rows: results.flatMap(({ group, cell, standings }) => rowsOf(group, cell, standings)),
      details: results.map(({ group: { transport, connections }, cell, standings }) => ({
        transport,
        connections,
        ...cell,
        standings,
      })),
      notes: [
        'cpu: server CPU, user and system, per delivery, at a rate that takes the limit 40 % of a core.',
        'ratio: to the limit in the same run; median, and in brackets the least and greatest of the runs.',
        'flat: the same flat out. Latency is at the paced rate, from publishing to the read of the socket.',
        'Peers publish event by event, as their interfaces have it: with 1 event a turn that makes no difference.',
        ...failures(results.flatMap(({ standings }) => standings)),
        'loop: the same ready bytes sent to each in a loop of JavaScript, the least that a hub in JavaScript can do.',
        'engine: CPU of Redis per event that was published, paced.',
        'limit: uWebSockets publish of ready bytes (ws); a corked write of ready bytes to each response (sse).',
      ],
    }
  },
}

/** @returns a line for each peer that fell out. */
export function failures(standings: readonly Standing[]): string[] {
  return standings.flatMap(({ name, failed }) =>
    failed === undefined ? [] : [`${name} fell out: ${failed}.`],
  )
}

function cellName({ transport, connections }: Group, { events, bytes }: Cell): string {
  return `${transport}-${connections}-${events}-${bytes}`
}

function groupsFor({ quick, wants }: Conditions): Group[] {
  return allGroups(quick)
    .map((group) => ({ ...group, cells: group.cells.filter((cell) => wants(cellName(group, cell))) }))
    .filter(({ cells }) => cells.length > 0)
}

function allGroups(quick: boolean): Group[] {
  const groups: Group[] = []
  for (const transport of ['ws', 'sse'] as const) {
    for (const connections of quick ? [10, 1_000] : [10, 1_000, 10_000]) {
      const sizes = !quick && connections === 1_000 ? [50, 200, 2_000] : [200]
      const cells = sizes
        .flatMap((bytes) => turnSizes.map((events) => ({ events, bytes })))
        // 100 KB a turn and connection would measure memory bandwidth, and take most of the time.
        .filter(({ events, bytes }) => events * bytes <= 20_000)
      groups.push({ transport, connections, cells })
    }
  }
  return groups
}

async function runGroup(
  group: Group,
  conditions: Conditions,
): Promise<{ cell: Cell; standings: Standing[] }[]> {
  const { quick, runs, progress } = conditions
  const { transport, connections, cells } = group
  const title = `${transport} × ${connections}`
  const sides: Side[] = []
  try {
    const contenders = [
      limitFor(transport),
      ...(transport === 'ws' ? [{ ...limitFor(transport), name: 'loop', file: 'server/loop-ws' }] : []),
      ...conditions.ours,
      ...peerContenders(conditions.peers, transport, 'fanout'),
    ]
    for (const contender of profiled(contenders, conditions.profileDir, `${transport}-${connections}`)) {
      progress(`${title}: connecting to ${contender.name}`)
      const side = await openSide(contender)
      sides.push(side)
      await subscribe(side, { transport }, connections)
    }
    const results: { cell: Cell; standings: Standing[] }[] = []
    for (const cell of cells) {
      const turnMicros = await warmUp(sides, cell)
      const load = {
        paced: paced(cell.events, cell.bytes, turnMicros, quick ? 180 : 220),
        flatOut: flatOut(cell.events, cell.bytes, turnMicros, 80),
      }
      const standings = await compare(sides, load, runs, (run) => {
        progress(`${title}: ${cell.events} × ${cell.bytes} B a turn, run ${run + 1} of ${runs}`)
      })
      results.push({ cell, standings })
    }
    return results
  } finally {
    await closeSides(sides)
  }
}

/** Lets every side get hot. @returns what a turn costs the first side, the limit. Microseconds. */
async function warmUp(sides: readonly Side[], { events, bytes }: Cell): Promise<number> {
  let turnMicros = 0
  for (const side of standing(sides)) {
    const guessMicros = 7 * side.connections + 20
    try {
      const sample = await measure(side, flatOut(events, bytes, guessMicros, 60))
      turnMicros ||= sample.cpuMicros * events * side.connections
    } catch (error) {
      excuse(side, error)
    }
  }
  return turnMicros
}

const columns = [
  { name: 'link' },
  { name: 'conns' },
  { name: 'ev/turn' },
  { name: 'bytes' },
  { name: 'who' },
  { name: 'cpu µs', digits: 3 },
  { name: 'user µs', digits: 3 },
  { name: 'ratio' },
  { name: 'flat µs', digits: 3 },
  { name: 'flat ratio' },
  { name: 'flat k/s', digits: 0 },
  { name: 'p50 ms', digits: 2 },
  { name: 'p99 ms', digits: 2 },
  { name: 'max ms', digits: 2 },
  { name: 'wire B', digits: 0 },
  { name: 'RSS MB', digits: 0 },
  { name: 'enc/event' },
  { name: 'engine µs', digits: 2 },
]

function rowsOf(
  { transport, connections }: Group,
  { events, bytes }: Cell,
  standings: readonly Standing[],
): Row[] {
  const limit = standings[0] as Standing
  return standings.filter(measured).map((standing) => {
    return {
      link: transport,
      conns: connections,
      'ev/turn': events,
      bytes,
      who: standing.name,
      'cpu µs': median(standing.paced, cpu),
      'user µs': median(standing.paced, (sample) => sample.userMicros),
      ratio: standing === limit ? '' : formatSpread(ratio(standing.paced, limit.paced, cpu)),
      'flat µs': median(standing.flatOut, cpu),
      'flat ratio': standing === limit ? '' : formatSpread(ratio(standing.flatOut, limit.flatOut, cpu)),
      'flat k/s': median(standing.flatOut, (sample) => sample.deliveriesPerSecond) / 1e3,
      'p50 ms': median(standing.paced, (sample) => sample.latencyMicros.p50) / 1e3,
      'p99 ms': median(standing.paced, (sample) => sample.latencyMicros.p99) / 1e3,
      'max ms': median(standing.paced, (sample) => sample.latencyMicros.max) / 1e3,
      'wire B': median(standing.paced, (sample) => sample.bytesPerDelivery),
      'RSS MB': median(standing.flatOut, (sample) => sample.rssBytes) / 1e6,
      'enc/event': standing.encodings ?? '',
      'engine µs': engineOf(standing.paced),
    }
  })
}

/** Whether a side came through at least one run. */
export function measured({ flatOut }: Standing): boolean {
  return flatOut.length > 0
}

function cpu(sample: Sample): number {
  return sample.cpuMicros
}

/** @returns the engine's CPU an event; empty where there is none */
export function engineOf(samples: readonly { readonly engineMicros: number | undefined }[]): number | string {
  return samples.some(({ engineMicros }) => engineMicros !== undefined)
    ? median(samples, ({ engineMicros = 0 }) => engineMicros)
    : ''
}
