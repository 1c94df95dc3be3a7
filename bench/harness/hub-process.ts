import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** What a hub's process weighs, and what it has open. */
export interface Reading {
  readonly rssMib: number
  /** Without what is mapped from files: the store's pages are the system's to keep or drop. */
  readonly anonMib: number
  readonly heapMib: number
  readonly files: number
  /** Pending when garbage was last collected. */
  readonly timers: number
  readonly connections: number
  readonly subscriptions: number
  readonly feeds: number
  readonly sessions: number
  readonly published: number
  readonly delivered: number
  readonly gaps: number
  readonly closed: number
}

const mib = 1024 * 1024
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** How long turns of the hub's event loop were, in milliseconds that its main thread had the core. */
export interface Turns {
  /** A moment taken at random falls into a longer turn once in a hundred times. */
  readonly p99: number
  readonly max: number
  /** What part of the time its main thread waited for a core. Per cent. */
  readonly waited: number
}

/** Often enough to tell turns apart, seldom enough to cost a hundredth of a core. */
const turnMs = 1

/**
 * Runs in the hub's process before anything else: counts the timers that are pending, which Node does not tell of those
 * that keep no process alive, and when asked collects garbage, so that two readings can be compared.
 *
 * When asked it also measures turns: what the loop did between two ticks of a timer, less the time for which its thread
 * waited for the core, which is the machine's doing (the second number in `schedstat`, proc(5), in nanoseconds).
 */
const probe = `
  import { openSync, readSync } from 'node:fs'
  const text = Buffer.alloc(64)
  let stat, turns, since = 0, wait = 0
  const waited = () => Number(text.latin1Slice(0, readSync(stat, text, 0, 64, 0)).split(' ')[1]) / 1e6
  const spent = () => performance.eventLoopUtilization().active - waited()
  const measure = (before) => {
    if (turns === undefined) return
    const now = spent()
    turns.push(now - before)
    set(measure, ${turnMs}, now)
  }
  process.on('SIGWINCH', () => {
    if (turns === undefined) {
      stat ??= openSync('/proc/thread-self/schedstat', 'r')
      turns = []
      since = performance.now()
      wait = waited()
      return measure(spent())
    }
    const lengths = turns.sort((a, b) => b - a), all = performance.now() - since
    turns = undefined
    let sum = 0, p99 = 0
    for (const ms of lengths) if ((sum += ms) >= all / 100) { p99 = ms; break }
    const probe = { p99, max: lengths[0] ?? 0, waited: ((waited() - wait) / all) * 100 }
    process.stderr.write(JSON.stringify({ probe }) + '\\n')
  })
  const pending = new Set(), set = setTimeout, clear = clearTimeout
  globalThis.setTimeout = (task, ms, ...words) => {
    const timer = set(() => { pending.delete(timer); task(...words) }, ms)
    pending.add(timer)
    return timer
  }
  globalThis.clearTimeout = (timer) => { pending.delete(timer); clear(timer) }
  process.on('SIGUSR2', () => {
    // Twice: what the first one finalizes, the second one frees.
    gc(), gc()
    process.stderr.write(JSON.stringify({ probe: { timers: pending.size } }) + '\\n')
  })`

/** `runcast serve` from `dist/` in a process of its own, with a store in a directory of its own. */
export class HubProcess {
  readonly url: string
  readonly pid: number
  readonly #child: ChildProcess
  readonly #directory: string
  /** The last lines that it wrote, for whoever wonders why it ended. */
  readonly #said: string[]
  #timers = 0
  #turns: Turns = { p99: Number.NaN, max: Number.NaN, waited: Number.NaN }
  #probed: (() => void) | undefined = undefined

  private constructor(url: string, child: ChildProcess, directory: string, said: string[]) {
    this.url = url
    this.pid = child.pid as number
    this.#child = child
    this.#directory = directory
    this.#said = said
  }

  /** @param words further words of `runcast serve` @throws Error when it ends before it listens */
  static async start(words: readonly string[]): Promise<HubProcess> {
    const directory = mkdtempSync(join(tmpdir(), 'runcast-hub-'))
    const node = ['--expose-gc', '--import', `data:text/javascript,${encodeURIComponent(probe)}`, main]
    const serve = [
      'serve',
      '--port',
      '0',
      '--log-format',
      'json',
      '--data',
      join(directory, 'data'),
      ...words,
    ]
    const child = spawn(process.execPath, [...node, ...serve], { stdio: ['ignore', 'ignore', 'pipe'] })
    const said: string[] = []
    let hub: HubProcess | undefined
    return new Promise<HubProcess>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the hub ended with ${code}: ${said.join('\n')}`)))
      createInterface({ input: child.stderr }).on('line', (line) => {
        if (hub !== undefined && line.startsWith('{"probe"')) return hub.#hear(line)
        said.push(line)
        if (said.length > 20) said.shift()
        if (!line.includes('"msg":"listening"')) return
        hub = new HubProcess((JSON.parse(line) as { url: string }).url, child, directory, said)
        resolve(hub)
      })
    })
  }

  #hear(line: string): void {
    const { probe } = JSON.parse(line) as { probe: { timers: number } | Turns }
    if ('timers' in probe) this.#timers = probe.timers
    else this.#turns = probe
    this.#probed?.()
  }

  get port(): number {
    return Number(new URL(this.url).port)
  }

  /** @throws Error when it is not there any more, or does not answer */
  async read(): Promise<Reading> {
    if (this.#child.exitCode !== null) throw new Error(`the hub has ended: ${this.#said.join('\n')}`)
    const response = await fetch(`${this.url}/metrics`)
    const figures = await response.text()
    const sum = (name: string) =>
      [...figures.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))].reduce(
        (total, [, value]) => total + Number(value),
        0,
      )
    const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8')
    const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1])
    return {
      rssMib: kib('VmRSS') / 1024,
      anonMib: kib('RssAnon') / 1024,
      heapMib: sum('nodejs_heap_size_used_bytes') / mib,
      files: readdirSync(`/proc/${this.#child.pid}/fd`).length,
      timers: this.#timers,
      connections: sum('runcast_connections'),
      subscriptions: sum('runcast_subscriptions'),
      feeds: sum('runcast_feeds'),
      sessions: sum('runcast_sessions'),
      published: sum('runcast_events_published_total'),
      delivered: sum('runcast_events_delivered_total'),
      gaps: sum('runcast_gaps_total'),
      closed: sum('runcast_closed_total'),
    }
  }

  /** Collects its garbage and counts its timers; what is read next tells of them. */
  async collect(): Promise<void> {
    const probed = new Promise<void>((resolve) => {
      this.#probed = resolve
    })
    this.#child.kill('SIGUSR2')
    await probed
  }

  /** Measures from now on how long its turns are (Linux). */
  beginTurns(): void {
    this.#child.kill('SIGWINCH')
  }

  /** @returns what was measured since `beginTurns` */
  async endTurns(): Promise<Turns> {
    const probed = new Promise<void>((resolve) => {
      this.#probed = resolve
    })
    this.#child.kill('SIGWINCH')
    await probed
    return this.#turns
  }

  /** Ends it in good order, and removes its store. @returns the exit code */
  async stop(): Promise<number | null> {
    const gone = new Promise<number | null>((resolve) => this.#child.once('exit', resolve))
    if (this.#child.exitCode !== null) return this.#child.exitCode
    this.#child.kill('SIGTERM')
    const code = await gone
    rmSync(this.#directory, { recursive: true, force: true })
    return code
  }
}
