// Separate from the log itself, so that `--help` does not load it.
import type { Surroundings } from '../surroundings.js'

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]
export const logFormats = ['json', 'pretty'] as const
export type LogFormat = (typeof logFormats)[number]

/** @returns the format that is easier to read at the output: text on a terminal, JSON elsewhere */
export function formatFor({ stderr }: Surroundings): LogFormat {
  return stderr.isTTY === true ? 'pretty' : 'json'
}
