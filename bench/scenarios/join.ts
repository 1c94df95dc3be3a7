import { formatSpread, median, ratio, spreadOf } from '../harness/compare.js'
import { assertFaultless, encodingsOf } from '../harness/measure.js'
import {
  closeSides,
  limitFor,
  openSide,
  profiled,
  type Side,
  subscribe,
  type Transport,
} from '../harness/side.js'
import { peerContenders } from '../peers/peers.js'
import type { Conditions, Row, Scenario } from './scenario.js'

const clients = 1_000
/** As many as a lane of a topic's history holds. */
const retained = 1_000
const bytes = 200
/** Of the built-in catalog; every retained one is replayed to those who join. */
const replayedType = 'assistant'
const quietMs = 3_000

interface Sample {
  readonly seconds: number
  /** Server CPU for each client that joined. Microseconds. */
  readonly cpuMicros: number
  readonly encodings: number | undefined
}

/** A page is reloaded by everyone at once: when is the last one live? */
export const join: Scenario = {
  name: 'join',
  about: `${clients} clients join at once a topic with ${retained} retained events`,
  cells: () => ['ws', 'sse'],
  async run(conditions) {
    const rows: Row[] = []
    const details: object[] = []
    for (const transport of ['ws', 'sse'] as const) {
      if (!conditions.wants(transport)) continue
      const sides = await runTransport(transport, conditions)
      rows.push(...rowsOf(transport, sides))
      details.push({ transport, sides })
    }
    return {
      columns,
      rows,
      details,
      notes: [
        'live s: from the first dial until the last client has everything and is live, handshakes included.',
        'enc/event: encodings per retained event, over all who joined in one run; the first run makes them all.',
        'limit: the frames of the retained events are ready, and sent to each client that joins.',
      ],
    }
  },
}

async function runTransport(
  transport: Transport,
  { runs, progress, peers, ours, profileDir }: Conditions,
): Promise<{ name: string; samples: Sample[] }[]> {
  const sides: Side[] = []
  try {
    const contenders = [limitFor(transport), ...ours, ...peerContenders(peers, transport, 'join')]
    for (const contender of profiled(contenders, profileDir, `join-${transport}`))
      sides.push(await openSide(contender))
    for (const side of sides) await retain(side)
    const samples: Sample[][] = sides.map(() => [])
    for (let run = 0; run < runs; run += 1) {
      progress(`${transport}, run ${run + 1} of ${runs}`)
      const order = run % 2 === 0 ? [...sides.keys()] : [...sides.keys()].reverse()
      for (const index of order) samples[index]?.push(await joinAll(sides[index] as Side, transport))
    }
    return sides.map(({ name }, index) => ({ name, samples: samples[index] ?? [] }))
  } finally {
    await closeSides(sides)
  }
}

async function retain({ server }: Side): Promise<void> {
  const events = 50
  const turns = retained / events
  await server.ask('run', {
    turns,
    events,
    bytes,
    type: replayedType,
    turnsPerTick: 0,
    tickMs: 0,
    aheadMax: turns,
  })
}

async function joinAll(side: Side, transport: Transport): Promise<Sample> {
  const { server, swarm } = side
  const before = await encodingsOf(side)
  await swarm.ask('expect', { after: 0, events: retained, progressEvery: clients * retained, quietMs })
  await server.ask('begin', null)
  const begun = performance.now()
  await subscribe(side, { transport, replay: true }, clients)
  // Not every server says when it is done with the past.
  const report = await swarm.ask('settled', null)
  const seconds = (performance.now() - begun) / 1e3
  const usage = await server.ask('usage', null)
  assertFaultless(side, report)
  if (report.deliveries !== clients * retained) {
    throw new Error(`${side.name}: ${report.deliveries} events came, not ${clients * retained}`)
  }
  await swarm.ask('close', null)
  side.connections = 0
  const after = await encodingsOf(side)
  return {
    seconds,
    cpuMicros: usage.cpuMicros / clients,
    encodings: after === undefined || before === undefined ? undefined : (after - before) / retained,
  }
}

const columns = [
  { name: 'link' },
  { name: 'who' },
  { name: 'cpu µs/client', digits: 0 },
  { name: 'ratio' },
  { name: 'live s' },
  { name: 'enc/event' },
]

function rowsOf(transport: Transport, results: readonly { name: string; samples: Sample[] }[]): Row[] {
  const limit = results[0]?.samples ?? []
  return results.map(({ name, samples }) => ({
    link: transport,
    who: name,
    'cpu µs/client': median(samples, ({ cpuMicros }) => cpuMicros),
    ratio: samples === limit ? '' : formatSpread(ratio(samples, limit, ({ cpuMicros }) => cpuMicros)),
    'live s': formatSpread(spreadOf(samples.map(({ seconds }) => seconds))),
    'enc/event': samples
      .map(({ encodings }) => encodings)
      .filter((encodings) => encodings !== undefined)
      .join(' '),
  }))
}
