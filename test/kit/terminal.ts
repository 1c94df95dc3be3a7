import { type ChildProcess, spawn } from 'node:child_process'
import type { Test } from 'tap'
import { until } from './wait.js'

export interface Terminal {
  readonly process: ChildProcess
  /** What has been shown so far. */
  shown(): string
  /** Waits until a text is shown, as long as a build takes on a busy machine. */
  shows(text: string | RegExp): Promise<void>
  /** @returns the exit code */
  readonly ended: Promise<number | null>
  /** Ctrl-C, for all that runs in it. */
  stop(): Promise<void>
}

/** What the test runner, and npm, add for all that they start. */
const asInATerminal = 'unset NODE_OPTIONS FORCE_COLOR ${!npm_*} ${!TAP*} ${!_TAPJS*}'

export interface Typing {
  readonly cwd: string
  /** Where the hub is that the text has at port 4600. */
  readonly port: number
  readonly env?: Readonly<Record<string, string>>
}

/** Types commands into a terminal of their own, which ends with the test. */
export function type(t: Test, text: string, { cwd, port, env: own = {} }: Typing): Terminal {
  const env = { ...process.env, RUNCAST_HUB: `http://127.0.0.1:${port}`, NO_COLOR: '1', ...own }
  const typed = text.replaceAll('127.0.0.1:4600', `127.0.0.1:${port}`)
  const child = spawn('bash', ['-c', `${asInATerminal}\n${typed}`], {
    cwd,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let all = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (part: string) => {
      all += part
    })
  }
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  const kill = (signal: NodeJS.Signals) => {
    try {
      process.kill(-(child.pid as number), signal)
    } catch {
      // All of it has ended.
    }
  }
  t.teardown(() => kill('SIGKILL'))
  return {
    process: child,
    shown: () => all,
    shows: (wanted) =>
      until(
        `${wanted} is shown by ${typed.slice(0, 60)}`,
        () => (typeof wanted === 'string' ? all.includes(wanted) : wanted.test(all)),
        240_000,
      ).catch((error: Error) => {
        throw new Error(`${error.message}; shown was: ${all.slice(-2_000)}`)
      }),
    ended,
    async stop() {
      kill('SIGINT')
      await ended
    },
  }
}
