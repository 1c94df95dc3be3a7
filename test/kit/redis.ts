import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
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
  readonly #arguments: readonly string[]
  #child: ChildProcess | undefined

  private constructor(port: number, directory: string, words: readonly string[]) {
    this.port = port
    this.directory = directory
    this.#arguments = words
  }

  /** @param options as on the command line of `redis-server`; without, nothing is kept over a restart */
  static async start(t: Test, options: readonly string[] = []): Promise<RedisServer> {
    return RedisServer.#started(t, (port, directory) => [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--dir',
      directory,
      '--save',
      '',
      '--enable-debug-command',
      'yes',
      '--repl-diskless-sync-delay',
      '0',
      ...options,
    ])
  }

  /** Starts a Sentinel that watches a server by the name `main`, and needs no other to fail over. */
  static async sentinel(t: Test, master: RedisServer): Promise<RedisServer> {
    return RedisServer.#started(t, (port, directory) => {
      const lines = [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${directory}`,
        `sentinel monitor main 127.0.0.1 ${master.port} 1`,
        'sentinel down-after-milliseconds main 1000',
        'sentinel failover-timeout main 2000',
      ]
      const file = join(directory, 'sentinel.conf')
      writeFileSync(file, lines.join('\n'))
      return [file, '--sentinel']
    })
  }

  static async #started(
    t: Test,
    make: (port: number, directory: string) => readonly string[],
  ): Promise<RedisServer> {
    const port = await freePort()
    const directory = mkdtempSync(join(tmpdir(), 'runcast-redis-'))
    const server = new RedisServer(port, directory, make(port, directory))
    t.teardown(async () => {
      await server.kill()
      rmSync(directory, { recursive: true, force: true })
    })
    await server.restart()
    return server
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`
  }

  /** @returns once it answers */
  async restart(): Promise<void> {
    const child = spawn(program, [...this.#arguments], { stdio: ['ignore', 'pipe', 'pipe'] })
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

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(signal)
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

/** Makes a cluster of servers that were started with `cluster-enabled`. */
export async function joinCluster(servers: readonly RedisServer[]): Promise<void> {
  const places = servers.map(({ port }) => `127.0.0.1:${port}`)
  await redisCli('--cluster', 'create', ...places, '--cluster-yes')
  for (const server of servers) {
    await until('the cluster is whole', async () =>
      (await server.command('CLUSTER', 'INFO')).includes('cluster_state:ok'),
    )
  }
}

/** @returns what `redis-cli` prints */
export async function redisCli(...words: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('redis-cli', [...words])
  return stdout
}

/** @returns the answer to one command, as it came (RESP), once it is whole */
export function redisCommand(port: number, ...words: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let answer = ''
    socket.on('error', reject)
    // One that was stopped never answers.
    socket.setTimeout(5_000, () => socket.destroy(new Error('no answer')))
    socket.on('close', () => reject(new Error('no answer')))
    socket.on('data', (chunk) => {
      answer += String(chunk)
      // A second command shows that the first is answered; Sentinel knows no QUIT.
      if (!/(\+PONG|-[A-Z]+ [^\r]*)\r\n$/.test(answer)) return
      resolve(answer.replace(/(?<!^)\+PONG\r\n$/, ''))
      socket.destroy()
    })
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
    socket.write(`*${words.length}\r\n${parts.join('')}*1\r\n$4\r\nPING\r\n`)
  })
}
