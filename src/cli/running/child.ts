import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { basename } from 'node:path'
import type { Clock, Timer } from '../../lib/clock.js'
import { withoutReturns } from '../../lib/controls.js'
import { inIdCharacters } from '../../protocol/topic.js'
import { LineSplitter } from '../showing/lines.js'
import { formatDuration } from '../showing/paint.js'
import { Stops } from './stops.js'

/** The command of a worker: text for a shell, or a program with its arguments. */
export type ChildCommand =
  | { readonly kind: 'shell'; readonly text: string }
  | { readonly kind: 'program'; readonly words: readonly [string, ...string[]] }

export type OutputStream = 'stdout' | 'stderr'

export interface Exit {
  /** As in a shell: 128 + n after signal n, 127 if the command was not found. */
  readonly code: number
  readonly signal: NodeJS.Signals | null
  readonly durationMs: number
  /** A watcher has cancelled it. */
  readonly cancelled?: true
  /** The reason that the command could not be started. */
  readonly error?: string
}

export interface ChildEvents {
  started(pid: number | null): void
  /** Pieces of output in order, each a line with its `\n`, or a part of one. */
  output(stream: OutputStream, texts: readonly string[]): void
  /** It was stopped or continued: by this process or, on Linux, by any other. */
  readonly stopped?: (isStopped: boolean) => void
  /** Once, after the last output. */
  exited(exit: Exit): void
}

/** A process that was started. */
export interface Spawned {
  /** Absent where it could not be started. */
  readonly pid: number | undefined
  /** Its output. */
  readonly outputs: readonly SpawnedOutput[]
  /** @returns whether it reads its input */
  write(text: string): boolean
  /** It is given nothing more to read. */
  endInput(): void
  /** Of its terminal, if it has one. */
  resize?(columns: number, rows: number): void
  /** @param tell is called with whether it must wait until its output is read, if its pipes do not ensure that */
  onHold?(tell: (isHeld: boolean) => void): void
  /** @param tell is called once, after the last output */
  onEnd(tell: (exit: Omit<Exit, 'durationMs'>) => void): void
}

export interface SpawnedStream {
  on(event: 'data', listener: (bytes: Buffer) => void): unknown
  pause(): unknown
  resume(): unknown
  isPaused(): boolean
}

export interface SpawnedOutput {
  readonly name: OutputStream
  readonly stream: SpawnedStream
  /** It ends lines with `\r\n`, where the command wrote `\n`. */
  readonly isTerminal?: true
}

export interface ChildOptions {
  readonly env: NodeJS.ProcessEnv
  /** Whether the command reads this process's input, or the input from `write`; otherwise its input is empty. */
  readonly input: 'inherit' | 'pipe' | 'ignore'
  readonly clock: Clock
  /** Starts it in a terminal of its own, instead of with pipes. */
  readonly terminal?: (command: ChildCommand, options: ChildOptions) => Spawned
  /** The time after which an incomplete line is shown; 1,000 by default. Milliseconds. */
  readonly unfinishedMs?: number
}

export interface Child {
  readonly ended: boolean
  /** Sends a signal to the command and all its children. Harmless after its end. */
  signal(signal: NodeJS.Signals): void
  /** Asks it to end, as Ctrl-C does; if it has not ended after this time, it is killed. Milliseconds. */
  cancel(graceMs: number): void
  /** Writes to its input. @returns whether it reads its input */
  write(text: string): boolean
  /** It is given nothing more to read. */
  endInput(): void
  /** Of its terminal, if it has one. */
  resize(columns: number, rows: number): void
  /** Pauses and resumes reading its output; the command waits when its pipe is full. */
  pause(): void
  resume(): void
}

/** A longer line comes in pieces. Escaped as JSON, a piece stays well below the hub's limit for a line. */
const pieceCharactersMax = 16 * 1024
/** The time after which an incomplete line is shown, such as a prompt or a row of dots. */
const unfinishedMsDefault = 1_000

export function startChild(command: ChildCommand, options: ChildOptions, events: ChildEvents): Child {
  const { clock } = options
  const startedAt = clock.elapsed()
  const spawned = options.terminal?.(command, options) ?? spawnCommand(command, options)
  const { pid } = spawned
  const unfinishedMs = options.unfinishedMs ?? unfinishedMsDefault
  const readings = spawned.outputs.map((output) => readLines(output, { clock, unfinishedMs }, events))
  events.started(pid ?? null)
  let ended = false
  let cancelled = false
  let killing: Timer | undefined
  const stops = pid === undefined ? undefined : new Stops(pid, clock, events.stopped)
  spawned.onHold?.((isHeld) => {
    if (pid === undefined || ended) return
    stops?.held(isHeld)
    if (isHeld) signalGroup(pid, 'SIGSTOP')
    else if (stops?.isStopped !== true) signalGroup(pid, 'SIGCONT')
  })
  spawned.onEnd((exit) => {
    if (ended) return
    ended = true
    killing?.cancel()
    stops?.end()
    for (const reading of readings) reading.end()
    const durationMs = Math.round(clock.elapsed() - startedAt)
    events.exited({ ...exit, durationMs, ...(cancelled && { cancelled }) })
  })
  const signal = (name: NodeJS.Signals): void => {
    if (ended || pid === undefined) return
    signalGroup(pid, name)
    if (name === 'SIGSTOP' || name === 'SIGCONT') stops?.told(name === 'SIGSTOP')
  }
  return {
    get ended() {
      return ended
    },
    signal,
    cancel(graceMs) {
      cancelled = true
      signal('SIGINT')
      // A paused command could not end.
      if (process.platform !== 'win32') signal('SIGCONT')
      killing ??= clock.after(graceMs, () => signal('SIGKILL'))
    },
    write: (text) => !ended && spawned.write(text),
    endInput: () => spawned.endInput(),
    resize: (columns, rows) => spawned.resize?.(columns, rows),
    pause: () => readings.forEach((reading) => reading.pause()),
    resume: () => readings.forEach((reading) => reading.resume()),
  }
}

function spawnCommand(command: ChildCommand, options: ChildOptions): Spawned {
  const spawnOptions = {
    env: options.env,
    stdio: [options.input, 'pipe', 'pipe'] as [ChildOptions['input'], 'pipe', 'pipe'],
    // A process group of its own: Ctrl-C reaches it only through this process, and signals reach all its children.
    detached: process.platform !== 'win32',
  }
  const [program, ...words] = command.kind === 'program' ? command.words : [command.text]
  const child: ChildProcess = spawn(program, words, { ...spawnOptions, shell: command.kind === 'shell' })
  // A command that no longer reads its input is not an error.
  child.stdin?.on('error', () => {})
  return {
    pid: child.pid,
    outputs: (['stdout', 'stderr'] as const).flatMap((name) => {
      const stream = child[name]
      return stream === null ? [] : { name, stream }
    }),
    write(text) {
      if (child.stdin === null || !child.stdin.writable) return false
      child.stdin.write(text)
      return true
    },
    endInput: () => child.stdin?.end(),
    onEnd(tell) {
      child.on('error', (error) => {
        if (child.pid !== undefined) return
        const missing = 'code' in error && error.code === 'ENOENT'
        tell({
          code: missing ? 127 : 126,
          signal: null,
          error: missing ? 'command not found' : error.message,
        })
      })
      // Not `exit`: children that are still running may write to its pipes.
      child.on('close', (code, signal) => tell({ code: code ?? exitCodeOf(signal), signal }))
    },
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(process.platform === 'win32' ? pid : -pid, signal)
  } catch (error) {
    // The group has just ended.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

interface Reading {
  pause(): void
  resume(): void
  end(): void
}

/** @returns the line with `\n` alone at its end, where a terminal has `\r\n` */
function withNewline(text: string): string {
  return text.endsWith('\r\n') ? `${withoutReturns(text.slice(0, -1))}\n` : text
}

function readLines(
  { name, stream, isTerminal }: SpawnedOutput,
  { clock, unfinishedMs }: { readonly clock: Clock; readonly unfinishedMs: number },
  events: ChildEvents,
): Reading {
  const lines = new LineSplitter(pieceCharactersMax)
  let timer: Timer | undefined
  const give = (texts: readonly string[]): void => {
    if (texts.length === 0) return
    events.output(name, isTerminal ? texts.map(withNewline) : texts)
  }
  // By age, regardless of further output: a progress bar may write for hours without a newline.
  const hold = (): void => {
    if (!lines.unfinished || stream.isPaused()) {
      timer?.cancel()
      timer = undefined
      return
    }
    timer ??= clock.after(unfinishedMs, () => {
      timer = undefined
      give([lines.take()])
      hold()
    })
  }
  stream.on('data', (bytes: Buffer) => {
    give(lines.write(bytes))
    hold()
  })
  return {
    pause() {
      stream.pause()
      hold()
    },
    resume() {
      stream.resume()
      hold()
    },
    end() {
      timer?.cancel()
      give(lines.end())
    },
  }
}

/** @returns 128 + n for signal n, what a shell reports */
export function exitCodeOf(signal: NodeJS.Signals | null): number {
  return 128 + (signal === null ? 0 : constants.signals[signal])
}

/** @returns a description of an exit: its kind, and the duration */
export function exitText(exit: Omit<Exit, 'signal'> & { readonly signal: string | null }): {
  readonly how: string
  readonly after: string
} {
  const after = ` after ${formatDuration(exit.durationMs)}`
  if (exit.cancelled) return { how: '✗ cancelled', after }
  if (exit.code === 0) return { how: '✓ done', after }
  const how = exit.error ?? (exit.signal === null ? `exited with ${exit.code}` : `ended by ${exit.signal}`)
  return { how: `✗ ${how}`, after }
}

/** @returns the command as one would type it */
export function commandText(command: ChildCommand): string {
  if (command.kind === 'shell') return command.text
  return command.words
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(' ')
}

/** @returns the default name of a command's worker: that of its program */
export function workerNameOf(command: ChildCommand): string {
  const program = command.kind === 'shell' ? (command.text.trim().split(/\s+/, 1)[0] ?? '') : command.words[0]
  return inIdCharacters(basename(program)).slice(0, 128) || 'command'
}
