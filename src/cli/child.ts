import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { basename } from 'node:path'
import type { Clock, Timer } from '../lib/clock.js'
import { LineSplitter } from './lines.js'
import { formatDuration } from './paint.js'

/** What a worker runs: text for a shell, or a program with its arguments as they are. */
export type ChildCommand =
  | { readonly kind: 'shell'; readonly text: string }
  | { readonly kind: 'program'; readonly words: readonly [string, ...string[]] }

export type OutputStream = 'stdout' | 'stderr'

export interface Exit {
  /** As a shell would say it: 128 + n after signal n, 127 when the command was not found. */
  readonly code: number
  readonly signal: NodeJS.Signals | null
  readonly durationMs: number
  /** Somebody who watches has cancelled it. */
  readonly cancelled?: true
  /** Why the command could not be started at all. */
  readonly error?: string
}

export interface ChildEvents {
  started(pid: number | null): void
  /** Pieces of output in order, each a line with its `\n`, or a part of one. */
  output(stream: OutputStream, texts: readonly string[]): void
  /** Once, after the last output. */
  exited(exit: Exit): void
}

export interface ChildOptions {
  readonly env: NodeJS.ProcessEnv
  /** Whether the command reads what we were given, or what `write` gives it; otherwise it finds its input empty. */
  readonly input: 'inherit' | 'pipe' | 'ignore'
  readonly clock: Clock
}

export interface Child {
  readonly ended: boolean
  /** To the command and all that it started. Harmless after its end. */
  signal(signal: NodeJS.Signals): void
  /** Asks it to end, as Ctrl-C does; one that has not ended after so long is killed. Milliseconds. */
  cancel(graceMs: number): void
  /** Gives it text to read. @returns whether it reads any */
  write(text: string): boolean
  /** Stops and goes on reading its output: it waits when its pipe is full. */
  pause(): void
  resume(): void
}

/** A longer line comes in pieces. Escaped as JSON a piece stays well below what the hub takes of a line. */
const pieceCharactersMax = 16 * 1024
/** After so long without its end the beginning of a line is shown: a prompt, a row of dots. */
const unfinishedMs = 1_000

export function startChild(command: ChildCommand, options: ChildOptions, events: ChildEvents): Child {
  const { clock } = options
  const startedAt = clock.now()
  const process_ = spawnCommand(command, options)
  const streams = [readLines(process_, 'stdout', clock, events), readLines(process_, 'stderr', clock, events)]
  events.started(process_.pid ?? null)
  let ended = false
  let cancelled = false
  let killing: Timer | undefined
  // One that reads nothing more is no fault of ours.
  process_.stdin?.on('error', () => {})
  const exited = (exit: Omit<Exit, 'durationMs'>): void => {
    if (ended) return
    ended = true
    killing?.cancel()
    for (const stream of streams) stream.end()
    const durationMs = clock.now() - startedAt
    events.exited({ ...exit, durationMs, ...(cancelled && { cancelled }) })
  }
  process_.on('error', (error) => {
    if (process_.pid !== undefined) return
    const missing = 'code' in error && error.code === 'ENOENT'
    exited({ code: missing ? 127 : 126, signal: null, error: missing ? 'command not found' : error.message })
  })
  // Not `exit`: what the command left running may still write to its pipes.
  process_.on('close', (code, signal) => exited({ code: code ?? exitCodeOf(signal), signal }))
  const signal = (name: NodeJS.Signals): void => {
    if (!ended && process_.pid !== undefined) signalGroup(process_.pid, name)
  }
  return {
    get ended() {
      return ended
    },
    signal,
    cancel(graceMs) {
      cancelled = true
      signal('SIGINT')
      // One that is paused could not end.
      if (process.platform !== 'win32') signal('SIGCONT')
      killing ??= clock.after(graceMs, () => signal('SIGKILL'))
    },
    write(text) {
      if (process_.stdin === null || !process_.stdin.writable) return false
      process_.stdin.write(text)
      return true
    },
    pause: () => streams.forEach((stream) => stream.pause()),
    resume: () => streams.forEach((stream) => stream.resume()),
  }
}

function spawnCommand(command: ChildCommand, options: ChildOptions): ChildProcess {
  const spawnOptions = {
    env: options.env,
    stdio: [options.input, 'pipe', 'pipe'] as [ChildOptions['input'], 'pipe', 'pipe'],
    // A process group of its own: Ctrl-C reaches it once, through us, and so do signals to all it started.
    detached: process.platform !== 'win32',
  }
  if (command.kind === 'shell') return spawn(command.text, { ...spawnOptions, shell: true })
  const [program, ...words] = command.words
  return spawn(program, words, spawnOptions)
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

function readLines(child: ChildProcess, name: OutputStream, clock: Clock, events: ChildEvents): Reading {
  const stream = child[name]
  const lines = new LineSplitter(pieceCharactersMax)
  let timer: Timer | undefined
  const give = (texts: readonly string[]): void => {
    if (texts.length > 0) events.output(name, texts)
  }
  // By age, whatever comes meanwhile: a progress bar may write for hours without a newline.
  const hold = (): void => {
    if (!lines.unfinished || stream?.isPaused()) {
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
  stream?.on('data', (bytes: Buffer) => {
    give(lines.write(bytes))
    hold()
  })
  return {
    pause() {
      stream?.pause()
      hold()
    },
    resume() {
      stream?.resume()
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

/** @returns an exit in words: how it was, and after how long */
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

/** @returns a worker's name for a command that was given none: that of its program */
export function workerNameOf(command: ChildCommand): string {
  const program = command.kind === 'shell' ? (command.text.trim().split(/\s+/, 1)[0] ?? '') : command.words[0]
  return (
    basename(program)
      .replaceAll(/[^A-Za-z0-9._~-]/g, '-')
      .slice(0, 128) || 'command'
  )
}
