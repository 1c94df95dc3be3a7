import { formatSpread, spreadOf } from '../harness/compare.js'
import { measure, type Sample } from '../harness/measure.js'
import type { Round } from '../harness/messages.js'
import { closeSides, openSide, profiled, type Side, subscribe } from '../harness/side.js'
import type { Conditions, Row, Scenario } from './scenario.js'

const subscribers = 1_000
const deliveriesPerSecond = 20_000
/** Where the text is that is searched for: far from what memory holds. */
const needleAt = 5_000
const bodyEvents = 5_000

/** What is asked of the session with a long past. */
const searches: Readonly<Record<string, string>> = {
  text: `q=needle+in+event+${needleAt}`,
  expression: `q=${encodeURIComponent(`/needle in event 0*${needleAt}\\b/`)}`,
  rare: `q=${encodeURIComponent('no such text anywhere')}`,
  newest: `order=desc&q=${encodeURIComponent(`needle in event ${needleAt}`)}`,
}

/** What does a search of a long past take, and what do the watchers of another session notice? */
export const search: Scenario = {
  name: 'search',
  about: `searching 1,000,000 stored events, beside ${subscribers.toLocaleString('en-US')} watchers of another session`,
  onlyNamed: true,
  cells: () => Object.keys(searches),
  async run(conditions) {
    const { quick, runs, wants, progress } = conditions
    const events = quick ? 100_000 : 1_000_000
    const rows: Row[] = []
    const details: object[] = []
    const contenders = conditions.ours.map((ours) => ({ ...ours, file: 'server/runcast-lmdb' }))
    for (const ours of profiled(contenders, conditions.profileDir, 'search')) {
      const side = await openSide(ours)
      try {
        await fill(side, events, progress)
        await subscribe(side, { transport: 'ws' }, subscribers)
        await measure(side, roundOf(500))
        for (const [name, query] of Object.entries(searches).filter(([cell]) => wants(cell))) {
          const found = await rounds(side, query, {
            quick,
            runs,
            progress: (text) => progress(`${name}, ${text}`),
          })
          details.push({ who: ours.name, search: name, ...found })
          rows.push(rowOf(ours.name, name, found))
        }
      } finally {
        await closeSides([side])
      }
    }
    return {
      columns: [
        { name: 'who' },
        { name: 'search' },
        { name: 'first page ms' },
        { name: 'slowest ms' },
        { name: 'p99 ms, quiet' },
        { name: 'p99 ms, searching' },
        { name: 'ratio', digits: 2 },
      ],
      rows,
      details,
      notes: [
        `${events.toLocaleString('en-US')} events of another session in the store, ${needleAt.toLocaleString('en-US')} of them before the text. One search`,
        'after the other, as long as the round goes on. A first page is timed by its client, from the request to the',
        'last byte, with all other work of the server. p99: of deliveries to the watchers, from the time at which an',
        'event was due. The ratio is that of the medians.',
      ],
    }
  },
}

interface Found {
  readonly quiet: readonly Sample[]
  readonly busy: readonly Sample[]
  /** Of each first page. Milliseconds. */
  readonly pages: readonly number[]
}

async function rounds(
  side: Side,
  query: string,
  { quick, runs, progress }: Pick<Conditions, 'quick' | 'runs' | 'progress'>,
): Promise<Found> {
  const quiet: Sample[] = []
  const busy: Sample[] = []
  const pages: number[] = []
  for (let run = 0; run < runs; run += 1) {
    progress(`run ${run + 1} of ${runs}`)
    const both = [
      async () => void quiet.push(await measure(side, roundOf(quick ? 1_000 : 3_000))),
      async () => void busy.push(await measureBeside(side, query, { quick, pages })),
    ]
    for (const round of run % 2 === 0 ? both : both.reverse()) await round()
  }
  return { quiet, busy, pages }
}

async function measureBeside(
  side: Side,
  query: string,
  { quick, pages }: { readonly quick: boolean; readonly pages: number[] },
): Promise<Sample> {
  let going = true
  const searching = (async () => {
    while (going) pages.push(await firstPage(side, query))
  })()
  try {
    return await measure(side, roundOf(quick ? 1_000 : 3_000))
  } finally {
    going = false
    await searching
  }
}

/** @returns milliseconds until all of the first page has come */
async function firstPage({ server: { port } }: Side, query: string): Promise<number> {
  const begun = performance.now()
  const answer = await fetch(`http://127.0.0.1:${port}/api/sessions/past/history?all=1&${query}`)
  const { events, next } = (await answer.json()) as { events?: { data: { text: string } }[]; next?: string }
  const took = performance.now() - begun
  if (!answer.ok || events === undefined) throw new Error(`search: HTTP ${answer.status}`)
  const isDue = query.startsWith('q=needle') || query.includes('%2F')
  if (isDue && events.length !== 1) throw new Error(`search: ${events.length} events instead of one`)
  if (next === undefined) throw new Error('search: everything was looked at by one request')
  return took
}

async function fill(
  { server: { port } }: Side,
  events: number,
  progress: (text: string) => void,
): Promise<void> {
  for (let first = 1; first <= events; first += bodyEvents) {
    progress(`${first - 1} of ${events} events stored`)
    const body = Array.from({ length: Math.min(bodyEvents, events - first + 1) }, (_, index) => {
      const number = first + index
      const text =
        number === needleAt
          ? `needle in event ${number}`
          : `step ${number}: compiled src/part-${number % 977}.ts`
      return `{"type":"note","data":{"n":${number},"text":"${text}"}}\n`
    }).join('')
    await post(port, body)
  }
}

/** Publishes a body, again where the hub takes no more for now. */
async function post(port: number, body: string): Promise<void> {
  const headers = { 'content-type': 'application/x-ndjson' }
  const answer = await fetch(`http://127.0.0.1:${port}/api/sessions/past/workers/w/events`, {
    method: 'POST',
    headers,
    body,
  })
  await answer.arrayBuffer()
  if (answer.status === 429) {
    await new Promise((resolve) =>
      setTimeout(resolve, Number(answer.headers.get('retry-after') ?? 1) * 1_000),
    )
    return post(port, body)
  }
  if (!answer.ok) throw new Error(`filling: HTTP ${answer.status}`)
}

/** One event a turn, and one turn a tick. */
function roundOf(ms: number): Round {
  const tickMs = (1e3 * subscribers) / deliveriesPerSecond
  const turns = Math.round(ms / tickMs)
  return { turns, events: 1, bytes: 200, turnsPerTick: 1, tickMs, aheadMax: turns, stampDue: true }
}

function rowOf(who: string, name: string, { quiet, busy, pages }: Found): Row {
  const p99 = (samples: readonly Sample[]) =>
    spreadOf(samples.map(({ latencyMicros }) => latencyMicros.p99 / 1e3))
  const [before, beside] = [p99(quiet), p99(busy)]
  return {
    who,
    search: name,
    'first page ms': formatSpread(spreadOf(pages)),
    'slowest ms': Math.max(...pages).toFixed(0),
    'p99 ms, quiet': formatSpread(before),
    'p99 ms, searching': formatSpread(beside),
    ratio: beside.median / before.median,
  }
}
