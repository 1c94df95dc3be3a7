import { writeFileSync } from 'node:fs'
import { Command, InvalidArgumentError, Option } from 'commander'
import { defaultLimits } from '../protocol/limits.js'
import { parsePattern } from '../protocol/topic.js'
import type { SigningKey } from '../server/access/sign-token.js'
import { CommandError, exitCodes } from './exit-codes.js'
import { reasonOf } from './hub-http.js'
import { collect, programName, refusing } from './options.js'
import { secretOf } from './serving/access.js'
import type { Surroundings } from './surroundings.js'

interface TokenOptions {
  readonly newKey?: string
  readonly secretFile?: string
  readonly secretEnv?: string
  readonly key?: string
  readonly kid?: string
  readonly subscribe?: readonly string[]
  readonly publish?: readonly string[]
  readonly command?: readonly string[]
  /** Seconds; 0: no expiry. */
  readonly ttl: number
  readonly subject?: string
  readonly audience?: readonly string[]
  readonly issuer?: string
  readonly id?: string
}

const examples = `
Examples:
  $ runcast token --new-key runcast.key                       # once: a secret, for serve and for tokens
  $ runcast token --secret-file runcast.key --subscribe 'sessions/demo/**'
  $ runcast token --secret-file runcast.key --publish 'sessions/*/workers/lint' --ttl 15m
  $ runcast token --secret-file runcast.key --subscribe 'sessions/demo/**' --command 'sessions/demo/**'
  $ runcast token --key private.pem --subscribe '**' --publish '**' --audience https://runcast.example
  $ export RUNCAST_TOKEN=$(runcast token --secret-file runcast.key --subscribe '**')

Patterns are topics: sessions/{id}, sessions/{id}/workers/{id}; * stands for one segment, ** at the end for the rest.
The pattern hub permits /metrics. The list of sessions needs no pattern: it shows only the sessions that may be read.

Exit codes:
  0    the token, or the name of the new key, is on standard output
  1    the key cannot be read or written
  2    the command line is invalid`

export function tokenCommand(surroundings: Surroundings): Command {
  return new Command('token')
    .summary('make a token, or a key for tokens')
    .description(
      'Makes a token, which says what its holder may read and publish, or a key that signs tokens.',
    )
    .option('--new-key <file>', 'write a new secret to a new file')
    .option('--secret-file <file>', 'sign with the secret in this file (HS256)')
    .option('--secret-env <name>', 'sign with the secret in this environment variable (HS256)')
    .option('--key <file>', 'sign with this private key: PEM or JWK; RSA, P-256, P-384, P-521 or Ed25519')
    .option('--kid <id>', 'the id of the key; default: the one in the JWK')
    .option('--subscribe <pattern>', 'topics that may be read; may be repeated', patternOption)
    .option('--publish <pattern>', 'topics that may be published to; may be repeated', patternOption)
    .option('--command <pattern>', 'topics that may be sent commands; may be repeated', patternOption)
    .addOption(
      new Option('--ttl <time>', 'how long it is valid: 90s, 15m, 1h, 30d or never')
        .argParser(ttlOption)
        .default(3_600, '1h'),
    )
    .option('--subject <text>', 'the holder of the token (sub)')
    .option('--audience <text>', 'the hub that it is for (aud); may be repeated', collect)
    .option('--issuer <text>', 'the issuer of the token (iss)')
    .option('--id <text>', 'an id for revoking it (jti); random by default')
    .addHelpText('after', examples)
    .action(async (options: TokenOptions) => {
      if (options.newKey !== undefined) writeKey(options.newKey, surroundings)
      else surroundings.stdout.write(`${await sign(options, surroundings)}\n`)
      process.exitCode = exitCodes.ok
    })
}

/** 256 bits, which HS256 requires, as text that also fits an environment variable. Characters. */
const secretLength = 43

function writeKey(file: string, { random, stdout, stderr, env }: Surroundings): void {
  try {
    writeFileSync(file, `${random.id(secretLength)}\n`, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    const exists = error instanceof Error && 'code' in error && error.code === 'EEXIST'
    const reason = exists ? 'it is there already, and is not overwritten' : reasonOf(error)
    throw new CommandError(exitCodes.failure, `cannot write ${file}: ${reason}`)
  }
  stdout.write(`${file}\n`)
  const program = programName(env)
  stderr.write(
    `runcast: this file permits everything to anybody who has it. Serve with it:
  ${program} serve --token-secret-file ${file}
and make tokens with it:
  ${program} token --secret-file ${file} --subscribe 'sessions/demo/**'
`,
  )
}

/** By which the token can be revoked. Characters. */
const idLength = 16

async function sign(options: TokenOptions, { clock, random, env }: Surroundings): Promise<string> {
  const { subscribe, publish, command, ttl, subject, audience, issuer } = options
  if (subscribe === undefined && publish === undefined && command === undefined) {
    throw new CommandError(
      exitCodes.usage,
      'the token would permit nothing: add --subscribe, --publish or --command',
    )
  }
  const [key, { signWith }] = await Promise.all([
    signingKey(options, env),
    import('../server/access/sign-token.js'),
  ])
  const grant = {
    ...(subscribe && { subscribe }),
    ...(publish && { publish }),
    ...(command && { command }),
    ...(subject !== undefined && { subject }),
    ...(ttl > 0 && { expiresAt: clock.now() + ttl * 1_000 }),
  }
  const { kid } = options
  const beside = {
    clock,
    id: options.id ?? random.id(idLength),
    ...(kid !== undefined && { kid }),
    ...(audience && { audience }),
    ...(issuer !== undefined && { issuer }),
  }
  return signWith(grant, key, beside).catch((error: unknown) => {
    throw new CommandError(exitCodes.usage, reasonOf(error))
  })
}

async function signingKey(options: TokenOptions, env: NodeJS.ProcessEnv): Promise<SigningKey> {
  const { secretFile, secretEnv, key: keyFile } = options
  if ([secretFile, secretEnv, keyFile].filter((one) => one !== undefined).length !== 1) {
    throw new CommandError(
      exitCodes.usage,
      `expected one of --secret-file, --secret-env and --key. Make a key with: ${programName(env)} token --new-key runcast.key`,
    )
  }
  const [{ readText }, { privateSigningKey, secretSigningKey }] = await Promise.all([
    import('../server/access/token-keys.js'),
    import('../server/access/sign-token.js'),
  ])
  try {
    if (secretEnv !== undefined) return secretSigningKey(secretOf(secretEnv, env), secretEnv)
    const file = secretFile ?? keyFile ?? ''
    const text = await readText(file, defaultLimits.keysBytesMax)
    return secretFile === undefined ? privateSigningKey(text, file) : secretSigningKey(text, file)
  } catch (error) {
    throw error instanceof CommandError ? error : new CommandError(exitCodes.failure, reasonOf(error))
  }
}

function patternOption(text: string, previous: readonly string[] = []): readonly string[] {
  refusing(() => parsePattern(text, 'pattern'))
  return [...previous, text]
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 }
const ttlMax = 100 * 365 * 86_400

function ttlOption(text: string): number {
  if (text === 'never') return 0
  const [, number = '', unit = ''] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  const seconds = Number(number) * (unitSeconds[unit] ?? 0)
  if (seconds >= 1 && seconds <= ttlMax) return seconds
  throw new InvalidArgumentError('expected a time like 90s, 15m, 1h, 30d, or never.')
}
