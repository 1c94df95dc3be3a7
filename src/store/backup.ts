import { existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { open, type RootDatabase } from 'lmdb'
import { LmdbTables } from './lmdb-tables.js'
import { type Found, StoreError } from './store.js'

/**
 * Copies the state of a store at one moment, without its free pages. A hub may use it meanwhile, because LMDB's readers and
 * writers do not block each other.
 *
 * The copy counts as not closed cleanly: events published after the copy have offsets that it does not know, and a hub that
 * continues from the copy must not use them again.
 *
 * @param to created if it does not exist
 * @returns the contents of the copy, and its size in bytes
 * @throws StoreError `refused` when there is nothing to copy, or `to` is not empty; `failed` otherwise
 */
export async function backupLmdb(from: string, to: string): Promise<Found & { readonly fileBytes: number }> {
  const [source, target] = [from, to].map((directory) => join(directory, 'data.lmdb')) as [string, string]
  if (!existsSync(source)) throw new StoreError('refused', `${from} has no hub data.`)
  if (existsSync(target)) {
    throw new StoreError('refused', `${to} already has hub data: choose another directory.`)
  }
  // Has another name until it is complete.
  const draft = join(to, 'data.partial')
  mkdirSync(to, { recursive: true })
  rmSync(draft, { force: true })
  try {
    const root = open<Buffer>({ path: source, encoding: 'binary', readOnly: true })
    try {
      await root.backup(draft, true)
    } finally {
      await root.close()
    }
    const copy = open<Buffer>({ path: draft, encoding: 'binary' })
    const found = await marked(copy, to)
    rmSync(`${draft}-lock`, { force: true })
    renameSync(draft, target)
    return { ...found, fileBytes: statSync(target).size }
  } catch (error) {
    for (const left of [draft, `${draft}-lock`]) rmSync(left, { force: true })
    if (error instanceof StoreError) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new StoreError('failed', `${from} could not be copied to ${to}: ${reason}`, { cause: error })
  }
}

/** Begins a lifetime that does not end cleanly. */
async function marked(copy: RootDatabase<Buffer>, directory: string): Promise<Found> {
  try {
    const found = new LmdbTables(copy, directory).begin()
    await copy.flushed
    return found
  } finally {
    await copy.close()
  }
}
