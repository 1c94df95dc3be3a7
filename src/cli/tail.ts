import { Command, Option } from 'commander'
import { checkSlices, checkTypes } from '../protocol/check.js'
import { quote } from '../protocol/codes.js'
import { readCombinedCursor, readCursor } from '../protocol/cursor.js'
import { modes } from '../protocol/frames.js'
import { defaultLimits } from '../protocol/limits.js'
import { isId, parseTopic, type TopicName } from '../protocol/topic.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { lookUpSession, reach } from './hub-http.js'
import { hubOf, hubOption, integerOption, refusing, tokenOption } from './options.js'
import { grepOption } from './showing/grep.js'
import { Tailing, type TailOptions } from './showing/tailing.js'
import { type Since, sinceOption } from './since.js'
import type { Surroundings } from './surroundings.js'

const examples = `
Examples:
  $ runcast tail demo                                  # everything in session demo, including its workers
  $ runcast tail demo --since 10m                      # the last ten minutes, and everything after
  $ runcast tail demo --grep '/error|timeout/i'        # only matching lines and events
  $ runcast tail sessions/demo/workers/lint            # one worker
  $ runcast tail demo --types 'process.*,!process.output'
  $ runcast tail demo --mode summary                   # without output and text deltas
  $ runcast tail demo --json | jq 'select(.type == "process.exited")'
  $ runcast tail demo --state                          # also the slices of its state, and their changes
  $ runcast tail demo --state=plan --types '!*'        # one slice, and no events
  $ runcast tail hub --state=sessions                  # the list of sessions, updated live

Topics: sessions/{id}, sessions/{id}/workers/{id}, sessions/{id}/**, and hub, which has only state; an id alone
means sessions/{id}/**. A terminal does not show the hub's own counts; --json does.

The retained past comes first. If a part of it is not shown, stderr says so.

The output is readable text on a terminal or with --text, and NDJSON in a pipe or file. NO_COLOR turns colors off, FORCE_COLOR
turns them on. In text, --grep shows the lines that match; in NDJSON it shows whole events. If the link breaks, tail reconnects by itself and
continues where it was; it reports on stderr if the hub no longer has some of the events. It ends when the session ends.
${exitCodesHelp}`

export function tailCommand(surroundings: Surroundings): Command {
  return new Command('tail')
    .summary('watch a session or one of its workers')
    .description('Shows the events of a session or of one of its workers as they arrive.')
    .argument('<topic>', 'what to watch', topicArgument)
    .addOption(hubOption(surroundings.env))
    .addOption(tokenOption())
    .option(
      '--types <list>',
      'show only these types: names, prefix*, !excluded, separated by commas',
      typesOption,
    )
    .addOption(new Option('--mode <mode>', 'how much to show').choices(modes))
    .option(
      '--since <when>',
      'begin so long ago (10m, 2h, 1d), at a time (2026-01-31T10:00:00Z), or after a cursor',
      sinceOption,
    )
    .option('--last <n>', 'begin with the newest n events', integerOption(1, defaultLimits.pageItemsMax))
    .addOption(
      new Option(
        '--replay <what>',
        'which past events to show first: all that are kept, those that the catalog says, or none',
      )
        .choices(['all', 'traits', 'none'])
        .default('all'),
    )
    .option('--grep <text>', 'show only what contains this text, in any case, or matches /regex/', grepOption)
    .option(
      '--state [slices]',
      'slices of state: names, prefix*, separated by commas; all by default',
      slicesOption,
    )
    .addOption(new Option('--json', 'print NDJSON, even on a terminal').conflicts('text'))
    .option('--text', 'print readable text, even in a pipe or file')
    .addHelpText('after', examples)
    .action(async (topic: TopicName, options: TailOptions) => {
      process.exitCode = await tail(topic, options, surroundings)
    })
}

async function tail(topic: TopicName, options: TailOptions, surroundings: Surroundings): Promise<number> {
  if (options.since !== undefined) checkSince(topic, options.since)
  const hub = hubOf(options, surroundings.env)
  const tailing = new Tailing(hub, topic, options, surroundings)
  const restore = surroundings.onSignal((signal) => tailing.interrupt(signal))
  try {
    if (topic.kind === 'hub') await reach(hub, '/api/sessions?limit=1')
    else if ((await lookUpSession(hub, topic.session)) === 'absent')
      tailing.tell(`waiting for session ${topic.session}`)
    return await tailing.toItsEnd()
  } finally {
    restore()
    hub.close()
  }
}

function topicArgument(text: string): TopicName {
  if (text !== 'hub' && isId(text, defaultLimits)) return { kind: 'all', session: text }
  return refusing(() => parseTopic(text, 'topic', defaultLimits))
}

function slicesOption(text: string): readonly string[] {
  return refusing(() =>
    checkSlices(
      text.split(',').map((slice) => slice.trim()),
      defaultLimits,
      'state',
    ),
  )
}

function typesOption(text: string): readonly string[] {
  return refusing(() =>
    checkTypes(
      text.split(',').map((type) => type.trim()),
      defaultLimits,
      'types',
    ),
  )
}

/** @throws CommandError for a cursor that does not fit the topic, and for a time if the topic has no events */
function checkSince({ kind }: TopicName, since: Since): void {
  const isCombined = kind === 'hub'
  if (since.kind !== 'cursor') {
    if (isCombined) throw new CommandError(exitCodes.usage, '--since: hub has only state, and no past')
    return
  }
  const text = since.cursor
  const read = isCombined ? readCombinedCursor(text, Number.POSITIVE_INFINITY) : readCursor(text)
  if (read !== undefined) return
  const expected = isCombined
    ? '<session>=<epoch>:<offset>,…'
    : 'an age such as 10m, a time, or a cursor <epoch>:<offset>'
  throw new CommandError(exitCodes.usage, `--since: expected ${expected}, got ${quote(text)}`)
}
