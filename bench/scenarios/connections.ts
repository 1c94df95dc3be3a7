import { formatSpread, spreadOf } from '../harness/compare.js'
import type { Usage } from '../harness/messages.js'
import {
  type Contender,
  closeSides,
  limitFor,
  openSide,
  profiled,
  type Side,
  subscribe,
} from '../harness/side.js'
import { peerContenders } from '../peers/peers.js'
import type { Row, Scenario } from './scenario.js'

const count = 15_000
/** Of these the figures are not taken: what the first connections compile is not memory of a connection. */
const firstCount = 500
/** Until V8 has collected what the handshakes left: it does when little has happened for a while. */
const settleMs = 75_000

interface Sample {
  /** Growth of the server's resident memory for each connection, once nothing has happened for a while. Bytes. */
  readonly rssBytes: number
  /** As soon as they are open, with what the handshakes left. Bytes. */
  readonly openedBytes: number
  /** Server CPU of a second in which nothing happens. Microseconds. */
  readonly idleMicros: number
  /** Server CPU to accept one connection and subscribe it. Microseconds. */
  readonly acceptMicros: number
}

interface Contestant {
  readonly transport: 'ws' | 'sse'
  readonly contender: Contender
  readonly samples: Sample[]
}

/** Everyone watches and nothing happens. */
export const connections: Scenario = {
  name: 'connections',
  about: `memory and CPU of ${count} idle subscribed connections`,
  cells: () => ['ws', 'sse'],
  async run(conditions) {
    const rows: Row[] = []
    const details: object[] = []
    const all: Contestant[] = (['ws', 'sse'] as const)
      .filter(conditions.wants)
      .flatMap((transport) =>
        profiled(
          [
            limitFor(transport),
            ...conditions.ours,
            ...peerContenders(conditions.peers, transport, 'connections'),
          ],
          conditions.profileDir,
          `connections-${transport}`,
        ).map((contender) => ({ transport, contender, samples: [] })),
      )
    // Half as many as asked for: each takes minutes, and they differ little.
    const runs = Math.max(1, Math.floor(conditions.runs / 2))
    for (let run = 1; run <= runs; run += 1) {
      await runTogether(all, (what) => conditions.progress(`${what}, run ${run}`))
    }
    for (const { transport, contender, samples } of all) {
      const kib = (bytes: (sample: Sample) => number) =>
        formatSpread(spreadOf(samples.map((sample) => bytes(sample) / 1024)))
      rows.push({
        link: transport,
        who: contender.name,
        'RSS KiB': kib(({ rssBytes }) => rssBytes),
        'opened KiB': kib(({ openedBytes }) => openedBytes),
        'idle ms/s': formatSpread(spreadOf(samples.map(({ idleMicros }) => idleMicros / 1e3))),
        'idle µs/s': formatSpread(spreadOf(samples.map(({ idleMicros }) => idleMicros / count))),
        'accept µs': formatSpread(spreadOf(samples.map(({ acceptMicros }) => acceptMicros)), 0),
      })
      details.push({ transport, who: contender.name, samples })
    }
    return {
      columns: ['link', 'who', 'RSS KiB', 'opened KiB', 'idle ms/s', 'idle µs/s', 'accept µs'].map(
        (name) => ({
          name,
        }),
      ),
      rows,
      details,
      notes: [
        'RSS: growth of the server per connection, in a fresh process for each run. The kernel’s buffers are not in it.',
        `RSS is read when nothing has happened for ${settleMs / 1e3} s, before and after; opened as soon as they are open.`,
        'idle ms/s: CPU of the server in a second of this time; idle µs/s: the same per connection.',
      ],
    }
  },
}

/** Opens a fresh process of each, for memory that was once taken is not given back, and lets all of them settle. */
async function runTogether(all: readonly Contestant[], progress: (what: string) => void): Promise<void> {
  const sides: Side[] = []
  try {
    for (const { contender, transport } of all) {
      const side = await openSide(contender)
      sides.push(side)
      await subscribe(side, { transport }, firstCount)
    }
    progress('settling before')
    await settle()
    const opened: { before: Usage; after: Usage }[] = []
    for (const [index, side] of sides.entries()) {
      const { server } = side
      const { contender, transport } = all[index] as Contestant
      progress(`${transport}, connecting to ${contender.name}`)
      await server.ask('begin', null)
      const before = await server.ask('usage', null)
      await subscribe(side, { transport }, count - firstCount)
      const after = await server.ask('usage', null)
      await server.ask('begin', null)
      opened.push({ before, after })
    }
    progress('settling after')
    await settle()
    for (const [index, { server }] of sides.entries()) {
      const { before, after } = opened[index] as { before: Usage; after: Usage }
      const idle = await server.ask('usage', null)
      all[index]?.samples.push({
        rssBytes: (idle.rssBytes - before.rssBytes) / (count - firstCount),
        openedBytes: (after.rssBytes - before.rssBytes) / (count - firstCount),
        idleMicros: idle.cpuMicros / (idle.wallMicros / 1e6),
        acceptMicros: after.cpuMicros / (count - firstCount),
      })
    }
  } finally {
    await closeSides(sides)
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, settleMs))
