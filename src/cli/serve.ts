// Longer than 350 lines: the options of one command with their help, and the order in which a hub is put together.

import { isIP } from 'node:net'
import { Command, InvalidArgumentError, Option } from 'commander'
import { type MaskingMode, maskingModes } from '../mask/masking.js'
import type { Limits } from '../protocol/limits.js'
import { isLoopback } from '../server/access/origins.js'
import type { Server } from '../server/serve.js'
import type { Tracer } from '../session/tracing.js'
import type { Repair } from '../store/repair.js'
import type { Found, Retention } from '../store/store.js'
import { type TransportName, transportNames } from '../transport/choice.js'
import { defaultData, openData } from './data.js'
import { CommandError, exitCodes } from './exit-codes.js'
import { reasonOf } from './hub-http.js'
import { integerOption, programName } from './options.js'
import { type AccessFlags, accessOf, addAccessOptions, expectKey, hintOfToken } from './serving/access.js'
import { type Config, limitOption, readConfig } from './serving/config.js'
import { formatFor, type LogFormat, type LogLevel, logFormats, logLevels } from './serving/log-options.js'
import { connectionsTold, howToRaise, linksMaxOf, openFilesMax } from './serving/open-files.js'
import { asOneOfSeveral, processNumber, runProcesses, sayListens } from './serving/processes.js'
import {
  addLogOptions,
  type LogFlags,
  maskingKeyOf,
  openSharedLog,
  storeOptionOf,
} from './serving/shared-log.js'
import { endWhenAsked } from './serving/shutdown.js'
import { formatBytes, formatCount, paletteFor } from './showing/paint.js'
import type { Surroundings } from './surroundings.js'

const dayMs = 24 * 60 * 60 * 1_000

interface ServeCommandOptions extends AccessFlags, LogFlags {
  readonly port: number
  readonly host: string
  readonly transport: TransportName
  readonly store: 'lmdb' | 'memory'
  readonly data: string
  readonly durability: 'process' | 'power'
  readonly retainDays?: number
  readonly retainBytes?: number
  readonly keepaliveMs?: number
  readonly heartbeatEventMs?: number
  readonly trustedProxy?: readonly string[]
  readonly limit?: Partial<Limits>
  readonly masking?: MaskingMode
  readonly config?: string
  readonly shutdownMs?: number
  readonly logLevel: LogLevel
  readonly logFormat?: LogFormat
  readonly otel?: true
  readonly storeOption: string | undefined
  readonly version: string
}

const examples = `
Examples:
  $ runcast serve
  $ runcast serve --port 4700 --keepalive-ms 5000
  $ runcast serve --data /var/lib/runcast --durability power --retain-days 30 --retain-bytes 10g
  $ runcast serve --store memory
  $ runcast serve --processes 4 --log redis+unix:///run/redis.sock
  $ RUNCAST_LOG=redis://:…@10.0.0.7 runcast serve
  $ runcast serve --log redis-sentinel://10.0.0.7,10.0.0.8,10.0.0.9/runcast --acknowledge replica
  $ runcast serve --config runcast.json
  $ runcast serve --limit frameBytesMax=65536 --limit connectionsPerAddressMax=50
  $ runcast serve --trusted-proxy 127.0.0.1
  $ runcast serve --host 0.0.0.0 --token-secret-file runcast.key --tls-cert cert.pem --tls-key key.pem
  $ runcast serve --authorize-url http://127.0.0.1:3000/may --authorize-header cookie

The config file is JSON, all of it optional:
  {
    "catalog": { "build.step": { "critical": true, "replay": "all" } },
    "limits": { "laneEventsMax": 5000 },
    "masking": "shapes",
    "maskingPatterns": { "staff-id": "\\bEMP-[0-9]{6}\\b" },
    "log": { "url": "rediss://10.0.0.7", "acknowledge": "replica", "ca": "ca.pem" },
    "auth": { "secretFiles": ["runcast.key"], "audience": ["https://runcast.example"] },
    "authorize": { "url": "http://127.0.0.1:3000/may", "headers": ["cookie"] },
    "origins": ["https://app.example"],
    "allowedHosts": ["runcast.example"],
    "webhooks": [{ "url": "https://example.com/hook", "on": ["failed", "needs"], "secret": "…" }],
    "tls": { "cert": "cert.pem", "key": "key.pem" }
  }
"auth" may also have "keyFiles", "jwksUrl", "issuer" and "revokedFile". Options of the command line override the file.

Exit codes:
  0    stopped by Ctrl-C or SIGTERM; clients were told, and everything is stored
  1    cannot listen, cannot use the log, the config file is invalid, or shutdown failed or took too long
  2    the command line is invalid
  70   internal error; see the log. Published events are stored`

export function serveCommand(surroundings: Surroundings): Command {
  const command = new Command('serve')
    .summary('start a hub')
    .description('Starts a hub. Agents, jobs and scripts publish to it, and clients watch.')
    .option('--port <n>', 'the port to listen on; 0 chooses a free one', integerOption(0, 65_535), 4600)
    .option('--host <address>', 'the address to listen on', '127.0.0.1')
    .addOption(
      new Option('--transport <kind>', 'uws is faster, node runs everywhere; auto: uws if it loads')
        .choices(transportNames)
        .env('RUNCAST_TRANSPORT')
        .default('auto'),
    )
    .addOption(
      new Option('--store <kind>', 'where to store events; with memory, nothing survives a restart')
        .choices(['lmdb', 'memory'])
        .default('lmdb'),
    )
    .option('--data <directory>', 'the directory of the store', defaultData)
    .addOption(
      new Option(
        '--durability <kind>',
        'what acknowledged events survive: a crash of the process, or a loss of power',
      )
        .choices(['process', 'power'])
        .default('process'),
    )
    .option(
      '--retain-days <n>',
      'remove older events, or with --log older sessions (default: keep them)',
      retainDays,
    )
    .option(
      '--retain-bytes <n>',
      'remove the oldest events beyond this size; k, m and g are understood',
      retainBytes,
    )
    .option(
      '--keepalive-ms <n>',
      'send a comment after this silence of an SSE response',
      integerOption(100, 3_600_000),
    )
    .option(
      '--heartbeat-event-ms <n>',
      'the interval of heartbeats, in dialects that have them',
      integerOption(100, 3_600_000),
    )
    .option('--trusted-proxy <address>', 'trust X-Forwarded-For from this proxy; may be repeated', address)
    .option('--limit <name=n>', 'change a limit; may be repeated; overrides the config file', limitOption)
    .addOption(
      new Option(
        '--masking <mode>',
        'mask secrets before anything is stored or sent: those of known forms, or also values named like one (default: shapes)',
      ).choices(maskingModes),
    )
    .option('--config <file>', 'a JSON file with catalog, limits, masking, webhooks and access')
    .option(
      '--shutdown-ms <n>',
      'how long shutdown may take; a second signal stops at once (default: 10000)',
      integerOption(100, 600_000),
    )
    .addOption(
      new Option('--log-level <level>', 'the lowest level to write to standard error')
        .choices(logLevels)
        .default('info'),
    )
    .addOption(
      new Option(
        '--log-format <format>',
        'with json, standard output stays empty; default: pretty on a terminal, json elsewhere',
      ).choices(logFormats),
    )
    .option('--otel', 'send spans to OpenTelemetry; needs @opentelemetry/api and an SDK')
  return addAccessOptions(addLogOptions(command))
    .addHelpText('after', examples)
    .action(async (options: Omit<ServeCommandOptions, 'version' | 'storeOption'>, command: Command) => {
      const { parent } = command
      const version = parent?.version() ?? ''
      process.exitCode = await serveHub(
        { ...options, storeOption: storeOptionOf(command), version },
        surroundings,
      )
    })
}

async function serveHub(options: ServeCommandOptions, given: Surroundings): Promise<number> {
  const number = processNumber(given.env)
  const surroundings = number === undefined ? given : asOneOfSeveral(given)
  const { clock, random, stdout, stderr, env } = surroundings
  const config: Config = options.config === undefined ? { access: {} } : readConfig(options.config)
  const access = accessOf(options, config.access, env)
  expectKey(options.host, access, env)
  // Loaded here, so that the other commands start without the hub and its network stack.
  const [{ createHub }, { serve }, { authorizeByUrl }, { openLog }] = await Promise.all([
    import('../hub/hub.js'),
    import('../server/serve.js'),
    import('../server/access/authorize-url.js'),
    import('./serving/log.js'),
  ])
  const { logLevel: level, logFormat } = options
  // If the reader of the log goes away, the hub continues.
  for (const output of [stdout, stderr]) output.on('error', () => undefined)
  const log = openLog({ level, format: logFormat ?? formatFor(surroundings) }, surroundings)
  const { processes: count = 1 } = options
  if (count > 1 && number === undefined) {
    if (options.log === undefined && config.log === undefined)
      throw new CommandError(exitCodes.usage, '--processes needs a log that they share: give --log too')
    return runProcesses({ count, host: options.host, port: options.port, log }, surroundings).catch(
      (error) => {
        throw error instanceof CommandError
          ? error
          : new CommandError(exitCodes.failure, cannotListen(error, options))
      },
    )
  }
  const tracer = options.otel === true ? await openTracer() : undefined
  const limits = { ...config.limits, ...options.limit }
  const links = linksMaxOf(limits, openFilesMax())
  if (links.files !== undefined && links.connectionsMax < (limits.connectionsMax ?? connectionsTold)) {
    stderr.write(
      `runcast: at most ${links.connectionsMax} connections, because the process may open only ${links.files} files; raise this with ${howToRaise}\n`,
    )
  }
  const { data, durability } = options
  const onWait = (why: string, ms: number) => log.warn({ why, ms: Math.ceil(ms) }, 'waiting for the store')
  const onRepair = ({ aside, losses, faults }: Repair) => {
    const pages = faults.map(({ page, table, reason }) => ({ page, table, reason })).slice(0, pagesToldMax)
    log.error({ aside, pages }, 'the store was damaged: all intact data was copied to a new file')
    for (const { session, parts } of losses)
      log.error({ session, parts }, 'a session lost data and continues with a new epoch')
  }
  let giveUp: (why: string) => void = () => undefined
  const unusable = new Promise<string>((resolve) => {
    giveUp = resolve
  })
  const keyFile = options.maskingKeyFile ?? config.maskingKeyFile
  const masking = {
    ...config.masking,
    ...(options.masking && { mode: options.masking }),
    ...(keyFile !== undefined && { key: maskingKeyOf(keyFile) }),
  }
  const sharedLog = await openSharedLog(
    {
      ...options,
      config: config.log,
      catalog: config.catalog,
      masking,
      onWarning: (warning) => log.warn({}, warning),
      onWait: (why) =>
        log.warn({ why }, 'waiting for the log: publishing is refused, and /readyz answers 503'),
      onFailed: giveUp,
    },
    surroundings,
  )
  const store =
    options.store === 'memory' || sharedLog !== undefined
      ? undefined
      : await openData(data, { ...(durability && { durability }), onWait, onRepair })
  const retention = retentionOf(options)
  const hub = createHub({
    clock,
    random,
    ...(config.catalog && { catalog: config.catalog }),
    masking,
    limits: { ...limits, connectionsMax: links.connectionsMax, idleLinksMax: links.idleLinksMax },
    ...(store && { store }),
    ...(sharedLog && { log: sharedLog }),
    ...(retention && { retention }),
    ...(tracer && { tracer }),
    report: (err, connection) => log.error({ err, connection }, 'a connection failed'),
    onStore: (fault) => {
      const kept = sharedLog === undefined ? 'store' : 'log'
      if (fault === undefined) log.info({}, `the ${kept} works again`)
      else log.error({ fault }, `the ${kept} fails: publishing is refused until it works again`)
    },
    onDamaged: (session, reason) => log.error({ session, reason }, 'a stored session is damaged'),
  })
  const { host, port, keepaliveMs, heartbeatEventMs, trustedProxy } = options
  const { authorize: asked, ...others } = access
  const listen = async () => {
    const report = (err: unknown) => log.error({ err }, 'authorization failed')
    return serve(hub, {
      clock,
      host,
      port,
      log,
      transport: options.transport,
      ...(number !== undefined && { sharesPort: true, process: number }),
      ...others,
      ...(config.webhooks && { webhooks: config.webhooks }),
      ...(asked && { authorize: authorizeByUrl(asked, { clock, limits: hub.limits, report }) }),
      ...(keepaliveMs !== undefined && { keepaliveMs }),
      ...(heartbeatEventMs !== undefined && { heartbeatEventMs }),
      ...(trustedProxy !== undefined && { trustedProxies: trustedProxy }),
    })
  }
  const server = await listen().catch(async (error: unknown) => {
    await hub.closeStore()
    throw new CommandError(exitCodes.failure, cannotListen(error, options))
  })
  // Before anybody reads that it listens, and may ask it to end.
  const ended = endWhenAsked(
    {
      log,
      shutdownMs: options.shutdownMs ?? hub.limits.shutdownMs,
      uncaught: () => server.countUncaught(),
      unusable,
      async close() {
        const shutdownMs = options.shutdownMs ?? hub.limits.shutdownMs
        // The rest is for the store.
        await server.close({ graceMs: 0.75 * shutdownMs })
        await hub.closeStore()
        // Events that the log has not taken were not acknowledged.
        if (hub.fault === undefined || sharedLog !== undefined) return true
        log.error({ fault: hub.fault }, 'the store fails: data that was not stored is lost')
        return false
      },
    },
    surroundings,
  )
  if (access.auth !== undefined && access.tls === undefined && !isLoopback(host))
    log.warn({}, 'tokens are sent unencrypted: use --tls-cert and --tls-key, or a proxy with TLS')
  if (number !== undefined) sayListens()
  if (logFormat !== 'json' && (number ?? 1) === 1) {
    const kept = store ? storeLine(data, store.found) : sharedLog && logLine(sharedLog.shown)
    const { url, transport } = server
    greet({ url, transport, kept, hint: hintOfToken(access, env) }, surroundings)
  }
  log.info(
    {
      version: options.version,
      node: process.version,
      pid: process.pid,
      ...(number !== undefined && { process: number }),
      ...(store
        ? { data, ...store.found }
        : sharedLog
          ? { sharedLog: sharedLog.shown }
          : { store: 'memory' }),
    },
    'started',
  )
  const code = await ended
  // The channel to the process that has started this one keeps it alive.
  if (number !== undefined) process.disconnect()
  return code
}

/** Maximum of damaged pages that the log lists; `runcast inspect` lists all. */
const pagesToldMax = 20

/** @throws CommandError if the package is not installed */
async function openTracer(): Promise<Tracer> {
  const [{ openTelemetry }, api] = await Promise.all([
    import('../server/operations/open-telemetry.js'),
    import('@opentelemetry/api').catch((error: unknown) => {
      throw new CommandError(
        exitCodes.failure,
        `--otel: install @opentelemetry/api where runcast is installed, and an SDK: ${reasonOf(error)}`,
      )
    }),
  ])
  return openTelemetry(api)
}

interface Greeting {
  readonly url: string
  readonly transport: Server['transport']
  readonly kept: string | undefined
  readonly hint: string | undefined
}

/** Reports where the hub listens, with commands that work unchanged. */
function greet({ url, transport, kept, hint }: Greeting, { stdout, env }: Surroundings): void {
  const { bold, dim, cyan } = paletteFor(stdout, env)
  const program = programName(env)
  const hub = url === 'http://127.0.0.1:4600' ? '' : ` --hub ${url}`
  const tries = [
    ...(hint === undefined ? [] : [hint]),
    `${program} run${hub} --session demo --replace -- ls -la`,
    `${program} tail${hub} demo`,
    `curl -N${hint === undefined ? '' : ' -H "authorization: Bearer $RUNCAST_TOKEN"'} '${url}/api/sessions/demo/events?all=1'`,
  ]
  stdout.write(
    `Runcast listens on ${bold(url)}; open ${bold(`${url}/`)} to watch

Try, from other terminals:
${tries.map((text) => `  ${cyan(text)}`).join('\n')}

${dim(`Transport: ${transport.name}, because ${transport.why}.`)}
${dim(`${kept ?? 'Events are kept in memory: nothing survives a restart.'} Ctrl-C ends the hub.`)}
`,
  )
}

/** Reports where events are kept, and what was found there. */
function storeLine(directory: string, { sessions, events, bytes, clean }: Found): string {
  if (sessions === 0) return `Events are kept in ${directory}.`
  const found = `${formatCount(sessions, 'session')} with ${formatCount(events, 'event')} (${formatBytes(bytes)})`
  const end = clean ? '' : ' The last hub on it was killed; all that it acknowledged is there.'
  return `Events are kept in ${directory}, which has ${found}.${end}`
}

/** Reports where events are kept if several hubs share them. */
function logLine(shown: string): string {
  return `Events are kept in ${shown}, which other hubs may share.`
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
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'EADDRINUSE')
    return `port ${port} of ${host} is taken: end what listens there, or choose another with --port`
  return code === undefined ? reasonOf(error) : `cannot listen on ${host}, port ${port}: ${reasonOf(error)}`
}

function address(text: string, previous: readonly string[] = []): readonly string[] {
  if (isIP(text) === 0) throw new InvalidArgumentError('expected an IP address.')
  return [...previous, text]
}
