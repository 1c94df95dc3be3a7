import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { freePorts, startProcess } from '../peers/process.js'

/** Redis, which ends with this process. */
export interface Engine {
  readonly pid: number
  readonly url: string
}

/** Starts a Redis that keeps nothing on disk: what the disk costs is another question. */
export async function startEngine(): Promise<Engine> {
  const [port = 0] = await freePorts(1)
  const { pid, publisher } = await startProcess(
    (dir) => ['redis-server', '--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', ''],
    port,
  )
  publisher.end()
  return { pid, url: `redis://127.0.0.1:${port}` }
}

/** Starts further hubs over an engine; they end with this process. */
export async function otherHubs({ url }: Engine, count: number) {
  const file = fileURLToPath(new URL('further-hub.ts', import.meta.url))
  const children = Array.from({ length: count }, () => fork(file, [url], { execArgv: process.execArgv }))
  process.once('exit', () => {
    for (const child of children) child.kill('SIGKILL')
  })
  return {
    ports: await Promise.all(children.map(portOf)),
    pids: children.flatMap(({ pid }) => pid ?? []),
  }
}

async function portOf(child: ChildProcess): Promise<number> {
  const [port] = await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(() => Promise.reject(new Error('a hub of the bench ended before it was ready'))),
  ])
  return port as number
}
