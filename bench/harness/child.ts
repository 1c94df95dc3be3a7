import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Ask, Calls, ServerCalls, SwarmCalls, Word } from './messages.js'
import type { Contender } from './side.js'

/** A process that the bench has started, and asks by calls. */
export class Child<C extends { [name in keyof C]: Calls[string] }> {
  readonly pid: number
  readonly port: number
  /** Where clients connect: one server, or several that are one contestant. */
  readonly ports: readonly number[]
  onProgress: (deliveries: number) => void = () => {}
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, { resolve(answer: object | null): void; reject(error: Error): void }>()
  #calls = 0

  constructor(child: ChildProcess, port: number, ports: readonly number[] = [port]) {
    this.#process = child
    this.pid = child.pid as number
    this.port = port
    this.ports = ports
    child.on('message', (word: Word) => this.#hear(word))
    child.on('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) {
        reject(new Error(`a process of the bench ended with ${code ?? signal}`))
      }
    })
  }

  /** @throws Error when the call fails, the process ends, or no answer comes within `deadlineMs` */
  ask<N extends keyof C & string>(call: N, what: C[N]['ask'], deadlineMs = 180_000): Promise<C[N]['answer']> {
    this.#calls += 1
    const id = this.#calls
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(
        () => this.#drop(id, `no answer to ${call} after ${deadlineMs} ms`),
        deadlineMs,
      )
      const settle = () => {
        clearTimeout(deadline)
        this.#waiting.delete(id)
      }
      this.#waiting.set(id, {
        resolve: (answer) => {
          settle()
          resolve(answer)
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      })
      this.#process.send({ id, call, with: what } satisfies Ask)
    })
  }

  /** Ends the process and waits until it has gone. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return
    const gone = new Promise((resolve) => this.#process.once('exit', resolve))
    // Disconnecting lets a profiled process write its profile.
    if (this.#process.connected) this.#process.disconnect()
    const impatient = setTimeout(() => this.#process.kill('SIGKILL'), 5_000)
    await gone
    clearTimeout(impatient)
  }

  kill(): void {
    this.#process.kill('SIGKILL')
  }

  #hear(word: Word): void {
    switch (word.kind) {
      case 'answer':
        return this.#waiting.get(word.id)?.resolve(word.with)
      case 'failed':
        return this.#drop(word.id, word.message)
      case 'progress':
        return this.onProgress(word.deliveries)
      case 'ready':
        return
    }
  }

  #drop(id: number, message: string): void {
    this.#waiting.get(id)?.reject(new Error(message))
  }
}

const running = new Set<ChildProcess>()

/** Ends every process that the bench has started, at once. */
export function killChildren(): void {
  for (const child of running) child.kill('SIGKILL')
}

export const cores = availableParallelism()

/** Whether processes can be bound to a core: with two cores and `taskset` (util-linux). */
export const pinned =
  cores > 1 && spawnSync('taskset', ['-c', '0,1', 'true'], { stdio: 'ignore' }).status === 0

/** Starts a server under test on the first core. */
export async function startServer(contender: Contender): Promise<Child<ServerCalls>> {
  const { file, profileFile, dist, transport, masking } = contender
  const env = {
    ...process.env,
    ...(dist !== undefined && { RUNCAST_BENCH_DIST: dist }),
    ...(transport !== undefined && { RUNCAST_BENCH_TRANSPORT: transport }),
    ...(masking !== undefined && { RUNCAST_BENCH_MASKING: masking }),
  }
  return start<ServerCalls>(file, 0, { args: profileFile === undefined ? [] : [profileFile], env })
}

/** Starts a swarm on the second core. */
export async function startSwarm(): Promise<Child<SwarmCalls>> {
  return start<SwarmCalls>('swarm/main', 1, { args: [], env: process.env })
}

async function start<C extends { [name in keyof C]: Calls[string] }>(
  name: string,
  core: number,
  { args, env }: { readonly args: readonly string[]; readonly env: NodeJS.ProcessEnv },
): Promise<Child<C>> {
  const node = ['--import', import.meta.resolve('tsx')]
  const child = fork(fileURLToPath(new URL(`../${name}.ts`, import.meta.url)), args, {
    execPath: pinned ? 'taskset' : process.execPath,
    execArgv: pinned ? ['-c', String(core), process.execPath, ...node] : node,
    env,
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  running.add(child)
  child.once('exit', () => running.delete(child))
  return new Promise((resolve, reject) => {
    const deadline = setTimeout(() => reject(new Error(`${name} did not start within 20 s`)), 20_000)
    child.once('message', (word: Word) => {
      clearTimeout(deadline)
      if (word.kind === 'ready') resolve(new Child<C>(child, word.port, word.ports))
      else reject(new Error(word.kind === 'failed' ? word.message : `${name} said ${word.kind} first`))
    })
    child.once('exit', (code) => {
      clearTimeout(deadline)
      reject(new Error(`${name} ended with ${code} before it was ready`))
    })
  })
}
