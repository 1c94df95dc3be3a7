import { readSync } from 'node:fs'
import { constants } from 'node:os'
import type { Readable } from 'node:stream'
import type { IPty } from '@lydell/node-pty'
import { CommandError, exitCodes } from '../exit-codes.js'
import { reasonOf } from '../hub-http.js'
import type { ChildCommand, ChildOptions, Exit, Spawned, SpawnedStream } from './child.js'

type Pty = typeof import('@lydell/node-pty')

/** Ctrl-D, which a terminal takes as the end of input. */
const endOfInput = '\u0004'

/** Maximum of unread output of a command; beyond it the command is stopped. Bytes. */
const heldBytesMax = 1024 * 1024

/** Maximum of output that is passed on within one turn. Bytes. */
const pieceBytes = 4 * 1024

/** Starts a command in a terminal of its own. */
export type Terminals = (command: ChildCommand, options: ChildOptions, size: TerminalSize) => Spawned

/** The size of a terminal in characters. */
export interface TerminalSize {
  readonly columns: number
  readonly rows: number
}

/**
 * @returns a function that starts commands in terminals of their own
 * @throws CommandError if its package is not installed, or has no build for this platform
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
    // Bytes as they come; lines are joined elsewhere.
    encoding: null,
  })
  const output = new HeldOutput()
  // Without an encoding it returns bytes.
  terminal.onData((bytes: unknown) => output.take(bytes as Buffer))
  readRestBeforeClose(terminal, output)
  if (input === 'ignore') terminal.write(endOfInput)
  return {
    pid: terminal.pid,
    outputs: [{ name: 'stdout', stream: output, isTerminal: true }],
    onHold: (tell) => output.onHold(tell),
    write(text) {
      if (input === 'ignore') return false
      // Enter is a carriage return, which the terminal turns into a newline for line readers.
      terminal.write(text.replaceAll('\n', '\r'))
      return true
    },
    endInput: () => terminal.write(endOfInput),
    resize: (nowColumns, nowRows) => terminal.resize(nowColumns, nowRows),
    onEnd: (tell) => terminal.onExit((exit) => output.onceRead(() => tell(exitOf(exit)))),
  }
}

/**
 * Node considers a terminal ended when no process has it open and a read returned less than requested, and
 * a read returns at most about 4 KiB. The command's last output would be lost, so it is read here before the terminal is closed.
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
      // It has ended (EIO), or another process still has it open (EAGAIN).
    }
    return destroy(error)
  }
}

/**
 * The unread output of a terminal. The package loses its buffer when a terminal that is not being
 * read ends, so it is always read.
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

  /** @param tell is called with whether the command must wait, because nothing more is kept */
  onHold(tell: (isFull: boolean) => void): void {
    this.#hold = tell
  }

  /** Calls `task` when everything before this call has been read. */
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
    // Repeated, because another process may have continued it meanwhile.
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

/** Through a shell, which reports a missing command, and ends with 127. */
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
