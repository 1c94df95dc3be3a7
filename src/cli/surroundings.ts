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

/** What the commands are given of the process they run in. */
export interface Surroundings {
  readonly clock: Clock
  readonly random: Random
  readonly env: NodeJS.ProcessEnv
  readonly stdin: Input
  readonly stdout: Output
  readonly stderr: Output
  /**
   * Calls `task` on every signal that asks the process to end, instead of ending it.
   *
   * @returns what restores the default
   */
  onSignal(task: (signal: NodeJS.Signals) => void): () => void
  /** Calls `task` on every error that nobody caught, instead of ending the process. */
  onFault(task: (error: unknown) => void): void
  /** Ends the process at once. */
  exit(code: number): void
}
