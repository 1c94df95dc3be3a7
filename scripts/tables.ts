/** The tables of the docs that are made from the source. `npm run docs` writes them, a test compares them. */
import { readFileSync } from 'node:fs'
import { limitTable } from '../src/protocol/limits.js'
import { metricDefinitions } from '../src/server/operations/metric-definitions.js'
import { aimRows, peersAhead } from './aims.js'
import { catalogHead, catalogRows, sectionNames } from './catalog.js'
import { type Results, readResults } from './plots.js'

/** Pages that have tables of the source, by their path from the root. */
export const pages = [
  'docs/catalog.md',
  'docs/operations/limits.md',
  'docs/operations/metrics.md',
  'docs/guide/dialects.md',
  'docs/benchmarks.md',
]

const tables: Readonly<Record<string, () => string>> = {
  limits,
  metrics,
  session_bus: () => golden('session-bus'),
  runtime_state: () => golden('runtime-state'),
  stream_event: () => golden('stream-event'),
  execution_log: () => golden('execution-log'),
  task_log: () => golden('task-log'),
  ...Object.fromEntries(
    sectionNames.map((name) => [
      `catalog_${name.replaceAll('-', '_')}`,
      () => table(catalogHead, catalogRows(name)),
    ]),
  ),
  benchConditions,
  benchAhead: () => table(['scenario', 'cell', 'peer', 'its ratio', 'Runcast’s'], peersAhead(readResults())),
  benchAims: () => table(['what', 'aim', 'measured', ''], aimRows(readResults())),
  ...Object.fromEntries(
    Object.keys(readResults().results).map((name) => [`bench_${name}`, () => benchTable(name)]),
  ),
}

const tablePattern = /(<!-- table: (\w+) -->\n)[^]*?(<!-- end -->)/g

/**
 * @returns the page with every table between `<!-- table: name -->` and `<!-- end -->` as the source has it
 * @throws Error when the page has no such table, or one that nobody makes
 */
export function withTables(page: string): string {
  let count = 0
  const filled = page.replaceAll(tablePattern, (_, begin: string, name: string, end: string) => {
    count += 1
    const table = tables[name]
    if (table === undefined) throw new Error(`there is no table ${name}`)
    return `${begin}\n${table()}\n${end}`
  })
  if (count === 0) throw new Error('the page has no table')
  return filled
}

function benchConditions(): string {
  return table(
    ['condition', 'value'],
    Object.entries(readResults().conditions).map(([name, value]) => [name, `${value}`]),
  )
}

function benchTable(scenario: string): string {
  const { columns, rows, notes } = readResults().results[scenario] as Results['results'][string]
  const cells = rows.map((row) =>
    columns.map(({ name, digits = 0 }) => {
      const value = row[name] ?? ''
      return typeof value === 'number' ? value.toFixed(digits) : value
    }),
  )
  return `${table(
    columns.map(({ name }) => name),
    cells,
  )}\n${notes.map((note) => `> ${note}`).join('\n')}\n`
}

function limits(): string {
  const rows = Object.entries(limitTable).map(([name, { value, unit, guards, exceeding, ...rest }]) => [
    `\`${name}\``,
    `${value.toLocaleString('en-US')} ${unit}${'fixed' in rest ? ', fixed' : ''}`,
    guards,
    exceeding,
  ])
  return table(['limit', 'default', 'guards', 'what exceeding it does'], rows)
}

function metrics(): string {
  const rows = metricDefinitions.map(({ name, kind, label, help }) => [
    `\`${name}\``,
    kind,
    label === undefined ? '' : `\`${label}\``,
    help,
  ])
  return table(['metric', 'kind', 'label', 'what it is'], rows)
}

interface Golden {
  readonly blocks?: readonly { readonly text: string }[]
  readonly snapshot?: { readonly text: string }
  readonly heartbeat?: { readonly text: string }
  readonly records?: readonly { readonly record?: object }[]
}

const recordsShown = 3

/** The first golden examples of a dialect, as its clients get them. */
function golden(dialect: string): string {
  const file = new URL(`../test/dialect/golden/${dialect}.json`, import.meta.url)
  const { blocks = [], snapshot, heartbeat, records = [] } = JSON.parse(readFileSync(file, 'utf8')) as Golden
  const texts = [snapshot, ...blocks, heartbeat].flatMap((part) => part?.text || [])
  const shown = records.slice(0, recordsShown).map(({ record }) => JSON.stringify(record))
  return `\`\`\`text\n${texts.join('').trimEnd()}${shown.join('\n')}\n\`\`\`\n`
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  return `${lines.join('\n')}\n`
}
