import { countEncodings, measure, type Sample } from './measure.js'
import type { Round } from './messages.js'
import type { Side } from './side.js'

/** Median, least and greatest of several runs. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** @throws Error when there is no value */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle]
  const lower = sorted[sorted.length % 2 === 1 ? middle : middle - 1]
  if (upper === undefined || lower === undefined) throw new Error('a spread needs a value')
  return { median: (lower + upper) / 2, min: sorted[0] as number, max: sorted.at(-1) as number }
}

/** One contestant's samples under the same load, one for each run. */
export interface Standing {
  readonly name: string
  readonly paced: readonly Sample[]
  readonly flatOut: readonly Sample[]
  /** Per published event, in a further round; only where the server counts them. */
  readonly encodings: number | undefined
  /** What it did wrong; the samples end there. */
  readonly failed: string | undefined
}

export interface Load {
  readonly paced: Round
  readonly flatOut: Round
}

/**
 * Measures the sides in turn, run by run, and every other run in reverse, so that what drifts on the
 * machine meets all of them.
 */
export async function compare(
  sides: readonly Side[],
  load: Load,
  runs: number,
  onRun: (run: number) => void,
): Promise<Standing[]> {
  const standings = sides.map(({ name }) => ({ name, paced: [] as Sample[], flatOut: [] as Sample[] }))
  for (let run = 0; run < runs; run += 1) {
    onRun(run)
    const order = run % 2 === 0 ? [...sides.keys()] : [...sides.keys()].reverse()
    for (const index of order) {
      const side = sides[index] as Side
      if (side.failed !== undefined) continue
      try {
        await fillCaches(side, load.flatOut)
        standings[index]?.paced.push(await measure(side, load.paced))
        standings[index]?.flatOut.push(await measure(side, load.flatOut))
      } catch (error) {
        excuse(side, error)
      }
    }
  }
  const all: Standing[] = []
  for (const [index, standing] of standings.entries()) {
    const side = sides[index] as Side
    const encodings = side.failed === undefined ? await countEncodings(side, load.flatOut) : undefined
    all.push({ ...standing, encodings, failed: side.failed })
  }
  return all
}

/**
 * What ran before has filled the caches of the processor and the kernel. Without this, a side that is measured twice in a row, as the
 * first and the last are in every other run, took up to a fifth less than one that never is.
 */
export async function fillCaches(side: Side, round: Round): Promise<void> {
  await measure(side, { ...round, turns: Math.ceil(round.turns / 2) })
}

/** A peer that loses or repeats something is out of the comparison, and said to be. @throws anyone else's error */
export function excuse(side: Side, error: unknown): void {
  if (!side.isPeer) throw error
  side.failed = error instanceof Error ? error.message : String(error)
}

/** @returns the sides that have not failed. */
export function standing(sides: readonly Side[]): Side[] {
  return sides.filter(({ failed }) => failed === undefined)
}

/** @returns the spread over the runs of one side's figure over the other's in the same run. */
export function ratio<S>(of: readonly S[], to: readonly S[], figure: (sample: S) => number): Spread {
  return spreadOf(of.map((sample, run) => figure(sample) / figure(to[run] as S)))
}

/** @returns `median (least–greatest)` */
export function formatSpread({ median, min, max }: Spread, digits = 2): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`
}

/** @returns the median of one figure over the runs. */
export function median<S>(samples: readonly S[], figure: (sample: S) => number): number {
  return spreadOf(samples.map(figure)).median
}
