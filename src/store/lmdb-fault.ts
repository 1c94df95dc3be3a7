import { ABORT, type RootDatabase } from 'lmdb'
import { isDamage } from './damage.js'
import {
  type LmdbKey,
  type LmdbTables,
  nothing,
  type Table,
  unpackExtent,
  type Write,
} from './lmdb-tables.js'

/** The session whose damage made a transaction fail. */
export interface Owner {
  readonly session?: string
  /** Its number in keys; absent if it cannot be read. */
  readonly number?: number
}

export function put(table: Table, key: LmdbKey, value: Buffer | undefined): void {
  // Both promises settle with the transaction.
  if (value === undefined) void table.remove(key)
  else void table.put(key, value)
}

/**
 * Finds the entry that makes a transaction fail because of damage. LMDB's thread reports only the error of the last entry, and
 * after one entry has failed all later ones fail too. So the entries are written again in this thread, without a commit.
 *
 * @param sealed the values as they are on disk
 * @returns the index of the entry; undefined if no single entry is the cause
 */
export function findFault(
  root: RootDatabase<Buffer>,
  meta: Table,
  sealed: readonly Write[],
): number | undefined {
  const index = failingIn(root, meta, sealed)
  const found = index === undefined ? undefined : sealed[index]
  if (found === undefined) return undefined
  const harmless = { table: meta, key: 'probe', value: nothing }
  const isAlone = failingIn(root, meta, [found]) === 0 && failingIn(root, meta, [harmless]) === undefined
  return isAlone ? index : undefined
}

function failingIn(root: RootDatabase<Buffer>, meta: Table, entries: readonly Write[]): number | undefined {
  let index = 0
  try {
    root.transactionSync(() => {
      for (const { table, key, value } of entries) {
        put(table, key, value)
        // Writing does not throw here, but reading throws in a transaction that has failed.
        meta.get('state')
        index += 1
      }
      return ABORT
    })
    return undefined
  } catch {
    return index
  }
}

/**
 * @param entries the transaction with the entry; it may contain a new session, which no table has yet
 * @returns the session to which an entry belongs; undefined if it belongs to none
 */
export function ownerOf(
  tables: LmdbTables,
  { table, key }: Write,
  entries: readonly Write[],
): Owner | undefined {
  if (table === tables.records || table === tables.extents) return ownerNamed(tables, String(key), entries)
  if (table === tables.ended) return ownerNamed(tables, (key as [number, string])[1], entries)
  if (table === tables.left) return { number: key as number }
  const { events, workers, slices, latest, ids } = tables
  if (![events, workers, slices, latest, ids].includes(table)) return undefined
  const [number] = key as [number]
  const extent = extentsIn(tables, entries).find(({ value }) => unpackExtent(value).number === number)
  return { number, ...(extent && { session: extent.session }) }
}

function ownerNamed(tables: LmdbTables, session: string, entries: readonly Write[]): Owner {
  const made = extentsIn(tables, entries).find((each) => each.session === session)
  if (made !== undefined) return { session, number: unpackExtent(made.value).number }
  try {
    const number = tables.extent(session)?.number
    return { session, ...(number !== undefined && { number }) }
  } catch (error) {
    if (!isDamage(error)) throw error
    return { session }
  }
}

function extentsIn(tables: LmdbTables, entries: readonly Write[]): { session: string; value: Buffer }[] {
  return entries.flatMap(({ table, key, value }) =>
    table === tables.extents && value !== undefined ? [{ session: String(key), value }] : [],
  )
}
