import type { Log } from '../../server/operations/log.js'
import { exitCodes } from '../exit-codes.js'
import type { Surroundings } from '../surroundings.js'

/** The reason that a hub ends: a request, an unexpected error, or a log that it cannot use. */
export type Cause =
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals }
  | { readonly kind: 'fault'; readonly error: unknown }
  | { readonly kind: 'unusable'; readonly why: string }

export interface ShutdownOptions {
  readonly log: Log
  /** Called with every unexpected error. */
  readonly uncaught: () => void
  /** Resolves if the hub cannot use its log, with one sentence. */
  readonly unusable?: Promise<string>
  /** Closes everything in order. @returns whether all published events are stored */
  readonly close: (cause: Cause) => Promise<boolean>
  /** The longest that `close` may take. */
  readonly shutdownMs: number
}

/**
 * Waits until the hub is asked to end, and ends it within `shutdownMs`, or at once on a second request.
 *
 * @returns the exit code of the process
 */
export async function endWhenAsked(options: ShutdownOptions, surroundings: Surroundings): Promise<number> {
  const { log, close, shutdownMs } = options
  const cause = await untilCause(options, surroundings)
  // An error in the event loop may keep timers from firing; a second signal still ends the process.
  const late = surroundings.clock.after(shutdownMs, () => {
    log.error({ shutdownMs }, 'shutdown took too long: data that was not stored is lost')
    surroundings.exit(codeOf(cause, false))
  })
  try {
    return codeOf(cause, await close(cause))
  } catch (err) {
    log.error({ err }, 'shutdown failed')
    return codeOf(cause, false)
  } finally {
    late.cancel()
  }
}

function untilCause(
  { log, uncaught, unusable }: ShutdownOptions,
  surroundings: Surroundings,
): Promise<Cause> {
  return new Promise((resolve) => {
    const restore = surroundings.onSignal((signal) => {
      // The next signal ends the process immediately.
      restore()
      log.info({ signal }, 'shutting down')
      resolve({ kind: 'signal', signal })
    })
    surroundings.onFault((error) => {
      uncaught()
      log.error({ err: error }, 'internal error: the hub exits')
      restore()
      resolve({ kind: 'fault', error })
    })
    void unusable?.then((why) => {
      restore()
      log.error({ why }, 'the log cannot be used: the hub exits')
      resolve({ kind: 'unusable', why })
    })
  })
}

function codeOf({ kind }: Cause, stored: boolean): number {
  if (kind === 'fault') return exitCodes.crashed
  if (kind === 'unusable') return exitCodes.failure
  return stored ? exitCodes.ok : exitCodes.failure
}
