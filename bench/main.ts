// The load benchmarks: `npm run bench -- --help`.
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { distOf, type Regression, regressionsIn } from './harness/against.js'
import { cores, killChildren, pinned } from './harness/child.js'
import { summarizeProfiles } from './harness/profile.js'
import { type Contender, runcast } from './harness/side.js'
import { formatTable } from './harness/table.js'
import { absences, type Peer, peers, readyPeers, versionOf } from './peers/peers.js'
import { connections } from './scenarios/connections.js'
import { fanout } from './scenarios/fanout.js'
import { filters } from './scenarios/filters.js'
import { join } from './scenarios/join.js'
import { latency } from './scenarios/latency.js'
import { micro } from './scenarios/micro.js'
import { publish } from './scenarios/publish.js'
import type { Results, Scenario } from './scenarios/scenario.js'
import { search } from './scenarios/search.js'
import { sessions } from './scenarios/sessions.js'
import { slow } from './scenarios/slow.js'
import { state } from './scenarios/state.js'
import { streams } from './scenarios/streams.js'
import { tokens } from './scenarios/tokens.js'

const scenarios: readonly Scenario[] = [
  fanout,
  sessions,
  filters,
  state,
  tokens,
  join,
  slow,
  connections,
  publish,
  latency,
  search,
  streams,
  micro,
]
/** Runcast in other shapes. */
const contestants: { readonly [name: string]: Contender } = {
  node: { ...runcast, name: 'runcast node', transport: 'node' },
  unmasked: { ...runcast, name: 'runcast unmasked', masking: 'off' },
  redis: { ...runcast, name: 'runcast redis', file: 'server/runcast-redis' },
  '3-hubs': { ...runcast, name: 'runcast 3 hubs', file: 'server/runcast-3-hubs' },
}

const peerNames = peers.map(({ name }) => name)

const help = `Measures what a delivery costs, and shows it as a ratio to a baseline of the same run.

Usage: npm run bench -- [SCENARIO …] [options]

Scenarios (all but search, streams and micro unless named):
${scenarios.map(({ name, about }) => `  ${name.padEnd(12)}${about}`).join('\n')}

Options:
  --quick         fewer cells and shorter rounds
  --runs N        alternating runs of each cell: 5, or 3 with --quick
  --peers LIST    other servers in the same run: all, or names of ${peerNames.join(', ')};
                  those of npm are installed into bench/peers when first asked for
  --contestants L beside Runcast as it is: node, the same over Node's own HTTP instead of uWebSockets.js;
                  unmasked, without masking of secrets; redis, a hub over Redis; 3-hubs, three of them, with the
                  clients spread over them
  --only PATTERN  cells whose whole name matches, such as ws-1000-10-200 (link, connections, events a turn,
                  bytes); a name that matches nothing shows the names there are
  --against WHAT  another build of Runcast in the same run: a dist/ folder with node_modules beside or above it, or a
                  commit, which is built in bench/builds; ends with 1 if a figure of this build is beyond the
                  other's brackets
  --profile DIR   write V8 CPU profiles of the servers, and show where their time went
  --json FILE     write every sample of every run
  --help          this text

Examples:
  npm run bench -- fanout --quick
  npm run bench -- fanout --peers all --json bench/results/fanout.json
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
      contestants: { type: 'string', default: '' },
      only: { type: 'string' },
      against: { type: 'string' },
      profile: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return void process.stdout.write(help)
  const named =
    positionals.length === 0
      ? scenarios.filter(({ onlyNamed }) => !onlyNamed)
      : positionals.map(scenarioNamed)
  const wants = cellsNamed(values.only)
  const chosen = named.filter(({ cells }) => cells(values.quick).some(wants))
  if (chosen.length === 0)
    throw new Error(`--only: no cell is called ${values.only}; ${cellList(named, values.quick)}`)
  const runs = values.runs === undefined ? (values.quick ? 3 : 5) : runCount(values.runs)
  const { ready, absent } = readyPeers(peersNamed(values.peers), (text) => showProgress(text))
  clearProgress()
  const contestants = contestantsNamed(values.contestants)
  if (values.profile !== undefined) mkdirSync(values.profile, { recursive: true })
  // A folder that is missing should not show after ten minutes.
  if (values.json !== undefined) mkdirSync(dirname(values.json), { recursive: true })
  const conditions = describeConditions(runs, ready)
  process.stdout.write(
    `${Object.entries(conditions)
      .map(([name, value]) => `${name}: ${value}`)
      .join(' · ')}\n${absent.map((line) => `${line}\n`).join('')}`,
  )

  const against = values.against === undefined ? undefined : distOf(values.against, showProgress)
  clearProgress()
  const results: { [scenario: string]: Results } = {}
  const regressions: (Regression & { readonly scenario: string })[] = []
  for (const scenario of chosen) {
    const begun = performance.now()
    const place = `${chosen.indexOf(scenario) + 1} of ${chosen.length}, ${scenario.name}`
    const progress = (text: string) => showProgress(`${place} · ${text}`)
    const result = await scenario.run({
      quick: values.quick,
      runs,
      peers: ready,
      ours: [
        runcast,
        ...contestants,
        ...(against === undefined ? [] : [{ ...runcast, name: 'against', dist: against }]),
      ],
      wants,
      profileDir: values.profile,
      progress,
    })
    clearProgress()
    const notes = [...result.notes, ...absences(ready, scenario.name)]
    if (values.against !== undefined && !result.rows.some(({ who }) => String(who).startsWith('against')))
      notes.push('--against: this scenario does not compare builds.')
    results[scenario.name] = { ...result, notes }
    regressions.push(...regressionsIn(result.rows).map((found) => ({ scenario: scenario.name, ...found })))
    // After each scenario, so that a run that is broken off leaves what it had.
    if (values.json !== undefined) {
      writeFileSync(values.json, `${JSON.stringify({ conditions, results }, null, 1)}\n`)
    }
    const seconds = ((performance.now() - begun) / 1e3).toFixed(0)
    process.stdout.write(`\n${scenario.name}: ${scenario.about} (${seconds} s)\n\n`)
    process.stdout.write(`${formatTable(result.columns, result.rows)}\n\n${notes.join('\n')}\n`)
  }
  if (values.profile !== undefined) process.stdout.write(`\n${summarizeProfiles(values.profile)}\n`)
  if (against !== undefined) tellRegressions(regressions)
  if (values.json !== undefined) process.stdout.write(`\nEvery sample is in ${values.json}.\n`)
}

function tellRegressions(regressions: readonly (Regression & { readonly scenario: string })[]): void {
  const lines = regressions.map(
    ({ scenario, cell, who, column, now, before }) =>
      `  ${scenario}, ${cell === '' ? who : `${cell}, ${who}`}: ${column} ${now}, before ${before}\n`,
  )
  process.stdout.write(
    `\nBeyond the other build's brackets: ${lines.length === 0 ? 'nothing' : lines.length}\n`,
  )
  process.stdout.write(lines.join(''))
  if (lines.length > 0) process.exitCode = 1
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

function cellsNamed(pattern: string | undefined): (cell: string) => boolean {
  if (pattern === undefined) return () => true
  try {
    const whole = new RegExp(`^(?:${pattern})$`)
    return (cell) => whole.test(cell)
  } catch {
    throw new Error(`--only: expected a regular expression, got ${pattern}`)
  }
}

function cellList(named: readonly Scenario[], quick: boolean): string {
  const lists = named.map(({ name, cells }) => `  ${name}: ${cells(quick).join(', ')}`)
  return `there are:\n${lists.join('\n')}`
}

function peersNamed(text: string): readonly Peer[] {
  if (text === 'all') return peers
  const names = text.split(',').filter((name) => name !== '')
  const stranger = names.find((name) => !peerNames.includes(name))
  if (stranger !== undefined)
    throw new Error(`--peers: expected all or names of ${peerNames.join(', ')}, got ${stranger}`)
  return peers.filter(({ name }) => names.includes(name))
}

/** @returns Runcast in other shapes */
function contestantsNamed(text: string): readonly Contender[] {
  return text
    .split(',')
    .filter((name) => name !== '')
    .map((name) => {
      const contestant = contestants[name]
      if (contestant === undefined)
        throw new Error(`--contestants: expected ${Object.keys(contestants).join(', ')}, got ${name}`)
      return contestant
    })
}

function describeConditions(
  runs: number,
  ready: readonly Peer[],
): { readonly [name: string]: string | number } {
  return {
    node: process.version,
    kernel: release(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores,
    pinned: pinned ? 'server on core 0, swarm on core 1' : 'no',
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    load: loadavg()[0]?.toFixed(2) ?? 'unknown',
    commit: commit(),
    date: new Date().toISOString().slice(0, 10),
    runs,
    ...(ready.length > 0 && { peers: ready.map(versionOf).join(', ') }),
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
