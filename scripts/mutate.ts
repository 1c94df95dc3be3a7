/**
 * Mutation testing of one folder of `src`, by Stryker: `npm run mutate -- codec --sample 300 --seed 1`.
 *
 * Stryker changes the source in one place at a time; each change is a mutant, and one that no test notices survives. Only
 * the suites of the folder run, and of the mutants only a sample, which the seed decides. `docs/testing.md` has the scores.
 */
import { parseArgs } from 'node:util'
import type { MutantResult } from '@stryker-mutator/api/core'
import { Stryker } from '@stryker-mutator/core'
import { inOrder } from './mutant-sample.js'

/** The suites that were written for each folder. */
const suites: Readonly<Record<string, readonly string[]>> = {
  codec: ['test/codec/*', 'test/dialect/*', 'test/integration/dialogues', 'test/server/links/stream*'],
  history: ['test/history/*', 'test/hub/hub', 'test/delivery/*'],
  state: ['test/state/*', 'test/property/state', 'test/session/state'],
  session: [
    'test/session/*',
    'test/hub/*',
    'test/delivery/*',
    'test/sessions/{capacity,commands,committing,damage,history,leases,listing,redacting,stored-sessions}',
    'test/integration/joins',
    'test/durable-streams/streams',
    'test/server/operations/tracing',
    'test/log/{duties,hubs,presence}',
    'test/simulation/{hub,stored}',
  ],
  delivery: [
    'test/delivery/*',
    'test/hub/*',
    'test/integration/joins',
    'test/integration/dialogues',
    'test/server/links/stream*',
    'test/server/operations/connections',
    'test/sessions/{commands,history}',
    'test/log/{hubs,presence}',
    'test/simulation/{hub,stored}',
  ],
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    sample: { type: 'string', default: '300' },
    seed: { type: 'string', default: '1' },
    file: { type: 'string', default: '**/*' },
  },
})
const [folder = ''] = positionals
const files = suites[folder]
const [size, seed] = [Number(values.sample), Number(values.seed)]
if (files === undefined || !Number.isInteger(size) || !Number.isInteger(seed)) {
  console.error(
    `Usage: npm run mutate -- FOLDER [--sample N] [--seed N] [--file GLOB]; FOLDER is one of ${Object.keys(suites).join(', ')}`,
  )
  process.exit(2)
}

// As in `npm test`: Stryker runs each file by itself, where tap would wait for half a minute only.
process.env['TAP_TIMEOUT'] ??= '300'
// Simulations run once for each mutant, so they are shorter than in `npm test`, and the same each time.
process.env['RUNCAST_SEED'] ??= '1'
process.env['RUNCAST_ROUNDS'] ??= '1'
process.env['RUNCAST_CLIENT_STEPS'] ??= '50000'

const results = await new Stryker({
  mutate: [`src/${folder}/${values.file}.ts`],
  plugins: ['@stryker-mutator/tap-runner', './scripts/mutant-sample.ts'],
  checkers: ['sample'],
  checkerNodeArgs: ['--import', 'tsx'],
  testRunner: 'tap',
  testRunnerNodeArgs: ['--import', 'tsx'],
  tap: { testFiles: files.map((file) => `${file}.test.js`) },
  // Compiled once: the loader of TypeScript would cost more than most suites.
  buildCommand: 'esbuild src/**/*.ts test/**/*.ts --outbase=. --outdir=. --format=esm --log-level=error',
  coverageAnalysis: 'perTest',
  concurrency: 1,
  // A busy machine is slow; a mutant that loops for ever is noticed all the same.
  dryRunTimeoutMinutes: 30,
  timeoutMS: 60_000,
  tempDirName: 'node_modules/.cache/mutate',
  ignorePatterns: ['bench', 'clients', 'docs/images', 'dist'],
  reporters: ['progress'],
  fileLogLevel: 'off',
  logLevel: 'error',
  allowEmpty: false,
  warnings: { unknownOptions: false },
  // What the checker reads; Stryker hands options on as they are.
  sample: { size, seed },
} as object).runMutationTest()

const sampled = inOrder(results, seed).slice(0, size)
const count = (...statuses: MutantResult['status'][]): number =>
  sampled.filter(({ status }) => statuses.includes(status)).length
const found = count('Killed', 'Timeout')
const missed = sampled.filter(({ status }) => status === 'Survived' || status === 'NoCoverage')
for (const { fileName, location, mutatorName, replacement, status } of missed) {
  const at = `${fileName.slice(fileName.indexOf('src/'))}:${location.start.line}:${location.start.column}`
  console.log(
    `${status === 'Survived' ? 'survived' : 'not run'}  ${at}  ${mutatorName}  ${(replacement ?? '').replaceAll(/\s+/g, ' ').slice(0, 100)}`,
  )
}
const score = (100 * found) / (found + missed.length)
console.log(
  `\n${folder}: ${score.toFixed(1)} % of ${found + missed.length} mutants noticed (of ${results.length}, seed ${seed}); ${missed.length} survived`,
)
