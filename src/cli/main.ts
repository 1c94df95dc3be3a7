#!/usr/bin/env node
import { constants } from 'node:os'
import { Command, CommanderError } from 'commander'
import { systemClock } from '../lib/clock.js'
import { systemRandom } from '../lib/random.js'
import { defaultLimits } from '../protocol/limits.js'
import { packageVersion } from '../server/version.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { paletteFor } from './showing/paint.js'
import type { Surroundings } from './surroundings.js'

const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP']

function endAtOnce(signal: NodeJS.Signals): never {
  process.exit(128 + constants.signals[signal])
}

// A signal without a listener does not end process 1, as in a container.
if (process.pid === 1) for (const signal of signals) process.on(signal, endAtOnce)

// Ends `runcast --help | head -1` as SIGPIPE would, which Node ignores. Commands with a listener decide for themselves.
process.stdout.on('error', () => {
  if (process.stdout.listenerCount('error') === 1) endAtOnce('SIGPIPE')
})

const surroundings: Surroundings = {
  clock: systemClock,
  random: systemRandom,
  env: process.env,
  // Only commands that read the input open it.
  get stdin() {
    return process.stdin
  },
  stdout: process.stdout,
  stderr: process.stderr,
  onSignal(task) {
    for (const signal of signals) process.off(signal, endAtOnce).on(signal, task)
    return () => {
      for (const signal of signals) process.off(signal, task)
    }
  },
  onFault(task) {
    process.on('uncaughtException', task)
    process.on('unhandledRejection', task)
  },
  exit: (code) => process.exit(code),
}

type Loaded = (surroundings: Surroundings) => Command

/** The commands in the order of the help. Loading one takes as long as starting Node, so only what is needed is loaded. */
const commands: Readonly<Record<string, () => Promise<Loaded>>> = {
  serve: async () => (await import('./serve.js')).serveCommand,
  run: async () => (await import('./run.js')).runCommand,
  publish: async () => (await import('./publish.js')).publishCommand,
  attach: async () => (await import('./attach.js')).attachCommand,
  tail: async () => (await import('./tail.js')).tailCommand,
  ls: async () => (await import('./ls.js')).lsCommand,
  send: async () => (await import('./send.js')).sendCommand,
  fork: async () => (await import('./fork.js')).forkCommand,
  mcp: async () => (await import('./mcp.js')).mcpCommand,
  token: async () => (await import('./token.js')).tokenCommand,
  inspect: async () => (await import('./inspect.js')).inspectCommand,
  export: async () => (await import('./export.js')).exportCommand,
  backup: async () => (await import('./backup.js')).backupCommand,
  redact: async () => (await import('./redact.js')).redactCommand,
  completion: async () => (await import('./completion.js')).completionCommand,
}

/**
 * @param version what `--version` shows
 * @param name the first word; all commands are loaded unless it is one that depends on no other
 */
async function createProgram(version: string, name: string | undefined): Promise<Command> {
  const program = new Command('runcast')
    .description('Broadcasts what agents, jobs and scripts do while they run.')
    .version(version, '-V, --version', 'show the version')
    .option('--verbose', 'with --version: also show the platform and the transport')
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command]', 'show the help of a command')
    .showSuggestionAfterError()
  const asksForVersion = name === '--version' || name === '-V'
  const isAlone =
    asksForVersion || (name !== undefined && name !== 'completion' && Object.hasOwn(commands, name))
  const needed = Object.entries(commands).filter(([other]) => !isAlone || other === name)
  for (const command of await Promise.all(needed.map(([, load]) => load())))
    program.addCommand(command(surroundings))
  program.addHelpText(
    'after',
    `
Examples:
  $ runcast serve                              # in one terminal
  $ runcast run --session demo -- npm test     # in another
  $ runcast tail demo                          # and in a third
  $ runcast ls --failed                        # the sessions that failed

Every command has a --help of its own: runcast help run.
${exitCodesHelp}`,
  )
  for (const command of [program, ...program.commands]) {
    command
      .helpOption('-h, --help', 'show this help')
      .exitOverride()
      .configureOutput({ outputError: (text, write) => write(`runcast: ${text.replace(/^error: /, '')}`) })
  }
  return program
}

function isLongVersion(words: readonly string[]): boolean {
  return words.includes('--verbose') && words.some((word) => word === '--version' || word === '-V')
}

/** The version, and the platform of a hub on this machine. */
async function longVersion(): Promise<string> {
  const { chooseTransport } = await import('../transport/choice.js')
  const { headBytesMax } = defaultLimits
  const { name, why } = await chooseTransport('auto', { headBytesMax })
  return [
    packageVersion(),
    `node: ${process.version} ${process.platform}-${process.arch}`,
    `transport: ${name} (${why})`,
  ].join('\n')
}

/** Ends with the command's exit code; an unexpected error is reported in full. */
async function main(): Promise<void> {
  // Pending timers do not keep the process alive, but a command that waits must.
  const alive = setInterval(() => {}, 2 ** 30)
  try {
    const words = process.argv.slice(2)
    const version = isLongVersion(words) ? await longVersion() : packageVersion()
    const program = await createProgram(version, words[0])
    await program.parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
    } else if (error instanceof CommandError) {
      const { red } = paletteFor(process.stderr, process.env)
      process.stderr.write(`${red('runcast:')} ${error.message}\n`)
      process.exitCode = error.exitCode
    } else {
      throw error
    }
  } finally {
    clearInterval(alive)
  }
}

await main()
