import { startSwarm } from '../harness/child.js'
import { formatSpread, median, ratio } from '../harness/compare.js'
import { flatOut, measure, paced, type Sample } from '../harness/measure.js'
import {
  closeSides,
  openSide,
  profiled,
  runcast,
  type Side,
  subscribe,
  type Transport,
} from '../harness/side.js'
import type { Conditions, Row, Scenario } from './scenario.js'

const readers = 200
const shares = [0, 0.01, 0.2]

// Loopback takes some megabytes for each connection before it pushes back.
const fill = { turns: 70, events: 50, bytes: 2_000 }

/** Some clients stop reading: do the others notice, and does the hub's memory? */
export const slow: Scenario = {
  name: 'slow',
  about: `none, 1 % and 20 % of the clients beside ${readers} readers stop reading`,
  cells: () => ['ws', 'sse'],
  async run(conditions) {
    const rows: Row[] = []
    const details: object[] = []
    for (const transport of ['ws', 'sse'] as const) {
      if (!conditions.wants(transport)) continue
      const results = await runTransport(transport, conditions)
      const none = results[0]
      for (const result of results) rows.push(rowOf(transport, result, none?.samples ?? []))
      details.push({ transport, results })
    }
    return {
      columns,
      rows,
      details,
      notes: [
        `First ${fill.turns * fill.events} events of ${fill.bytes} bytes fill the sockets of those who do not read; then 10 events`,
        'of 200 bytes a turn are measured at the readers. ratio: to the same hub with none who are slow.',
        'RSS: growth of the server over the filling.',
      ],
    }
  },
}

interface Result {
  readonly share: number
  readonly slow: number
  readonly rssBytes: number
  readonly samples: readonly Sample[]
}

async function runTransport(
  transport: Transport,
  { runs, progress, profileDir }: Conditions,
): Promise<Result[]> {
  const sides: { side: Side; slow: Side; share: number; rssBytes: number; samples: Sample[] }[] = []
  try {
    for (const share of shares) {
      progress(`${transport}: filling the sockets of ${100 * share} %`)
      const cell = `slow-${transport}-${share}`
      const [contender = runcast] = profiled([runcast], profileDir, cell)
      const side = await openSide(contender)
      const slow = { ...side, swarm: await startSwarm(), connections: 0 }
      sides.push({ side, slow, share, rssBytes: 0, samples: [] })
      await subscribe(side, { transport }, readers)
      const count = Math.round(readers * share)
      if (count > 0) await subscribe(slow, { transport }, count)
      await slow.swarm.ask('pause', null)
      await side.server.ask('begin', null)
      const before = await side.server.ask('usage', null)
      await measure(side, { ...fill, turnsPerTick: 0, tickMs: 0, aheadMax: 2 })
      const after = await side.server.ask('usage', null)
      Object.assign(sides.at(-1) ?? {}, { rssBytes: after.rssBytes - before.rssBytes })
    }
    const first = sides[0] as (typeof sides)[number]
    const warm = await measure(first.side, flatOut(10, 200, 7 * readers, 60))
    const round = paced(10, 200, warm.cpuMicros * 10 * readers, 250)
    for (let run = 0; run < runs; run += 1) {
      progress(`${transport}: run ${run + 1} of ${runs}`)
      for (const entry of run % 2 === 0 ? sides : sides.toReversed()) {
        entry.samples.push(await measure(entry.side, round))
      }
    }
    return sides.map(({ slow, share, rssBytes, samples }) => ({
      share,
      slow: slow.connections,
      rssBytes,
      samples,
    }))
  } finally {
    await closeSides(sides.flatMap(({ side, slow }) => [side, slow]))
  }
}

const columns = [
  { name: 'link' },
  { name: 'slow' },
  { name: 'cpu µs', digits: 3 },
  { name: 'ratio' },
  { name: 'p50 ms', digits: 2 },
  { name: 'p99 ms', digits: 2 },
  { name: 'RSS MB', digits: 0 },
]

function rowOf(transport: Transport, { slow, rssBytes, samples }: Result, none: readonly Sample[]): Row {
  return {
    link: transport,
    slow: `${slow} of ${readers + slow}`,
    'cpu µs': median(samples, ({ cpuMicros }) => cpuMicros),
    ratio: samples === none ? '' : formatSpread(ratio(samples, none, ({ cpuMicros }) => cpuMicros)),
    'p50 ms': median(samples, ({ latencyMicros }) => latencyMicros.p50) / 1e3,
    'p99 ms': median(samples, ({ latencyMicros }) => latencyMicros.p99) / 1e3,
    'RSS MB': rssBytes / 1e6,
  }
}
