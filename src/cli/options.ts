import { InvalidArgumentError, Option } from 'commander'
import type { Random } from '../lib/random.js'
import { checkEvent, checkId } from '../protocol/check.js'
import { ProtocolError } from '../protocol/codes.js'
import { defaultLimits } from '../protocol/limits.js'
import { isSendable, tokenLengthMax } from '../protocol/token.js'
import { CommandError, exitCodes } from './exit-codes.js'
import { defaultHub, HubHttp, parseHubUrl } from './hub-http.js'

export function hubOption(env: NodeJS.ProcessEnv): Option {
  return new Option('--hub <url>', 'the URL of the hub; also RUNCAST_HUB').default(
    env['RUNCAST_HUB'] || defaultHub,
  )
}

/** The options of commands that read a data directory unless a hub is given. */
export function askedHubOption(): Option {
  return new Option(
    '--hub <url>',
    'ask the hub that runs there, instead of reading a directory; also RUNCAST_HUB',
  )
}

/** @returns the hub of the command; nothing if a directory is given, or no hub */
export function askedHubOf(
  { hub, token, data }: { readonly hub?: string; readonly token?: string; readonly data?: string },
  env: NodeJS.ProcessEnv,
): HubHttp | undefined {
  if (hub !== undefined && data !== undefined) {
    throw new CommandError(exitCodes.usage, 'expected --hub or a data directory, got both')
  }
  const url = hub ?? (data === undefined ? env['RUNCAST_HUB'] || undefined : undefined)
  return url === undefined ? undefined : hubOf({ hub: url, ...(token !== undefined && { token }) }, env)
}

/** It has no default, because `--help` would show it. */
export function tokenOption(): Option {
  return new Option(
    '--token <jwt>',
    'a token, if the hub requires one; RUNCAST_TOKEN is safer, because process lists do not show it',
  )
}

/** @returns the hub of the command line with its token */
export function hubOf(
  { hub, token }: { readonly hub: string; readonly token?: string },
  env: NodeJS.ProcessEnv,
): HubHttp {
  const given = token ?? (env['RUNCAST_TOKEN'] || undefined)
  if (given !== undefined && !isSendable(given, 'header')) {
    throw new CommandError(
      exitCodes.usage,
      `--token or RUNCAST_TOKEN: expected a JWT, of at most ${tokenLengthMax} visible ASCII characters`,
    )
  }
  return new HubHttp(parseHubUrl(hub), given)
}

/** One of several values of an option. */
export function collect(text: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, text]
}

/** The id of a session or worker. */
export function idOption(text: string): string {
  return refusing(() => checkId(text, defaultLimits, 'id'))
}

/** The type of an event. */
export function typeOption(text: string): string {
  return refusing(() => checkEvent({ type: text }, defaultLimits)).type
}

/** A whole number from `min` to `max`. */
export function integerOption(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`expected a whole number from ${min} to ${max}.`)
    }
    return value
  }
}

export function secondsOption(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= 0 && value <= 1_000_000))
    throw new InvalidArgumentError('expected seconds.')
  return value
}

/** @returns the result of `check`; a protocol error becomes a usage error */
export function refusing<T>(check: () => T): T {
  try {
    return check()
  } catch (error) {
    if (error instanceof ProtocolError) throw new InvalidArgumentError(`${error.message}.`)
    throw error
  }
}

/** An id that is easy to type: 8 lower-case letters and digits. */
export function newSessionId(random: Random): string {
  const alphabet = 'abcdefghijkmnpqrstuvwxyz23456789'
  return Array.from({ length: 8 }, () => alphabet[Math.floor(random.fraction() * alphabet.length)]).join('')
}

/** @returns the way to start the command line again: through npx if it is not installed */
export function programName(env: NodeJS.ProcessEnv): string {
  return env['npm_command'] === undefined ? 'runcast' : 'npx runcast'
}
