import type { Log } from '../server/operations/log.js'
import { exitCodes } from './exit-codes.js'
import type { Surroundings } from './surroundings.js'

/** Why a hub ends: somebody asked for it, or something went wrong that nobody had expected. */
export type Asked =
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals }
  | { readonly kind: 'fault'; readonly error: unknown }

export interface ShutdownOptions {
  readonly log: Log
  /** Told of every error that nobody had expected. */
  readonly uncaught: () => void
  /** Ends all in good order. @returns whether everything that was published is stored */
  readonly close: (asked: Asked) => Promise<boolean>
  /** The longest that `close` may take. */
  readonly shutdownMs: number
}

/**
 * Waits until the hub is asked to end, and ends it: within `shutdownMs`, or at once when it is asked again.
 *
 * @returns what the process ends with
 */
export async function endWhenAsked(options: ShutdownOptions, surroundings: Surroundings): Promise<number> {
  const { log, close, shutdownMs } = options
  const asked = await untilAsked(options, surroundings)
  // A mistake of the event loop's own may keep timers from firing: then a second signal still ends the process.
  const late = surroundings.clock.after(shutdownMs, () => {
    log.error({ shutdownMs }, 'shutdown took too long: data that was not stored is lost')
    surroundings.exit(codeOf(asked, false))
  })
  try {
    return codeOf(asked, await close(asked))
  } catch (err) {
    log.error({ err }, 'shutdown failed')
    return codeOf(asked, false)
  } finally {
    late.cancel()
  }
}

function untilAsked({ log, uncaught }: ShutdownOptions, surroundings: Surroundings): Promise<Asked> {
  return new Promise((resolve) => {
    const restore = surroundings.onSignal((signal) => {
      // The next one ends the process the hard way, whatever it is doing.
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
  })
}

function codeOf({ kind }: Asked, stored: boolean): number {
  if (kind === 'fault') return exitCodes.crashed
  return stored ? exitCodes.ok : exitCodes.failure
}
