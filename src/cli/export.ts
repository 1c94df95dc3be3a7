import { once } from 'node:events'
import { Command } from 'commander'
import { escapeControls } from '../lib/controls.js'
import { start } from '../protocol/cursor.js'
import type { Store, StoredEvent } from '../store/store.js'
import { defaultData, withData } from './data.js'
import { CommandError, exitCodes } from './exit-codes.js'
import { idOption } from './options.js'
import type { Output, Surroundings } from './surroundings.js'

interface ExportOptions {
  readonly data: string
  readonly worker?: string
}

const examples = `
Examples:
  $ runcast export demo > demo.ndjson
  $ runcast export demo --worker lint | runcast publish --session again

Each line is an event in the format of runcast publish, which publishes it to its worker and ignores its offset. The hub's own
events (the end of the session and updates of state) are left out. The hub must not be running.

Exit codes:
  0    success
  1    there is no such session, or the directory cannot be opened
  2    the command line is invalid`

export function exportCommand(surroundings: Surroundings): Command {
  return new Command('export')
    .summary('write the events of a session as NDJSON')
    .description(
      "Writes a session's events from a data directory, oldest first, in the format that runcast publish reads.",
    )
    .argument('<session>', 'the session', idOption)
    .option('--data <directory>', 'the data directory', defaultData)
    .option('--worker <id>', 'only the events of this worker', idOption)
    .addHelpText('after', examples)
    .action(async (session: string, options: ExportOptions) => {
      await withData(options.data, (store) => exportSession(store, session, options, surroundings.stdout))
      process.exitCode = exitCodes.ok
    })
}

export async function exportSession(
  store: Store,
  session: string,
  { data, worker }: ExportOptions,
  output: Output,
): Promise<void> {
  if ((await store.load(session)) === undefined) {
    throw new CommandError(exitCodes.failure, `${data} has no session ${session}`)
  }
  const filter = (event: StoredEvent) =>
    event.passes !== 'all' &&
    event.type !== 'state.update' &&
    (worker === undefined || event.worker === worker)
  for (let end = false, after = start; !end; ) {
    const page = await store.read(session, after, { filter })
    const text = page.events.map((event) => `${escapeControls(JSON.stringify(lineOf(event)))}\n`).join('')
    if (text !== '' && !output.write(text)) await once(output, 'drain')
    after = page.last
    end = page.end
  }
}

function lineOf({ passes, type, data, ...rest }: StoredEvent): object {
  return { type, data, ...rest, ...(passes === 'modes' && { force: true }) }
}
