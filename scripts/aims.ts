/** What the design aims at, beside what the results of the benchmarks say. */
import type { Results } from './plots.js'

type Row = Readonly<Record<string, string | number>>

interface Measured {
  readonly text: string
  readonly met: boolean
  /** The runs lie on both sides of the aim. */
  readonly undecided?: boolean
}

interface Aim {
  readonly what: string
  readonly aim: string
  /** @returns what was measured, and whether that is what was aimed at; nothing when it was not measured */
  measured(this: void, rows: (scenario: string) => readonly Row[]): Measured | undefined
  /** What explains it where it is missed. */
  readonly because: string
}

/** @returns a row for each aim: what, aim, measured, met or why not. */
export function aimRows({ results }: Results): string[][] {
  const rows = (scenario: string) => results[scenario]?.rows ?? []
  return aims.map(({ what, aim, measured, because }) => {
    const found = measured(rows)
    if (found === undefined) return [what, aim, 'not in this run', '']
    const { text, met, undecided } = found
    const outcome = undecided ? 'missed in the median, met within the brackets' : `missed: ${because}`
    return [what, aim, text, met ? 'met' : outcome]
  })
}

const loop =
  'the `loop` beside it is a bare loop of sends of the same bytes; what lies above it is publishing and encoding each event, which ready bytes do not need'
const measuredIn64 = '([measured](adr/0064-many-sessions-measured.md))'
/** KiB. */
const idleMost = { ws: 2, sse: 1.5 } as const
const oneEvent = 'HTTP JSON, 1 event'
const shared =
  'server and clients share a machine of two cores with its own system; `limit` beside it shows how much of it is that'

const aims: readonly Aim[] = [
  fanoutAim(1, 1.15),
  fanoutAim(10, 1),
  fanoutAim(50, 1),
  ...[1, 10, 50].map(sseAim),
  ...[10, 50].map(loopAim),
  ...[1, 10, 50].map(sseLimitAim),
  {
    what: '10,000 sessions that two watch each, CPU per delivery',
    aim: '≤ 1.30 × `publish`',
    measured: (rows) => atMost(rows('sessions').find(isRuncast)?.ratio, 1.3, '×'),
    because: `two thirds of it are the kernel's \`send\`, and the rest waits for memory ${measuredIn64}`,
  },
  {
    what: 'the same beside Socket.IO',
    aim: '≤ Socket.IO’s',
    measured: (rows) => atMostOf(rows('sessions'), 'ratio', 'socket.io', '×'),
    because: `as above ${measuredIn64}`,
  },
  {
    what: 'the same, p99',
    aim: '≤ Socket.IO’s',
    measured: (rows) => atMostOf(rows('sessions'), 'p99 ms', 'socket.io', 'ms'),
    because: `a turn delivers all that came in it, and of the limit it is as long ${measuredIn64}`,
  },
  {
    what: 'memory of a session with three workers and an event of each',
    aim: '≤ 6 KiB of RSS',
    measured: (rows) => atMost(rows('sessions').find(isRuncast)?.['RSS KiB/session'], 6, 'KiB'),
    because: `what subscribing and the first events left is in it until V8 collects it; a session has 5.4 KB ${measuredIn64}`,
  },
  {
    what: 'encodings per event and codec',
    aim: '1',
    measured: (rows) => distinct(rows('fanout').filter(isRuncast), 'enc/event', (text) => text === '1'),
    because: 'an event was encoded more than once',
  },
  {
    what: 'comparisons per state change, 1,000 subscribers',
    aim: '1',
    measured: (rows) => distinct(rows('state').filter(isRuncast), 'cmp/change', (text) => text === '1'),
    because: 'a change was compared more than once',
  },
  ...(['ws', 'sse'] as const).map((link) => ({
    what: `memory of an idle subscribed connection, ${link}`,
    aim: `≤ ${idleMost[link]} KiB of RSS`,
    measured: (rows: (scenario: string) => readonly Row[]) =>
      atMost(
        rows('connections').find((row) => isRuncast(row) && row.link === link)?.['RSS KiB'],
        idleMost[link],
        'KiB',
      ),
    because: `the objects of a connection are 2.0 KB (WebSocket) and 2.7 KB (SSE) of the heap; above that it is what handshakes have left, until V8 collects it ${measuredIn64}`,
  })),
  publishAim(
    'in process',
    1_000,
    'every text is looked through for secrets; with `masking: { mode: "off" }` 1,312,000 on this machine ([decision 47](adr/0047-what-publishing-costs.md))',
  ),
  publishAim('HTTP NDJSON', 200, shared),
  {
    what: 'publishing one event a request over HTTP',
    aim: '≤ 1.40 × the limit',
    measured: (rows) => atMost(publishRow(rows('publish'), oneEvent)?.ratio, 1.4, '×'),
    because: `no part of it is large ${measuredIn64}`,
  },
  {
    what: 'the same with lmdb, stored before it is answered',
    aim: '≤ 2 × in memory',
    measured(rows) {
      const memory = publishRow(rows('publish'), oneEvent)?.['cpu µs']
      const lmdb = publishRow(rows('publish'), oneEvent, 'runcast lmdb')?.['cpu µs']
      if (typeof memory !== 'number' || typeof lmdb !== 'number') return undefined
      return { text: `${(lmdb / memory).toFixed(2)} ×`, met: lmdb <= 2 * memory }
    },
    because: `a commit in the turn would hold all deliveries for 2.5 to 5 ms, and fewer commits cost the same ${measuredIn64}`,
  },
  ...(['ws', 'sse'] as const).map((link) => ({
    what: `p99 from publishing to client, 50,000 deliveries/s, ${link}`,
    aim: '≤ 5 ms',
    measured: (rows: (scenario: string) => readonly Row[]) =>
      atMost(
        rows('latency').find(
          (row) => isRuncast(row) && row.link === link && row['deliveries/s'] === 50_000,
        )?.['p99 ms'],
        5,
        'ms',
      ),
    because: shared,
  })),
  ...(['ws', 'sse'] as const).map((link) => ({
    what: `1,000 join 1,000 retained events, last one live, ${link}`,
    aim: '≤ 2 s',
    measured: (rows: (scenario: string) => readonly Row[]) =>
      atMost(rows('join').find((row) => isRuncast(row) && row.link === link)?.['live s'], 2, 's'),
    because: shared,
  })),
  ...(['ws', 'sse'] as const).map((link) => ({
    what: `20 % of the clients stop reading: CPU per delivery of the others, ${link}`,
    aim: 'nothing measurable',
    measured: (rows: (scenario: string) => readonly Row[]) => {
      const text = rows('slow').findLast((row) => row.link === link)?.ratio
      const [median, min, max] = numbersOf(text)
      if (median === undefined || min === undefined || max === undefined) return undefined
      return { text: `${text} × without them`, met: min <= 1 || median <= 1.05 }
    },
    because: 'the others pay for what those who do not read have waiting',
  })),
]

function thousands(value: number): string {
  return (value * 1_000).toLocaleString('en-US')
}

function isRuncast({ who }: Row): boolean {
  return who === 'runcast'
}

function fanoutAim(events: number, most: number): Aim {
  return {
    what: `fan-out, 1,000 WebSocket connections, 200 B, ${events} a turn`,
    aim: `≤ ${most.toFixed(2)} × \`publish\``,
    measured: (rows) => atMost(fanoutRow(rows('fanout'), 'ws', events)?.ratio, most, '×'),
    because: loop,
  }
}

function sseAim(events: number): Aim {
  return {
    what: `SSE against WebSocket, ${events} a turn`,
    aim: '≤ 1.15 ×',
    measured(rows) {
      const ratio = (who: string) => {
        const [sse, ws] = (['sse', 'ws'] as const).map(
          (link) => fanoutRow(rows('fanout'), link, events, who)?.['flat µs'],
        )
        return typeof sse === 'number' && typeof ws === 'number' ? sse / ws : undefined
      }
      const ours = ratio('runcast')
      if (ours === undefined) return undefined
      return {
        text: `${ours.toFixed(2)} × flat out; the limits ${ratio('limit')?.toFixed(2)} ×`,
        met: ours <= 1.15,
      }
    },
    because: 'SSE sends more bytes for an event, for each block names its topic and its cursor (`wire B`)',
  }
}

function loopAim(events: number): Aim {
  return {
    what: `fan-out beside a bare loop of ready bytes, ${events} a turn, flat out`,
    aim: '≤ 1.10 ×',
    measured(rows) {
      const [ours, loops] = ['runcast', 'loop'].map(
        (who) => fanoutRow(rows('fanout'), 'ws', events, who)?.['flat µs'],
      )
      if (typeof ours !== 'number' || typeof loops !== 'number') return undefined
      return { text: `${(ours / loops).toFixed(2)} ×`, met: ours <= 1.1 * loops }
    },
    because: 'each event is published and encoded, which ready bytes do not need',
  }
}

function sseLimitAim(events: number): Aim {
  return {
    what: `fan-out, 1,000 SSE responses, ${events} a turn`,
    aim: '≤ 1.15 × its own limit',
    measured: (rows) => atMost(fanoutRow(rows('fanout'), 'sse', events)?.ratio, 1.15, '×'),
    because: 'each event is published and encoded, which ready bytes do not need',
  }
}

function fanoutRow(rows: readonly Row[], link: string, events: number, who = 'runcast'): Row | undefined {
  return rows.find(
    (row) =>
      row.who === who &&
      row.link === link &&
      row.conns === 1_000 &&
      row['ev/turn'] === events &&
      row.bytes === 200,
  )
}

function publishRow(rows: readonly Row[], way: string, who = 'runcast'): Row | undefined {
  return rows.find((row) => row.who === who && row.way === way)
}

function publishAim(way: string, least: number, because: string): Aim {
  return {
    what: `publishing ${way}, no subscriber`,
    aim: `≥ ${thousands(least)} events/s a core`,
    measured(rows) {
      const value = publishRow(rows('publish'), way)?.['k/s of a core']
      if (typeof value !== 'number') return undefined
      return { text: `${thousands(Math.round(value))} events/s a core`, met: value >= least }
    },
    because,
  }
}

/** @param spread `median (least–greatest)` */
function atMost(spread: string | number | undefined, most: number, unit: string): Measured | undefined {
  const [median, min] = numbersOf(spread)
  if (median === undefined) return undefined
  return {
    text: `${shown(spread)} ${unit}`,
    met: median <= most,
    undecided: min !== undefined && min <= most,
  }
}

/** Compares the medians of Runcast and of a peer in one cell. */
function atMostOf(rows: readonly Row[], column: string, peer: string, unit: string): Measured | undefined {
  const [ours, theirs] = ['runcast', peer].map((who) => rows.find((row) => row.who === who)?.[column])
  const [own] = numbersOf(ours)
  const [most] = numbersOf(theirs)
  if (own === undefined || most === undefined) return undefined
  return { text: `${shown(ours)} beside ${shown(theirs)} ${unit}`, met: own <= most }
}

function shown(value: string | number | undefined): string {
  return typeof value === 'number' ? value.toFixed(1) : String(value)
}

/** @returns of `median (least–greatest)` these three; of a number itself */
function numbersOf(spread: string | number | undefined): number[] {
  return [...String(spread ?? '').matchAll(/[\d.]+/g)].map(([text]) => Number(text))
}

function distinct(
  rows: readonly Row[],
  column: string,
  good: (text: string) => boolean,
): Measured | undefined {
  const texts = [...new Set(rows.map((row) => String(row[column])))]
  return texts.length === 0 ? undefined : { text: texts.join(', '), met: texts.every(good) }
}

// What names a cell of a scenario, where peers take part and CPU per delivery is measured.
const cellColumns: Readonly<Record<string, readonly string[]>> = {
  fanout: ['link', 'conns', 'ev/turn', 'bytes'],
  sessions: [],
  filters: ['hits %', 'filters'],
  tokens: ['part'],
  join: ['link'],
}
const baselines = ['limit', 'loop', 'runcast', 'whole values']

/** @returns a row for each cell in which a peer took less CPU for a delivery than Runcast. */
export function peersAhead({ results }: Results): string[][] {
  return Object.entries(cellColumns).flatMap(([scenario, columns]) => {
    const rows = results[scenario]?.rows ?? []
    const cellOf = (row: Row) => columns.map((column) => `${row[column]} ${column}`).join(', ')
    return rows.flatMap((row) => {
      const ours = rows.find((other) => isRuncast(other) && cellOf(other) === cellOf(row))
      if (ours === undefined || baselines.includes(String(row.who))) return []
      const [theirs = Number.NaN] = numbersOf(row.ratio)
      const [own = Number.NaN] = numbersOf(ours.ratio)
      if (!(theirs < own)) return []
      return [[scenario, cellOf(row), String(row.who), String(row.ratio), String(ours.ratio)]]
    })
  })
}
