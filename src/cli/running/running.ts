// Longer than 350 lines: the commands of one run, whose start, output and end share one state.

import type { Ingested } from '../../ingest/ingest.js'
import type { SecretValue } from '../../mask/values.js'
import { exitCodes } from '../exit-codes.js'
import { defaultHub, type HubHttp } from '../hub-http.js'
import { programName } from '../options.js'
import { awayText, Sender, type SenderNews } from '../sending/sender.js'
import { formatCount, formatDuration, paletteFor } from '../showing/paint.js'
import type { Surroundings } from '../surroundings.js'
import { AgentOutput, type Printed } from './agent-output.js'
import {
  type Child,
  type ChildCommand,
  type ChildOptions,
  commandText,
  type Exit,
  exitText,
  startChild,
} from './child.js'
import { HeldLeases } from './leases.js'
import { maskOfValues, secretsOfEnv } from './mask-env.js'
import { Screen } from './screen.js'
import { obey, Steering } from './steering.js'
import type { TerminalSize, Terminals } from './terminal.js'

/** The time after which the echo of typed text is shown. */
const echoMs = 50

export interface NamedCommand {
  readonly worker: string
  readonly command: ChildCommand
}

export interface RunOptions {
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
  readonly pty?: boolean
  readonly grace: number
  /** Names of variables, separated by commas; by default those that look secret. */
  readonly maskEnv?: string | true
  readonly maskOutput?: boolean
}

/** The commands of one `runcast run`. */
export interface Started {
  readonly commands: readonly NamedCommand[]
  readonly options: RunOptions
  /** Present if each command gets a terminal. */
  readonly terminals: Terminals | undefined
}

/** The commands of one `runcast run` from their start to the last acknowledgement. */
export class Run {
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
  /** Absent if watchers may not send commands. */
  readonly #steering: Steering | undefined
  /** The commands write to a pipe, and this process to a terminal. */
  readonly #colours: boolean
  readonly #terminals: Terminals | undefined
  readonly #secrets: readonly SecretValue[]
  /** Masks published values; a value without a secret is returned unchanged. */
  readonly #mask: (text: string) => string
  #signalled = false
  /** The reasons that the commands' output is not being read. */
  readonly #holds = new Set<'hub' | 'screen'>()
  #lines = 0
  #failures = 0
  #firstFailure = 0

  constructor(hub: HubHttp, session: string, started: Started, surroundings: Surroundings) {
    const { commands, options, terminals } = started
    this.#hub = hub
    this.#session = session
    this.#commands = commands
    this.#options = options
    this.#terminals = terminals
    this.#surroundings = surroundings
    this.#id = surroundings.random.id(10)
    const { maskEnv } = options
    this.#secrets = maskEnv === undefined ? [] : secretsOfEnv(surroundings.env, maskEnv)
    this.#mask =
      this.#secrets.length === 0 ? (text) => text : maskOfValues(this.#secrets, surroundings.random.id())
    this.#screen = new Screen(
      surroundings,
      commands.map(({ worker }) => worker),
    )
    this.#sender = new Sender({ hub, session, clock: surroundings.clock, tell: (news) => this.#heard(news) })
    const { stdout, env } = surroundings
    this.#colours =
      terminals === undefined &&
      stdout.isTTY === true &&
      env['FORCE_COLOR'] === undefined &&
      paletteFor(stdout, env).coloured
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
    if (this.#options.maskEnv !== undefined) await this.#registerSecrets()
    if (isNew) this.#leases.hold()
    const ended = Promise.all(this.#commands.map((named) => this.#start(named)))
    this.#follow(undefined, this.#children)
    const restore = this.#surroundings.onSignal((signal) => this.#passOn(signal))
    const takeBack = this.#handInputOn()
    this.#surroundings.stdout.on('resize', () => this.#resize())
    await ended
    takeBack()
    await this.#finish(ends)
    // A lease ends with its session.
    await this.#leases.release({ tell: !ends })
    restore()
    this.#tellSummary()
    if (this.#firstFailure !== 0) return this.#firstFailure
    if (this.#sender.refused) return exitCodes.hubRefused
    return this.#sender.waiting > 0 ? exitCodes.hubUnavailable : exitCodes.ok
  }

  /** The hub also masks the values, even if one is split over two lines or others publish it. */
  async #registerSecrets(): Promise<void> {
    const { palette } = this.#screen
    const secrets = this.#secrets
    if (secrets.length === 0)
      return this.#screen.tell(palette.yellow('no variable of the environment looks secret'))
    const path = `/api/sessions/${this.#session}/secrets`
    const body = JSON.stringify({ values: secrets })
    const request = { method: 'POST', path, body, contentType: 'application/json' } as const
    const answer = await this.#hub.ask(request).catch(() => undefined)
    const by = answer !== undefined && answer.status < 400 ? '' : ', here alone: the hub does not know them'
    this.#screen.tell(palette.dim(`${formatCount(secrets.length, 'secret')} of the environment masked${by}`))
  }

  #passOn(signal: NodeJS.Signals): void {
    // After the commands only the hub is waited for.
    if (this.#children.every((child) => child.ended)) return this.#sender.stop()
    for (const child of this.#children) child.signal(this.#signalled ? 'SIGKILL' : signal)
    this.#screen.tell(this.#signalled ? 'killed' : `${signal} passed on; again to kill`)
    this.#signalled = true
    // A command that waits for its output to be read could not end.
    this.#letEnd(this.#children)
  }

  /** Applies the commands that are sent to the worker or the session. */
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
    const isOnly = this.#commands.length === 1
    if (this.#options.input === true || (isOnly && this.#terminals !== undefined)) return 'pipe'
    return isOnly ? 'inherit' : 'ignore'
  }

  /**
   * Passes this process's input to the only command, unless the command reads it itself.
   *
   * @returns a function that ends it
   */
  #handInputOn(): () => void {
    const [child] = this.#children
    if (this.#input !== 'pipe' || this.#children.length > 1 || child === undefined) return () => {}
    const { stdin } = this.#surroundings
    const pass = (text: string): void => void child.write(text)
    // With --input more may come from watchers.
    const end = (): void => {
      if (this.#options.input !== true) child.endInput()
    }
    const isRaw = this.#isTyped
    if (isRaw) stdin.setRawMode(true)
    stdin.setEncoding('utf8').on('data', pass).on('end', end).on('error', end)
    return () => {
      stdin.off('data', pass).off('end', end).pause()
      if (isRaw) stdin.setRawMode(false)
      stdin.unref?.()
    }
  }

  /** Whether a person types the input of the only command in its terminal. */
  get #isTyped(): boolean {
    return (
      this.#terminals !== undefined && this.#commands.length === 1 && this.#surroundings.stdin.isTTY === true
    )
  }

  /** The columns of the commands' terminals: this terminal's without the names. */
  get #size(): TerminalSize {
    const { stdout } = this.#surroundings
    const { columns = 80, rows = 24 } = stdout.isTTY === true ? stdout : {}
    return { columns: Math.max(columns - this.#screen.prefixWidth, 20), rows }
  }

  #resize(): void {
    const { columns, rows } = this.#size
    for (const child of this.#children) child.resize(columns, rows)
  }

  #start({ worker, command }: NamedCommand): Promise<void> {
    const { clock, env } = this.#surroundings
    const text = commandText(command)
    let count = 0
    const publish = (type: string, data: string): void => {
      const line = ++count
      const json = `{"type":"${type}","id":"${this.#id}-${worker}-${line}","time":${clock.now()},"data":${data}}`
      this.#sender.push(worker, { json: this.#mask(json), line })
    }
    const { from } = this.#options
    const agent = from === undefined ? undefined : new AgentOutput(from, worker)
    const publishMeant = ({ event, worker: named = worker }: Ingested): void => {
      const line = ++count
      const json = JSON.stringify({ ...event, id: `${this.#id}-${worker}-${line}`, time: clock.now() })
      this.#sender.push(named, { json: this.#mask(json), line })
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
          ...this.#inTerminal,
        },
        {
          started: (pid) => {
            publish('process.started', JSON.stringify({ command: text, pid, cwd: process.cwd() }))
            this.#leases.hold(worker)
          },
          output: (stream, texts) => {
            publishOutput(stream, agent !== undefined && stream === 'stdout' ? agent.take(texts) : texts)
            this.#lines += texts.length
            const isMasked = this.#options.maskOutput === true
            this.#screen.show(worker, stream, isMasked ? texts.map(this.#mask) : texts)
            if (this.#screen.busy) this.#hold('screen')
          },
          stopped: (isStopped) => {
            publish(isStopped ? 'process.paused' : 'process.resumed', '{}')
            this.#screen.tell(this.#screen.palette.dim(isStopped ? 'paused' : 'goes on'), worker)
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

  get #inTerminal(): Partial<ChildOptions> {
    const terminals = this.#terminals
    if (terminals === undefined) return {}
    return {
      terminal: (command, options) => terminals(command, options, this.#size),
      // Typed text is shown as soon as it is echoed.
      ...(this.#isTyped && { unfinishedMs: echoMs }),
    }
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
        // A hub that is only slower than the commands is not reported.
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
