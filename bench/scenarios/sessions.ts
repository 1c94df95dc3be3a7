import { compare, formatSpread, median, ratio, type Standing } from '../harness/compare.js'
import type { Spread } from '../harness/event.js'
import { flatOut, measure } from '../harness/measure.js'
import type { Round } from '../harness/messages.js'
import { closeSides, limitFor, openSide, profiled, type Side, subscribeGroups } from '../harness/side.js'
import { peerContenders } from '../peers/peers.js'
import { engineOf, failures, measured } from './fanout.js'
import type { Row, Scenario } from './scenario.js'

const count = 10_000
const workers = 3
/** Each of them watches ten sessions; every session is watched by two. */
const connections = 2_000
const spread: Spread = { kind: 'sessions', over: count, workers, stride: connections / 2 }
const rate = 20_000
const bytes = 200
const eventsPerTurn = 40

/** Many small sessions instead of one that everybody watches. */
export const sessions: Scenario = {
  name: 'sessions',
  about: `${count} sessions of ${workers} workers, each watched by 2, at ${rate} events/s`,
  cells: () => ['ws'],
  async run({ quick, runs, progress, peers, ours, profileDir }) {
    const sides: Side[] = []
    const rss: { [name: string]: number } = {}
    try {
      const contenders = [limitFor('ws'), ...ours, ...peerContenders(peers, 'ws', 'sessions')]
      for (const contender of profiled(contenders, profileDir, 'sessions')) {
        progress(`connecting to ${contender.name}`)
        const side = await openSide(contender)
        sides.push(side)
        await side.server.ask('begin', null)
        const before = await side.server.ask('usage', null)
        const groups = Array.from({ length: spread.stride }, (_, residue) => residue)
        await subscribeGroups(
          side,
          groups.map((residue) => ({ wish: { transport: 'ws', spread, residue }, count: 2 })),
        )
        // Every worker of every session publishes once, which creates them.
        await measure(side, flat(100_000, workers * count))
        const after = await side.server.ask('usage', null)
        rss[side.name] = after.rssBytes - before.rssBytes
      }
      const seconds = quick ? 1.5 : 3
      const load = { paced: pacedAt(seconds), flatOut: flat(4_000, quick ? 20_000 : 40_000) }
      const standings = await compare(sides, load, runs, (run) => progress(`run ${run + 1} of ${runs}`))
      const limit = standings[0] as Standing
      return {
        columns,
        rows: standings.filter(measured).map((standing) => rowOf(standing, limit, rss[standing.name] ?? 0)),
        details: { standings, rss },
        notes: [
          `${connections} connections with ${(2 * count) / connections} subscriptions each; an event is delivered twice, so hardly anything is batched.`,
          'RSS: growth of the server over connecting and the first three events of each session, by session, with what V8 has not collected yet.',
          ...failures(standings),
        ],
      }
    } finally {
      await closeSides(sides)
    }
  },
}

function pacedAt(seconds: number): Round {
  const turns = (rate * seconds) / eventsPerTurn
  return {
    turns,
    events: eventsPerTurn,
    bytes,
    turnsPerTick: 1,
    tickMs: (1e3 * eventsPerTurn) / rate,
    aheadMax: turns,
    spread,
  }
}

/** @param turnMicros a guess, of which only the product with the duration matters */
function flat(turnMicros: number, events: number): Round {
  const round = flatOut(eventsPerTurn, bytes, turnMicros, (turnMicros * events) / eventsPerTurn / 1e3)
  return { ...round, aheadMax: 50, spread }
}

const columns = [
  { name: 'who' },
  { name: 'cpu µs', digits: 2 },
  { name: 'ratio' },
  { name: 'flat µs', digits: 2 },
  { name: 'flat ratio' },
  { name: 'flat k/s', digits: 0 },
  { name: 'p50 ms', digits: 2 },
  { name: 'p99 ms', digits: 2 },
  { name: 'RSS KiB/session', digits: 1 },
  { name: 'engine µs', digits: 2 },
]

function rowOf(standing: Standing, limit: Standing, rssBytes: number): Row {
  const { name, paced, flatOut: flat } = standing
  return {
    who: name,
    'cpu µs': median(paced, ({ cpuMicros }) => cpuMicros),
    ratio: standing === limit ? '' : formatSpread(ratio(paced, limit.paced, ({ cpuMicros }) => cpuMicros)),
    'flat µs': median(flat, ({ cpuMicros }) => cpuMicros),
    'flat ratio':
      standing === limit ? '' : formatSpread(ratio(flat, limit.flatOut, ({ cpuMicros }) => cpuMicros)),
    'flat k/s': median(flat, ({ deliveriesPerSecond }) => deliveriesPerSecond) / 1e3,
    'p50 ms': median(paced, ({ latencyMicros }) => latencyMicros.p50) / 1e3,
    'p99 ms': median(paced, ({ latencyMicros }) => latencyMicros.p99) / 1e3,
    'RSS KiB/session': rssBytes / 1024 / count,
    'engine µs': engineOf(paced),
  }
}
