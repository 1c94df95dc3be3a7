import { compare, formatSpread, median, ratio, type Standing } from '../harness/compare.js'
import { flatOut, paced, type Sample } from '../harness/measure.js'
import type { Production } from '../harness/messages.js'
import {
  type Contender,
  closeSides,
  limitFor,
  openSide,
  profiled,
  type Side,
  subscribe,
} from '../harness/side.js'
import { peerContenders } from '../peers/peers.js'
import { failures, measured } from './fanout.js'
import type { Conditions, Row, Scenario } from './scenario.js'

const bytes = 200
const connections = 1_000

type Append = Pick<Production, 'producers' | 'requests' | 'events'>

/** Requests that append to a stream. */
const appends: Readonly<Record<string, Append>> = {
  'append, 1 message': { producers: 8, requests: 300, events: 1 },
  'append, 100 messages': { producers: 4, requests: 60, events: 100 },
}

/** Messages of an append that all clients of the stream read over SSE. */
const reads: Readonly<Record<string, number>> = { 'read, 1 message': 1, 'read, 10 messages': 10 }

/** The address of the stream at a contestant. */
const paths: Readonly<Record<string, string>> = { 'durable-streams': '/bench' }
const ownPath = '/v1/stream/bench'

const runcastStreams: Contender = {
  name: 'runcast',
  file: 'server/runcast-streams',
  dialect: () => ({ kind: 'durable-stream', path: `${ownPath}?live=sse&offset=now` }),
}

/** What do Durable Streams cost: appending to one, and reading it live? */
export const streams: Scenario = {
  name: 'streams',
  about: `Durable Streams: appending over HTTP, and ${connections} clients that read over SSE`,
  onlyNamed: true,
  cells: () => [...Object.keys(appends), ...Object.keys(reads)],
  async run(conditions) {
    const contenders = [runcastStreams, ...peerContenders(conditions.peers, 'sse', 'streams')]
    const rows = [
      ...(await runAppends(contenders, conditions)),
      ...(await runReads([limitFor('sse'), ...contenders], conditions)),
    ]
    return {
      columns,
      rows: rows.map(({ row }) => row),
      details: rows.map(({ detail }) => detail),
      notes: [
        `Messages are JSON of ${bytes} bytes. cpu: server CPU per message that was appended, or that one client read.`,
        'ratio of appending: to Runcast. Of reading: to a corked write of ready bytes to each response (limit).',
        ...rows.flatMap(({ note }) => note),
      ],
    }
  },
}

interface Result {
  readonly row: Row
  readonly detail: object
  readonly note: readonly string[]
}

async function runAppends(contenders: readonly Contender[], conditions: Conditions): Promise<Result[]> {
  const { runs, progress, wants, profileDir } = conditions
  const chosen = Object.entries(appends).filter(([name]) => wants(name))
  const sides: Side[] = []
  const results: Result[] = []
  try {
    for (const contender of profiled(chosen.length > 0 ? contenders : [], profileDir, 'streams-append'))
      sides.push(await openSide(contender))
    for (const [way, append] of chosen) {
      const samples: { cpuMicros: number }[][] = sides.map(() => [])
      for (const side of sides) await sampleAppends(side, append)
      for (let run = 0; run < runs; run += 1) {
        progress(`${way}, run ${run + 1} of ${runs}`)
        for (const [index, side] of sides.entries()) samples[index]?.push(await sampleAppends(side, append))
      }
      for (const [index, { name }] of sides.entries()) {
        const [own = [], ours = []] = [samples[index], samples[0]]
        results.push(resultOf(way, name, own, index === 0 ? undefined : ours))
      }
    }
  } finally {
    await closeSides(sides)
  }
  return results
}

async function sampleAppends(
  { name, server, swarm }: Side,
  append: Append,
): Promise<{ readonly cpuMicros: number }> {
  await server.ask('begin', null)
  const { accepted } = await swarm.ask('produce', {
    ...append,
    as: 'stream',
    path: paths[name] ?? ownPath,
    port: server.port,
    bytes,
  })
  const { cpuMicros } = await server.ask('usage', null)
  return { cpuMicros: cpuMicros / accepted }
}

async function runReads(contenders: readonly Contender[], conditions: Conditions): Promise<Result[]> {
  const { quick, runs, progress, wants, profileDir } = conditions
  const chosen = Object.entries(reads).filter(([name]) => wants(name))
  const sides: Side[] = []
  const results: Result[] = []
  try {
    for (const contender of profiled(chosen.length > 0 ? contenders : [], profileDir, 'streams-read')) {
      progress(`connecting to ${contender.name}`)
      const side = await openSide(contender)
      sides.push(side)
      await subscribe(side, { transport: 'sse' }, connections)
    }
    for (const [way, events] of chosen) {
      const turnMicros = 7 * connections + 20
      const load = {
        paced: paced(events, bytes, turnMicros, quick ? 100 : 220),
        flatOut: flatOut(events, bytes, turnMicros, 40),
      }
      const standings = await compare(sides, load, runs, (run) => {
        progress(`${way}, run ${run + 1} of ${runs}`)
      })
      const limit = standings[0] as Standing
      for (const standing of standings.filter(measured)) {
        const base = standing === limit ? undefined : limit.paced
        const { row, detail } = resultOf<Sample>(way, standing.name, standing.paced, base)
        results.push({ row, detail, note: failures([standing]) })
      }
    }
  } finally {
    await closeSides(sides)
  }
  return results
}

const columns = [{ name: 'what' }, { name: 'who' }, { name: 'cpu µs', digits: 2 }, { name: 'ratio' }]

function resultOf<One extends { readonly cpuMicros: number }>(
  what: string,
  who: string,
  samples: readonly One[],
  base: readonly One[] | undefined,
): Result {
  const cpu = ({ cpuMicros }: One): number => cpuMicros
  const of = base === undefined ? '' : formatSpread(ratio(samples, base, cpu))
  return {
    row: { what, who, 'cpu µs': median(samples, cpu), ratio: of },
    detail: { what, who, samples },
    note: [],
  }
}
