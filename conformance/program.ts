import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'

/** Within this time a program must be ready. Milliseconds. */
const startMsMax = 60_000

export interface ProgramOptions extends Pick<SpawnOptions, 'cwd'> {
  /** What it prints to its standard output when it is ready. */
  readonly ready: RegExp
}

/** A server in a process of its own. */
export class Program {
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#exited = once(child, 'exit')
  }

  /** @throws Error when it ends, or is not ready in time */
  static async start(
    command: string,
    words: readonly string[],
    { ready, ...options }: ProgramOptions,
  ): Promise<Program> {
    // A test runner's hooks into this process are none of the program's.
    const { NODE_OPTIONS: _, ...env } = process.env
    const child = spawn(command, words, { env, ...options, stdio: ['ignore', 'pipe', 'inherit'] })
    const program = new Program(child)
    let printed = ''
    const isReady = new Promise<boolean>((resolve) => {
      const timer = setTimeout(resolve, startMsMax, false)
      const end = (result: boolean): void => {
        clearTimeout(timer)
        resolve(result)
      }
      child.once('exit', () => end(false))
      child.stdout?.on('data', (chunk: Buffer) => {
        printed += chunk
        if (ready.test(printed)) end(true)
      })
    })
    if (await isReady) return program
    await program.end('SIGKILL')
    throw new Error(`${command} is not ready; it printed: ${printed || 'nothing'}`)
  }

  /** Ends it, and waits until it has ended. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill(signal)
    await this.#exited
  }
}

/** A port of the loopback interface that is free at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
