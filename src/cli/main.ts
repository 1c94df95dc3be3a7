#!/usr/bin/env node
import { constants } from 'node:os'
import { Command, CommanderError } from 'commander'
import { systemClock } from '../lib/clock.js'
import { systemRandom } from '../lib/random.js'
import { defaultLimits } from '../protocol/limits.js'
import { packageVersion } from '../server/version.js'
import { attachCommand } from './attach.js'
import { backupCommand } from './backup.js'
import { completionCommand } from './completion.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { exportCommand } from './export.js'
import { inspectCommand } from './inspect.js'
import { lsCommand } from './ls.js'
import { mcpCommand } from './mcp.js'
import { paletteFor } from './paint.js'
import { publishCommand } from './publish.js'
import { runCommand } from './run.js'
import { sendCommand } from './send.js'
import { serveCommand } from './serve.js'
import type { Surroundings } from './surroundings.js'
import { tailCommand } from './tail.js'
import { tokenCommand } from './token.js'

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

/** @param version what `--version` shows */
function createProgram(version: string): Command {
  const program = new Command('runcast')
    .description('Broadcasts what agents, jobs and scripts do while they run.')
    .version(version, '-V, --version', 'show the version')
    .option('--verbose', 'with --version: also show the platform and the transport')
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command]', 'show the help of a command')
    .showSuggestionAfterError()
  const commands = [
    serveCommand,
    runCommand,
    publishCommand,
    attachCommand,
    tailCommand,
    lsCommand,
    sendCommand,
    mcpCommand,
    tokenCommand,
    inspectCommand,
    exportCommand,
    backupCommand,
    completionCommand,
  ]
  for (const command of commands) program.addCommand(command(surroundings))
  program.addHelpText(
    'after',
    `
Examples:
  $ runcast serve                              # in one terminal
  $ runcast run --session demo -- npm test     # in another
  $ runcast tail demo                          # and in a third
  $ runcast ls --failed                        # what went wrong of late

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
    await createProgram(isLongVersion(words) ? await longVersion() : packageVersion()).parseAsync()
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
