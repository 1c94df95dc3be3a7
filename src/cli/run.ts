import { Command, InvalidArgumentError, Option } from 'commander'
import { ingestNames } from '../ingest/translate.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { type HubHttp, lookUpSession, problemOf } from './hub-http.js'
import { hubOf, hubOption, idOption, newSessionId, secondsOption, tokenOption } from './options.js'
import { type ChildCommand, workerNameOf } from './running/child.js'
import { type NamedCommand, Run, type RunOptions } from './running/running.js'
import { loadTerminals } from './running/terminal.js'
import type { Surroundings } from './surroundings.js'

const examples = `
Examples:
  $ runcast run -- npm test
  $ runcast run --session build-42 \\
      --worker lint='npm run lint' --worker test='npm test' --worker list='ls -R | head'
  $ runcast run --from claude-code -- claude -p --output-format stream-json --verbose 'fix the tests'
  $ runcast run --mask-env=GITHUB_TOKEN,NPM_TOKEN -- npm publish
  $ runcast tail build-42                      # watch it from another terminal

Each command is a worker of the session; its output is published line by line. A command after -- is started directly; the
command of a --worker is run by the shell. The environment variables RUNCAST_HUB, RUNCAST_SESSION and RUNCAST_WORKER are
set for all of them. With --from the lines are the output of an agent and become its text, tools and result; other lines
stay output. Signals are passed on to all commands; a second signal kills them.

A single command reads the standard input; several commands get an empty one. With --pty each command runs in a terminal of
its own (its output is then all stdout), and on a terminal keys go to the only command as they are typed, Ctrl-C too.

Watchers may steer the commands: runcast send SESSION[/WORKER] cancel, pause or resume, and with --input also input.

With --mask-env the hub gets hashes of the values and masks them wherever they are published to the session. With --mask-env=NAMES
only these variables count; without names, those named like TOKEN, SECRET, KEY or PASSWORD. Values shorter than 8 characters
are not masked.

The session ends when all commands have ended, unless it existed before. The exit code is that of the first command that
failed (127: not found, 128+n: ended by signal n), else 0.
${exitCodesHelp}`

export function runCommand(surroundings: Surroundings): Command {
  return new Command('run')
    .summary('run commands in parallel and publish their output')
    .description('Runs commands in parallel, one worker each, shows their output and publishes it.')
    .argument('[command...]', 'one more command, after --')
    .addOption(hubOption(surroundings.env))
    .addOption(tokenOption())
    .option('--session <id>', 'the session to publish to (default: a new one)', idOption)
    .option('--worker <name=command>', 'a worker and its command; may be repeated', collectWorker)
    .addOption(
      new Option(
        '--from <kind>',
        'the kind of agent that the commands run; auto: detect it from the first object',
      ).choices(ingestNames),
    )
    .option(
      '--pty',
      'give each command a terminal, for programs that show progress, colors or prompts only there',
    )
    .option('--keep-open', 'leave the session open when all commands have ended')
    .option('--end', 'end the session even if it existed before')
    .option('--replace', 'if the session has already ended, remove it and start a new one')
    .option('--no-commands', 'ignore commands of watchers')
    .option('--input', 'keep the standard input of the commands open for input from watchers')
    .option(
      '--grace <seconds>',
      'how long a cancelled command may take to end before it is killed',
      secondsOption,
      10,
    )
    .option(
      '--mask-env [names]',
      'mask the values of these variables of the environment, with commas; without names, of those that look secret',
    )
    .option('--mask-output', 'with --mask-env: mask them in the output shown here, too')
    .option('--wait <seconds>', 'how long to wait at the end for an unreachable hub', secondsOption, 30)
    .addHelpText('after', examples)
    .action(async (words: readonly string[], options: RunOptions) => {
      process.exitCode = await run(commandsOf(words, options.worker ?? []), options, surroundings)
    })
}

/** @returns the exit code of the first failed command, otherwise that of publishing */
async function run(
  commands: readonly NamedCommand[],
  options: RunOptions,
  surroundings: Surroundings,
): Promise<number> {
  const terminals = options.pty === true ? await loadTerminals() : undefined
  const hub = hubOf(options, surroundings.env)
  const session = options.session ?? newSessionId(surroundings.random)
  try {
    const isNew = await prepareSession(hub, session, options.replace === true)
    // Without a token everybody may; otherwise the session could not have been read.
    if (hub.hasToken) for (const { worker } of commands) await expectMayPublish(hub, session, worker)
    const ends = options.end === true || (isNew && options.keepOpen !== true)
    return await new Run(hub, session, { commands, options, terminals }, surroundings).toItsEnd({
      isNew,
      ends,
    })
  } finally {
    hub.close()
  }
}

/**
 * @returns whether the session begins here
 * @throws CommandError if there is no hub, or the session has ended
 */
async function prepareSession(hub: HubHttp, session: string, replace: boolean): Promise<boolean> {
  const status = await lookUpSession(hub, session)
  if (status !== 'ended') return status === 'absent'
  if (!replace) {
    throw new CommandError(
      exitCodes.failure,
      `session ${session} has ended. Choose another --session, or replace it with --replace`,
    )
  }
  const answer = await hub.ask({ method: 'DELETE', path: `/api/sessions/${session}` })
  if (answer.status >= 400 && answer.status !== 404) {
    throw new CommandError(
      exitCodes.hubRefused,
      `the hub refused to remove ${session}: ${problemOf(answer).detail}`,
    )
  }
  return true
}

/**
 * Publishes an empty list, which begins nothing, to see whether the hub refuses it.
 *
 * @throws CommandError before any command is started whose output could not be published
 */
async function expectMayPublish(hub: HubHttp, session: string, worker: string): Promise<void> {
  const path = `/api/sessions/${session}/workers/${worker}/events`
  const probe = { method: 'POST', path, body: '', contentType: 'application/x-ndjson' } as const
  // If the hub is away, the command waits for it, as it does later.
  const answer = await hub.ask(probe).catch(() => undefined)
  if (answer === undefined || (answer.status !== 401 && answer.status !== 403)) return
  throw new CommandError(
    exitCodes.hubRefused,
    `may not publish to ${worker} of session ${session}: ${problemOf(answer).detail}`,
  )
}

function commandsOf(words: readonly string[], workers: readonly NamedCommand[]): readonly NamedCommand[] {
  const [first, ...rest] = words
  if (first === undefined) {
    if (workers.length === 0) {
      throw new CommandError(
        exitCodes.usage,
        "nothing to run. Give a command after --, or --worker name='command'",
      )
    }
    return workers
  }
  // One word with spaces is a command for a shell.
  const command: ChildCommand =
    rest.length === 0 && /\s/.test(first)
      ? { kind: 'shell', text: first }
      : { kind: 'program', words: [first, ...rest] }
  const worker = workerNameOf(command)
  if (workers.some((other) => other.worker === worker)) {
    throw new CommandError(
      exitCodes.usage,
      `two workers are called ${worker}. Give the last command a --worker name too`,
    )
  }
  return [...workers, { worker, command }]
}

function collectWorker(text: string, previous: readonly NamedCommand[] = []): readonly NamedCommand[] {
  const at = text.indexOf('=')
  const command = text.slice(at + 1).trim()
  if (at < 1 || command === '') throw new InvalidArgumentError("expected name='command'.")
  const worker = idOption(text.slice(0, at))
  if (previous.some((other) => other.worker === worker)) {
    throw new InvalidArgumentError(`two workers are called ${worker}.`)
  }
  return [...previous, { worker, command: { kind: 'shell', text: command } }]
}
