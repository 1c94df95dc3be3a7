import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const startMs = 10_000

/** A server that is not a Node program, and the connection by which the bench publishes to it. */
export interface ServerProcess {
  readonly pid: number
  readonly publisher: net.Socket
}

/**
 * Starts a server; it ends with this process.
 *
 * @param command makes its command line for a folder of its own
 * @param port where it takes what is published
 * @throws Error when nobody listens there in time
 */
export async function startProcess(command: (dir: string) => string[], port: number): Promise<ServerProcess> {
  const dir = mkdtempSync(join(tmpdir(), 'runcast-bench-'))
  const [program = '', ...args] = command(dir)
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  process.once('exit', () => {
    child.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true })
  })
  const publisher = await untilListening(child, port)
  // Answers to what is published are not looked at: deliveries tell.
  publisher.resume()
  return { pid: child.pid as number, publisher }
}

async function untilListening(child: ChildProcess, port: number): Promise<net.Socket> {
  const deadline = performance.now() + startMs
  for (;;) {
    const socket = await dial(port)
    if (socket !== undefined) return socket
    if (child.exitCode !== null) throw new Error(`${child.spawnfile} ended with ${child.exitCode}`)
    if (performance.now() > deadline) throw new Error(`${child.spawnfile} does not listen`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

function dial(port: number): Promise<net.Socket | undefined> {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
    socket.once('connect', () => resolve(socket))
    socket.once('error', () => resolve(undefined))
  })
}

/** @returns ports of the loopback interface that nobody had a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => net.createServer())
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) => {
          server.listen(0, '127.0.0.1', () => resolve((server.address() as net.AddressInfo).port))
        }),
    ),
  )
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}
