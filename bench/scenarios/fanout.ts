import { startServer, startSwarm } from '../harness/child.js'
import { compare, ratio, type Spread, type Standing, spreadOf } from '../harness/compare.js'
import { benchSession, benchTopic } from '../harness/event.js'
import { flatOut, measure, paced, type Sample, type Side } from '../harness/measure.js'
import type { DialectChoice } from '../swarm/dialect.js'
import type { Conditions, Row, Scenario } from './scenario.js'

type Transport = 'ws' | 'sse'

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
        'limit: uWebSockets publish of ready bytes (ws); a corked write of ready bytes to each response (sse).',
      ],
    }
  },
}

function groupsFor({ quick, only }: Conditions): Group[] {
  const groups: Group[] = []
  for (const transport of ['ws', 'sse'] as const) {
    for (const connections of quick ? [10, 1_000] : [10, 1_000, 10_000]) {
      const sizes = !quick && connections === 1_000 ? [50, 200, 2_000] : [200]
      const cells = sizes
        .flatMap((bytes) => turnSizes.map((events) => ({ events, bytes })))
        // 100 KB a turn and connection would measure memory bandwidth, and take most of the time.
        .filter(({ events, bytes }) => events * bytes <= 20_000)
        .filter(({ events, bytes }) => only?.test(`${transport}-${connections}-${events}-${bytes}`) ?? true)
      if (cells.length > 0) groups.push({ transport, connections, cells })
    }
  }
  return groups
}

async function runGroup(
  group: Group,
  { quick, runs, peers, profileDir, progress }: Conditions,
): Promise<{ cell: Cell; standings: Standing[] }[]> {
  const { transport, connections, cells } = group
  const title = `${transport} × ${connections}`
  const sides: Side[] = []
  try {
    for (const [name, file] of contestants(transport, peers)) {
      progress(`${title}: connecting to ${name}`)
      sides.push(await connect({ name, file, profileDir }, transport, connections))
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
    await Promise.all(sides.flatMap(({ server, swarm }) => [server.stop(), swarm.stop()]))
  }
}

function contestants(transport: Transport, peers: readonly string[]): [name: string, file: string][] {
  const all: [string, string][] = [
    ['limit', `server/limit-${transport}`],
    ['runcast', 'server/runcast'],
  ]
  if (transport === 'ws' && peers.includes('ws')) all.push(['ws', 'peers/ws'])
  return all
}

async function connect(
  { name, file, profileDir }: { name: string; file: string; profileDir: string | undefined },
  transport: Transport,
  connections: number,
): Promise<Side> {
  const profile = profileDir && `${profileDir}/${name}-${transport}-${connections}.cpuprofile`
  const [server, swarm] = await Promise.all([startServer(file, profile), startSwarm()])
  const dialect: DialectChoice =
    transport === 'ws'
      ? { kind: 'runcast-ws', topic: benchTopic }
      : { kind: 'runcast-sse', path: `/api/sessions/${benchSession}/events` }
  try {
    await swarm.ask('connect', { port: server.port, count: connections, dialect })
  } catch (error) {
    await Promise.all([server.stop(), swarm.stop()])
    throw error
  }
  return { name, server, swarm, connections, published: 0 }
}

/** Lets every side get hot. @returns what a turn costs the first side, the limit. Microseconds. */
async function warmUp(sides: readonly Side[], { events, bytes }: Cell): Promise<number> {
  let turnMicros = 0
  for (const side of sides) {
    const guessMicros = 7 * side.connections + 20
    const sample = await measure(side, flatOut(events, bytes, guessMicros, 60))
    turnMicros ||= sample.cpuMicros * events * side.connections
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
]

function rowsOf(
  { transport, connections }: Group,
  { events, bytes }: Cell,
  standings: readonly Standing[],
): Row[] {
  const limit = standings[0] as Standing
  return standings.map((standing) => {
    const encodings = encodingsOf(standing)
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
      'enc/event': encodings,
    }
  })
}

function cpu(sample: Sample): number {
  return sample.cpuMicros
}

function median(samples: readonly Sample[], figure: (sample: Sample) => number): number {
  return spreadOf(samples.map(figure)).median
}

/** Every run's, where they differ: the aim is exactly 1 in each. */
function encodingsOf({ paced, flatOut }: Standing): string {
  const all = [...paced, ...flatOut].map(({ encodings }) => encodings)
  return [...new Set(all.filter((encodings) => encodings !== undefined))].join(' ')
}

function formatSpread({ median, min, max }: Spread): string {
  return `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`
}
