import type { Latency, Report } from '../swarm/swarm.js'
import { countFaults } from '../swarm/tally.js'
import type { Round } from './messages.js'
import type { Side } from './side.js'

/** What one round cost and brought. */
export interface Sample {
  readonly deliveries: number
  /** Events; each is delivered to every connection that is due it. */
  readonly published: number
  /** Server CPU, user and system, per delivery: one event that reached one connection. Microseconds. */
  readonly cpuMicros: number
  /** The part of it that was not spent in the kernel. */
  readonly userMicros: number
  readonly deliveriesPerSecond: number
  readonly bytesPerDelivery: number
  readonly latencyMicros: Latency
  readonly rssBytes: number
  /** CPU of the engine behind the server per published event, where there is one. Microseconds. */
  readonly engineMicros: number | undefined
  readonly swarmCpuMicros: number
}

// A turn of 50 events to 1,000 connections takes the slowest peer two seconds, and longer on a busy machine.
const quietMs = 20_000

/**
 * Publishes a round and waits until all of it has arrived.
 *
 * @throws Error when an event was lost, came twice or out of order: what is not right is not fast
 */
export async function measure(side: Side, round: Round): Promise<Sample> {
  const { server, swarm, connections } = side
  // Each connection is due the same number of them.
  const turns = (Math.ceil((round.turns * round.events) / side.stride) * side.stride) / round.events
  if (!Number.isInteger(turns)) throw new Error('turns do not fill the strides')
  const published = turns * round.events
  const events = published / side.stride
  const turnDeliveries = (round.events * connections) / side.stride
  const progressTurns = Math.max(1, Math.min(turns, Math.floor(round.aheadMax / 4)))
  await swarm.ask('expect', {
    after: side.published,
    events,
    progressEvery: Math.max(1, Math.floor(progressTurns * turnDeliveries)),
    quietMs,
  })
  swarm.onProgress = (deliveries) => {
    const received = Math.floor(deliveries / turnDeliveries)
    if (received < turns) server.ask('received', { turns: received }).catch(ignore)
  }
  const settling = swarm.ask('settled', null)
  // If `run` fails, that is the error to show.
  settling.catch(ignore)
  const { last } = await server.ask('run', { ...round, turns })
  const report = await settling
  const usage = await server.ask('usage', null)
  swarm.onProgress = () => {}
  side.published = last
  assertFaultless(side, report)
  const { deliveries } = report
  return {
    deliveries,
    cpuMicros: usage.cpuMicros / deliveries,
    userMicros: usage.userMicros / deliveries,
    published,
    deliveriesPerSecond: deliveries / (usage.wallMicros / 1e6),
    bytesPerDelivery: report.bytes / deliveries,
    latencyMicros: report.latencyMicros,
    rssBytes: usage.rssBytes,
    engineMicros: usage.engineMicros === undefined ? undefined : usage.engineMicros / published,
    swarmCpuMicros: report.cpuMicros / deliveries,
  }
}

function ignore(): void {}

export function assertFaultless(side: Side, report: Report): void {
  if (countFaults(report.faults) === 0) return
  const faults = Object.entries(report.faults)
    .filter(([, count]) => count > 0)
    .map(([fault, count]) => `${count} ${fault}`)
  throw new Error([`${side.name}: ${faults.join(', ')}`, ...report.remarks].join('; '))
}

export async function metricsOf(port: number): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`)
  return answer.text()
}

/**
 * Publishes a round that is not measured, because reading the metrics before it would cost the server its caches.
 *
 * @returns encodings per published event; only where the server counts them
 */
export async function countEncodings(side: Side, round: Round): Promise<number | undefined> {
  const before = await encodingsOf(side)
  if (before === undefined) return undefined
  const { published } = await measure(side, round)
  return (((await encodingsOf(side)) as number) - before) / published
}

/**
 * @returns how many events were encoded, or nothing where the server has no metrics: the most of any codec, for SSE
 *   builds on the JSON text
 */
export async function encodingsOf({ server, name }: Side): Promise<number | undefined> {
  if (name !== 'runcast') return undefined
  const text = await metricsOf(server.port)
  return Math.max(...valuesOf(text, 'runcast_encodings_total'))
}

/** @returns the sum of one metric over its labels. */
export function sumOf(metrics: string, name: string): number {
  return valuesOf(metrics, name).reduce((sum, value) => sum + value, 0)
}

function valuesOf(metrics: string, name: string): number[] {
  const values = metrics.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))
  return [...values].map((match) => Number(match[1]))
}

// A backlog beyond this would fill the sockets' buffers, and measure those.
const aheadBytesMax = 64 * 1024
const share = 0.4
const tickMsMin = 2

/** @returns a round that takes about `ms` at full speed. */
export function flatOut(events: number, bytes: number, turnMicros: number, ms: number): Round {
  return {
    turns: Math.max(4, Math.round((ms * 1e3) / turnMicros)),
    events,
    bytes,
    turnsPerTick: 0,
    tickMs: 0,
    aheadMax: aheadFor(events, bytes),
  }
}

function aheadFor(events: number, bytes: number): number {
  return Math.max(2, Math.floor(aheadBytesMax / (events * (bytes + 100))))
}

/**
 * @param turnMicros what a turn costs the baseline
 * @returns a round of about `ms` at a rate that takes the baseline 40 % of a core
 */
export function paced(events: number, bytes: number, turnMicros: number, ms: number): Round {
  const restMs = turnMicros / share / 1e3
  const turnsPerTick = Math.max(1, Math.round(tickMsMin / restMs))
  const turns = Math.max(3, Math.round(ms / restMs))
  // Who cannot keep the rate publishes no further ahead than it delivers.
  return {
    turns,
    events,
    bytes,
    turnsPerTick,
    tickMs: turnsPerTick * restMs,
    aheadMax: aheadFor(events, bytes),
  }
}
