/**
 * How long well-behaved clients wait while others attack. Four clients publish and get what they published, each fifty
 * times a second, and 250 others follow, so that the hub has the work that it aims at: 50,000 deliveries a second. The
 * four are measured; each is served after all the others. The hub has the limits that `docs/operations/limits.md` names
 * for strangers. Where there are two cores and `taskset`, its main thread goes first on one of them; clients and
 * attacker share the other, where the clients go first and the attacker gets what they leave.
 *
 * In each round the hub is quiet for a while, then the attacker attacks another hub (`beside`): what is slow then is the
 * machine, not the hub. Then it attacks. Machines have slow minutes, so the three follow each other, each attack is
 * compared with what came just before it, and medians of the rounds are shown.
 *
 * Clients and attacker share a core and its kernel, so a late event may be the machine's doing. A long turn of the hub's event loop
 * is the hub's: how long turns were is shown, and how much of the time the hub was kept waiting for its core (`waited`). Ends with 1
 * for `SLOW`: both the clients' 99th percentile and that of the turns are above twice what they are beside the attack; or
 * when a follower lacks anything. `machine` says that turns were not, and `> 1.5` that clients were above the aim of 1.5 times.
 *
 * The last five attacks are those of one who has rights, on a hub with the default limits: 1.5 times is well then.
 *
 * An attack is repeated up to ten times a second, and opens up to 1,000 connections in it. `--flood` repeats it as fast
 * as the second core can: up to 12,000 connections a second, where accepting them is what the hub is busy with.
 */
import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { WebSocket } from 'ws'
import { attacks } from '../../test/attack/attacks.js'
import { fairnessAttacks } from '../../test/attack/fairness-attacks.js'
import { pinned } from '../harness/child.js'
import { HubProcess, type Turns } from '../harness/hub-process.js'
import { formatTable } from '../harness/table.js'
import type { AttackerWord } from './control.js'

const help = `How long a well-behaved client of the hub waits while others attack it.

Usage: npm run attack -- [options]

  --seconds N   how long each attack is measured in a round: 2
  --rounds N    how often, in turn with a quiet hub and with another hub that is attacked: 5
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
    seconds: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '5' },
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
  patchWorkMax: 4_194_304,
}

/** What was measured in one stretch of time, in milliseconds. */
interface Window {
  readonly p50: number
  readonly p99: number
  readonly max: number
  readonly turns: Turns
}

/** One after the other, so that slow minutes of the machine are those of all three. */
interface Round {
  readonly quiet: Window
  /** While the attacker attacks another hub. */
  readonly beside: Window
  readonly attacked: Window
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
 * Before everybody else on its core, with all its threads: a hub waits for those that help it to collect garbage. Not by a
 * real-time class: a process of one that waits for a child may keep the very core that the child needs to end.
 */
function putFirst(pid: number): void {
  const threads = readdirSync(`/proc/${pid}/task`)
  if (spawnSync('renice', ['-n', '-20', '-p', ...threads]).status !== 0)
    console.error('hub and clients may be late for each other: there is no leave to put them first')
}

/** Where the kernel groups processes by their session, the nice value of one says nothing to those of other groups. */
function putGroupFirst(nice: number): void {
  try {
    writeFileSync('/proc/self/autogroup', String(nice))
  } catch {
    // There are no groups, or no leave.
  }
}

/** It shares a core with those who are measured, which no attacker does: it gets what they leave. */
function yieldToOthers(pid: number): void {
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
  if (values.flood) return 1e6
  if (name === manyConnections) return 1
  // 2.9 MiB a second.
  return name === largeStates ? 2 : 10
}

/** Who attacks when told to. */
class Attacker {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(): Promise<Attacker> {
    const child = fork(fileURLToPath(new URL('attacker.ts', import.meta.url)), [topic], {
      execArgv: ['--import', import.meta.resolve('tsx')],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    await new Promise((resolve, reject) => {
      child.once('message', resolve)
      child.once('exit', () => reject(new Error('the attacker did not start')))
    })
    yieldToOthers(child.pid as number)
    return new Attacker(child)
  }

  /** @returns how many rounds there were while `task` went on */
  async during(name: string, url: string, task: () => Promise<void>): Promise<number> {
    const said = new Promise<number>((resolve, reject) => {
      this.#child.once('message', (count) => resolve(Number(count)))
      this.#child.once('exit', () => reject(new Error('the attacker ended')))
    })
    this.#child.send({ attack: name, url, perSecond: roundsPerSecond(name) } satisfies AttackerWord)
    await task()
    this.#child.send('stop' satisfies AttackerWord)
    const rounds = await said
    this.#child.removeAllListeners('exit')
    return rounds
  }

  stop(): void {
    this.#child.disconnect()
  }
}

/** A hub, who is to be let alone by its attackers, and what these do. */
interface Siege {
  readonly words: readonly string[]
  readonly names: readonly string[]
  /** How many times the quiet 99th percentile is still well. */
  readonly ratioMax: number
}

const columns = [
  'quiet p99 ms',
  'beside p99 ms',
  'p50 ms',
  'p99 ms',
  'max ms',
  'ratio',
  'turn beside p99 ms',
  'turn p99 ms',
  'turn max ms',
  'turn ratio',
  'waited %',
].map((name) => ({ name, digits: 1 }))

/** The aim of all attacks. Those by strangers end the bench with 1 only beyond a larger ratio. */
const wellRatio = 1.5

function outcomeOf(ratio: number, turnRatio: number, ratioMax: number): string {
  if (ratio <= wellRatio) return 'ok'
  if (ratio <= ratioMax) return `> ${wellRatio}`
  return turnRatio <= ratioMax ? 'machine' : 'SLOW'
}

/** The hubs of the siege, which would survive a signal to the bench alone. */
const hubs = new Set<HubProcess>()

async function startHub(words: readonly string[]): Promise<HubProcess> {
  const hub = await HubProcess.start(words)
  hubs.add(hub)
  return hub
}

async function stopHub(hub: HubProcess): Promise<number | null> {
  const code = await hub.stop()
  hubs.delete(hub)
  return code
}

/** @returns whether all went well */
async function besiege({ words, names, ratioMax }: Siege): Promise<boolean> {
  const hub = await startHub([...words, '--trusted-proxy', '127.0.0.1', '--log-level', 'info'])
  bind(hub.pid, '0')
  bind(process.pid, '1')
  putFirst(process.pid)
  const other = await startHub([...words, '--log-level', 'info'])
  let isWell = true
  try {
    const honest = await Promise.all(
      Array.from({ length: clients }, (_, index) => Honest.open(hub.url, index + 1)),
    )
    const followers = await startFollowers(hub.url)
    putFirst(followers.pid as number)
    const attacker = await Attacker.start()
    await measureAll(honest, 3_000)
    bind(hub.pid, '0,1')
    bindMainThread(hub.pid, '0')
    putFirst(hub.pid)
    const rows = []
    for (const name of names) {
      const rounds: Round[] = []
      let count = 0
      for (let number = 1; number <= Number(values.rounds); number += 1) {
        const quiet = await measureWindow(hub, honest)
        let beside = quiet
        await attacker.during(name, other.url, async () => void (beside = await measureWindow(hub, honest)))
        let attacked = quiet
        count += await attacker.during(
          name,
          hub.url,
          async () => void (attacked = await measureWindow(hub, honest)),
        )
        rounds.push({ quiet, beside, attacked })
        const [one, two, three] = [attacked, beside, quiet].map(({ p99 }) => `${p99.toFixed(1)} ms`)
        console.error(`${number} ${name}: p99 ${one}, beside it ${two}, quiet ${three}`)
      }
      const of = (figure: (round: Round) => number) => median(rounds.map(figure))
      const ratio = of(({ attacked, beside }) => attacked.p99 / beside.p99)
      const turnRatio = of(({ attacked, beside }) => attacked.turns.p99 / beside.turns.p99)
      rows.push({
        attack: name,
        rounds: count,
        'quiet p99 ms': of(({ quiet }) => quiet.p99),
        'beside p99 ms': of(({ beside }) => beside.p99),
        'p50 ms': of(({ attacked }) => attacked.p50),
        'p99 ms': of(({ attacked }) => attacked.p99),
        'max ms': Math.max(...rounds.map(({ attacked }) => attacked.max)),
        ratio,
        'turn beside p99 ms': of(({ beside }) => beside.turns.p99),
        'turn p99 ms': of(({ attacked }) => attacked.turns.p99),
        'turn max ms': Math.max(...rounds.map(({ attacked }) => attacked.turns.max)),
        'turn ratio': turnRatio,
        'waited %': of(({ attacked }) => attacked.turns.waited),
        outcome: outcomeOf(ratio, turnRatio, ratioMax),
      })
    }
    attacker.stop()
    const said = await endFollowers(followers)
    for (const one of honest) one.close()
    console.log(formatTable([{ name: 'attack' }, { name: 'rounds' }, ...columns, { name: 'outcome' }], rows))
    if (said !== 'same') console.error(said)
    isWell = said === 'same' && rows.every(({ outcome }) => outcome !== 'SLOW')
  } finally {
    const codes = await Promise.all([hub, other].map(stopHub))
    if (codes.some((code) => code !== 0)) isWell = false
  }
  return isWell
}

async function measureWindow(hub: HubProcess, honest: readonly Honest[]): Promise<Window> {
  // What was before has come to its end, or the attack to its pace.
  await measureAll(honest, 300)
  hub.beginTurns()
  const latencies = await measureAll(honest, ms)
  const turns = await hub.endTurns()
  return {
    p50: median(latencies),
    p99: percentile(latencies, 0.99),
    max: Math.max(...latencies),
    turns,
  }
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
putGroupFirst(-20)
process.once('exit', () => putGroupFirst(0))
for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
] as const) {
  // Attacker and followers end with it by themselves.
  process.once(signal, () => void Promise.all([...hubs].map(stopHub)).then(() => process.exit(128 + number)))
}
for (const siege of sieges) {
  if (siege.names.length > 0 && !(await besiege(siege))) process.exitCode = 1
}
