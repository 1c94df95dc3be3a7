import { Command } from 'commander'
import { connect } from '../client/client.js'
import { ClosedError, RequestError } from '../client/errors.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { hubOf, hubOption, idOption, tokenOption } from './options.js'
import type { Surroundings } from './surroundings.js'

interface ForkOptions {
  readonly hub: string
  readonly token?: string
  readonly at?: string
  readonly as?: string
  readonly known?: true
}

const examples = `
Examples:
  $ runcast fork build-42                                # from its end
  $ runcast fork build-42 --at 2Fsy8xQ0p1Za:17 --as build-43
  $ runcast publish --session "$(runcast fork build-42)" < more.ndjson

It prints the id of the fork.
${exitCodesHelp}`

export function forkCommand(surroundings: Surroundings): Command {
  return new Command('fork')
    .summary('make a session with the past of another one')
    .description(
      'Makes a session that begins with the events, workers and state of another one up to a cursor, and continues independently.',
    )
    .argument('<session>', 'the session to fork', idOption)
    .addOption(hubOption(surroundings.env))
    .addOption(tokenOption())
    .option('--at <cursor>', 'the fork has everything up to there (default: the end of the session)')
    .option('--as <id>', 'the id of the fork (default: the hub makes one up)', idOption)
    .option('--known', 'fork even if some workers or slices as of the cursor are unknown')
    .addHelpText('after', examples)
    .action(async (session: string, options: ForkOptions) => fork(session, options, surroundings))
}

async function fork(
  session: string,
  options: ForkOptions,
  { env, stdout, stderr }: Surroundings,
): Promise<void> {
  const hub = hubOf(options, env)
  const { at, as, known } = options
  const client = connect(hub.name, { transport: 'sse', ...(hub.token !== undefined && { token: hub.token }) })
  try {
    const { id, forkedFrom } = await client.fork(`sessions/${session}`, {
      ...(at !== undefined && { at }),
      ...(as !== undefined && { session: as }),
      ...(known === true && { state: 'known' }),
    })
    const { without } = forkedFrom ?? {}
    if (without !== undefined) stderr.write(`unknown as of the cursor: ${without.join(', ')}\n`)
    stdout.write(`${id}\n`)
  } catch (error) {
    if (!(error instanceof RequestError || error instanceof ClosedError)) throw error
    throw new CommandError(exitCodes.hubRefused, `the hub refused: ${error.message}`)
  } finally {
    client.close()
    hub.close()
  }
}
