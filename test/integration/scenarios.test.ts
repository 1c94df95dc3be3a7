import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import t from 'tap'
import { signToken } from '../../src/index.js'
import type { HubEvent } from '../../src/protocol/frames.js'
import { buildCommandLine, type Running } from '../cli/command-line.js'
import { freePort } from '../kit/free-port.js'
import { Proxy } from '../kit/proxy.js'
import { python, withoutPython } from '../kit/python.js'
import { SeededRandom } from '../kit/random.js'
import { RedisServer } from '../kit/redis.js'
import { secret } from '../kit/tokens.js'
import { until } from '../kit/wait.js'

// RUNCAST_FAULTS=100 for the long run: so many more in the last scenario.
const more = Number(process.env['RUNCAST_FAULTS'] ?? 0)
const seed = Number(process.env['RUNCAST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const random = new SeededRandom(seed)

const faults = ['cut', 'cut gently', 'kill hub', 'kill client'] as const
type Fault = (typeof faults)[number]

interface Scenario {
  readonly name: string
  readonly faults: readonly Fault[]
  readonly delayMs?: number
  readonly cutAfterBytes?: number
  readonly tokenLifeS?: number
  /** So many tokens of each client have expired when it gets them, as if the hub had been slow to look at them. */
  readonly staleTokens?: number
  /** How many tokens each client has had before it is over. */
  readonly tokens?: number
}

const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8')
const every = JSON.parse(read('../conformance/scenarios.json')) as Scenario[]
// The last has all of the faults; of the others two, or all with RUNCAST_SCENARIOS=all.
const drawn = every.slice(0, -1).toSorted(() => random.fraction() - 0.5)
const sample = new Set([...drawn.slice(0, 2), every.at(-1)])
const scenarios = every.filter((one) => process.env['RUNCAST_SCENARIOS'] === 'all' || sample.has(one))
const commandLine = await buildCommandLine()
const folder = mkdtempSync(join(tmpdir(), 'runcast-scenarios-'))
t.teardown(() => {
  commandLine.remove()
  rmSync(folder, { recursive: true, force: true })
})
const player = fileURLToPath(new URL(`../../.tap/player-${process.pid}/player.js`, import.meta.url))
await build({
  entryPoints: [fileURLToPath(new URL('scenario-player.ts', import.meta.url))],
  outfile: player,
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
})
t.teardown(() => rmSync(join(player, '..'), { recursive: true, force: true }))

const inPython = fileURLToPath(new URL('scenario-player.py', import.meta.url))
const clients = fileURLToPath(new URL('../../clients/python', import.meta.url))
const ways: Readonly<Record<string, readonly [program: string, script: string, way: string]>> = {
  'TypeScript over WebSocket': [process.execPath, player, 'websocket'],
  'TypeScript over SSE': [process.execPath, player, 'sse'],
  ...(withoutPython('httpx') === undefined && {
    Python: [python, inPython, 'threads'],
    'Python, asynchronous': [python, inPython, 'async'],
  }),
}

interface Line {
  readonly got?: number
  readonly cursor?: string
  readonly sent?: number
  readonly gap?: string
  readonly done?: number
  readonly over?: string
}

/** A client that publishes and follows a session of its own, in a process that may be killed. */
class Player {
  readonly got: number[] = []
  readonly gaps: string[] = []
  readonly session: string
  sent = 0
  done: number | undefined
  /** Why it does nothing more, although nobody has killed it. */
  over: string | undefined
  readonly #words: readonly [string, string, string]
  readonly #urls: readonly [string, string]
  #cursor = ''
  #child: ChildProcess | undefined
  #read: Promise<void> = Promise.resolve()

  constructor(session: string, words: readonly [string, string, string], urls: readonly [string, string]) {
    this.session = session
    this.#words = words
    this.#urls = urls
    this.#start()
  }

  #start(): void {
    const [program, script, way] = this.#words
    const [url, tokens] = this.#urls
    const args = [script, url, `${tokens}/${this.session}`, this.session, `${this.sent}`, this.#cursor, way]
    const env = { ...process.env, PYTHONPATH: clients, PYTHONDONTWRITEBYTECODE: '1' }
    const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child = child
    child.on('exit', (code, signal) => {
      if (child === this.#child && signal !== 'SIGKILL')
        this.over ??= `its process ended with ${code ?? signal}`
    })
    this.#read = this.#listen(child)
  }

  async #listen({ stdout }: ChildProcess): Promise<void> {
    for await (const text of createInterface({ input: stdout ?? process.stdin })) {
      // A line that was cut by a kill says nothing.
      if (!text.endsWith('}')) continue
      const { got, cursor, sent, gap, done, over } = JSON.parse(text) as Line
      if (got !== undefined) this.got.push(got)
      if (cursor) this.#cursor = cursor
      if (sent !== undefined) this.sent = sent
      if (gap !== undefined) this.gaps.push(gap)
      if (done !== undefined) this.done = done
      if (over !== undefined) this.over = over
    }
  }

  /** Kills it in whatever it does, and starts it again with what it had said. */
  async restart(): Promise<void> {
    await this.kill()
    this.#start()
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL')
    await this.#read
  }

  finish(): void {
    this.#child?.stdin?.write('\n')
  }

  /** For the message, where it does not go on. */
  toString(): string {
    const { session, sent, got, done, gaps, over } = this
    return `${session}: sent ${sent}, got ${got.length}, the last ${got.at(-1)}, done ${done}, gaps [${gaps.join()}], over: ${over}`
  }
}

t.test(`the scenarios, in each language (RUNCAST_SEED=${seed})`, async (t) => {
  const minted = new Map<string, number>()
  let lifeS = 60
  let stale = 0
  const login = createServer((request, response) => {
    const session = request.url?.slice(1) ?? ''
    const before = minted.get(session) ?? 0
    minted.set(session, before + 1)
    const topics = [`sessions/${session}/**`]
    const expiresAt = (Math.floor(Date.now() / 1_000) + (before < stale ? -3_600 : lifeS)) * 1_000
    void signToken({ subscribe: topics, publish: topics, expiresAt }, secret).then((token) =>
      response.end(token),
    )
  })
  await new Promise<void>((resolve) => login.listen(0, '127.0.0.1', resolve))
  t.teardown(() => login.close())
  const tokens = `http://127.0.0.1:${(login.address() as AddressInfo).port}`

  const redis = process.env['RUNCAST_LOG'] === 'redis' ? await RedisServer.start(t) : undefined
  const port = await freePort()
  const startHub = async (): Promise<Running> => {
    const limits = ['laneEventsMax=100000', 'historyBytesMax=67108864', 'tokenSkewMs=1']
    const words = [
      'serve',
      '--port',
      `${port}`,
      ...(redis === undefined ? ['--data', join(folder, 'data')] : ['--log', redis.url]),
      '--log-level',
      'error',
      '--token-secret-env',
      'RUNCAST_SECRET',
      ...limits.flatMap((limit) => ['--limit', limit]),
    ]
    const started = commandLine.start(words, { RUNCAST_SECRET: secret, RUNCAST_LOG: redis?.url })
    await started.says('listens on')
    return started
  }
  let hub = await startHub()
  const proxy = await Proxy.open(port)
  t.teardown(() => proxy.close())

  for (const [index, scenario] of scenarios.entries()) {
    await t.test(scenario.name, async (t) => {
      const { delayMs = 0, cutAfterBytes = Number.POSITIVE_INFINITY, tokenLifeS = 60 } = scenario
      lifeS = tokenLifeS
      stale = scenario.staleTokens ?? 0
      proxy.faults = { delayMs, cutAfterBytes: () => (0.5 + random.fraction()) * cutAfterBytes }
      const urls = [`http://127.0.0.1:${proxy.port}`, tokens] as const
      const players = Object.values(ways).map((words, n) => new Player(`s${index}-${n}`, words, urls))
      t.teardown(() => Promise.all(players.map((one) => one.kill())))
      const goOnUntil = async (
        what: string,
        holds: (player: Player, n: number) => boolean,
        deadlineMs = 120_000,
      ) => {
        const holdsForAll = () => {
          const ended = players.filter(({ over }) => over !== undefined)
          if (ended.length > 0) throw new Error(`clients gave up:\n${ended.join('\n')}`)
          return players.every(holds)
        }
        try {
          await until(what, holdsForAll, deadlineMs)
        } catch (error) {
          throw new Error(`${String(error)}\n${players.join('\n')}`)
        }
      }
      /** Waits until each has published and received more, so that a fault meets clients at work. */
      const work = async (count: number) => {
        const before = players.map(({ sent, got }) => ({ sent, got: got.length }))
        const goesOn = ({ sent, got }: Player, n: number) =>
          sent >= (before[n]?.sent ?? 0) + count && got.length >= (before[n]?.got ?? 0) + count
        await goOnUntil('all go on', goesOn)
      }
      const extra = index === scenarios.length - 1 ? more : 0
      const inject: Record<Fault, () => Promise<void> | void> = {
        cut: () => proxy.cut(),
        'cut gently': () => proxy.links.forEach((link) => link.cutGently()),
        'kill client': async () => void (await Promise.all(players.map((one) => one.restart()))),
        'kill hub': async () => {
          hub.process.kill('SIGKILL')
          await hub.finished
          hub = await startHub()
        },
      }
      for (const fault of [...scenario.faults, ...Array.from({ length: extra }, () => random.pick(faults))]) {
        await work(random.integer(10, 40))
        await inject[fault]()
      }
      await work(20)
      const { tokens: tokensMin = 0 } = scenario
      await goOnUntil('tokens have expired', ({ session }) => (minted.get(session) ?? 0) >= tokensMin)

      for (const one of players) one.finish()
      await goOnUntil('all have published', ({ done }) => done !== undefined)
      await goOnUntil('all is received', ({ got, done }) => got.at(-1) === (done ?? 0) - 1)
      for (const [n, way] of Object.keys(ways).entries()) {
        const { got, gaps, done = 0, session } = players[n] as Player
        t.strictSame(
          got,
          Array.from({ length: done }, (_, number) => number),
          `${way}: each once, in order`,
        )
        t.strictSame(gaps, [], `${way}: no gap`)
        const topics = [`sessions/${session}/**`]
        const authorization = `Bearer ${await signToken({ subscribe: topics }, secret)}`
        let kept = 0
        for (let after: string | undefined = ''; after !== undefined; ) {
          const query = `all=1&types=note&limit=1000${after === '' ? '' : `&after=${after}`}`
          const answer = await fetch(`http://127.0.0.1:${port}/api/sessions/${session}/history?${query}`, {
            headers: { authorization },
          })
          const page = (await answer.json()) as {
            readonly events: readonly HubEvent[]
            readonly next?: string
          }
          kept += page.events.length
          after = page.next
        }
        t.equal(kept, done, `${way}: the hub has each once`)
        t.comment(`${way}: ${done} events, ${minted.get(session)} tokens`)
      }
    })
  }
  hub.process.kill('SIGINT')
  await hub.finished
})
