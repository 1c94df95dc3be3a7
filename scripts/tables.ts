/** The tables of the docs that are made from the source. `npm run docs` writes them, a test compares them. */
import { limitTable } from '../src/protocol/limits.js'
import { figures } from '../src/server/figures.js'

/** Pages that have tables of the source, by their path from the root. */
export const pages = ['docs/operations/limits.md', 'docs/operations/metrics.md']

const tables: Readonly<Record<string, () => string>> = { limits, metrics }

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
  const rows = figures.map(({ name, kind, label, help }) => [
    `\`${name}\``,
    kind,
    label === undefined ? '' : `\`${label}\``,
    help,
  ])
  return table(['metric', 'kind', 'label', 'what it is'], rows)
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  return `${lines.join('\n')}\n`
}
