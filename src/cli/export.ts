import { once } from 'node:events'
import { Command } from 'commander'
import { escapeControls } from '../lib/controls.js'
import { start } from '../protocol/cursor.js'
import type { Store, StoredEvent } from '../store/store.js'
import { defaultData, withData } from './data.js'
import { CommandError, exitCodes, exitCodesHelp } from './exit-codes.js'
import { type HubHttp, lookUpSession, parseObject, problemOf, reasonOf } from './hub-http.js'
import { askedHubOf, askedHubOption, idOption, tokenOption } from './options.js'
import { LineSplitter } from './showing/lines.js'
import type { Output, Surroundings } from './surroundings.js'

interface ExportOptions {
  readonly data?: string
  readonly hub?: string
  readonly token?: string
  readonly worker?: string
}

const examples = `
Examples:
  $ runcast export demo > demo.ndjson
  $ runcast export demo --worker lint | runcast publish --session again
  $ runcast export demo --hub http://127.0.0.1:4600 > demo.ndjson   # from a running hub

Each line is an event in the format of runcast publish, which publishes it to its worker and ignores its offset. The hub's own
events (the end of the session and updates of state) are left out. A running hub locks its
directory: use --hub to ask it, with a token that may read the session.
${exitCodesHelp}`

export function exportCommand(surroundings: Surroundings): Command {
  return new Command('export')
    .summary('write the events of a session as NDJSON')
    .description(
      "Writes a session's events from a data directory or a running hub, oldest first, in the format that runcast publish reads.",
    )
    .argument('<session>', 'the session', idOption)
    .option('--data <directory>', `the data directory (default: "${defaultData}")`)
    .addOption(askedHubOption())
    .addOption(tokenOption())
    .option('--worker <id>', 'only the events of this worker', idOption)
    .addHelpText('after', examples)
    .action(async (session: string, options: ExportOptions) => {
      const hub = askedHubOf(options, surroundings.env)
      if (hub === undefined) {
        const directory = options.data ?? defaultData
        const { stdout } = surroundings
        await withData(directory, (store) => exportSession(store, session, { ...options, directory }, stdout))
      } else {
        await download(hub, session, options, surroundings.stdout).finally(() => hub.close())
      }
      process.exitCode = exitCodes.ok
    })
}

/** A hub writes as fast as it is read. */
const silenceMsMax = 60_000

/** @throws CommandError also if the download was cut, because the file is then incomplete */
async function download(
  hub: HubHttp,
  session: string,
  { worker }: ExportOptions,
  output: Output,
): Promise<void> {
  // Reports what to do if there is no hub or no such session.
  const state = await lookUpSession(hub, session)
  if (state === 'absent') throw new CommandError(exitCodes.failure, `${hub.name} has no session ${session}`)
  const { signal } = new AbortController()
  try {
    const path = `/api/sessions/${session}/export`
    const incoming = await hub.open(path, { signal, silenceMsMax, accept: 'application/x-ndjson' })
    if (incoming.kind === 'answer') {
      const { detail } = problemOf(incoming.answer)
      throw new CommandError(exitCodes.hubRefused, `the hub at ${hub.name} refused: ${detail}`)
    }
    const lines = new LineSplitter(Number.POSITIVE_INFINITY)
    for await (const chunk of incoming.body) {
      const meant = lines
        .write(chunk)
        .filter((line) => worker === undefined || parseObject(line)?.['worker'] === worker)
      if (!output.write(meant.join(''))) await once(output, 'drain')
    }
  } catch (error) {
    if (error instanceof CommandError) throw error
    throw new CommandError(
      exitCodes.hubUnavailable,
      `the hub at ${hub.name} was cut off (${reasonOf(error)}); what was written is not complete`,
    )
  }
}

export async function exportSession(
  store: Store,
  session: string,
  { directory, worker }: { readonly directory: string; readonly worker?: string },
  output: Output,
): Promise<void> {
  if ((await store.load(session)) === undefined) {
    throw new CommandError(exitCodes.failure, `${directory} has no session ${session}`)
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
