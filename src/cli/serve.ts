import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { Command, InvalidArgumentError, Option } from 'commander'
import { catalogFromConfig, type Extensions } from '../catalog/catalog.js'
import type { Tracer } from '../hub/tracing.js'
import { quote } from '../protocol/codes.js'
import { defaultLimits, type LimitName, type Limits, limitTable } from '../protocol/limits.js'
import type { Found, Retention } from '../store/store.js'
import { defaultData, openData } from './data.js'
import { CommandError, exitCodes } from './exit-codes.js'
import { reasonOf } from './hub-http.js'
import { formatFor, type LogFormat, type LogLevel, logFormats, logLevels } from './log-options.js'
import { integerOption, programName } from './options.js'
import { formatBytes, formatCount, paletteFor } from './paint.js'
import { endWhenAsked } from './shutdown.js'
import type { Surroundings } from './surroundings.js'

const dayMs = 24 * 60 * 60 * 1_000

interface ServeCommandOptions {
  readonly port: number
  readonly host: string
  readonly store: 'lmdb' | 'memory'
  readonly data: string
  readonly durability: 'process' | 'power'
  readonly retainDays?: number
  readonly retainBytes?: number
  readonly keepaliveMs?: number
  readonly origin?: readonly string[]
  readonly trustedProxy?: readonly string[]
  readonly limit?: Partial<Limits>
  readonly config?: string
  readonly shutdownMs?: number
  readonly logLevel: LogLevel
  readonly logFormat?: LogFormat
  readonly otel?: true
  readonly version: string
}

const examples = `
Examples:
  $ runcast serve
  $ runcast serve --port 4700 --keepalive-ms 5000
  $ runcast serve --data /var/lib/runcast --durability power --retain-days 30 --retain-bytes 10g
  $ runcast serve --store memory
  $ runcast serve --config runcast.json
  $ runcast serve --limit frameBytesMax=65536 --limit connectionsPerAddressMax=50
  $ runcast serve --trusted-proxy 127.0.0.1

The config file is JSON, all of it optional:
  {
    "catalog": { "build.step": { "critical": true, "replay": "all" } },
    "limits": { "laneEventsMax": 5000 }
  }

Exit codes:
  0    ended by Ctrl-C or SIGTERM; clients were told that the hub goes away, and all is stored
  1    it could not listen, the config file is wrong, or it could not end in good order in time
  2    the command line is wrong
  70   an error that nobody expected; it is in the log, and what was published is stored`

export function serveCommand(surroundings: Surroundings): Command {
  return new Command('serve')
    .summary('start a hub')
    .description('Starts a hub that agents, jobs and scripts publish to and that anyone may watch.')
    .option('--port <n>', 'where to listen; 0 takes a free port', integerOption(0, 65_535), 4600)
    .option('--host <address>', 'the address to listen on', '127.0.0.1')
    .addOption(
      new Option('--store <kind>', 'where events are kept; memory: nothing survives a restart')
        .choices(['lmdb', 'memory'])
        .default('lmdb'),
    )
    .option('--data <directory>', 'the directory of the store', defaultData)
    .addOption(
      new Option('--durability <kind>', 'what an acknowledgement survives: a crash, or a loss of power')
        .choices(['process', 'power'])
        .default('process'),
    )
    .option('--retain-days <n>', 'remove what is older (default: keep it)', retainDays)
    .option(
      '--retain-bytes <n>',
      'remove the oldest beyond so many bytes; k, m and g are understood',
      retainBytes,
    )
    .option(
      '--keepalive-ms <n>',
      'silence before an SSE response gets a comment',
      integerOption(100, 3_600_000),
    )
    .option('--origin <url>', 'let pages of this origin use the hub; may be repeated; * lets all', collect)
    .option(
      '--trusted-proxy <address>',
      'believe this proxy when it says in X-Forwarded-For who asks; may be repeated',
      address,
    )
    .option('--limit <name=n>', 'change a limit; may be repeated, and wins over the config file', limit)
    .option('--config <file>', 'catalog and limits, in JSON')
    .option(
      '--shutdown-ms <n>',
      'how long ending may take; a second signal ends it at once (default: 10000)',
      integerOption(100, 600_000),
    )
    .addOption(
      new Option('--log-level <level>', 'which lines to write to standard error')
        .choices(logLevels)
        .default('info'),
    )
    .addOption(
      new Option(
        '--log-format <format>',
        'json: and nothing on standard output; default: pretty on a terminal, json elsewhere',
      ).choices(logFormats),
    )
    .option('--otel', 'hand spans to OpenTelemetry; @opentelemetry/api and an SDK must be there')
    .addHelpText('after', examples)
    .action(async (options: Omit<ServeCommandOptions, 'version'>, { parent }: Command) => {
      process.exitCode = await serveHub({ ...options, version: parent?.version() ?? '' }, surroundings)
    })
}

async function serveHub(options: ServeCommandOptions, surroundings: Surroundings): Promise<number> {
  const { clock, random, stdout, stderr } = surroundings
  if (!isLoopback(options.host)) {
    throw new CommandError(
      exitCodes.failure,
      `${options.host} can be reached from other machines, and there is no token key to tell who may do what: listen on 127.0.0.1`,
    )
  }
  const config = options.config === undefined ? {} : readConfig(options.config)
  // Loaded here, so that the other commands start without the hub and its network stack.
  const [{ createHub }, { serve }, { openLog }] = await Promise.all([
    import('../hub/hub.js'),
    import('../server/serve.js'),
    import('./log.js'),
  ])
  const { logLevel: level, logFormat } = options
  // Whoever reads the log may go; the hub goes on.
  for (const output of [stdout, stderr]) output.on('error', () => undefined)
  const log = openLog({ level, format: logFormat ?? formatFor(surroundings) }, surroundings)
  const tracer = options.otel === true ? await openTracer() : undefined
  const limits = { ...config.limits, ...options.limit }
  const connectionsMax = connectionsMaxOf(limits)
  if (limits.connectionsMax !== undefined && connectionsMax < limits.connectionsMax) {
    stderr.write(
      `runcast: at most ${connectionsMax} connections, for the process may open no more files; raise it with ulimit -n\n`,
    )
  }
  const store = options.store === 'memory' ? undefined : await openData(options.data, options.durability)
  const retention = retentionOf(options)
  const hub = createHub({
    clock,
    random,
    ...config,
    limits: { ...limits, connectionsMax },
    ...(store && { store }),
    ...(retention && { retention }),
    ...(tracer && { tracer }),
    report: (err, connection) => log.error({ err, connection }, 'a connection failed'),
    onStore: (fault) => {
      if (fault === undefined) log.info({}, 'the store works again')
      else log.error({ fault }, 'the store fails: publishing is refused until it works again')
    },
  })
  const { host, port, keepaliveMs, origin, trustedProxy } = options
  const server = await serve(hub, {
    clock,
    host,
    port,
    log,
    ...(keepaliveMs !== undefined && { keepaliveMs }),
    ...(origin !== undefined && { origins: origin }),
    ...(trustedProxy !== undefined && { trustedProxies: trustedProxy }),
  }).catch(async (error: unknown) => {
    await hub.closeStore()
    throw new CommandError(exitCodes.failure, cannotListen(error, options))
  })
  if (logFormat !== 'json') greet(server.url, store && storeLine(options.data, store.found), surroundings)
  log.info(
    {
      version: options.version,
      node: process.version,
      pid: process.pid,
      ...(store ? { data: options.data, ...store.found } : { store: 'memory' }),
    },
    'started',
  )
  return endWhenAsked(
    {
      log,
      shutdownMs: options.shutdownMs ?? hub.limits.shutdownMs,
      uncaught: () => server.countUncaught(),
      async close() {
        const shutdownMs = options.shutdownMs ?? hub.limits.shutdownMs
        // The rest is for the store.
        await server.close({ graceMs: 0.75 * shutdownMs })
        await hub.closeStore()
        if (hub.fault !== undefined)
          log.error({ fault: hub.fault }, 'the store fails: what it does not have is lost')
        return hub.fault === undefined
      },
    },
    surroundings,
  )
}

/** @throws CommandError when the package is not there */
async function openTracer(): Promise<Tracer> {
  const [{ openTelemetry }, api] = await Promise.all([
    import('../server/open-telemetry.js'),
    import('@opentelemetry/api').catch((error: unknown) => {
      throw new CommandError(
        exitCodes.failure,
        `--otel: install @opentelemetry/api where runcast is installed, and an SDK: ${reasonOf(error)}`,
      )
    }),
  ])
  return openTelemetry(api)
}

/** Says where the hub listens and what to do with it: commands that work as they stand. */
function greet(url: string, kept: string | undefined, { stdout, env }: Surroundings): void {
  const { bold, dim, cyan } = paletteFor(stdout, env)
  const program = programName(env)
  const hub = url === 'http://127.0.0.1:4600' ? '' : ` --hub ${url}`
  const tries = [
    `${program} run${hub} --session demo -- ls -la`,
    `${program} tail${hub} demo`,
    `curl -N '${url}/api/sessions/demo/events?all=1'`,
  ]
  stdout.write(
    `Runcast listens on ${bold(url)}

Try, from other terminals:
${tries.map((text) => `  ${cyan(text)}`).join('\n')}

${dim(`${kept ?? 'Events are kept in memory: nothing survives a restart.'} Ctrl-C ends the hub.`)}
`,
  )
}

/** Says where events are kept, and what was found there. */
function storeLine(directory: string, { sessions, events, bytes, clean }: Found): string {
  if (sessions === 0) return `Events are kept in ${directory}.`
  const found = `${formatCount(sessions, 'session')} with ${formatCount(events, 'event')} (${formatBytes(bytes)})`
  const end = clean ? '' : ' The last hub on it was killed; all that it acknowledged is there.'
  return `Events are kept in ${directory}, which has ${found}.${end}`
}

function retentionOf({ retainDays: days, retainBytes: bytes }: ServeCommandOptions): Retention | undefined {
  if (days === undefined && bytes === undefined) return undefined
  return { ...(days !== undefined && { ageMs: days * dayMs }), ...(bytes !== undefined && { bytes }) }
}

function retainDays(text: string): number {
  const days = Number(text)
  if (text.trim() === '' || !(days > 0 && days <= 36_500)) throw new InvalidArgumentError('expected days.')
  return days
}

function retainBytes(text: string): number {
  const [, number = '', unit = ''] = /^(\d+)([kmgt]?)$/i.exec(text) ?? []
  const bytes = Number(number) * 1024 ** ' kmgt'.indexOf(unit.toLowerCase() || ' ')
  if (number === '' || !(bytes >= 1024 ** 2 && Number.isSafeInteger(bytes))) {
    throw new InvalidArgumentError('expected at least 1m, like 500m or 10g.')
  }
  return bytes
}

function cannotListen(error: unknown, { host, port }: ServeCommandOptions): string {
  const taken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
  return taken
    ? `port ${port} of ${host} is taken: end what listens there, or choose another with --port`
    : `cannot listen on ${host}, port ${port}: ${reasonOf(error)}`
}

function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true
  return isIP(host) === 4 && host.startsWith('127.')
}

interface Config {
  readonly catalog?: Extensions
  readonly limits?: Partial<Limits>
}

/** @throws CommandError that names the place in the file */
function readConfig(file: string): Config {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (!isObject(value)) throw new Error(`expected an object, got ${quote(value)}`)
    const stranger = Object.keys(value).find((name) => name !== 'catalog' && name !== 'limits')
    if (stranger !== undefined) throw new Error(`${stranger}: expected nothing but catalog and limits`)
    const { catalog, limits } = value
    return {
      ...(catalog !== undefined && { catalog: catalogFromConfig(catalog) }),
      ...(limits !== undefined && { limits: limitsFromConfig(limits) }),
    }
  } catch (error) {
    throw new CommandError(exitCodes.failure, `${file}: ${reasonOf(error)}`)
  }
}

function limitsFromConfig(value: unknown): Partial<Limits> {
  if (!isObject(value)) throw new Error(`limits: expected an object, got ${quote(value)}`)
  const limits: Partial<Record<LimitName, number>> = {}
  for (const [name, limit] of Object.entries(value)) limits[limitName(name)] = limitValue(name, limit)
  return limits
}

function limitName(name: string): LimitName {
  if (!Object.hasOwn(limitTable, name)) throw new Error(`limits.${name}: there is no such limit`)
  if ('fixed' in limitTable[name as LimitName]) throw new Error(`limits.${name}: it cannot be changed`)
  return name as LimitName
}

function limitValue(name: string, value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1) return value
  throw new Error(`limits.${name}: expected a positive whole number, got ${quote(value)}`)
}

/** `--limit name=n` */
function limit(text: string, previous: Partial<Limits> = {}): Partial<Limits> {
  const [name = '', value = ''] = text.split('=', 2)
  try {
    return { ...previous, [limitName(name)]: limitValue(name, value === '' ? undefined : Number(value)) }
  } catch (error) {
    throw new InvalidArgumentError(reasonOf(error))
  }
}

function address(text: string, previous: readonly string[] = []): readonly string[] {
  if (isIP(text) === 0) throw new InvalidArgumentError('expected an IP address.')
  return [...previous, text]
}

/** Files that the process opens beside its links: the store's, the listening socket, what Node itself holds. */
const ownFiles = 256

/** Beyond what the system lets the process open, connections would wait unanswered, and the hub for room in vain. */
function connectionsMaxOf({
  connectionsMax = defaultLimits.connectionsMax,
  idleLinksMax = defaultLimits.idleLinksMax,
}: Partial<Limits>): number {
  const files = openFilesMax()
  return Math.max(1, Math.min(connectionsMax, files - ownFiles - idleLinksMax))
}

/** @returns what `ulimit -n` says; nothing bounds it where that is not known. */
function openFilesMax(): number {
  const { userLimits } = process.report.getReport() as {
    readonly userLimits?: { readonly open_files?: { readonly soft: number | string } }
  }
  const soft = userLimits?.open_files?.soft
  return typeof soft === 'number' ? soft : Number.POSITIVE_INFINITY
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function collect(text: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, text]
}
