// Apart from the log itself, so that `--help` does not load it.
import type { Surroundings } from './surroundings.js'

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]
export const logFormats = ['json', 'pretty'] as const
export type LogFormat = (typeof logFormats)[number]

/** @returns what is easier to read where the lines go */
export function formatFor({ stderr }: Surroundings): LogFormat {
  return stderr.isTTY === true ? 'pretty' : 'json'
}
