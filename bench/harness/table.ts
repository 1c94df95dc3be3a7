import type { Column, Row } from '../scenarios/scenario.js'

/** @returns rows as text in columns: names to the left, numbers to the right. */
export function formatTable(columns: readonly Column[], rows: readonly Row[]): string {
  const cells = rows.map((row) => columns.map((column) => formatCell(row[column.name], column.digits ?? 0)))
  const widths = columns.map(({ name }, at) =>
    Math.max(name.length, ...cells.map((line) => (line[at] ?? '').length)),
  )
  const right = columns.map(({ name }) => rows.some((row) => typeof row[name] === 'number'))
  const lines = [columns.map(({ name }) => name), widths.map((width) => '─'.repeat(width)), ...cells]
  return lines
    .map((line) =>
      line
        .map((text, at) => (right[at] ? text.padStart(widths[at] ?? 0) : text.padEnd(widths[at] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function formatCell(value: string | number | undefined, digits: number): string {
  if (value === undefined) return ''
  return typeof value === 'number' ? value.toFixed(digits) : value
}
