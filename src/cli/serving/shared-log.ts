import { readFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import type { Extensions } from '../../catalog/catalog.js'
import { isObject } from '../../lib/json.js'
import type { MaskingOptions } from '../../mask/masking.js'
import { keyBytesMin } from '../../mask/masking-key.js'
import { quote } from '../../protocol/codes.js'
import type { RedisLog } from '../../redis/redis-log.js'
import { StoreError } from '../../store/store.js'
import { CommandError, exitCodes } from '../exit-codes.js'
import { reasonOf } from '../hub-http.js'
import { integerOption } from '../options.js'
import type { Surroundings } from '../surroundings.js'

/** Hubs of one machine. */
const processesMax = 64

const acknowledgements = ['engine', 'replica'] as const
type Acknowledge = (typeof acknowledgements)[number]

/** The options of the command line for the log that several hubs share. */
export interface LogFlags {
  readonly log?: string
  readonly acknowledge?: Acknowledge
  readonly logWaitMs?: number
  readonly processes?: number
  readonly maskingKeyFile?: string
}

/** The same options in the config file. */
export interface LogConfig {
  readonly url: string
  readonly acknowledge?: Acknowledge
  /** Files. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

export function addLogOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--log <url>',
        'share the sessions with other hubs, over Redis or Valkey; takes the place of the store',
      ).env('RUNCAST_LOG'),
    )
    .addOption(
      new Option(
        '--acknowledge <by>',
        'with --log: acknowledge an event once Redis has it, or a replica as well (default: engine)',
      ).choices(acknowledgements),
    )
    .option(
      '--log-wait-ms <n>',
      'with --log: how long to wait at the start for a Redis that cannot be reached (default: until it can)',
      integerOption(0, 86_400_000),
    )
    .option(
      '--masking-key-file <file>',
      'with --log: a secret that all hubs have, so that Redis has no part of a secret in the clear',
    )
    .option(
      '--processes <n>',
      'with --log: serve with several processes on one port, and replace one that ends (default: 1)',
      integerOption(1, processesMax),
    )
}

/** @throws Error that names the place */
export function logFromConfig(value: unknown): LogConfig {
  if (typeof value === 'string') return { url: value }
  if (!isObject(value)) throw new Error(`log: expected a URL or an object, got ${quote(value)}`)
  const config: Record<string, string> = {}
  for (const [name, text] of Object.entries(value)) {
    if (!['url', 'acknowledge', 'ca', 'cert', 'key'].includes(name)) throw new Error(`log.${name}: unknown`)
    if (typeof text !== 'string') throw new Error(`log.${name}: expected a text, got ${quote(text)}`)
    config[name] = text
  }
  const { url, acknowledge, ...files } = config
  if (url === undefined) throw new Error('log.url: is missing')
  if (acknowledge !== undefined && !isAcknowledge(acknowledge)) {
    throw new Error(`log.acknowledge: expected engine or replica, got ${quote(acknowledge)}`)
  }
  return { url, ...(acknowledge !== undefined && { acknowledge }), ...files }
}

function isAcknowledge(text: string): text is Acknowledge {
  return (acknowledgements as readonly string[]).includes(text)
}

/** @returns a given option of the command line that concerns the store, if there is one */
export function storeOptionOf(command: Command): string | undefined {
  const isGiven = (name: string) => command.getOptionValueSource(name) === 'cli'
  // A store in memory is accepted, because it means that nothing is kept here.
  if (isGiven('store') && command.getOptionValue('store') !== 'memory') return '--store lmdb'
  return command.options.find(
    (option) => storeOptions.includes(option.attributeName()) && isGiven(option.attributeName()),
  )?.long
}

const storeOptions = ['data', 'durability', 'retainBytes']

export interface OpenLogOptions extends LogFlags {
  readonly config: LogConfig | undefined
  readonly catalog: Extensions | undefined
  readonly masking: MaskingOptions
  /** One of the store's that was given. */
  readonly storeOption: string | undefined
  readonly onWarning: (warning: string) => void
  /** Called while the hub waits for a log that cannot be reached. */
  readonly onWait: (why: string) => void
  /** Called when the hub has waited for too long, or cannot use the log: with one sentence. */
  readonly onFailed: (why: string) => void
}

/**
 * Opens the log that the options or the config file name, if one does.
 *
 * @throws CommandError with one sentence, without the password
 */
export async function openSharedLog(
  options: OpenLogOptions,
  { clock, random }: Surroundings,
): Promise<RedisLog | undefined> {
  const { log, acknowledge, logWaitMs: waitMs, maskingKeyFile } = options
  const { config, catalog, masking, storeOption, onWarning } = options
  const url = log ?? config?.url
  if (url === undefined) {
    const given = [
      ['--acknowledge', acknowledge],
      ['--log-wait-ms', waitMs],
      ['--masking-key-file', maskingKeyFile],
    ] as const
    const [alone] = given.find(([, value]) => value !== undefined) ?? []
    if (alone === undefined) return undefined
    throw new CommandError(exitCodes.usage, `${alone} says what a log does: give --log too`)
  }
  if (storeOption !== undefined) {
    throw new CommandError(
      exitCodes.usage,
      `${storeOption} is of the store, and the log takes its place: leave one of them out`,
    )
  }
  const { redisLog } = await import('../../redis/open.js')
  try {
    const by = acknowledge ?? config?.acknowledge
    const opened = await redisLog({
      url,
      tls: filesOf(config),
      ...(by !== undefined && { acknowledge: by }),
      ...(catalog && { catalog }),
      masking,
      onWarning,
      start: {
        ...(waitMs !== undefined && { waitMs }),
        onWait: options.onWait,
        onFailed: (error) => options.onFailed(sentenceOf(error)),
      },
      clock,
      random,
    })
    if (masking.mode !== 'off' && masking.key === undefined) {
      onWarning(
        'The beginning of a secret may be in Redis in the clear for up to two seconds: give all hubs the same --masking-key-file',
      )
    }
    return opened
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    throw new CommandError(exitCodes.failure, sentenceOf(error))
  }
}

/** @throws CommandError that names the file */
export function maskingKeyOf(file: string): string {
  let text: string
  try {
    text = readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new CommandError(exitCodes.failure, `--masking-key-file: ${reasonOf(error)}`)
  }
  if (Buffer.byteLength(text) >= keyBytesMin) return text
  throw new CommandError(
    exitCodes.failure,
    `--masking-key-file: expected at least ${keyBytesMin} bytes in ${file}; make it with openssl rand -base64 32`,
  )
}

function sentenceOf({ message }: StoreError): string {
  return `--log: ${message.replace(/\.$/, '')}`
}

/** @throws CommandError that names the file */
function filesOf(config: LogConfig | undefined): { ca?: Buffer; cert?: Buffer; key?: Buffer } {
  const read: { ca?: Buffer; cert?: Buffer; key?: Buffer } = {}
  for (const name of ['ca', 'cert', 'key'] as const) {
    const file = config?.[name]
    if (file === undefined) continue
    try {
      read[name] = readFileSync(file)
    } catch (error) {
      throw new CommandError(exitCodes.failure, `log.${name}: ${reasonOf(error)}`)
    }
  }
  return read
}
