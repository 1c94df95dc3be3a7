import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Log } from '../../server/operations/log.js'
import { CommandError, exitCodes } from '../exit-codes.js'
import type { Surroundings } from '../surroundings.js'

/** The environment variable that tells a process its number. */
const numberName = 'RUNCAST_PROCESS'
/** How long a process that ended waits for the next one: doubled each time, and as at first once one has lived long. */
const restartMs = 250
const restartMsMax = 10_000
const livedMs = 60_000

/** What a process says to the one that started it, once it listens. */
const listens = 'listens'

/** @returns which of several processes on one port this is, from 1; undefined if it is alone, or has started the others */
export function processNumber(env: NodeJS.ProcessEnv): number | undefined {
  return cluster.isWorker ? Number(env[numberName]) : undefined
}

/** Tells the process that started this one that it listens. */
export function sayListens(): void {
  process.send?.(listens)
}

/**
 * Of the signals of a terminal, which all processes get, only the one that started the others takes notice; it tells them
 * to end. They end as well when it is gone, and a second request changes nothing.
 */
export function asOneOfSeveral(surroundings: Surroundings): Surroundings {
  return {
    ...surroundings,
    stdin: surroundings.stdin,
    onSignal(task) {
      let isAsked = false
      const end = (): void => {
        if (isAsked) return
        isAsked = true
        task('SIGTERM')
      }
      for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)
      process.on('SIGTERM', end)
      process.on('disconnect', end)
      return () => undefined
    },
  }
}

export interface ProcessesOptions {
  readonly count: number
  readonly host: string
  readonly port: number
  readonly log: Log
}

/** Starts this command in several processes on one port, and one that ends anew. @returns the exit code */
export async function runProcesses(
  { count, host, port, log }: ProcessesOptions,
  surroundings: Surroundings,
): Promise<number> {
  const { clock } = surroundings
  await expectFree(host, port)
  const workers = new Map<number, Worker>()
  let code: number | undefined
  let listening = 0
  return new Promise<number>((resolve) => {
    const end = (asked: number, signal: NodeJS.Signals): void => {
      code ??= asked
      for (const worker of workers.values()) worker.process.kill(signal)
      if (workers.size === 0) resolve(code)
    }
    const start = (number: number, waitMs: number): void => {
      if (code !== undefined) return
      const worker = cluster.fork({ [numberName]: String(number) })
      const startedAt = clock.elapsed()
      let isListening = false
      workers.set(number, worker)
      worker.on('message', (said) => {
        if (said !== listens || isListening) return
        isListening = true
        listening += 1
        if (listening === count) log.info({ processes: count }, 'all processes listen')
      })
      worker.once('exit', (exitCode, signal) => {
        workers.delete(number)
        if (code !== undefined) {
          code = Math.max(code, exitCode ?? exitCodes.failure)
          if (workers.size === 0) resolve(code)
          return
        }
        // One that cannot begin has said why, and the others would say the same.
        if (!isListening && listening < count) return end(exitCode ?? exitCodes.failure, 'SIGTERM')
        const hasLived = clock.elapsed() - startedAt > livedMs
        const nextMs = hasLived ? restartMs : waitMs
        log.error(
          { process: number, exitCode, signal, restartMs: nextMs },
          'a process ended: another is started',
        )
        clock.after(nextMs, () => start(number, Math.min(2 * nextMs, restartMsMax)))
      })
    }
    const restore = surroundings.onSignal((signal) => {
      restore()
      // The next one ends them at once.
      surroundings.onSignal(() => end(exitCodes.failure, 'SIGKILL'))
      log.info({ signal }, 'shutting down')
      end(exitCodes.ok, 'SIGTERM')
    })
    for (let number = 1; number <= count; number++) start(number, restartMs)
  }).finally(() => cluster.disconnect())
}

/** @throws Error with the code EADDRINUSE, which processes that share a port would not get */
async function expectFree(host: string, port: number): Promise<void> {
  if (port === 0) {
    throw new CommandError(
      exitCodes.usage,
      '--processes needs a port that they share: give --port, other than 0',
    )
  }
  const probe = createServer()
  probe.listen({ host, port, exclusive: true })
  await once(probe, 'listening')
  probe.close()
  await once(probe, 'close')
}
