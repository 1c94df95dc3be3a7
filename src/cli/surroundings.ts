import type { Writable } from 'node:stream'
import type { Clock } from '../lib/clock.js'
import type { Random } from '../lib/random.js'

/** An output stream of the process. */
export type Output = Writable & {
  readonly isTTY?: boolean
  readonly columns?: number
  readonly rows?: number
}

/** The input of the process. */
export type Input = NodeJS.ReadStream

/** The parts of the process that commands use. */
export interface Surroundings {
  readonly clock: Clock
  readonly random: Random
  readonly env: NodeJS.ProcessEnv
  readonly stdin: Input
  readonly stdout: Output
  readonly stderr: Output
  /**
   * Calls `task` on every signal to end the process, instead of ending it.
   *
   * @returns a function that restores the default
   */
  onSignal(task: (signal: NodeJS.Signals) => void): () => void
  /** Calls `task` on every uncaught error, instead of ending the process. */
  onFault(task: (error: unknown) => void): void
  /** Ends the process at once. */
  exit(code: number): void
}
