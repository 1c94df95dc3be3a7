// The load benchmarks: `npm run bench -- --help`.
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { parseArgs } from 'node:util'
import { cores, killChildren, pinned } from './harness/child.js'
import { summarizeProfiles } from './harness/profile.js'
import { formatTable } from './harness/table.js'
import { connections } from './scenarios/connections.js'
import { fanout } from './scenarios/fanout.js'
import { join } from './scenarios/join.js'
import { latency } from './scenarios/latency.js'
import { publish } from './scenarios/publish.js'
import type { Results, Scenario } from './scenarios/scenario.js'
import { slow } from './scenarios/slow.js'

const scenarios: readonly Scenario[] = [fanout, publish, join, slow, connections, latency]
const knownPeers = ['ws']

const help = `Measures what a delivery costs, and shows it as a ratio to a baseline of the same run.

Usage: npm run bench -- [SCENARIO …] [options]

Scenarios (all unless named):
${scenarios.map(({ name, about }) => `  ${name.padEnd(12)}${about}`).join('\n')}

Options:
  --quick         fewer cells and shorter rounds
  --runs N        alternating runs of each cell: 5, or 3 with --quick
  --peers LIST    other servers in the same run: all, or names of ${knownPeers.join(', ')}
  --only PATTERN  cells whose name matches, such as ws-1000-10-200 (link, connections, events a turn, bytes)
  --profile DIR   write V8 CPU profiles of the servers, and show where their time went
  --json FILE     write every sample of every run
  --help          this text

Examples:
  npm run bench -- fanout --quick
  npm run bench -- fanout --peers ws --json bench/results/fanout.json
  npm run bench -- fanout --only ws-1000-10-200 --profile bench/results
`

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    killChildren()
    process.exit(signal === 'SIGINT' ? 130 : 143)
  })
}

try {
  await main()
} catch (error) {
  clearProgress()
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`)
  killChildren()
  process.exitCode = 1
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      runs: { type: 'string' },
      peers: { type: 'string', default: '' },
      only: { type: 'string' },
      profile: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.profile !== undefined) mkdirSync(values.profile, { recursive: true })
  if (values.help) return void process.stdout.write(help)
  const chosen = positionals.length === 0 ? scenarios : positionals.map(scenarioNamed)
  const runs = values.runs === undefined ? (values.quick ? 3 : 5) : runCount(values.runs)
  const peers = peersNamed(values.peers)
  const conditions = describeConditions(runs)
  process.stdout.write(
    `${Object.entries(conditions)
      .map(([name, value]) => `${name}: ${value}`)
      .join(' · ')}\n`,
  )

  const results: { [scenario: string]: Results } = {}
  for (const scenario of chosen) {
    const begun = performance.now()
    const progress = (text: string) => showProgress(`${scenario.name} · ${text}`)
    const result = await scenario.run({
      quick: values.quick,
      runs,
      peers,
      only: values.only === undefined ? undefined : new RegExp(`^(?:${values.only})$`),
      profileDir: values.profile,
      progress,
    })
    clearProgress()
    results[scenario.name] = result
    const seconds = ((performance.now() - begun) / 1e3).toFixed(0)
    process.stdout.write(`\n${scenario.name}: ${scenario.about} (${seconds} s)\n\n`)
    process.stdout.write(`${formatTable(result.columns, result.rows)}\n\n${result.notes.join('\n')}\n`)
  }
  if (values.profile !== undefined) process.stdout.write(`\n${summarizeProfiles(values.profile)}\n`)
  if (values.json !== undefined) {
    writeFileSync(values.json, `${JSON.stringify({ conditions, results }, null, 1)}\n`)
    process.stdout.write(`\nEvery sample is in ${values.json}.\n`)
  }
}

function scenarioNamed(name: string): Scenario {
  const scenario = scenarios.find((candidate) => candidate.name === name)
  if (scenario === undefined) {
    throw new Error(
      `no scenario is called ${name}; there are: ${scenarios.map((known) => known.name).join(', ')}`,
    )
  }
  return scenario
}

function runCount(text: string): number {
  const runs = Number(text)
  if (!Number.isInteger(runs) || runs < 1 || runs > 100)
    throw new Error(`--runs: expected 1 to 100, got ${text}`)
  return runs
}

function peersNamed(text: string): readonly string[] {
  if (text === 'all') return knownPeers
  const names = text.split(',').filter((name) => name !== '')
  const stranger = names.find((name) => !knownPeers.includes(name))
  if (stranger !== undefined)
    throw new Error(`--peers: expected all or names of ${knownPeers.join(', ')}, got ${stranger}`)
  return names
}

function describeConditions(runs: number): { readonly [name: string]: string | number } {
  return {
    node: process.version,
    kernel: release(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores,
    pinned: pinned ? 'server on core 0, swarm on core 1' : 'no',
    commit: commit(),
    runs,
  }
}

function commit(): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return 'unknown'
  }
}

function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`)
  else process.stderr.write(`${text}\n`)
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K')
}
