/**
 * How long well-behaved clients wait while others attack. Four clients publish and get what they published, each fifty
 * times a second, and 250 others follow, so that the hub has the work that it aims at: 50,000 deliveries a second. The
 * four are measured; each is served after all the others. The hub has the limits that `docs/operations/limits.md` names
 * for strangers. Where there are two cores, `taskset` and `chrt`, its main thread goes first on one of them; clients and
 * attacker share the other, where those who measure go first and the attacker gets what nobody else wants.
 *
 * At first the attacker works for itself: what is slow then is the machine, not the hub. Machines have slow minutes: each
 * round is compared with what was quiet just before it, and the median of the rounds is shown, of two the larger. Ends
 * with 1 when an attack's 99th percentile is above twice the quiet one, or a follower lacks anything.
 *
 * The last five attacks are those of one who has rights, on a hub with the default limits: 1.5 times the quiet one is
 * well then.
 *
 * An attack is repeated up to ten times a second, and opens up to 1,000 connections in it. `--flood` repeats it as fast
 * as the second core can: up to 12,000 connections a second, where accepting them is what the hub is busy with.
 */
import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { setPriority } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { WebSocket } from 'ws'
import { attacks } from '../../test/attack/attacks.js'
import { fairnessAttacks } from '../../test/attack/fairness-attacks.js'
import { pinned } from '../harness/child.js'
import { HubProcess } from '../harness/hub-process.js'
import { formatTable } from '../harness/table.js'
import { controlName } from './control.js'

const help = `How long a well-behaved client of the hub waits while others attack it.

Usage: npm run attack -- [options]

  --seconds N   how long each attack is measured: 5
  --rounds N    how often, in turn; medians of them are shown: 3
  --followers N how many follow beside those who are measured; with 0 the hub has next to nothing to do: 250
  --only TEXT   the attacks whose name has it
  --flood       each attack as fast as it can be repeated, instead of ten times a second
  --help        this text

Attacks:
${[...Object.keys(attacks), ...Object.keys(fairnessAttacks)].map((name) => `  ${name}`).join('\n')}`

const { values } = parseArgs({
  options: {
    flood: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '3' },
    followers: { type: 'string', default: '250' },
    only: { type: 'string', default: '' },
  },
})
if (values.help) {
  console.log(help)
  process.exit()
}
const ms = Number(values.seconds) * 1_000
/** Each round is a second's worth. */
const manyConnections = 'a thousand connections opened and cut at once'
const largeStates = 'states that have nothing in common with those before'
const everyMs = 20
const clients = 4
const topic = 'sessions/hot'

const limits = {
  frameBytesMax: 65_536,
  frameRateMax: 100,
  frameBurstMax: 500,
  byteRateMax: 65_536,
  byteBurstMax: 262_144,
  subscriptionsMax: 100,
  topicSubscriptionsMax: 10,
  connectionsPerAddressMax: 50,
  requestRateMax: 200,
  requestBurstMax: 1_000,
  bodyRateMax: 65_536,
  bodyBurstMax: 1_048_576,
}

/** What was measured under one attack in one round, in milliseconds, and its p99 as a multiple of the quiet one. */
interface Round {
  readonly quiet: number
  readonly p50: number
  readonly p99: number
  readonly max: number
  readonly ratio: number
}

/** Publishes to the topic and follows it. Its address is not that of the attackers. */
class Honest {
  readonly #socket: WebSocket
  readonly #sent = new Map<number, number>()
  /** Unlike those of the other clients, which it gets as well. */
  #number: number
  #latencies: number[] = []

  private constructor(socket: WebSocket, first: number) {
    this.#socket = socket
    this.#number = first
    socket.on('message', (data: Buffer) => this.#hear(data))
  }

  /** @param first 1 to `clients`, unlike that of the others */
  static async open(url: string, first: number): Promise<Honest> {
    const headers = { 'x-forwarded-for': `10.0.0.${first}` }
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/ws`, ['runcast.v1.json'], { headers })
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    const honest = new Honest(socket, first)
    socket.send(JSON.stringify({ type: 'subscribe', sub: 1, topic, types: ['honest'] }))
    return honest
  }

  /** @returns how long each event took from here and back, in milliseconds */
  async measure(forMs: number): Promise<readonly number[]> {
    this.#latencies = []
    this.#sent.clear()
    const end = performance.now() + forMs
    // One after the other, so that they do not wait for each other.
    const begin = performance.now() + ((this.#number % clients) * everyMs) / clients
    for (let due = begin; due < end; due += everyMs) {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())))
      this.#number += clients
      // From when it is sent: that the machine lets a client wait is not the hub's doing.
      this.#sent.set(this.#number, performance.now())
      const events = [{ type: 'honest', data: this.#number }]
      this.#socket.send(JSON.stringify({ type: 'publish', topic, events }))
    }
    const deadline = performance.now() + 30_000
    while (this.#sent.size > 0 && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 5))
    if (this.#sent.size > 0) throw new Error(`${this.#sent.size} events did not come`)
    return this.#latencies
  }

  close(): void {
    this.#socket.close()
  }

  #hear(data: Buffer): void {
    const now = performance.now()
    const frame = JSON.parse(data.toString()) as { type: string; events?: readonly { data: number }[] }
    for (const event of frame.events ?? []) {
      const sent = this.#sent.get(event.data)
      if (sent === undefined || !this.#sent.delete(event.data)) continue
      this.#latencies.push(Math.max(0, now - sent))
    }
  }
}

async function measureAll(honest: readonly Honest[], forMs: number): Promise<readonly number[]> {
  return (await Promise.all(honest.map((one) => one.measure(forMs)))).flat()
}

function percentile(latencies: readonly number[], share: number): number {
  const sorted = latencies.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

function median(numbers: readonly number[]): number {
  return percentile(numbers, 0.5)
}

/** All threads of a process, and those that it starts. */
function bind(pid: number, cores: string): void {
  if (pinned) spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', cores, String(pid)])
}

/** What its other threads do, for the store and for collecting garbage, goes on beside it. */
function bindMainThread(pid: number, core: string): void {
  if (pinned) spawnSync('taskset', ['--cpu-list', '--pid', core, String(pid)])
}

/**
 * Before everybody else on its core: the kernel lets others wait for milliseconds while an attacker is in a call. Of the
 * hub that is its main thread; what it starts takes its turn with all others.
 */
function putFirst(pid: number): void {
  if (spawnSync('chrt', ['--reset-on-fork', '--rr', '--pid', '1', String(pid)]).status !== 0)
    console.error('hub and clients may be late for each other: there is no leave to put them first')
}

/** It shares the machine with hub and client, which no attacker does: it gets what nobody else wants of it. */
function yieldToOthers(pid: number): void {
  // The kernel lets others wait for several milliseconds even for a process of the lowest priority, if it is not idle.
  if (spawnSync('chrt', ['--all-tasks', '--idle', '--pid', '0', String(pid)]).status !== 0)
    setPriority(pid, 19)
}

/** They come after those who are measured, and are thus served before them. @returns once all of them follow */
async function startFollowers(url: string): Promise<ChildProcess> {
  const file = fileURLToPath(new URL('followers.ts', import.meta.url))
  const child = fork(file, [url, topic, 'honest', values.followers], {
    execArgv: ['--import', import.meta.resolve('tsx')],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  await new Promise((resolve, reject) => {
    child.once('message', resolve)
    child.once('exit', () => reject(new Error('the followers did not come to follow')))
  })
  return child
}

/** @returns what is wrong with what they got, or `same` */
async function endFollowers(child: ChildProcess): Promise<string> {
  const said = new Promise<string>((resolve) => child.once('message', (text) => resolve(text as string)))
  child.send('end')
  return said
}

function roundsPerSecond(name: string): number {
  if (values.flood || name === controlName) return Number.POSITIVE_INFINITY
  if (name === manyConnections) return 1
  // 2.9 MiB a second.
  return name === largeStates ? 2 : 10
}

async function underAttack(url: string, name: string, honest: readonly Honest[]) {
  const attacker = fork(
    fileURLToPath(new URL('attacker.ts', import.meta.url)),
    [url, topic, name, String(ms + 2_000), String(roundsPerSecond(name))],
    {
      execArgv: ['--import', import.meta.resolve('tsx')],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    },
  )
  yieldToOthers(attacker.pid as number)
  let rounds = 0
  attacker.on('message', (count) => void (rounds = Number(count)))
  const gone = new Promise((resolve) => attacker.once('exit', resolve))
  // Until it has started.
  await new Promise((resolve) => setTimeout(resolve, 2_000))
  const latencies = await measureAll(honest, ms)
  await gone
  return { latencies, rounds }
}

/** A hub, who is to be let alone by its attackers, and what these do. */
interface Siege {
  readonly words: readonly string[]
  readonly names: readonly string[]
  /** How many times the quiet 99th percentile is still well. */
  readonly ratioMax: number
}

const outcomes = ['quiet p99 ms', 'p50 ms', 'p99 ms', 'max ms', 'ratio'].map((name) => ({ name, digits: 1 }))

/** @returns whether all went well */
async function besiege({ words, names, ratioMax }: Siege): Promise<boolean> {
  const hub = await HubProcess.start([...words, '--trusted-proxy', '127.0.0.1', '--log-level', 'info'])
  bind(hub.pid, '0')
  bind(process.pid, '1')
  putFirst(process.pid)
  let isWell = true
  try {
    const honest = await Promise.all(
      Array.from({ length: clients }, (_, index) => Honest.open(hub.url, index + 1)),
    )
    const followers = await startFollowers(hub.url)
    await measureAll(honest, 3_000)
    bind(hub.pid, '0,1')
    bindMainThread(hub.pid, '0')
    putFirst(hub.pid)
    const measured = [controlName, ...names].map((name) => ({ name, rounds: [] as Round[], count: 0 }))
    for (let round = 1; round <= Number(values.rounds); round += 1) {
      for (const one of measured) {
        const quiet = percentile(await measureAll(honest, ms), 0.99)
        const { latencies, rounds } = await underAttack(hub.url, one.name, honest)
        const p99 = percentile(latencies, 0.99)
        const max = Math.max(...latencies)
        one.rounds.push({ quiet, p50: median(latencies), p99, max, ratio: p99 / quiet })
        one.count += rounds
        console.error(`${round} ${one.name}: p99 ${p99.toFixed(1)} ms, quiet ${quiet.toFixed(1)} ms`)
      }
    }
    const rows = measured.map(({ name, rounds, count }) => {
      const of = (field: keyof Round) => median(rounds.map((round) => round[field]))
      return {
        attack: name,
        rounds: count,
        'quiet p99 ms': of('quiet'),
        'p50 ms': of('p50'),
        'p99 ms': of('p99'),
        'max ms': Math.max(...rounds.map(({ max }) => max)),
        ratio: of('ratio'),
        outcome: of('ratio') <= ratioMax ? 'ok' : 'SLOW',
      }
    })
    const said = await endFollowers(followers)
    for (const one of honest) one.close()
    console.log(formatTable([{ name: 'attack' }, { name: 'rounds' }, ...outcomes, { name: 'outcome' }], rows))
    if (said !== 'same') console.error(said)
    isWell = said === 'same' && rows.every(({ outcome }) => outcome === 'ok')
  } finally {
    if ((await hub.stop()) !== 0) isWell = false
  }
  return isWell
}

const wanted = (set: object): string[] => Object.keys(set).filter((name) => name.includes(values.only))
const sieges: readonly Siege[] = [
  {
    words: Object.entries(limits).flatMap(([name, value]) => ['--limit', `${name}=${value}`]),
    names: wanted(attacks),
    ratioMax: 2,
  },
  // Who has rights, at a hub with the default limits.
  { words: [], names: wanted(fairnessAttacks), ratioMax: 1.5 },
]
for (const siege of sieges) {
  if (siege.names.length > 0 && !(await besiege(siege))) process.exitCode = 1
}
