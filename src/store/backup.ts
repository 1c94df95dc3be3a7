import { existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { open, type RootDatabase } from 'lmdb'
import { LmdbTables } from './lmdb-tables.js'
import { type Found, StoreError } from './store.js'

/**
 * Copies the store of a directory as it is at one moment, without its free pages. A hub may be using it meanwhile:
 * LMDB's readers and writers do not wait for each other.
 *
 * The copy counts as not closed in good order. What the hub publishes after the moment of the copy takes offsets
 * that the copy does not know; whoever goes on from the copy must not give them out again.
 *
 * @param to made when it is not there
 * @returns what the copy holds, and how many bytes it takes
 * @throws StoreError `refused` when there is nothing to copy, or something at `to` already; `failed` otherwise
 */
export async function backupLmdb(from: string, to: string): Promise<Found & { readonly fileBytes: number }> {
  const [source, target] = [from, to].map((directory) => join(directory, 'data.lmdb')) as [string, string]
  if (!existsSync(source)) throw new StoreError('refused', `${from} has no hub data.`)
  if (existsSync(target)) {
    throw new StoreError('refused', `${to} already has hub data: choose another directory.`)
  }
  // Under another name until it is whole.
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

/** Begins a lifetime that does not end in good order. */
async function marked(copy: RootDatabase<Buffer>, directory: string): Promise<Found> {
  try {
    const found = new LmdbTables(copy, directory).begin()
    await copy.flushed
    return found
  } finally {
    await copy.close()
  }
}
