import { readSync } from 'node:fs'
import { constants } from 'node:os'
import type { Readable } from 'node:stream'
import type { IPty } from '@lydell/node-pty'
import type { ChildCommand, ChildOptions, Exit, Spawned, SpawnedStream } from './child.js'
import { CommandError, exitCodes } from './exit-codes.js'
import { reasonOf } from './hub-http.js'

type Pty = typeof import('@lydell/node-pty')

/** Ctrl-D, which a terminal takes as the end of what is typed. */
const endOfInput = '\u0004'

/** What is kept of a command whose output is not being read; then the command is stopped. Bytes. */
const heldBytesMax = 1024 * 1024

/** What is passed on within one turn. Bytes. */
const pieceBytes = 4 * 1024

/** Starts a command in a terminal of its own. */
export type Terminals = (command: ChildCommand, options: ChildOptions, size: TerminalSize) => Spawned

/** Of a terminal, in characters. */
export interface TerminalSize {
  readonly columns: number
  readonly rows: number
}

/**
 * @returns what starts commands in terminals of their own
 * @throws CommandError where the package for it is not installed, or has no build for this platform
 */
export async function loadTerminals(
  load: () => Promise<Pty> = () => import('@lydell/node-pty'),
): Promise<Terminals> {
  let pty: Pty
  try {
    pty = await load()
  } catch (error) {
    const [reason = ''] = reasonOf(error).split('\n')
    throw new CommandError(
      exitCodes.failure,
      `--pty needs the optional package @lydell/node-pty, which does not load here (${reason}). Install it with: npm install @lydell/node-pty`,
    )
  }
  return (command, options, size) => spawnInTerminal(pty, command, options, size)
}

function spawnInTerminal(
  pty: Pty,
  command: ChildCommand,
  { env, input }: ChildOptions,
  { columns, rows }: TerminalSize,
): Spawned {
  const [program, words] = shellOf(command)
  const terminal = pty.spawn(program, words, {
    name: env['TERM'] ?? 'xterm-256color',
    cols: columns,
    rows,
    cwd: process.cwd(),
    env,
    // Bytes as they come: lines are put together elsewhere.
    encoding: null,
  })
  const output = new HeldOutput()
  // Without an encoding it gives what it has read.
  terminal.onData((bytes: unknown) => output.take(bytes as Buffer))
  readRestBeforeClose(terminal, output)
  if (input === 'ignore') terminal.write(endOfInput)
  return {
    pid: terminal.pid,
    outputs: [{ name: 'stdout', stream: output, isTerminal: true }],
    onHold: (tell) => output.onHold(tell),
    write(text) {
      if (input === 'ignore') return false
      // Enter is a carriage return; the terminal makes a newline of it for those who read lines.
      terminal.write(text.replaceAll('\n', '\r'))
      return true
    },
    endInput: () => terminal.write(endOfInput),
    resize: (nowColumns, nowRows) => terminal.resize(nowColumns, nowRows),
    onEnd: (tell) => terminal.onExit((exit) => output.onceRead(() => tell(exitOf(exit)))),
  }
}

/**
 * Node takes a terminal to be at its end once nobody has it open any more and a read brought less than was asked for, and
 * one brings some 4 KiB at most: what its command printed last would be lost. It is read here, before the terminal is closed.
 */
function readRestBeforeClose(terminal: IPty, output: HeldOutput): void {
  const { fd, _socket: socket } = terminal as { fd?: number; _socket?: Pick<Readable, 'destroy'> }
  if (socket === undefined || fd === undefined) return
  const destroy = socket.destroy.bind(socket)
  socket.destroy = (error?: Error) => {
    socket.destroy = destroy
    const bytes = Buffer.alloc(64 * 1024)
    try {
      for (let count = 1; count > 0; ) {
        count = readSync(fd, bytes)
        output.take(Buffer.from(bytes.subarray(0, count)))
      }
    } catch {
      // At the end (EIO), or somebody else has it open still (EAGAIN).
    }
    return destroy(error)
  }
}

/**
 * What a terminal has printed and nobody has read. The package loses what it has in hand when a terminal that is not being
 * read comes to its end, so it is read always.
 */
class HeldOutput implements SpawnedStream {
  readonly #chunks: Buffer[] = []
  #bytes = 0
  #isPaused = false
  #isFull = false
  #listener: ((bytes: Buffer) => void) | undefined
  #hold: ((isFull: boolean) => void) | undefined
  #read: (() => void) | undefined
  #isFlowing = false
  on(_: 'data', listener: (bytes: Buffer) => void): void {
    this.#listener = listener
    this.#flow()
  }

  /** @param tell whether the command is to wait, for nothing more is kept */
  onHold(tell: (isFull: boolean) => void): void {
    this.#hold = tell
  }

  /** Calls `task` when all has been read that came before. */
  onceRead(task: () => void): void {
    this.#read = () => {
      this.#read = undefined
      task()
    }
    this.#flow()
  }

  take(bytes: Buffer): void {
    for (let from = 0; from < bytes.length; from += pieceBytes) {
      this.#chunks.push(bytes.subarray(from, from + pieceBytes))
    }
    this.#bytes += bytes.length
    this.#flow()
    if (this.#bytes <= heldBytesMax) return
    // Again, where somebody has let it go on meanwhile.
    this.#isFull = true
    this.#hold?.(true)
  }

  isPaused(): boolean {
    return this.#isPaused
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    this.#flow()
  }

  #flow(): void {
    if (this.#isFlowing) return
    this.#isFlowing = true
    setImmediate(() => {
      this.#isFlowing = false
      this.#passOn()
    })
  }

  #passOn(): void {
    if (this.#isPaused || this.#listener === undefined) return
    const bytes = this.#chunks.shift()
    if (bytes !== undefined) {
      this.#bytes -= bytes.length
      this.#listener(bytes)
    }
    if (this.#chunks.length > 0) return this.#flow()
    if (this.#isFull) {
      this.#isFull = false
      this.#hold?.(false)
    }
    this.#read?.()
  }
}

/** Through a shell, which says that there is no such command, and ends with 127. */
function shellOf(command: ChildCommand): [string, string[]] {
  if (process.platform === 'win32') {
    const words = command.kind === 'shell' ? [command.text] : command.words
    return ['cmd.exe', ['/d', '/s', '/c', ...words]]
  }
  if (command.kind === 'shell') return ['/bin/sh', ['-c', command.text]]
  return ['/bin/sh', ['-c', 'exec "$0" "$@"', ...command.words]]
}

function exitOf({
  exitCode,
  signal,
}: Parameters<Parameters<IPty['onExit']>[0]>[0]): Omit<Exit, 'durationMs'> {
  if (!signal) return { code: exitCode, signal: null }
  const [name] = Object.entries(constants.signals).find(([, number]) => number === signal) ?? []
  return { code: 128 + signal, signal: (name ?? null) as NodeJS.Signals | null }
}
