import { do_not_optimize as keep, measure } from 'mitata'
import { formatSpread, spreadOf } from '../harness/compare.js'
import type { Piece } from '../micro/pieces.js'
import type { Scenario } from './scenario.js'

interface Sample {
  /** Nanoseconds for each event, delivery or change. */
  readonly median: number
  readonly p99: number
}

/** Parts of the hub by themselves, without a network; for those who change them. */
export const micro: Scenario = {
  name: 'micro',
  about: 'ring, filter, flush, codecs, comparison and masking by themselves, without a network',
  onlyNamed: true,
  cells: () => ['all'],
  async run({ runs, progress }) {
    // Loaded late, for it needs `dist/`.
    const { allPieces } = await import('../micro/pieces.js')
    const pieces = allPieces()
    const samples: Sample[][] = pieces.map(() => [])
    for (let run = 0; run < runs; run += 1) {
      for (const [index, piece] of pieces.entries()) {
        progress(`${piece.name}, run ${run + 1} of ${runs}`)
        samples[index]?.push(await time(piece))
      }
    }
    return {
      columns: [
        { name: 'piece' },
        { name: 'per' },
        { name: 'ns' },
        { name: 'p99 ns' },
        { name: 'k/s', digits: 0 },
      ],
      rows: pieces.map(({ name, unit }, index) => {
        const median = spreadOf((samples[index] ?? []).map((sample) => sample.median))
        const p99 = spreadOf((samples[index] ?? []).map((sample) => sample.p99))
        return {
          piece: name,
          per: unit,
          ns: formatSpread(median, 0),
          'p99 ns': formatSpread(p99, 0),
          'k/s': 1e6 / median.median,
        }
      }),
      details: pieces.map(({ name, unit }, index) => ({ name, unit, samples: samples[index] })),
      notes: [
        'Each call returns something that depends on all of its work, which is compared with what is due: a compiler',
        'that left work out would be found. ns: median of the calls; brackets: of the runs.',
      ],
    }
  },
}

async function time(piece: Piece): Promise<Sample> {
  let returned = 0
  const { p50, p99 } = await measure(
    () => {
      returned = piece.run()
      keep(returned)
    },
    { min_cpu_time: 150e6 },
  )
  piece.verify(returned)
  return { median: p50 / piece.times, p99: p99 / piece.times }
}
