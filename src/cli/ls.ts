import { Command, Option } from 'commander'
import type { JsonObject } from '../lib/json.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { parseObject, problemOf, reach } from './hub-http.js'
import { collect, hubOf, hubOption, integerOption, tokenOption } from './options.js'
import { formatDuration, type Palette, paletteFor, terminalText } from './showing/paint.js'
import type { Surroundings } from './surroundings.js'

interface ListOptions {
  readonly hub: string
  readonly token?: string
  readonly running?: true
  readonly failed?: true
  readonly needs?: true
  readonly label?: readonly string[]
  readonly search?: string
  readonly limit: number
  readonly json?: true
}

const examples = `
Examples:
  $ runcast ls                          # sessions that wait for you first, then failed, running and ended ones
  $ runcast ls --failed                 # failed and lost ones
  $ runcast ls --label nightly --search '/^build-/'
  $ runcast ls --running --json | jq .id

${exitCodesHelp}`

export function lsCommand(surroundings: Surroundings): Command {
  return new Command('ls')
    .summary('list sessions: waiting, failed, running and ended')
    .description('Lists sessions: first those that wait for a person, then failed, running and ended ones.')
    .addOption(hubOption(surroundings.env))
    .addOption(tokenOption())
    .addOption(new Option('--running', 'only running sessions').conflicts(['failed']))
    .option('--failed', 'only failed and lost sessions')
    .option('--needs', 'only sessions that wait for a person')
    .option('--label <label>', 'only sessions with this label; may be repeated', collect)
    .option(
      '--search <text>',
      'only sessions with this text, or a match of /regex/, in their id, title, labels or reason',
    )
    .option('--limit <n>', 'list at most this many', integerOption(1, 1_000_000), 100)
    .option('--json', 'print one JSON object per line, with the workers')
    .addHelpText('after', examples)
    .action(async (options: ListOptions) => {
      await list(options, surroundings)
      process.exitCode = exitCodes.ok
    })
}

async function list(options: ListOptions, { stdout, stderr, env, clock }: Surroundings): Promise<void> {
  const hub = hubOf(options, env)
  const palette = paletteFor(stdout, env)
  try {
    let after: string | undefined
    for (let left = options.limit; left > 0; ) {
      const answer = await reach(hub, `/api/sessions?${queryOf(options, left, after)}`)
      if (answer.status >= 400) {
        throw new CommandError(exitCodes.hubRefused, `the hub refused: ${problemOf(answer).detail}`)
      }
      const { sessions = [], next } = (parseObject(answer.body) ?? {}) as unknown as Page
      for (const session of sessions) {
        stdout.write(`${options.json ? JSON.stringify(session) : lineOf(session, clock.now(), palette)}\n`)
      }
      left -= sessions.length
      after = next
      if (next === undefined) return
    }
    stderr.write(`${paletteFor(stderr, env).dim('runcast:')} there are more; see them with --limit\n`)
  } finally {
    hub.close()
  }
}

interface Page {
  readonly sessions?: readonly Listed[]
  readonly next?: string
}

interface Counted {
  readonly result?: string
  readonly needs?: readonly { readonly text: string }[]
  readonly needsMore?: number
}

interface Listed extends Counted {
  readonly id: string
  readonly status: string
  readonly startedAt: number
  readonly endedAt?: number
  readonly lastAt?: number
  readonly reason?: string
  readonly metadata: JsonObject
  readonly workers: readonly Counted[]
}

const pageMax = 200

function queryOf(options: ListOptions, left: number, after: string | undefined): string {
  const query = new URLSearchParams({ order: 'attention', limit: String(Math.min(left, pageMax)) })
  if (options.running) query.set('status', 'running,paused')
  if (options.failed) query.set('result', 'failed,lost')
  if (options.needs) query.set('needs', '1')
  for (const label of options.label ?? []) query.append('label', label)
  if (options.search !== undefined) query.set('q', options.search)
  if (after !== undefined) query.set('after', after)
  return query.toString()
}

const resultColours: Readonly<Record<string, 'green' | 'red' | 'yellow'>> = {
  succeeded: 'green',
  failed: 'red',
  lost: 'red',
  cancelled: 'yellow',
}

function lineOf(session: Listed, now: number, palette: Palette): string {
  const { id, status, result, reason, startedAt, endedAt, lastAt, metadata, workers } = session
  const state = result ?? status
  const paint = palette[resultColours[state] ?? 'cyan']
  const ago = formatDuration(Math.max(0, now - (endedAt ?? lastAt ?? startedAt)))
  const all = [session, ...workers]
  const needs = all.flatMap((one) => one.needs ?? [])
  const count = needs.length + all.reduce((sum, { needsMore = 0 }) => sum + needsMore, 0)
  const failed = workers.filter((worker) => worker.result === 'failed' || worker.result === 'lost').length
  const title = typeof metadata['title'] === 'string' ? ` ${palette.bold(oneLine(metadata['title']))}` : ''
  return [
    `${paint(state.padEnd(9))} ${oneLine(id)}${title}`,
    palette.dim(`${ago} ago`),
    palette.dim(`${workers.length} worker${workers.length === 1 ? '' : 's'}`),
    ...(count > 0
      ? [
          palette.yellow(
            `waits for you: ${oneLine(needs[0]?.text ?? '')}${count > 1 ? ` (+${count - 1})` : ''}`,
          ),
        ]
      : []),
    ...(failed > 0 ? [palette.red(`${failed} failed`)] : []),
    ...(reason === undefined ? [] : [palette.red(oneLine(reason))]),
  ].join('  ')
}

function oneLine(text: string): string {
  return terminalText(text).replaceAll(/\s+/g, ' ').slice(0, 120)
}
