import { fillCaches, formatSpread, median, ratio } from '../harness/compare.js'
import { countEncodings, flatOut, measure, metricsOf, paced, type Sample, sumOf } from '../harness/measure.js'
import type { Content, Round } from '../harness/messages.js'
import { closeSides, limitFor, openSide, profiled, runcast, type Side, subscribe } from '../harness/side.js'
import { benchSlice } from '../server/content.js'
import { engineOf } from './fanout.js'
import type { Row, Scenario } from './scenario.js'

const subscribers = 1_000
const bytes = 50_000

interface StateSample {
  readonly paced: Sample
  readonly flatOut: Sample
}

/** For each change; only where the server counts them. */
interface Counts {
  readonly encodings: number | undefined
  readonly comparisons: number | undefined
}

/** A large state changes a little, again and again. */
export const state: Scenario = {
  name: 'state',
  about: `small changes of a ${bytes / 1e3} KB state, followed by ${subscribers} connections`,
  cells: () => ['ws'],
  async run({ quick, runs, progress, ours, profileDir }) {
    const limit = limitFor('ws')
    const contenders = profiled([limit, ...ours, { ...limit, name: 'whole values' }], profileDir, 'state')
    const contents = contenders.map(({ name }): Content => (name === 'whole values' ? 'whole' : 'patch'))
    const sides: Side[] = []
    try {
      for (const contender of contenders) {
        progress(`connecting to ${contender.name}`)
        const side = await openSide(contender)
        sides.push(side)
        await subscribe(side, { transport: 'ws', slices: [benchSlice] }, subscribers)
      }
      let turnMicros = 0
      for (const [index, side] of sides.entries()) {
        const warm = await measure(side, of(flatOut(1, 200, 7 * subscribers, 80), contents[index]))
        turnMicros ||= warm.cpuMicros * subscribers
      }
      const rounds = {
        paced: paced(1, 200, turnMicros, quick ? 300 : 500),
        flatOut: flatOut(1, 200, turnMicros, 120),
      }
      const samples: StateSample[][] = sides.map(() => [])
      for (let run = 0; run < runs; run += 1) {
        progress(`run ${run + 1} of ${runs}`)
        const order = run % 2 === 0 ? [...sides.keys()] : [...sides.keys()].reverse()
        for (const index of order)
          samples[index]?.push(await sample(sides[index] as Side, rounds, contents[index]))
      }
      const entries: Entry[] = []
      for (const [index, side] of sides.entries()) {
        const counts = await countsOf(side, of(rounds.flatOut, contents[index]))
        entries.push({ name: side.name, samples: samples[index] ?? [], ...counts })
      }
      return {
        columns,
        rows: entries.map((entry) => rowOf(entry, entries[0]?.samples ?? [])),
        details: { sides: entries },
        notes: [
          'One change a turn: one step of a plan of 200, replaced with structural sharing.',
          'limit: ready patches. whole values: what a hub without patches has to send, ready as well.',
        ],
      }
    } finally {
      await closeSides(sides)
    }
  },
}

function of(round: Round, content: Content | undefined): Round {
  return { ...round, bytes, ...(content !== undefined && { content }) }
}

type Entry = Counts & { readonly name: string; readonly samples: readonly StateSample[] }

async function sample(
  side: Side,
  rounds: { readonly paced: Round; readonly flatOut: Round },
  content: Content | undefined,
): Promise<StateSample> {
  await fillCaches(side, of(rounds.flatOut, content))
  const paced = await measure(side, of(rounds.paced, content))
  return { paced, flatOut: await measure(side, of(rounds.flatOut, content)) }
}

/** In further rounds, as `countEncodings`. */
async function countsOf(side: Side, round: Round): Promise<Counts> {
  const encodings = await countEncodings(side, round)
  const before = await comparisonsOf(side)
  if (before === undefined) return { encodings, comparisons: undefined }
  const { published } = await measure(side, round)
  return { encodings, comparisons: (((await comparisonsOf(side)) as number) - before) / published }
}

async function comparisonsOf({ name, server }: Side): Promise<number | undefined> {
  if (name !== runcast.name) return undefined
  return sumOf(await metricsOf(server.port), 'runcast_state_comparisons_total')
}

const columns = [
  { name: 'who' },
  { name: 'cpu µs', digits: 2 },
  { name: 'ratio' },
  { name: 'flat µs', digits: 2 },
  { name: 'flat ratio' },
  { name: 'p50 ms', digits: 2 },
  { name: 'p99 ms', digits: 2 },
  { name: 'wire B', digits: 0 },
  { name: 'enc/change' },
  { name: 'cmp/change' },
  { name: 'engine µs', digits: 2 },
]

function rowOf({ name, samples, encodings, comparisons }: Entry, limit: readonly StateSample[]): Row {
  const spread = (of: 'paced' | 'flatOut') =>
    samples === limit ? '' : formatSpread(ratio(samples, limit, (sample) => sample[of].cpuMicros))
  return {
    who: name,
    'cpu µs': median(samples, ({ paced }) => paced.cpuMicros),
    ratio: spread('paced'),
    'flat µs': median(samples, ({ flatOut }) => flatOut.cpuMicros),
    'flat ratio': spread('flatOut'),
    'p50 ms': median(samples, ({ paced }) => paced.latencyMicros.p50) / 1e3,
    'p99 ms': median(samples, ({ paced }) => paced.latencyMicros.p99) / 1e3,
    'wire B': median(samples, ({ paced }) => paced.bytesPerDelivery),
    'enc/change': encodings ?? '',
    'cmp/change': comparisons ?? '',
    'engine µs': engineOf(samples.map(({ paced }) => paced)),
  }
}
