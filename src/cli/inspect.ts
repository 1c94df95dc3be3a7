import { Command, Option } from 'commander'
import type { Finding } from '../store/inspect.js'
import { StoreError } from '../store/store.js'
import { askInstead, defaultData, withData } from './data.js'
import { CommandError, exitCodes } from './exit-codes.js'
import { type HubHttp, parseObject, problemOf, reach } from './hub-http.js'
import { askedHubOf, askedHubOption, tokenOption } from './options.js'
import { formatBytes, formatCount, paletteFor } from './showing/paint.js'
import type { Surroundings } from './surroundings.js'

const examples = `
Examples:
  $ runcast inspect
  $ runcast inspect /var/lib/runcast
  $ runcast inspect --json | jq 'select(.faults != [])'
  $ runcast inspect --repair /var/lib/runcast
  $ runcast inspect --hub http://127.0.0.1:4600        # the sessions of a running hub

Reads every page and every event, and checks checksums and counts. A running hub locks its directory; --hub asks
it for the sessions that the token may see, and checks nothing. With --repair, all intact data
is written to a new file, and the old file is kept beside it. A session that lost data gets a new epoch, and its clients get a
gap.

Exit codes:
  0    everything is consistent, or was repaired
  1    something is damaged, or the directory cannot be opened
  2    the command line is invalid
  69   no hub answers
  76   the hub refused the request`

export function inspectCommand(surroundings: Surroundings): Command {
  return new Command('inspect')
    .summary('list and check the contents of a data directory')
    .description('Lists the sessions of a data directory, and checks that it is consistent.')
    .argument('[data]', `the directory (default: "${defaultData}")`)
    .addOption(askedHubOption())
    .addOption(tokenOption())
    .option('--json', 'one JSON object per line')
    .addOption(
      new Option('--repair', 'if something is damaged, save all intact data in a new file').conflicts('hub'),
    )
    .addHelpText('after', examples)
    .action(async (data: string | undefined, options: Options) => {
      const { json = false, repair = false } = options
      const asked = { ...options, ...(data !== undefined && { data }) }
      const hub = repair ? undefined : askedHubOf(asked, surroundings.env)
      if (hub !== undefined) {
        await inspectHub(hub, json, surroundings).finally(() => hub.close())
        process.exitCode = exitCodes.ok
        return
      }
      const directory = data ?? defaultData
      const damaged = await checkDirectory(directory, repair, surroundings)
      process.exitCode = damaged ? exitCodes.failure : await inspect(directory, json, surroundings)
    })
}

interface Options {
  readonly json?: boolean
  readonly repair?: boolean
  readonly hub?: string
  readonly token?: string
}

interface Listed {
  readonly id: string
  readonly status: string
  readonly result?: string
  readonly epoch: string
  readonly offset: number
  readonly startedAt: number
  readonly lastAt?: number
  readonly workers: readonly { readonly events: number }[]
}

/** Lists the sessions of a running hub that the token may see. */
async function inspectHub(hub: HubHttp, json: boolean, { stdout }: Surroundings): Promise<void> {
  const ask = async (path: string): Promise<Readonly<Record<string, unknown>>> => {
    const answer = await reach(hub, path)
    if (answer.status >= 400) {
      throw new CommandError(
        exitCodes.hubRefused,
        `the hub at ${hub.name} refused: ${problemOf(answer).detail}`,
      )
    }
    return parseObject(answer.body) ?? {}
  }
  let count = 0
  for (let after: string | undefined = ''; after !== undefined; ) {
    const page = await ask(`/api/sessions?limit=200${after === '' ? '' : `&after=${after}`}`)
    const sessions = page['sessions'] as readonly Listed[]
    for (const session of sessions) stdout.write(`${json ? JSON.stringify(session) : listedLine(session)}\n`)
    count += sessions.length
    after = page['next'] as string | undefined
  }
  if (json) return
  const { version, store } = await ask('/api/about')
  stdout.write(
    `${hub.name}: ${formatCount(count, 'session')}; runcast ${String(version)}, store ${String(store)}; in use, so nothing was checked\n`,
  )
}

function listedLine({ id, status, result, epoch, offset, startedAt, lastAt, workers }: Listed): string {
  const events = workers.reduce((sum, worker) => sum + worker.events, 0)
  const at = new Date(lastAt ?? startedAt).toISOString().slice(0, 19)
  const size = `${formatCount(workers.length, 'worker')}  ${formatCount(events, 'event')} of workers`
  return `${id}  ${result ?? status}  ${size}  up to ${epoch}:${offset}  ${at}Z`
}

/**
 * Checks the file before the database opens it, because damaged pages would crash the database.
 *
 * @returns whether it is still damaged
 */
async function checkDirectory(
  directory: string,
  repair: boolean,
  { stdout, stderr, env }: Surroundings,
): Promise<boolean> {
  const { inspectFile } = await import('../store/inspect-file.js')
  const { red } = paletteFor(stderr, env)
  try {
    const found = inspectFile(directory, repair)
    // Damage within readable pages is reported with its session.
    if (found === undefined || (found.faults.length === 0 && !repair)) return false
    const { faults, losses, kept, aside } = found
    for (const { page, table, reason } of faults) {
      stderr.write(`${red(`page ${page}${table === undefined ? '' : ` of ${table}`}: ${reason}`)}\n`)
    }
    for (const { session, parts } of losses)
      stderr.write(`${red(`${session}: damaged in ${parts.join(', ')}`)}\n`)
    const whole = `${formatCount(kept.sessions, 'session')}, ${formatCount(kept.events, 'event')} are whole`
    const how =
      aside === undefined ? `runcast inspect --repair ${directory} keeps them` : `kept; as it was: ${aside}`
    stdout.write(`${directory}: ${whole}; ${how}\n`)
    return aside === undefined
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    throw new CommandError(exitCodes.failure, askInstead(error.message.replace(/\.$/, '')))
  }
}

async function inspect(
  directory: string,
  json: boolean,
  { stdout, stderr, env }: Surroundings,
): Promise<number> {
  const { inspectStore } = await import('../store/inspect.js')
  const { red } = paletteFor(stderr, env)
  return withData(directory, async (store) => {
    const { sessions, events, bytes, clean } = store.found
    const findings = inspectStore(store)
    let faults = 0
    let step = await findings.next()
    for (; step.done !== true; step = await findings.next()) {
      stdout.write(json ? `${JSON.stringify(rowOf(step.value))}\n` : `${lineOf(step.value)}\n`)
      for (const fault of step.value.faults)
        stderr.write(`${red(`${step.value.record.session}: ${fault}`)}\n`)
      faults += step.value.faults.length
    }
    for (const fault of step.value) stderr.write(`${red(fault)}\n`)
    faults += step.value.length
    const end = clean ? 'closed cleanly' : 'not closed cleanly; no acknowledged event is missing'
    const state = faults === 0 ? 'consistent' : `${formatCount(faults, 'fault')}`
    if (faults > 0) stderr.write(`runcast inspect --repair ${directory} saves all intact data\n`)
    const size = `${formatCount(sessions, 'session')}, ${formatCount(events, 'event')}, ${formatBytes(bytes)}`
    if (!json) stdout.write(`${directory}: ${size}; ${end}; ${state}\n`)
    return faults === 0 ? exitCodes.ok : exitCodes.failure
  })
}

function rowOf({ record, extent, workers, slices, first, faults }: Finding): object {
  return { ...record, ...extent, first, workers, slices, faults }
}

function lineOf({ record, extent, workers, first }: Finding): string {
  const { session, status, epoch } = record
  const offsets = extent.events === 0 ? 'no events' : `${epoch}:${first} to ${epoch}:${extent.stored}`
  const at = new Date(extent.at).toISOString().slice(0, 19)
  const size = `${formatCount(extent.events, 'event')}, ${formatBytes(extent.bytes)}`
  return `${session}  ${status}  ${formatCount(workers, 'worker')}  ${size}  ${offsets}  ${at}Z`
}
