/**
 * Takes results of the benchmarks into the docs: `npx tsx scripts/benchmarks.ts RUN.json …`, then `npm run docs`.
 * Each file is one run of `npm run bench -- --json`; of several with the same scenario the last one counts.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Results, resultsFile } from './plots.js'

const files = process.argv.slice(2)
if (files.length === 0) throw new Error('expected files that npm run bench -- --json has written')
let conditions: Record<string, string | number> = {}
const results: Record<string, Results['results'][string]> = {}
for (const file of files) {
  const run = JSON.parse(readFileSync(file, 'utf8')) as Results
  // Peers are named by the runs that they took part in.
  conditions = { ...conditions, ...run.conditions }
  for (const [name, { columns, rows, notes }] of Object.entries(run.results))
    results[name] = { columns, rows, notes }
}
const place = fileURLToPath(new URL(`../${resultsFile}`, import.meta.url))
mkdirSync(dirname(place), { recursive: true })
writeFileSync(place, `${JSON.stringify({ conditions, results }, null, 1)}\n`)
