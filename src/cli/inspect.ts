import { Command } from 'commander'
import type { Finding } from '../store/inspect.js'
import { defaultData, withData } from './data.js'
import { exitCodes } from './exit-codes.js'
import { formatBytes, formatCount, paletteFor } from './paint.js'
import type { Surroundings } from './surroundings.js'

const examples = `
Examples:
  $ runcast inspect
  $ runcast inspect /var/lib/runcast
  $ runcast inspect --json | jq 'select(.faults != [])'

Every event is read and compared with what the directory says of itself. The hub must not be running.

Exit codes:
  0    everything is consistent
  1    something is not, or the directory cannot be opened
  2    the command line is wrong`

export function inspectCommand(surroundings: Surroundings): Command {
  return new Command('inspect')
    .summary('list and check what a data directory holds')
    .description('Lists the sessions of a data directory, and checks that it is consistent.')
    .argument('[data]', 'the directory', defaultData)
    .option('--json', 'one JSON object a line')
    .addHelpText('after', examples)
    .action(async (directory: string, options: { readonly json?: boolean }) => {
      process.exitCode = await inspect(directory, options.json === true, surroundings)
    })
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
    const end = clean ? 'closed in good order' : 'not closed in good order; nothing acknowledged is missing'
    const state = faults === 0 ? 'consistent' : `${formatCount(faults, 'fault')}`
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
