import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from './free-port.js'
import { until } from './wait.js'

const program = 'redis-server'

/** Why tests that need a Redis server are skipped, or nothing when there is one. */
export function missingRedis(name = program): string | undefined {
  try {
    execFileSync(name, ['--version'], { stdio: 'ignore' })
    return undefined
  } catch {
    return `${name} is not installed`
  }
}

/** A Redis server of a test, on a free port of the loopback interface, with a directory of its own. */
export class RedisServer {
  readonly port: number
  readonly directory: string
  readonly #options: readonly string[]
  #child: ChildProcess | undefined

  private constructor(port: number, directory: string, options: readonly string[]) {
    this.port = port
    this.directory = directory
    this.#options = options
  }

  /** @param options as on the command line of `redis-server`; without, nothing is kept over a restart */
  static async start(t: Test, options: readonly string[] = []): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), mkdtempSync(join(tmpdir(), 'runcast-redis-')), options)
    t.teardown(async () => {
      await server.kill()
      rmSync(server.directory, { recursive: true, force: true })
    })
    await server.restart()
    return server
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  get pid(): number {
    const pid = this.#child?.pid
    if (pid === undefined) throw new Error('the server does not run')
    return pid
  }

  /** @returns once it answers */
  async restart(): Promise<void> {
    const base = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.directory, '--save', '']
    const child = spawn(program, [...base, '--enable-debug-command', 'yes', ...this.#options], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let said = ''
    for (const output of [child.stdout, child.stderr]) {
      output.on('data', (chunk: Buffer) => {
        said = (said + String(chunk)).slice(-4_000)
      })
    }
    this.#child = child
    await until('redis-server answers', async () => {
      if (child.exitCode !== null) throw new Error(`redis-server ended: ${said}`)
      return (await this.command('PING').catch(() => '')).includes('PONG')
    })
  }

  /** Kills it as a loss of the process does. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.on('exit', resolve))
    child.kill('SIGKILL')
    await gone
  }

  /** Sends one command over a connection of its own. @returns what came, as it came (RESP) */
  command(...words: readonly string[]): Promise<string> {
    return redisCommand(this.port, ...words)
  }
}

/** @returns the answer to one command, as it came (RESP), once it is whole */
export function redisCommand(port: number, ...words: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let answer = ''
    socket.on('error', reject)
    socket.on('data', (chunk) => (answer += String(chunk)))
    socket.on('close', () => (answer === '' ? reject(new Error('no answer')) : resolve(answer)))
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
    // The server closes once it has answered.
    socket.write(`*${words.length}\r\n${parts.join('')}*1\r\n$4\r\nQUIT\r\n`)
  })
}
