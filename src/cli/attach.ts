import { existsSync, readdirSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { Command, Option } from 'commander'
import { fieldsOf, type JsonValue } from '../lib/json.js'
import { AgentLog, type Identity, type LogEvent, sessionIdOf } from './agent-log.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { type HubHttp, lookUpSession, parseObject } from './hub-http.js'
import { hubOf, hubOption, idOption, tokenOption } from './options.js'
import { exitCodeOf } from './running/child.js'
import { Sender, type SenderNews } from './sending/sender.js'
import { formatCount, paletteFor, terminalText } from './showing/paint.js'
import { type Since, sinceOption } from './since.js'
import type { Surroundings } from './surroundings.js'

interface AttachOptions {
  readonly hub: string
  readonly token?: string
  readonly session?: string
  readonly since: Since
  readonly once?: true
}

const examples = `
Examples:
  $ runcast attach claude-code                     # every Claude Code agent on this machine
  $ runcast attach claude-code codex --since 1d
  $ runcast attach ./logs                          # logs of any kind that publish --from knows
  $ runcast attach claude-code --session agents    # all of them as workers of one session

It follows the logs that coding agents write on disk, and publishes what is in them. Each agent is a session, named by the
agent's own id; with --session each is a worker of that session. Logs that changed since --since are read from their beginning;
other logs are read once they change. No line is published twice.
${exitCodesHelp}`

/** How often the logs are checked. Milliseconds. */
const lookMs = 500
/** Events of a session that are read to find the last published line. */
const lookBack = 1_000

export function attachCommand(surroundings: Surroundings): Command {
  return new Command('attach')
    .summary('publish what coding agents on this machine do')
    .description('Follows the logs that coding agents write on disk, and publishes them.')
    .argument('<what...>', 'claude-code, codex, or a directory with logs (*.jsonl, *.ndjson)')
    .addOption(hubOption(surroundings.env))
    .addOption(tokenOption())
    .option('--session <id>', 'make every agent a worker of this session', idOption)
    .addOption(
      new Option('--since <when>', 'read logs that changed since then: 10m, 2h, 3d ago, or a time')
        .argParser(sinceOption)
        .default({ kind: 'ago', ms: 60 * 60 * 1_000 }, '1h'),
    )
    .option('--once', 'publish what there is, and do not wait for more')
    .addHelpText('after', examples)
    .action(async (what: readonly string[], options: AttachOptions) => {
      process.exitCode = await attach(what, options, surroundings)
    })
}

/** A directory with logs of one kind. */
interface Place {
  readonly directory: string
  /** Absent: each log's lines determine it. */
  readonly kind: string | undefined
}

function placeOf(what: string, env: NodeJS.ProcessEnv): Place {
  if (what === 'claude-code') {
    return {
      directory: join(env['CLAUDE_CONFIG_DIR'] || join(homedir(), '.claude'), 'projects'),
      kind: 'claude-log',
    }
  }
  if (what === 'codex') {
    return { directory: join(env['CODEX_HOME'] || join(homedir(), '.codex'), 'sessions'), kind: 'codex' }
  }
  return { directory: what, kind: undefined }
}

async function attach(
  what: readonly string[],
  options: AttachOptions,
  surroundings: Surroundings,
): Promise<number> {
  const places = what.map((one) => placeOf(one, surroundings.env))
  const missing = places.find(({ directory }) => !existsSync(directory))
  if (missing !== undefined)
    throw new CommandError(exitCodes.failure, `there is no directory ${missing.directory}`)
  const hub = hubOf(options, surroundings.env)
  try {
    // Reports at once that the hub does not answer or refuses the token.
    await lookUpSession(hub, options.session ?? 'attach')
    return await new Attachment(places, hub, options, surroundings).toItsEnd()
  } finally {
    hub.close()
  }
}

/** The target of one log's events. */
interface Target {
  readonly session: string
  readonly worker: string | undefined
  readonly sender: Sender
  /** The last line that an earlier run of this command has published. */
  readonly published: number
}

class Attachment {
  readonly #places: readonly Place[]
  readonly #hub: HubHttp
  readonly #options: AttachOptions
  readonly #surroundings: Surroundings
  readonly #logs = new Map<string, AgentLog>()
  /** The sizes of logs that are too old; they are read once they grow. */
  readonly #old = new Map<string, number>()
  readonly #targets = new Map<AgentLog, Target | 'refused'>()
  readonly #senders = new Map<string, Sender>()
  /** The session of each agent, by the agent's id. */
  readonly #roots = new Map<string, string>()
  #signal: NodeJS.Signals | undefined
  #wake = (): void => {}

  constructor(places: readonly Place[], hub: HubHttp, options: AttachOptions, surroundings: Surroundings) {
    this.#places = places
    this.#hub = hub
    this.#options = options
    this.#surroundings = surroundings
  }

  /** @returns the exit code */
  async toItsEnd(): Promise<number> {
    const { stdout } = this.#surroundings
    const restore = this.#surroundings.onSignal((signal) => {
      if (this.#signal !== undefined) for (const sender of this.#senders.values()) sender.stop()
      this.#signal = signal
      this.#wake()
    })
    const oldest = this.#oldest()
    for (let grew = true; this.#signal === undefined; ) {
      this.#find(oldest)
      grew = await this.#publishAll()
      if (grew) continue
      if (this.#options.once) break
      await this.#pause()
    }
    await Promise.all([...this.#senders.values()].map((sender) => sender.drained()))
    restore()
    let events = 0
    for (const sender of this.#senders.values()) events += sender.acknowledged.events
    stdout.write(`${formatCount(events, 'event')} published from ${formatCount(this.#targets.size, 'log')}\n`)
    const refused = [...this.#targets.values()].some(
      (target) => target === 'refused' || target.sender.refused,
    )
    if (this.#signal !== undefined) return exitCodeOf(this.#signal)
    return refused ? exitCodes.hubRefused : exitCodes.ok
  }

  /** Milliseconds since 1970. */
  #oldest(): number {
    const { since } = this.#options
    if (since.kind === 'ago') return this.#surroundings.clock.now() - since.ms
    if (since.kind === 'time') return since.at
    throw new CommandError(exitCodes.usage, '--since: expected a time or how long ago, not a cursor')
  }

  #find(oldest: number): void {
    for (const { directory, kind } of this.#places) {
      for (const path of logsIn(directory)) {
        if (this.#logs.has(path)) continue
        const found = statSync(path, { throwIfNoEntry: false })
        if (found === undefined) continue
        const before = this.#old.get(path)
        if (found.mtimeMs < oldest && (before === undefined || before === found.size)) {
          this.#old.set(path, found.size)
        } else this.#logs.set(path, new AgentLog(path, kind))
      }
    }
  }

  /** @returns whether anything was read */
  async #publishAll(): Promise<boolean> {
    let any = false
    for (const log of this.#logs.values()) {
      if (this.#signal !== undefined) return false
      const events = await log.read()
      const fault = log.takeFault()
      if (fault !== undefined) this.#warn(`${log.path}: ${fault}; it is left out`)
      if (events.length === 0) continue
      any = true
      await this.#publish(log, events)
    }
    return any
  }

  async #publish(log: AgentLog, events: readonly LogEvent[]): Promise<void> {
    const { identity } = log
    if (identity === undefined) return
    let target = this.#targets.get(log)
    if (target === undefined) {
      target = await this.#targetOf(log, identity)
      this.#targets.set(log, target)
    }
    if (target === 'refused') return
    const { sender, worker: base, published } = target
    for (const { line, at, ingested } of events) {
      if (line < published) continue
      const { event, worker } = ingested
      const named = base === undefined ? worker : worker === undefined ? base : `${base}.${worker}`
      const json = JSON.stringify({ ...event, id: `${log.name}:${line}:${at}` })
      sender.push(named, { json, line })
    }
    await sender.room()
  }

  /** An agent becomes a session, or a worker of `--session` or of the session of the agent that started it. */
  async #targetOf(log: AgentLog, identity: Identity): Promise<Target | 'refused'> {
    const { session: own, parent, kind } = identity
    const short = own.replaceAll(/[^A-Za-z0-9]/g, '').slice(-8)
    const root = parent === undefined ? own : (this.#roots.get(parent) ?? parent)
    this.#roots.set(own, root)
    const given = this.#options.session
    const session = given ?? sessionIdOf(root)
    const worker =
      given !== undefined
        ? `${kind.replace('-log', '')}-${short}`
        : parent === undefined
          ? undefined
          : `agent-${short}`
    const state = await lookUpSession(this.#hub, session)
    if (state === 'ended') {
      this.#warn(`${log.path}: session ${session} has ended and takes no more events`)
      return 'refused'
    }
    if (state === 'absent' && given === undefined) await this.#name(session, log, identity)
    const published = state === 'absent' ? 0 : await this.#publishedLine(session, worker, log.name)
    const { bold, dim } = paletteFor(this.#surroundings.stdout, this.#surroundings.env)
    const place = `${this.#hub.name}/s/${session}`
    this.#surroundings.stdout.write(`${bold(terminalText(log.title ?? log.name))} ${dim(place)}\n`)
    return { session, worker, published, sender: this.#senderOf(session) }
  }

  async #name(session: string, log: AgentLog, { cwd, kind }: Identity): Promise<void> {
    const project = cwd === undefined ? undefined : basename(cwd)
    const title = [project, log.title].filter(Boolean).join(': ')
    const labels = [kind.replace(/^claude-log$/, 'claude-code'), ...(project === undefined ? [] : [project])]
    const body = JSON.stringify({ metadata: { ...(title !== '' && { title }), labels } })
    await this.#hub.ask({ method: 'PUT', path: `/api/sessions/${session}`, body })
  }

  /** @returns the number of the log's last line in the session; 0 if there is none, or it cannot be read */
  async #publishedLine(session: string, worker: string | undefined, name: string): Promise<number> {
    const topic = worker === undefined ? session : `${session}/workers/${worker}`
    const query = `order=desc&limit=${lookBack}`
    const { status, body } = await this.#hub.ask({
      method: 'GET',
      path: `/api/sessions/${topic}/history?${query}`,
    })
    if (status !== 200) return 0
    const { events } = parseObject(body) ?? {}
    for (const event of Array.isArray(events) ? (events as JsonValue[]) : []) {
      const { id } = fieldsOf(event)
      if (typeof id === 'string' && id.startsWith(`${name}:`)) return Number(id.split(':').at(-2))
    }
    return 0
  }

  #senderOf(session: string): Sender {
    let sender = this.#senders.get(session)
    if (sender === undefined) {
      const tell = (news: SenderNews): void => this.#heard(session, news)
      sender = new Sender({ hub: this.#hub, session, clock: this.#surroundings.clock, tell })
      this.#senders.set(session, sender)
    }
    return sender
  }

  #heard(session: string, news: SenderNews): void {
    if (news.kind === 'refused') this.#warn(`session ${session}: the hub refused: ${news.detail}`)
    if (news.kind === 'away') this.#warn(`the hub does not take what is published (${news.reason}); waiting`)
  }

  #warn(text: string): void {
    this.#surroundings.stderr.write(`runcast: ${terminalText(text)}\n`)
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#surroundings.clock.after(lookMs, resolve)
      this.#wake = () => {
        timer.cancel()
        resolve()
      }
    })
  }
}

/** @returns the paths of the logs below a directory, in order */
function logsIn(directory: string): string[] {
  return filesIn(directory)
    .filter((path) => /\.(jsonl|ndjson)$/.test(path))
    .toSorted()
    .map((path) => join(directory, path))
}

/** Files that may not be read, or disappear meanwhile, are skipped. */
function filesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { recursive: true, encoding: 'utf8' })
  } catch {
    return []
  }
}
