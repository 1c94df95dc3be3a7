import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import { isObject } from '../../lib/json.js'
import { quote } from '../../protocol/codes.js'
import type { AuthorizeUrlOptions } from '../../server/access/authorize-url.js'
import { isLoopback } from '../../server/access/origins.js'
import type { AuthOptions } from '../../server/access/tokens.js'
import type { ServeOptions } from '../../server/serve.js'
import { CommandError, exitCodes } from '../exit-codes.js'
import { reasonOf } from '../hub-http.js'
import { collect, programName } from '../options.js'

/** The options of the command line for access to the hub. */
export interface AccessFlags {
  readonly tokenSecretFile?: readonly string[]
  readonly tokenSecretEnv?: readonly string[]
  readonly tokenKey?: readonly string[]
  readonly jwksUrl?: string
  readonly tokenAudience?: readonly string[]
  readonly tokenIssuer?: readonly string[]
  readonly revokedFile?: string
  readonly origin?: readonly string[]
  readonly allowedHost?: readonly string[]
  readonly authorizeUrl?: string
  readonly authorizeHeader?: readonly string[]
  readonly tlsCert?: string
  readonly tlsKey?: string
}

/** The same options in the config file. */
export interface AccessConfig {
  readonly auth?: AuthOptions
  readonly origins?: readonly string[]
  readonly allowedHosts?: readonly string[]
  readonly authorize?: AuthorizeUrlOptions
  readonly tls?: { readonly cert: string; readonly key: string }
}

export interface Access extends Pick<ServeOptions, 'auth' | 'origins' | 'hosts' | 'tls'> {
  /** The server that decides what a request may do. */
  readonly authorize?: AuthorizeUrlOptions
}

export function addAccessOptions(command: Command): Command {
  return command
    .option('--token-secret-file <file>', 'the secret that signs tokens (HS256); may be repeated', collect)
    .option('--token-secret-env <name>', 'the environment variable with the secret; may be repeated', collect)
    .option(
      '--token-key <file>',
      'a public key that verifies tokens: PEM, certificate, JWK or JWK set; may be repeated',
      collect,
    )
    .option('--jwks-url <url>', 'a URL of the JWK set that verifies tokens')
    .option('--token-audience <text>', 'a value that `aud` of a token must contain; may be repeated', collect)
    .option('--token-issuer <text>', 'a value that `iss` of a token must have; may be repeated', collect)
    .option('--revoked-file <file>', 'a file with the ids (`jti`) of revoked tokens, one per line')
    .option(
      '--origin <url>',
      'allow pages of this origin to use the hub; may be repeated; * allows all',
      originOption,
    )
    .option(
      '--allowed-host <name>',
      'a host name that clients may use for the hub; may be repeated',
      hostOption,
    )
    .option(
      '--authorize-url <url>',
      'a server that decides what a request without a token may do: gets POST { method, path, headers, address }',
    )
    .option(
      '--authorize-header <name>',
      'a header to pass to that server; may be repeated (default: cookie and authorization)',
      headerOption,
    )
    .option('--tls-cert <file>', 'serve https with this certificate chain (PEM)')
    .option('--tls-key <file>', 'the private key of that certificate (PEM)')
}

/** @throws CommandError if a required part is missing */
export function accessOf(flags: AccessFlags, config: AccessConfig, env: NodeJS.ProcessEnv): Access {
  const auth = authOf(flags, config.auth, env)
  const origins = flags.origin ?? config.origins
  const hosts = flags.allowedHost ?? config.allowedHosts
  const tls = tlsOf(flags, config.tls)
  const authorize = authorizeOf(flags, config.authorize)
  return {
    ...(auth && { auth }),
    ...(authorize && { authorize }),
    ...(origins && { origins }),
    ...(hosts && { hosts }),
    ...(tls && { tls }),
  }
}

/** @throws CommandError if other machines can reach the hub and no access is configured */
export function expectKey(host: string, { auth, authorize }: Access, env: NodeJS.ProcessEnv): void {
  if (auth !== undefined || authorize !== undefined || isLoopback(host)) return
  const program = programName(env)
  throw new CommandError(
    exitCodes.failure,
    `${host} can be reached from other machines, and there is no key for tokens that tell who may do what.
Make one with:    ${program} token --new-key runcast.key
and serve with:   ${program} serve --host ${host} --token-secret-file runcast.key
or let another server tell who may do what, with --authorize-url.`,
  )
}

/** @returns a command that gets a token for the examples; nothing if none is needed */
export function hintOfToken({ auth }: Access, env: NodeJS.ProcessEnv): string | undefined {
  if (auth === undefined) return undefined
  const [file] = auth.secretFiles ?? []
  const key = file === undefined ? '--key PRIVATE_KEY' : `--secret-file ${file}`
  const topics = `'sessions/demo/**'`
  return `export RUNCAST_TOKEN=$(${programName(env)} token ${key} --subscribe ${topics} --publish ${topics})`
}

function authOf(
  flags: AccessFlags,
  config: AuthOptions | undefined,
  env: NodeJS.ProcessEnv,
): AuthOptions | undefined {
  const { tokenSecretFile, tokenSecretEnv, tokenKey, jwksUrl, tokenAudience, tokenIssuer, revokedFile } =
    flags
  const auth: AuthOptions = {
    ...config,
    ...(tokenSecretEnv && { secrets: tokenSecretEnv.map((name) => secretOf(name, env)) }),
    ...(tokenSecretFile && { secretFiles: tokenSecretFile }),
    ...(tokenKey && { keyFiles: tokenKey }),
    ...(jwksUrl !== undefined && { jwksUrl }),
    ...(tokenAudience && { audience: tokenAudience }),
    ...(tokenIssuer && { issuer: tokenIssuer }),
    ...(revokedFile !== undefined && { revokedFile }),
  }
  const { secrets, secretFiles, keyFiles } = auth
  if (auth.jwksUrl !== undefined || [secrets, secretFiles, keyFiles].some(Boolean)) return auth
  if (Object.keys(auth).length === 0) return undefined
  throw new CommandError(
    exitCodes.usage,
    'an audience, issuer or list of revoked tokens needs a key: add --token-secret-file, --token-key or --jwks-url',
  )
}

function authorizeOf(
  { authorizeUrl, authorizeHeader }: AccessFlags,
  config: AuthorizeUrlOptions | undefined,
): AuthorizeUrlOptions | undefined {
  const url = authorizeUrl ?? config?.url
  const headers = authorizeHeader ?? config?.headers
  if (url !== undefined) return { url, ...(headers && { headers }) }
  if (headers === undefined) return undefined
  throw new CommandError(
    exitCodes.usage,
    '--authorize-header has no effect without --authorize-url: add it, or leave out the header',
  )
}

/** @throws CommandError */
export function secretOf(name: string, env: NodeJS.ProcessEnv): string {
  const secret = env[name]
  if (secret) return secret
  throw new CommandError(
    exitCodes.usage,
    `the environment variable ${name} is empty: expected a secret in it`,
  )
}

function tlsOf({ tlsCert, tlsKey }: AccessFlags, config: AccessConfig['tls']): Access['tls'] {
  const cert = tlsCert ?? config?.cert
  const key = tlsKey ?? config?.key
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined || key === undefined) {
    throw new CommandError(
      exitCodes.usage,
      'TLS needs both a certificate and its key: --tls-cert and --tls-key',
    )
  }
  try {
    const fits = new X509Certificate(readFileSync(cert)).checkPrivateKey(createPrivateKey(readFileSync(key)))
    if (!fits) throw new Error('the key does not belong to the certificate')
  } catch (error) {
    throw new CommandError(exitCodes.failure, `TLS with ${cert} and ${key}: ${reasonOf(error)}`)
  }
  return { certFile: cert, keyFile: key }
}

function headerOption(text: string, previous: readonly string[] = []): readonly string[] {
  if (!isHeader(text)) throw new InvalidArgumentError('expected the name of a header, like x-user.')
  return [...previous, text.toLowerCase()]
}

/** RFC 9110 section 5.6.2. */
function isHeader(text: string): boolean {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/.test(text)
}

/** An origin as browsers send it, without path or slash. */
function originOption(text: string, previous: readonly string[] = []): readonly string[] {
  if (text !== '*' && !isOrigin(text))
    throw new InvalidArgumentError('expected an origin like https://app.example, or *.')
  return [...previous, text === '*' ? text : new URL(text).origin]
}

function isOrigin(text: string): boolean {
  return URL.canParse(text) && new URL(text).origin !== 'null' && /^[^/]+:\/\/[^/?#]+\/?$/.test(text)
}

function hostOption(text: string, previous: readonly string[] = []): readonly string[] {
  if (!isHost(text)) throw new InvalidArgumentError('expected a host name, without scheme and port.')
  return [...previous, text.toLowerCase()]
}

function isHost(text: string): boolean {
  return /^[A-Za-z0-9.-]{1,253}$/.test(text)
}

// The config file

const lists = ['secretFiles', 'keyFiles', 'audience', 'issuer'] as const

/** @throws Error that names the place */
export function accessFromConfig(value: Readonly<Record<string, unknown>>): AccessConfig {
  const { auth, authorize, origins, allowedHosts, tls, ...others } = value
  const [stranger] = Object.keys(others)
  if (stranger !== undefined) {
    throw new Error(
      `${stranger}: expected nothing but catalog, limits, masking, maskingPatterns, maskingKeyFile, webhooks, auth, authorize, origins, allowedHosts and tls`,
    )
  }
  return {
    ...(auth !== undefined && { auth: authFromConfig(auth) }),
    ...(authorize !== undefined && { authorize: authorizeFromConfig(authorize) }),
    ...(origins !== undefined && {
      origins: listOf(origins, 'origins', (text) => text === '*' || isOrigin(text)).map((text) =>
        text === '*' ? text : new URL(text).origin,
      ),
    }),
    ...(allowedHosts !== undefined && { allowedHosts: listOf(allowedHosts, 'allowedHosts', isHost) }),
    ...(tls !== undefined && { tls: tlsFromConfig(tls) }),
  }
}

function authFromConfig(value: unknown): AuthOptions {
  const { jwksUrl, revokedFile, ...rest } = fieldsOf(value, 'auth', [...lists, 'jwksUrl', 'revokedFile'])
  const auth: Record<string, readonly string[] | string> = {}
  for (const [name, list] of Object.entries(rest)) auth[name] = listOf(list, `auth.${name}`, () => true)
  if (jwksUrl !== undefined) auth['jwksUrl'] = textOf(jwksUrl, 'auth.jwksUrl')
  if (revokedFile !== undefined) auth['revokedFile'] = textOf(revokedFile, 'auth.revokedFile')
  return auth
}

function authorizeFromConfig(value: unknown): AuthorizeUrlOptions {
  const { url, headers } = fieldsOf(value, 'authorize', ['url', 'headers'])
  return {
    url: textOf(url, 'authorize.url'),
    ...(headers !== undefined && { headers: listOf(headers, 'authorize.headers', isHeader) }),
  }
}

function tlsFromConfig(value: unknown): { readonly cert: string; readonly key: string } {
  const { cert, key } = fieldsOf(value, 'tls', ['cert', 'key'])
  return { cert: textOf(cert, 'tls.cert'), key: textOf(key, 'tls.key') }
}

function fieldsOf(value: unknown, name: string, known: readonly string[]): Readonly<Record<string, unknown>> {
  if (!isObject(value)) {
    throw new Error(`${name}: expected an object, got ${quote(value)}`)
  }
  const stranger = Object.keys(value).find((field) => !known.includes(field))
  if (stranger !== undefined) throw new Error(`${name}.${stranger}: expected nothing but ${known.join(', ')}`)
  return value
}

function listOf(value: unknown, name: string, fits: (text: string) => boolean): readonly string[] {
  if (Array.isArray(value) && value.every((one) => typeof one === 'string' && fits(one)))
    return value as string[]
  throw new Error(`${name}: expected a list like ${examplesOf[name] ?? '["…"]'}, got ${quote(value)}`)
}

const examplesOf: Readonly<Record<string, string>> = {
  origins: '["https://app.example"]',
  allowedHosts: '["runcast.example"]',
  'authorize.headers': '["cookie"]',
}

function textOf(value: unknown, name: string): string {
  if (typeof value === 'string' && value !== '') return value
  throw new Error(`${name}: expected a text, got ${quote(value)}`)
}
