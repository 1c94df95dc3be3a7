import { formatSpread, spreadOf } from '../harness/compare.js'
import type { Usage } from '../harness/messages.js'
import { type Contender, closeSides, limitFor, openSide, type Side, subscribe } from '../harness/side.js'
import { peerContenders } from '../peers/peers.js'
import type { Row, Scenario } from './scenario.js'

const count = 15_000
/** Of these the figures are not taken: what the first connections compile is not memory of a connection. */
const firstCount = 500
/** Until V8 has collected what the handshakes left: it does when little has happened for a while. */
const settleMs = 40_000

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
      // Half as many as asked for: each takes two minutes, and they differ little.
      const runs = Math.max(1, Math.floor(conditions.runs / 2))
      const samples = new Map(contenders.map((contender) => [contender.name, [] as Sample[]]))
      for (let run = 1; run <= runs; run += 1) {
        const measured = await runTogether(contenders, transport, (what) =>
          conditions.progress(`${transport}, ${what}, run ${run}`),
        )
        measured.forEach((sample, index) => {
          samples.get((contenders[index] as Contender).name)?.push(sample)
        })
      }
      for (const [who, taken] of samples) {
        const kib = (bytes: (sample: Sample) => number) =>
          formatSpread(spreadOf(taken.map((sample) => bytes(sample) / 1024)))
        rows.push({
          link: transport,
          who,
          'RSS KiB': kib(({ rssBytes }) => rssBytes),
          'opened KiB': kib(({ openedBytes }) => openedBytes),
          'idle ms/s': formatSpread(spreadOf(taken.map(({ idleMicros }) => idleMicros / 1e3))),
          'accept µs': formatSpread(spreadOf(taken.map(({ acceptMicros }) => acceptMicros)), 0),
        })
        details.push({ transport, who, samples: taken })
      }
    }
    return {
      columns: ['link', 'who', 'RSS KiB', 'opened KiB', 'idle ms/s', 'accept µs'].map((name) => ({ name })),
      rows,
      details,
      notes: [
        'RSS: growth of the server per connection, in a fresh process for each run. The kernel’s buffers are not in it.',
        `RSS is read when nothing has happened for ${settleMs / 1e3} s, before and after; opened as soon as they are open.`,
        'idle: CPU of the server in a second of this time.',
      ],
    }
  },
}

/**
 * Opens a fresh process of each, for memory that was once taken is not given back, and lets them settle at once.
 *
 * @returns a sample of each, in their order
 */
async function runTogether(
  contenders: readonly Contender[],
  transport: 'ws' | 'sse',
  progress: (what: string) => void,
): Promise<Sample[]> {
  const sides: Side[] = []
  try {
    for (const contender of contenders) {
      const side = await openSide(contender)
      sides.push(side)
      await subscribe(side, { transport }, firstCount)
    }
    progress('settling before')
    await settle()
    const opened: { before: Usage; after: Usage }[] = []
    for (const [index, side] of sides.entries()) {
      progress(`connecting to ${(contenders[index] as Contender).name}`)
      await side.server.ask('begin', null)
      const before = await side.server.ask('usage', null)
      await subscribe(side, { transport }, count - firstCount)
      const after = await side.server.ask('usage', null)
      await side.server.ask('begin', null)
      opened.push({ before, after })
    }
    progress('settling after')
    await settle()
    const samples: Sample[] = []
    for (const [index, side] of sides.entries()) {
      const { before, after } = opened[index] as { before: Usage; after: Usage }
      const idle = await side.server.ask('usage', null)
      samples.push({
        rssBytes: (idle.rssBytes - before.rssBytes) / (count - firstCount),
        openedBytes: (after.rssBytes - before.rssBytes) / (count - firstCount),
        idleMicros: idle.cpuMicros / (idle.wallMicros / 1e6),
        acceptMicros: after.cpuMicros / (count - firstCount),
      })
    }
    return samples
  } finally {
    await closeSides(sides)
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, settleMs))
