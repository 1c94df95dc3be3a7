// Longer than 350 lines: one `runcast run` from its first command to its exit code.

// Longer than 350 lines: the commands of one run, whose start, output and end share one state.

import { Command, InvalidArgumentError, Option } from 'commander'
import type { Ingested } from '../ingest/ingest.js'
import { ingestNames } from '../ingest/translate.js'
import { AgentOutput, type Printed } from './agent-output.js'
import {
  type Child,
  type ChildCommand,
  commandText,
  type Exit,
  exitText,
  startChild,
  workerNameOf,
} from './child.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { defaultHub, type HubHttp, lookUpSession, problemOf } from './hub-http.js'
import { HeldLeases } from './leases.js'
import {
  hubOf,
  hubOption,
  idOption,
  newSessionId,
  programName,
  secondsOption,
  tokenOption,
} from './options.js'
import { formatCount, formatDuration, paletteFor } from './paint.js'
import { Screen } from './screen.js'
import { awayText, Sender, type SenderNews } from './sender.js'
import { obey, Steering } from './steering.js'
import type { Surroundings } from './surroundings.js'

interface NamedCommand {
  readonly worker: string
  readonly command: ChildCommand
}

interface RunOptions {
  readonly hub: string
  readonly token?: string
  readonly session?: string
  readonly worker?: readonly NamedCommand[]
  readonly keepOpen?: boolean
  readonly end?: boolean
  readonly replace?: boolean
  readonly from?: string
  readonly wait: number
  readonly commands: boolean
  readonly input?: boolean
  readonly grace: number
}

const examples = `
Examples:
  $ runcast run -- npm test
  $ runcast run --session build-42 \\
      --worker lint='npm run lint' --worker test='npm test' --worker list='ls -R | head'
  $ runcast run --from claude-code -- claude -p --output-format stream-json --verbose 'fix the tests'
  $ runcast tail build-42                      # watch it from another terminal

Each command is a worker of the session; its output is published line by line. A command after -- is started directly; the
command of a --worker is run by the shell. The environment variables RUNCAST_HUB, RUNCAST_SESSION and RUNCAST_WORKER are
set for all of them. With --from the lines are the output of an agent and become its text, tools and result; other lines
stay output. Signals are passed on to all commands; a second signal kills them.

Watchers may steer the commands: runcast send SESSION[/WORKER] cancel, pause or resume, and with --input also input.

The session ends when all commands have ended, unless it existed before. The exit code is that of the first command that
failed (127: not found, 128+n: ended by signal n), else 0.
${exitCodesHelp}`

export function runCommand(surroundings: Surroundings): Command {
  return new Command('run')
    .summary('run commands in parallel and publish their output')
    .description('Runs commands in parallel, one worker each, shows their output and publishes it.')
    .argument('[command...]', 'one more command, after --')
    .addOption(hubOption(surroundings.env))
    .addOption(tokenOption())
    .option('--session <id>', 'the session to publish to (default: a new one)', idOption)
    .option('--worker <name=command>', 'a worker and its command; may be repeated', collectWorker)
    .addOption(
      new Option(
        '--from <kind>',
        'the kind of agent that the commands run; auto: detect it from the first object',
      ).choices(ingestNames),
    )
    .option('--keep-open', 'leave the session open when all commands have ended')
    .option('--end', 'end the session even if it existed before')
    .option('--replace', 'if the session has already ended, remove it and start a new one')
    .option('--no-commands', 'ignore commands of watchers')
    .option('--input', 'keep the standard input of the commands open for input from watchers')
    .option(
      '--grace <seconds>',
      'how long a cancelled command may take to end before it is killed',
      secondsOption,
      10,
    )
    .option('--wait <seconds>', 'how long to wait at the end for an unreachable hub', secondsOption, 30)
    .addHelpText('after', examples)
    .action(async (words: readonly string[], options: RunOptions) => {
      process.exitCode = await run(commandsOf(words, options.worker ?? []), options, surroundings)
    })
}

/** @returns the code of the first command that failed, or else what became of the publishing */
async function run(
  commands: readonly NamedCommand[],
  options: RunOptions,
  surroundings: Surroundings,
): Promise<number> {
  const hub = hubOf(options, surroundings.env)
  const session = options.session ?? newSessionId(surroundings.random)
  try {
    const isNew = await prepareSession(hub, session, options.replace === true)
    // Without a token everybody may, or the session could not have been looked up.
    if (hub.hasToken) for (const { worker } of commands) await expectMayPublish(hub, session, worker)
    const ends = options.end === true || (isNew && options.keepOpen !== true)
    return await new Run(hub, session, { commands, options }, surroundings).toItsEnd({ isNew, ends })
  } finally {
    hub.close()
  }
}

/**
 * @returns whether the session begins here
 * @throws CommandError when there is no hub, or the session has ended
 */
async function prepareSession(hub: HubHttp, session: string, replace: boolean): Promise<boolean> {
  const status = await lookUpSession(hub, session)
  if (status !== 'ended') return status === 'absent'
  if (!replace) {
    throw new CommandError(
      exitCodes.failure,
      `session ${session} has ended. Choose another --session, or replace it with --replace`,
    )
  }
  const answer = await hub.ask({ method: 'DELETE', path: `/api/sessions/${session}` })
  if (answer.status >= 400 && answer.status !== 404) {
    throw new CommandError(
      exitCodes.hubRefused,
      `the hub refused to remove ${session}: ${problemOf(answer).detail}`,
    )
  }
  return true
}

/** What one `runcast run` starts. */
interface Started {
  readonly commands: readonly NamedCommand[]
  readonly options: RunOptions
}

/**
 * Publishes nothing, which begins nothing either, to see whether it is refused.
 *
 * @throws CommandError before anything is started whose output nobody would get
 */
async function expectMayPublish(hub: HubHttp, session: string, worker: string): Promise<void> {
  const path = `/api/sessions/${session}/workers/${worker}/events`
  const probe = { method: 'POST', path, body: '', contentType: 'application/x-ndjson' } as const
  // A hub that has gone is waited for like later.
  const answer = await hub.ask(probe).catch(() => undefined)
  if (answer === undefined || (answer.status !== 401 && answer.status !== 403)) return
  throw new CommandError(
    exitCodes.hubRefused,
    `may not publish to ${worker} of session ${session}: ${problemOf(answer).detail}`,
  )
}

/** The commands of one `runcast run` from their start to the last acknowledgement. */
class Run {
  readonly #hub: HubHttp
  readonly #session: string
  readonly #commands: readonly NamedCommand[]
  readonly #options: RunOptions
  readonly #surroundings: Surroundings
  readonly #screen: Screen
  readonly #sender: Sender
  /** Makes the ids of the events its own. */
  readonly #id: string
  readonly #children: Child[] = []
  readonly #leases: HeldLeases
  /** Absent where nobody who watches is obeyed. */
  readonly #steering: Steering | undefined
  /** The commands write to a pipe, and we to a terminal. */
  readonly #colours: boolean
  #signalled = false
  /** Why the commands' output is not being read. */
  readonly #holds = new Set<'hub' | 'screen'>()
  #lines = 0
  #failures = 0
  #firstFailure = 0

  constructor(hub: HubHttp, session: string, { commands, options }: Started, surroundings: Surroundings) {
    this.#hub = hub
    this.#session = session
    this.#commands = commands
    this.#options = options
    this.#surroundings = surroundings
    this.#id = surroundings.random.id(10)
    this.#screen = new Screen(
      surroundings,
      commands.map(({ worker }) => worker),
    )
    this.#sender = new Sender({ hub, session, clock: surroundings.clock, tell: (news) => this.#heard(news) })
    const { stdout, env } = surroundings
    this.#colours =
      stdout.isTTY === true && env['FORCE_COLOR'] === undefined && paletteFor(stdout, env).coloured
    this.#leases = new HeldLeases(hub, surroundings.clock, session)
    this.#steering = options.commands
      ? new Steering(hub, session, (reason) =>
          this.#screen.tell(this.#screen.palette.dim(`nobody can steer this: ${reason}`)),
        )
      : undefined
    this.#screen.onDrain(() => this.#release('screen'))
  }

  /** @returns the exit code */
  async toItsEnd({ isNew, ends }: { readonly isNew: boolean; readonly ends: boolean }): Promise<number> {
    const { palette } = this.#screen
    const hub = this.#hub.name === defaultHub ? '' : ` --hub ${this.#hub.name}`
    this.#screen.tell(
      `session ${palette.bold(this.#session)}, watch it at ${this.#hub.name}/s/${this.#session} or with: ${programName(this.#surroundings.env)} tail ${this.#session}${hub}`,
    )
    if (isNew) this.#leases.hold()
    const ended = Promise.all(this.#commands.map((named) => this.#start(named)))
    this.#follow(undefined, this.#children)
    const restore = this.#surroundings.onSignal((signal) => this.#passOn(signal))
    await ended
    await this.#finish(ends)
    // With its session a lease has ended, too.
    await this.#leases.release({ tell: !ends })
    restore()
    this.#tellSummary()
    if (this.#firstFailure !== 0) return this.#firstFailure
    if (this.#sender.refused) return exitCodes.hubRefused
    return this.#sender.waiting > 0 ? exitCodes.hubUnavailable : exitCodes.ok
  }

  #passOn(signal: NodeJS.Signals): void {
    // After the commands there is only the hub to wait for.
    if (this.#children.every((child) => child.ended)) return this.#sender.stop()
    for (const child of this.#children) child.signal(this.#signalled ? 'SIGKILL' : signal)
    this.#screen.tell(this.#signalled ? 'killed' : `${signal} passed on; again to kill`)
    this.#signalled = true
    // A command that waits for its output to be read could not end.
    this.#letEnd(this.#children)
  }

  /** Obeys what is sent to the worker, or to the session. */
  #follow(worker: string | undefined, children: readonly Child[]): void {
    this.#steering?.follow(worker, (command) => {
      const refused = obey(children, command, this.#options.grace * 1_000)
      // A command that waits for its output to be read could not end.
      if (command.name === 'cancel' && refused === undefined) this.#letEnd(children)
      return refused
    })
  }

  #letEnd(children: readonly Child[]): void {
    this.#holds.clear()
    for (const child of children) child.resume()
  }

  /** The input of the commands. */
  get #input(): 'inherit' | 'pipe' | 'ignore' {
    if (this.#options.input === true) return 'pipe'
    return this.#commands.length === 1 && !process.stdin.isTTY ? 'inherit' : 'ignore'
  }

  #start({ worker, command }: NamedCommand): Promise<void> {
    const { clock, env } = this.#surroundings
    const text = commandText(command)
    let count = 0
    const publish = (type: string, data: string): void => {
      const line = ++count
      const json = `{"type":"${type}","id":"${this.#id}-${worker}-${line}","time":${clock.now()},"data":${data}}`
      this.#sender.push(worker, { json, line })
    }
    const { from } = this.#options
    const agent = from === undefined ? undefined : new AgentOutput(from, worker)
    const publishMeant = ({ event, worker: named = worker }: Ingested): void => {
      const line = ++count
      const json = JSON.stringify({ ...event, id: `${this.#id}-${worker}-${line}`, time: clock.now() })
      this.#sender.push(named, { json, line })
    }
    const publishOutput = (stream: string, printed: readonly Printed[]): void => {
      for (const piece of printed) {
        if (typeof piece !== 'string') publishMeant(piece)
        else publish('process.output', `{"stream":"${stream}","text":${JSON.stringify(piece)}}`)
      }
    }
    return new Promise((resolve) => {
      const child = startChild(
        command,
        {
          env: {
            ...env,
            ...(this.#colours && { FORCE_COLOR: '1' }),
            RUNCAST_HUB: this.#hub.name,
            RUNCAST_SESSION: this.#session,
            RUNCAST_WORKER: worker,
          },
          input: this.#input,
          clock,
        },
        {
          started: (pid) => {
            publish('process.started', JSON.stringify({ command: text, pid, cwd: process.cwd() }))
            this.#leases.hold(worker)
          },
          output: (stream, texts) => {
            publishOutput(stream, agent !== undefined && stream === 'stdout' ? agent.take(texts) : texts)
            this.#lines += texts.length
            this.#screen.show(worker, stream, texts)
            if (this.#screen.busy) this.#hold('screen')
          },
          exited: (exit) => {
            this.#leases.ended(worker)
            publishOutput('stdout', agent?.end() ?? [])
            publish('process.exited', JSON.stringify(exit))
            this.#exited(worker, exit)
            resolve()
          },
        },
      )
      this.#children.push(child)
      this.#follow(worker, [child])
      if (this.#holds.size > 0) child.pause()
    })
  }

  #exited(worker: string, exit: Exit): void {
    const { palette } = this.#screen
    const { how, after } = exitText(exit)
    if (exit.code !== 0) this.#failures++
    if (this.#firstFailure === 0) this.#firstFailure = exit.code
    this.#screen.tell((exit.code === 0 ? palette.green(how) : palette.red(how)) + palette.dim(after), worker)
  }

  /** Waits until the hub has everything, but not for ever. */
  async #finish(ends: boolean): Promise<void> {
    const sender = this.#sender
    const late = this.#surroundings.clock.after(this.#options.wait * 1000, () => {
      this.#steering?.close()
      sender.stop()
    })
    // Before the session ends, and all commands with it.
    await this.#steering?.settled()
    await (ends ? sender.end({ code: this.#firstFailure }) : sender.drained())
    late.cancel()
    sender.stop()
    this.#steering?.close()
  }

  #heard(news: SenderNews): void {
    const { palette } = this.#screen
    switch (news.kind) {
      case 'away':
        return this.#screen.tell(palette.yellow(awayText(this.#hub.name, news, 'keeping the output')))
      case 'back':
        return this.#screen.tell(
          palette.green(`the hub is back after ${formatDuration(news.awayMs)}`) +
            palette.dim(`, ${formatCount(news.waiting, 'event')} to send`),
        )
      case 'full':
        // A hub that is merely slower than the commands is no news.
        if (news.away)
          this.#screen.tell(palette.yellow('no room to keep more: the commands wait for the hub'))
        return this.#hold('hub')
      case 'room':
        return this.#release('hub')
      case 'refused':
        this.#screen.tell(
          palette.red(
            `the hub refused the output (${news.detail}); the commands go on, but nothing more is published`,
          ),
        )
        return this.#release('hub')
      default:
        return news satisfies never
    }
  }

  #hold(reason: 'hub' | 'screen'): void {
    // A killed command's last output is small, and nothing waits for it.
    if (this.#signalled) return
    if (this.#holds.size === 0) for (const child of this.#children) child.pause()
    this.#holds.add(reason)
  }

  #release(reason: 'hub' | 'screen'): void {
    if (!this.#holds.delete(reason) || this.#holds.size > 0) return
    for (const child of this.#children) child.resume()
  }

  #tellSummary(): void {
    const { palette } = this.#screen
    const parts = [formatCount(this.#commands.length, 'command')]
    if (this.#failures > 0) parts.push(palette.red(`${this.#failures} failed`))
    parts.push(formatCount(this.#lines, 'line'))
    const { waiting } = this.#sender
    if (waiting > 0) parts.push(palette.red(`${formatCount(waiting, 'event')} not taken by the hub`))
    this.#screen.tell(parts.join(palette.dim(' · ')))
  }
}

function commandsOf(words: readonly string[], workers: readonly NamedCommand[]): readonly NamedCommand[] {
  const [first, ...rest] = words
  if (first === undefined) {
    if (workers.length === 0) {
      throw new CommandError(
        exitCodes.usage,
        "nothing to run. Give a command after --, or --worker name='command'",
      )
    }
    return workers
  }
  // One word with spaces can only be meant for a shell.
  const command: ChildCommand =
    rest.length === 0 && /\s/.test(first)
      ? { kind: 'shell', text: first }
      : { kind: 'program', words: [first, ...rest] }
  const worker = workerNameOf(command)
  if (workers.some((other) => other.worker === worker)) {
    throw new CommandError(
      exitCodes.usage,
      `two workers are called ${worker}. Give the last command a --worker name too`,
    )
  }
  return [...workers, { worker, command }]
}

function collectWorker(text: string, previous: readonly NamedCommand[] = []): readonly NamedCommand[] {
  const at = text.indexOf('=')
  const command = text.slice(at + 1).trim()
  if (at < 1 || command === '') throw new InvalidArgumentError("expected name='command'.")
  const worker = idOption(text.slice(0, at))
  if (previous.some((other) => other.worker === worker)) {
    throw new InvalidArgumentError(`two workers are called ${worker}.`)
  }
  return [...previous, { worker, command: { kind: 'shell', text: command } }]
}
