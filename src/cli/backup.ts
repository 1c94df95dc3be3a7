import { Command } from 'commander'
import { defaultData } from './data.js'
import { CommandError, exitCodes } from './exit-codes.js'
import { formatBytes, formatCount } from './showing/paint.js'
import type { Surroundings } from './surroundings.js'

const examples = `
Examples:
  $ runcast backup /backups/$(date +%F) --data /var/lib/runcast
  $ runcast serve --data /backups/2026-01-02        # continues from there

The copy has everything that was acknowledged before it began, in a directory that runcast serve can use. A running hub is not
delayed.

Exit codes:
  0    the copy is complete
  1    there is nothing to copy, the target already has data, or the disk is full
  2    the command line is invalid`

export function backupCommand({ stdout }: Surroundings): Command {
  return new Command('backup')
    .summary('copy a data directory, even while a hub uses it')
    .description('Copies a consistent snapshot of a data directory, without its free pages.')
    .argument('<directory>', 'the new directory')
    .option('--data <directory>', 'the data directory', defaultData)
    .addHelpText('after', examples)
    .action(async (to: string, { data }: { readonly data: string }) => {
      // Loaded here, so that the other commands start without the database.
      const [{ backupLmdb }, { StoreError }] = await Promise.all([
        import('../store/backup.js'),
        import('../store/store.js'),
      ])
      try {
        const { sessions, events, fileBytes } = await backupLmdb(data, to)
        const what = `${formatCount(sessions, 'session')}, ${formatCount(events, 'event')}`
        stdout.write(`${to}: ${what} in ${formatBytes(fileBytes)}\n`)
        process.exitCode = exitCodes.ok
      } catch (error) {
        if (!(error instanceof StoreError)) throw error
        throw new CommandError(exitCodes.failure, error.message.replace(/\.$/, ''))
      }
    })
}
