import { compare, formatSpread, median, ratio, type Standing, spreadOf } from '../harness/compare.js'
import type { Spread } from '../harness/event.js'
import { assertFaultless, encodingsOf, flatOut, measure, paced } from '../harness/measure.js'
import {
  type Contender,
  closeSides,
  limitFor,
  openSide,
  profiled,
  type Side,
  subscribe,
  subscribeGroups,
} from '../harness/side.js'
import { readTokens } from '../harness/tokens.js'
import { peerContenders } from '../peers/peers.js'
import { answerText, answerTokens, answerTopic } from '../server/answer.js'
import { failures, measured } from './fanout.js'
import type { Conditions, Results, Row, Scenario } from './scenario.js'

const streams = 200
const watchers = 5
const spread: Spread = { kind: 'sessions', over: streams, stride: streams }
const eventsPerTurn = 20
const joiners = 1_000

interface JoinSample {
  readonly seconds: number
  readonly cpuMicros: number
  readonly bytes: number
  readonly encodings: number | undefined
}

/** Models stream text: small events, and people who open the page in the middle of an answer. */
export const tokens: Scenario = {
  name: 'tokens',
  about: `${streams} sessions stream a model's text to ${watchers} each; ${joiners} join a long answer late`,
  cells: () => ['live', 'late'],
  async run(conditions) {
    const parts: Results[] = []
    if (conditions.wants('live')) parts.push(await runLive(conditions))
    if (conditions.wants('late')) parts.push(await runLate(conditions))
    return {
      columns,
      rows: parts.flatMap(({ rows }) => rows),
      details: parts.map(({ details }) => details),
      notes: [`Texts: ${readTokens().source}.`, ...parts.flatMap(({ notes }) => notes)],
    }
  },
}

async function runLive({ quick, runs, progress, peers, ours, profileDir }: Conditions): Promise<Results> {
  const sides: Side[] = []
  try {
    const contenders = [limitFor('ws'), ...ours, ...peerContenders(peers, 'ws', 'tokens')]
    for (const contender of profiled(contenders, profileDir, 'tokens')) {
      progress(`live: connecting to ${contender.name}`)
      const side = await openSide(contender)
      sides.push(side)
      const residues = Array.from({ length: streams }, (_, residue) => residue)
      await subscribeGroups(
        side,
        residues.map((residue) => ({ wish: { transport: 'ws', spread, residue }, count: watchers })),
      )
    }
    const round = { bytes: 0, spread, content: 'tokens' as const }
    let turnMicros = 0
    for (const side of sides) {
      const warm = await measure(side, { ...flatOut(eventsPerTurn, 50, 700, 100), ...round })
      turnMicros ||= warm.cpuMicros * eventsPerTurn * watchers
    }
    const load = {
      paced: { ...paced(eventsPerTurn, 50, turnMicros, quick ? 200 : 400), ...round },
      flatOut: { ...flatOut(eventsPerTurn, 50, turnMicros, 100), ...round },
    }
    const standings = await compare(sides, load, runs, (run) => progress(`live: run ${run + 1} of ${runs}`))
    return {
      columns,
      rows: standings.filter(measured).map((standing) => liveRow(standing, standings[0] as Standing)),
      details: { part: 'live', standings },
      notes: [`live: ${eventsPerTurn} sessions a turn publish one text each.`, ...failures(standings)],
    }
  } finally {
    await closeSides(sides)
  }
}

async function runLate({ runs, progress, ours, profileDir }: Conditions): Promise<Results> {
  const late = (contender: Contender): Contender => ({
    ...contender,
    dialect: () => ({ kind: 'runcast-text', topic: answerTopic, length: answerText().length }),
  })
  const sides: Side[] = []
  try {
    for (const contender of profiled([limitFor('ws'), ...ours], profileDir, 'late')) {
      const side = await openSide(late(contender))
      sides.push(side)
      const events = 50
      const turns = answerTokens / events
      await side.server.ask('run', {
        turns,
        events,
        bytes: 0,
        content: 'answer',
        turnsPerTick: 0,
        tickMs: 0,
        aheadMax: turns,
      })
    }
    const samples: JoinSample[][] = sides.map(() => [])
    for (let run = 0; run < runs; run += 1) {
      progress(`late: run ${run + 1} of ${runs}`)
      const order = run % 2 === 0 ? [...sides.keys()] : [...sides.keys()].reverse()
      for (const index of order) samples[index]?.push(await joinLate(sides[index] as Side))
    }
    const entries = sides.map(({ name }, index) => ({ name, samples: samples[index] ?? [] }))
    return {
      columns,
      rows: entries.map((entry) => lateRow(entry, entries[0]?.samples ?? [])),
      details: { part: 'late', sides: entries },
      notes: [
        `late: ${joiners} join at once when ${answerTokens} texts have been published; all get them as one event.`,
        'cpu µs: by client. limit: that one event is ready. No peer merges text for those who come late.',
      ],
    }
  } finally {
    await closeSides(sides)
  }
}

async function joinLate(side: Side): Promise<JoinSample> {
  const { server, swarm } = side
  const before = await encodingsOf(side)
  await swarm.ask('expect', { after: 0, events: 1, progressEvery: joiners, quietMs: 3_000 })
  await server.ask('begin', null)
  const begun = performance.now()
  await subscribe(side, { transport: 'ws' }, joiners)
  const report = await swarm.ask('settled', null)
  const seconds = (performance.now() - begun) / 1e3
  const { cpuMicros } = await server.ask('usage', null)
  assertFaultless(side, report)
  await swarm.ask('close', null)
  side.connections = 0
  const after = await encodingsOf(side)
  return {
    seconds,
    cpuMicros: cpuMicros / joiners,
    bytes: report.bytes / joiners,
    encodings: before === undefined || after === undefined ? undefined : after - before,
  }
}

const columns = [
  { name: 'part' },
  { name: 'who' },
  { name: 'cpu µs', digits: 2 },
  { name: 'ratio' },
  { name: 'flat ratio' },
  { name: 'flat k/s', digits: 0 },
  { name: 'p99 ms', digits: 2 },
  { name: 'wire B', digits: 0 },
  { name: 'live s' },
  { name: 'encodings' },
]

function liveRow(standing: Standing, limit: Standing): Row {
  const { name, paced, flatOut: flat } = standing
  return {
    part: 'live',
    who: name,
    'cpu µs': median(paced, ({ cpuMicros }) => cpuMicros),
    ratio: standing === limit ? '' : formatSpread(ratio(paced, limit.paced, ({ cpuMicros }) => cpuMicros)),
    'flat ratio':
      standing === limit ? '' : formatSpread(ratio(flat, limit.flatOut, ({ cpuMicros }) => cpuMicros)),
    'flat k/s': median(flat, ({ deliveriesPerSecond }) => deliveriesPerSecond) / 1e3,
    'p99 ms': median(paced, ({ latencyMicros }) => latencyMicros.p99) / 1e3,
    'wire B': median(paced, ({ bytesPerDelivery }) => bytesPerDelivery),
    encodings: standing.encodings ?? '',
  }
}

function lateRow(
  { name, samples }: { name: string; samples: readonly JoinSample[] },
  limit: readonly JoinSample[],
): Row {
  return {
    part: 'late',
    who: name,
    'cpu µs': median(samples, ({ cpuMicros }) => cpuMicros),
    ratio: samples === limit ? '' : formatSpread(ratio(samples, limit, ({ cpuMicros }) => cpuMicros)),
    'wire B': median(samples, ({ bytes }) => bytes),
    'live s': formatSpread(spreadOf(samples.map(({ seconds }) => seconds))),
    encodings: samples
      .map(({ encodings }) => encodings)
      .filter((each) => each !== undefined)
      .join(' '),
  }
}
