import { excuse, formatSpread, spreadOf, standing } from '../harness/compare.js'
import { measure, type Sample } from '../harness/measure.js'
import type { Round } from '../harness/messages.js'
import { closeSides, limitFor, openSide, profiled, type Side, subscribe } from '../harness/side.js'
import { peerContenders } from '../peers/peers.js'
import type { Conditions, Row, Scenario } from './scenario.js'

const subscribers = 100
const bytes = 200
const rates = [1_000, 10_000, 50_000]

/** At a steady rate, how old is an event when it arrives? */
export const latency: Scenario = {
  name: 'latency',
  about: `1,000, 10,000 and 50,000 deliveries/s to ${subscribers} connections`,
  cells: () => (['ws', 'sse'] as const).flatMap((link) => rates.map((rate) => `${link}-${rate}`)),
  async run(conditions) {
    const rows: Row[] = []
    const details: object[] = []
    const fallen: string[] = []
    for (const transport of ['ws', 'sse'] as const) {
      const chosen = rates.filter((rate) => conditions.wants(`${transport}-${rate}`))
      if (chosen.length === 0) continue
      const sides: Side[] = []
      try {
        const contenders = [
          limitFor(transport),
          ...conditions.ours,
          ...peerContenders(conditions.peers, transport, 'latency'),
        ]
        for (const contender of profiled(contenders, conditions.profileDir, `latency-${transport}`)) {
          const side = await openSide(contender)
          sides.push(side)
          await subscribe(side, { transport }, subscribers)
          try {
            await measure(side, roundOf(50_000, 500))
          } catch (error) {
            excuse(side, error)
          }
        }
        for (const rate of chosen) {
          const samples = await runRate(sides, rate, transport, conditions)
          for (const [index, side] of sides.entries()) {
            if (samples[index]?.length) rows.push(rowOf(transport, rate, side, samples[index]))
          }
          const entries = sides.map(({ name }, index) => ({ name, samples: samples[index] ?? [] }))
          details.push({ transport, rate, sides: entries })
        }
        for (const { name, failed } of sides)
          if (failed !== undefined) fallen.push(`${name} fell out: ${failed}.`)
      } finally {
        await closeSides(sides)
      }
    }
    return {
      columns: ['link', 'deliveries/s', 'who', 'p50 ms', 'p99 ms', 'p99.9 ms', 'max ms'].map((name) => ({
        name,
      })),
      rows,
      details,
      notes: [
        'From the time at which an event was due by the rate, not that at which it was published, to the read of',
        'the socket: a server that falls behind shows it (no coordinated omission).',
        ...fallen,
      ],
    }
  },
}

async function runRate(
  sides: readonly Side[],
  rate: number,
  transport: string,
  { quick, runs, progress }: Conditions,
): Promise<Sample[][]> {
  const samples: Sample[][] = sides.map(() => [])
  for (let run = 0; run < runs; run += 1) {
    progress(`${transport}, ${rate} deliveries/s, run ${run + 1} of ${runs}`)
    const order = run % 2 === 0 ? [...sides.keys()] : [...sides.keys()].reverse()
    for (const index of order) {
      const side = sides[index] as Side
      if (!standing(sides).includes(side)) continue
      try {
        samples[index]?.push(await measure(side, roundOf(rate, quick ? 1_000 : 2_500)))
      } catch (error) {
        excuse(side, error)
      }
    }
  }
  return samples
}

/** One event a turn, and one turn a tick. */
function roundOf(rate: number, ms: number): Round {
  const tickMs = (1e3 * subscribers) / rate
  const turns = Math.round(ms / tickMs)
  return { turns, events: 1, bytes, turnsPerTick: 1, tickMs, aheadMax: turns, stampDue: true }
}

function rowOf(transport: string, rate: number, side: Side, samples: readonly Sample[]): Row {
  const spread = (name: 'p50' | 'p99' | 'p999' | 'max') =>
    formatSpread(spreadOf(samples.map(({ latencyMicros }) => latencyMicros[name] / 1e3)))
  return {
    link: transport,
    'deliveries/s': rate,
    who: side.name,
    'p50 ms': spread('p50'),
    'p99 ms': spread('p99'),
    'p99.9 ms': spread('p999'),
    'max ms': spread('max'),
  }
}
