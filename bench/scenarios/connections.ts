import { formatSpread, spreadOf } from '../harness/compare.js'
import { type Contender, closeSides, limitFor, openSide, subscribe } from '../harness/side.js'
import { peerContenders } from '../peers/peers.js'
import type { Conditions, Row, Scenario } from './scenario.js'

const count = 15_000
const idleMs = 3_000

interface Sample {
  /** Growth of the server's resident memory for each connection. Bytes. */
  readonly rssBytes: number
  /** Server CPU of a second in which nothing happens. Microseconds. */
  readonly idleMicros: number
  /** Server CPU to accept one connection and subscribe it. Microseconds. */
  readonly acceptMicros: number
}

/** Everyone watches and nothing happens. */
export const connections: Scenario = {
  name: 'connections',
  about: `memory and CPU of ${count} idle subscribed connections`,
  cells: () => ['ws', 'sse'],
  async run(conditions) {
    const rows: Row[] = []
    const details: object[] = []
    for (const transport of ['ws', 'sse'] as const) {
      if (!conditions.wants(transport)) continue
      const contenders = [
        limitFor(transport),
        ...conditions.ours,
        ...peerContenders(conditions.peers, transport, 'connections'),
      ]
      for (const contender of contenders) {
        const who = contender.name
        const samples = await runSide(contender, transport, conditions)
        rows.push({
          link: transport,
          who,
          'RSS KiB': formatSpread(spreadOf(samples.map(({ rssBytes }) => rssBytes / 1024))),
          'idle ms/s': formatSpread(spreadOf(samples.map(({ idleMicros }) => idleMicros / 1e3))),
          'accept µs': formatSpread(spreadOf(samples.map(({ acceptMicros }) => acceptMicros)), 0),
        })
        details.push({ transport, who, samples })
      }
    }
    return {
      columns: ['link', 'who', 'RSS KiB', 'idle ms/s', 'accept µs'].map((name) => ({ name })),
      rows,
      details,
      notes: [
        'RSS: growth of the server per connection, in a fresh process for each run. The kernel’s buffers are not in it.',
        'idle: CPU of the server in a second with all of them connected and nothing published.',
      ],
    }
  },
}

// Each run has a fresh process: memory that was once taken is not given back.
async function runSide(
  contender: Contender,
  transport: 'ws' | 'sse',
  { runs, progress }: Conditions,
): Promise<Sample[]> {
  const samples: Sample[] = []
  for (let run = 0; run < Math.min(runs, 3); run += 1) {
    progress(`${transport}, ${contender.name}, run ${run + 1}`)
    const side = await openSide(contender)
    try {
      // What the first connections compile is not memory of a connection.
      await subscribe(side, { transport }, 500)
      await side.server.ask('begin', null)
      const before = await side.server.ask('usage', null)
      await subscribe(side, { transport }, count - 500)
      const after = await side.server.ask('usage', null)
      await side.server.ask('begin', null)
      await new Promise((resolve) => setTimeout(resolve, idleMs))
      const idle = await side.server.ask('usage', null)
      samples.push({
        rssBytes: (after.rssBytes - before.rssBytes) / (count - 500),
        idleMicros: idle.cpuMicros / (idle.wallMicros / 1e6),
        acceptMicros: after.cpuMicros / (count - 500),
      })
    } finally {
      await closeSides([side])
    }
  }
  return samples
}
