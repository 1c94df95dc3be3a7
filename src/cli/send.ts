import { Command, InvalidArgumentError } from 'commander'
import { connect } from '../client/client.js'
import type { Outcome } from '../client/commands.js'
import { ClosedError, RequestError } from '../client/errors.js'
import type { JsonObject } from '../lib/json.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { lookUpSession } from './hub-http.js'
import { hubOf, hubOption, idOption, secondsOption, tokenOption } from './options.js'
import type { Surroundings } from './surroundings.js'

interface SendOptions {
  readonly hub: string
  readonly token?: string
  readonly reason?: string
  readonly key?: string
  readonly ttl?: number
  readonly wait: number
}

interface Target {
  readonly session: string
  readonly topic: string
}

const examples = `
Examples:
  $ runcast send build-42 cancel                        # all workers of the session
  $ runcast send build-42/test pause
  $ runcast send build-42/test resume
  $ runcast send build-42/agent input 'Use the other API'
  $ runcast send build-42/agent input yes --key req-7   # answers the question with this key

It prints the outcome: applied, refused with the reason, or expired. If there is none within --wait seconds, it prints how far the
command has come.
${exitCodesHelp}`

export function sendCommand(surroundings: Surroundings): Command {
  return new Command('send')
    .summary('cancel, pause, resume or answer what runs')
    .description('Sends a command to a session or one of its workers, and prints the outcome.')
    .argument('<session[/worker]>', 'the session or worker that gets the command', targetOption)
    .argument('<command>', 'cancel, pause, resume, input, or a type of your own')
    .argument('[text]', 'the text of input')
    .addOption(hubOption(surroundings.env))
    .addOption(tokenOption())
    .option('--reason <text>', 'why, for cancel')
    .option('--key <key>', 'the key of the question that the input answers')
    .option('--ttl <seconds>', 'how long the command waits for the agent (default: 1 hour)', secondsOption)
    .option('--wait <seconds>', 'how long to wait for the outcome', secondsOption, 10)
    .addHelpText('after', examples)
    .action(async (target: Target, name: string, text: string | undefined, options: SendOptions) => {
      process.exitCode = await send(target, { name, text }, options, surroundings)
    })
}

async function send(
  { session, topic }: Target,
  { name, text }: { readonly name: string; readonly text: string | undefined },
  options: SendOptions,
  { env, stdout }: Surroundings,
): Promise<number> {
  if (!['cancel', 'pause', 'resume', 'input'].includes(name) && !name.includes('.')) {
    throw new CommandError(
      exitCodes.usage,
      `expected cancel, pause, resume, input, or a type of your own such as acme.stop, got '${name}'`,
    )
  }
  if ((text !== undefined) !== (name === 'input')) {
    throw new CommandError(exitCodes.usage, 'only input takes a text, and it needs one')
  }
  const hub = hubOf(options, env)
  const state = await lookUpSession(hub, session).finally(() => hub.close())
  if (state === 'absent') throw new CommandError(exitCodes.hubRefused, `there is no session ${session}`)
  const { reason, key, ttl, wait } = options
  const data: JsonObject = {
    ...(text !== undefined && { text }),
    ...(reason !== undefined && { reason }),
    ...(key !== undefined && { key }),
    ...(ttl !== undefined && { ttlMs: Math.max(1, Math.round(ttl * 1_000)) }),
  }
  const client = connect(hub.name, { transport: 'sse', ...(hub.token !== undefined && { token: hub.token }) })
  try {
    const sent = await client.command(topic, name, data)
    const outcome = wait === 0 ? 'sent' : await within(wait, sent.outcome())
    stdout.write(`${textOf(outcome)}\n`)
    return typeof outcome === 'string' || outcome.state === 'applied' ? exitCodes.ok : exitCodes.failure
  } catch (error) {
    if (!(error instanceof RequestError || error instanceof ClosedError)) throw error
    throw new CommandError(exitCodes.hubRefused, `the hub refused: ${error.message}`)
  } finally {
    client.close()
  }
}

/** @returns the final state of the command, or a text if it is unknown when the time is over, or may not be read */
async function within(seconds: number, outcome: Promise<Outcome>): Promise<Outcome | string> {
  let timer: NodeJS.Timeout | undefined
  const over = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve(`sent; nobody has answered within ${seconds} s`), seconds * 1_000)
  })
  try {
    return await Promise.race([outcome, over])
  } catch (error) {
    // Permission to command does not include permission to read.
    if (error instanceof ClosedError) return `sent; the outcome is unknown (${error.message})`
    throw error
  } finally {
    clearTimeout(timer)
  }
}

function textOf(outcome: Outcome | string): string {
  if (typeof outcome === 'string') return outcome
  return outcome.reason === undefined ? outcome.state : `${outcome.state}: ${outcome.reason}`
}

function targetOption(text: string): Target {
  const [session = '', worker, ...more] = text.split('/')
  if (more.length > 0) throw new InvalidArgumentError('expected session or session/worker.')
  const topic = `sessions/${idOption(session)}`
  return { session, topic: worker === undefined ? topic : `${topic}/workers/${idOption(worker)}` }
}
