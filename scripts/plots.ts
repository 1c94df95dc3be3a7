/** The plots of `docs/benchmarks.md`, drawn from the results beside them. `npm run docs` writes them, a test compares them. */
import { readFileSync } from 'node:fs'

type Row = Readonly<Record<string, string | number>>

export interface Results {
  readonly conditions: Readonly<Record<string, string | number>>
  readonly results: {
    readonly [scenario: string]: {
      readonly columns: readonly { readonly name: string; readonly digits?: number }[]
      readonly rows: readonly Row[]
      readonly notes: readonly string[]
    }
  }
}

export const resultsFile = 'docs/benchmarks/results.json'

/** @returns what `npm run bench -- --json` wrote, without the single samples. */
export function readResults(): Results {
  return JSON.parse(readFileSync(new URL(`../${resultsFile}`, import.meta.url), 'utf8')) as Results
}

interface Bar {
  readonly name: string
  readonly median: number
  readonly min: number
  readonly max: number
}

interface Group {
  readonly title: string
  readonly bars: readonly Bar[]
}

/** @returns every plot's text by its path from the root. */
export function plots(all: Results): { [path: string]: string } {
  const fanout = all.results.fanout?.rows ?? []
  const ofFanout = Object.fromEntries(
    (['ws', 'sse'] as const).map((link) => [
      `docs/benchmarks/fanout-${link}.svg`,
      ratioPlot(
        `CPU per delivery as a ratio to the limit: 1,000 connections over ${link === 'ws' ? 'WebSocket' : 'SSE'}, 200 B`,
        [1, 10, 50].map((events) => ({
          title: `${events} event${events === 1 ? '' : 's'} a turn`,
          bars: fanout
            .filter((row) => row.link === link && row.conns === 1_000 && row['ev/turn'] === events)
            .flatMap((row) => barOf(String(row.who), String(row.ratio))),
        })),
      ),
    ]),
  )
  return {
    'docs/benchmarks/sessions.svg': ofSessions(all),
    'docs/benchmarks/publish.svg': ofPublish(all),
    ...ofFanout,
  }
}

function ofSessions({ results }: Results): string {
  const rows = results.sessions?.rows ?? []
  const groupOf = (title: string, column: string): Group => ({
    title,
    bars: rows.flatMap((row) => barOf(String(row.who), String(row[column]))),
  })
  return ratioPlot('CPU per delivery as a ratio to the limit: 10,000 sessions, 2 watch each', [
    groupOf('at 20,000 events a second', 'ratio'),
    groupOf('flat out', 'flat ratio'),
  ])
}

function ofPublish({ results }: Results): string {
  const rows = results.publish?.rows ?? []
  const ways = [...new Set(rows.map(({ way }) => String(way)))]
  return ratioPlot(
    'CPU per published event as a ratio to the limit: no subscribers, 200 B',
    ways.map((way) => ({
      title: way,
      bars: rows.filter((row) => row.way === way).flatMap((row) => barOf(String(row.who), String(row.ratio))),
    })),
  )
}

/** @param spread `median (least–greatest)` */
function barOf(name: string, spread: string): Bar[] {
  const match = /^([\d.]+) \(([\d.]+)–([\d.]+)\)$/.exec(spread)
  if (match === null) return []
  const [median = 0, min = 0, max = 0] = match.slice(1).map(Number)
  return [{ name, median, min, max }]
}

const width = 760
const left = 130
const right = 70
const barHeight = 18
const least = 0.5

/** Horizontal bars on a logarithmic scale, with whiskers from the least to the greatest of the runs. */
function ratioPlot(title: string, groups: readonly Group[]): string {
  const bars = groups.flatMap((group) => group.bars)
  const greatest = Math.max(2, ...bars.map(({ max }) => max)) * 1.05
  const x = (value: number) =>
    left + ((width - left - right) * Math.log(Math.max(value, least) / least)) / Math.log(greatest / least)
  const parts: string[] = []
  let y = 40
  for (const group of groups) {
    parts.push(`<text x="${left}" y="${y + 14}" font-weight="bold">${group.title}</text>`)
    y += 22
    for (const bar of group.bars) {
      const middle = y + barHeight / 2
      const fill = bar.name === 'runcast' ? '#2563eb' : '#94a3b8'
      parts.push(
        `<text x="${left - 8}" y="${middle + 4}" text-anchor="end">${bar.name}</text>`,
        `<rect x="${left}" y="${y + 2}" width="${px(x(bar.median) - left)}" height="${barHeight - 4}" fill="${fill}"/>`,
        `<path d="M${px(x(bar.min))} ${middle}H${px(x(bar.max))}" stroke="#0f172a"/>`,
        `<text x="${px(x(bar.max) + 6)}" y="${middle + 4}">${bar.median.toFixed(2)}</text>`,
      )
      y += barHeight
    }
    y += 10
  }
  const ticks = [0.5, 1, 2, 4, 8, 16, 32].filter((tick) => tick <= greatest)
  const axis = ticks.map(
    (tick) =>
      `<path d="M${px(x(tick))} 34V${y}" stroke="${tick === 1 ? '#dc2626' : '#e2e8f0'}"/><text x="${px(x(tick))}" y="${y + 16}" text-anchor="middle">${tick}</text>`,
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y + 26}" viewBox="0 0 ${width} ${y + 26}" font-family="sans-serif" font-size="12" fill="#0f172a">`,
    `<title>${title}</title>`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    `<text x="8" y="20" font-size="14">${title}</text>`,
    ...axis,
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

function px(value: number): string {
  return value.toFixed(1)
}
