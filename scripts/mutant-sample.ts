/** A plugin of Stryker that lets only a sample of the mutants run: a checker, which calls all others unfit. */
import { createHash } from 'node:crypto'
import { type Checker, type CheckResult, CheckStatus } from '@stryker-mutator/api/check'
import type { Mutant, StrykerOptions } from '@stryker-mutator/api/core'
import { commonTokens, declareClassPlugin, PluginKind, tokens } from '@stryker-mutator/api/plugin'

/** @returns the mutants in the order in which a sample takes them: the same for the same seed and sources */
export function inOrder<Each extends Pick<Mutant, 'id'>>(mutants: readonly Each[], seed: number): Each[] {
  // Stryker numbers them in the order of the files and of their text.
  const key = ({ id }: Each): string => createHash('sha256').update(`${seed} ${id}`).digest('hex')
  return mutants
    .map((mutant) => [key(mutant), mutant] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, mutant]) => mutant)
}

class SampleChecker implements Checker {
  static readonly inject = tokens(commonTokens.options)
  readonly #size: number
  readonly #seed: number
  #chosen: ReadonlySet<string> = new Set()

  constructor(options: StrykerOptions) {
    const { size, seed } = options['sample'] as { readonly size: number; readonly seed: number }
    this.#size = size
    this.#seed = seed
  }

  async init(): Promise<void> {}

  /** Called once, with all mutants that some test runs. */
  async group(mutants: Mutant[]): Promise<string[][]> {
    this.#chosen = new Set(
      inOrder(mutants, this.#seed)
        .slice(0, this.#size)
        .map(({ id }) => id),
    )
    return [mutants.map(({ id }) => id)]
  }

  async check(mutants: Mutant[]): Promise<Record<string, CheckResult>> {
    const unfit: CheckResult = { status: CheckStatus.CompileError, reason: 'not in the sample' }
    const fit: CheckResult = { status: CheckStatus.Passed }
    return Object.fromEntries(mutants.map(({ id }) => [id, this.#chosen.has(id) ? fit : unfit]))
  }
}

export const strykerPlugins = [declareClassPlugin(PluginKind.Checker, 'sample', SampleChecker)]
