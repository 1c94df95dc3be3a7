import { readFileSync } from 'node:fs'
import { text as textOf } from 'node:stream/consumers'
import { Command } from 'commander'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { type HubHttp, lookUpSession, parseObject, problemOf, reasonOf } from './hub-http.js'
import { collect, hubOf, hubOption, idOption, tokenOption } from './options.js'
import { formatCount } from './showing/paint.js'
import type { Surroundings } from './surroundings.js'

interface RedactOptions {
  readonly hub: string
  readonly token?: string
  readonly valueFrom?: readonly string[]
  readonly pattern?: readonly string[]
  readonly kind?: string
}

const examples = `
Examples:
  $ runcast redact build-42 --value-from leaked.txt              # the file has the value, and nothing else
  $ pass show db | runcast redact build-42 --value-from - --kind db-password
  $ runcast redact build-42 --pattern 'EMP-[0-9]{6}' --kind staff-id

Values are not passed as arguments, because other users of the machine can read those. From now on a value is also masked in
new events of the session, what a pattern matches is not. If the command is interrupted, run it again. It does not change backups, exports, webhook messages
that were sent, or what clients have saved. The store's file keeps old bytes on free pages: docs/guide/secrets.md says what to do.
${exitCodesHelp}`

export function redactCommand(surroundings: Surroundings): Command {
  return new Command('redact')
    .summary('take a secret out of what was published')
    .description(
      'Puts [secret:KIND] in the place of a value, or of what a pattern matches, in all that a hub keeps of a session.',
    )
    .argument('<session>', 'the session', idOption)
    .addOption(hubOption(surroundings.env))
    .addOption(tokenOption())
    .option(
      '--value-from <file>',
      'a file with a value of 8 characters or more; - for standard input',
      collect,
    )
    .option('--pattern <expression>', 'a regular expression of RE2; may be repeated', collect)
    .option(
      '--kind <kind>',
      'the name in the marks: a–z, 0–9 and - (default: value, or redacted for patterns)',
    )
    .addHelpText('after', examples)
    .action(async (session: string, options: RedactOptions) => {
      const hub = hubOf(options, surroundings.env)
      process.exitCode = await redact(hub, session, options, surroundings).finally(() => hub.close())
    })
}

async function redact(
  hub: HubHttp,
  session: string,
  { valueFrom = [], pattern: patterns = [], kind }: RedactOptions,
  { stdin, stdout, stderr }: Surroundings,
): Promise<number> {
  if (valueFrom.length + patterns.length === 0)
    throw new CommandError(exitCodes.usage, 'expected --value-from or --pattern')
  const values: string[] = []
  for (const file of valueFrom) values.push(valueIn(file === '-' ? await textOf(stdin) : textIn(file)))
  const named = kind === undefined ? {} : { kind }
  const asked = {
    ...(values.length > 0 && { values: values.map((value) => ({ value, ...named })) }),
    ...(patterns.length > 0 && { patterns: patterns.map((one) => ({ pattern: one, ...named })) }),
  }
  if ((await lookUpSession(hub, session)) === 'absent')
    throw new CommandError(exitCodes.hubRefused, `there is no session ${session}`)
  let [examined, redacted] = [0, 0]
  let after: unknown = 0
  let masksLater: unknown
  while (after !== undefined) {
    const part = await askFor(hub, session, { ...asked, after })
    examined += Number(part['examined'])
    redacted += Number(part['redacted'])
    after = part['next']
    masksLater = part['masksLater']
    if (after !== undefined) stderr.write(`${formatCount(examined, 'event')} looked at\n`)
  }
  stdout.write(`${formatCount(redacted, 'event')} of ${session} redacted\n`)
  if (masksLater === false)
    stderr.write(
      `New events are not searched for ${patterns.length > 0 ? 'patterns: add them to maskingPatterns of the hub' : 'it: the hub masks nothing'}\n`,
    )
  return exitCodes.ok
}

async function askFor(
  hub: HubHttp,
  session: string,
  body: object,
): Promise<Readonly<Record<string, unknown>>> {
  const path = `/api/sessions/${session}/redact`
  const answer = await hub
    .ask({ method: 'POST', path, body: JSON.stringify(body) })
    .catch((error: unknown) => {
      throw new CommandError(
        exitCodes.hubUnavailable,
        `the hub at ${hub.name} did not answer (${reasonOf(error)}); run it again`,
      )
    })
  const result = answer.status === 200 ? parseObject(answer.body) : undefined
  if (result !== undefined) return result
  throw new CommandError(exitCodes.hubRefused, `the hub at ${hub.name} refused: ${problemOf(answer).detail}`)
}

function textIn(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new CommandError(exitCodes.usage, `--value-from: ${reasonOf(error)}`)
  }
}

/** Editors and commands end a file with a newline, which is no part of the value. */
function valueIn(text: string): string {
  return text.replace(/\r?\n$/, '')
}
