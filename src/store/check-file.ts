import { closeSync, fstatSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { unpack } from './block.js'
import { type Format, keyBytes, type State, type TableName, tableNames } from './lmdb-tables.js'
import {
  flagsOf,
  type Meta,
  type PageFault,
  type PageFile,
  pageBytesOf,
  pickMeta,
  readTree,
  subTable,
} from './page-file.js'
import { PageWalk } from './page-walk.js'
import { isOfKey, isSealed, sealBytes, unseal } from './seal.js'

/** An entry of one of the store's tables in the file. */
export interface FileEntry {
  readonly table: TableName
  readonly key: Buffer
  /** The value; the reader must check it. */
  readonly value: Buffer
}

/** A fault in a file. */
export interface FileFault extends PageFault {
  /** Absent if no table of the store is affected. */
  readonly table?: TableName
}

export interface FileCheck {
  readonly faults: readonly FileFault[]
  /** The file ends before the last page in use. */
  readonly isCut: boolean
  /** Nothing can be read; a backup is needed. */
  readonly isLost: boolean
  /** The entries of the table `meta`, if they can be read. */
  readonly state?: State | undefined
  readonly hasUnsealed: boolean
}

/**
 * Checks every page in use of a store's file, before LMDB reads it.
 *
 * @param overlaps how LMDB will open it, see `pickMeta`
 * @param found called with every readable entry and its whole value, including entries next to damaged ones
 */
export function checkFile(path: string, overlaps: boolean, found?: (entry: FileEntry) => void): FileCheck {
  const fd = openSync(path, 'r')
  try {
    const bytes = fstatSync(fd).size
    const pageBytes = pageBytesOf(fd, bytes)
    if (pageBytes === undefined || bytes < 2 * pageBytes) {
      return lost(bytes === 0 ? 'it is empty' : 'its first page is not one of a store')
    }
    const file: PageFile = { fd, bytes, pageBytes }
    const meta = pickMeta(file, overlaps)
    if (meta === undefined) return lost('its first two pages contradict each other')
    return walk(file, meta, found)
  } finally {
    closeSync(fd)
  }
}

function lost(reason: string): FileCheck {
  return { faults: [{ page: 0, kind: 'page', reason }], isCut: false, isLost: true, hasUnsealed: false }
}

function walk(file: PageFile, meta: Meta, found: ((entry: FileEntry) => void) | undefined): FileCheck {
  const faults: FileFault[] = []
  const pages = new PageWalk(file, meta)
  const fault = (each: FileFault): void => void faults.push(each)
  pages.free({ fault })
  const before = faults.length
  const trees = treesOf(pages, meta, fault)
  // If the main page is damaged, it is unknown which tables are lost.
  const isLost = faults.length > before
  const made = readMade(pages, trees.get('meta'), fault)
  for (const [table, tree] of trees) {
    if (table === 'meta') continue
    pages.tree(readTree(tree), {
      fault: (each) => fault({ ...each, table }),
      entry: (key, read, location) => {
        const value = read(found === undefined ? sealBytes : undefined)
        const isSound = made.hasUnsealed && !isSealed(value) ? true : isOfKey(key, value)
        if (!isSound)
          fault({
            page: location.page,
            table,
            kind: 'page',
            reason: 'a key is not what it was',
            ...location.around(),
          })
        else found?.({ table, key: Buffer.from(key), value })
      },
    })
  }
  return { faults, isCut: faults.some(({ kind }) => kind === 'cut'), isLost, ...made }
}

/** @returns the roots of the tables */
function treesOf(pages: PageWalk, { main }: Meta, fault: (fault: FileFault) => void): Map<TableName, Buffer> {
  const trees = new Map<TableName, Buffer>()
  pages.tree(main, {
    fault,
    entry: (key, value, { flags, page }) => {
      const name = key.toString('latin1').replace(/\0$/, '')
      const table = tableNames.find((each) => each === name)
      const tree = value()
      if (table === undefined || flags !== subTable || tree.length !== 48) {
        return fault({ page, kind: 'page', reason: 'it names a table that the store has not' })
      }
      if (flagsOf(tree) !== 0) {
        return fault({ page, kind: 'page', reason: 'it says of a table that it is of another kind' })
      }
      trees.set(table, Buffer.from(tree))
    },
  })
  return trees
}

/** Reads which version wrote the store, and its last state. */
function readMade(
  pages: PageWalk,
  tree: Buffer | undefined,
  fault: (fault: FileFault) => void,
): Pick<FileCheck, 'state' | 'hasUnsealed'> {
  const values = new Map<string, Buffer>()
  if (tree !== undefined) {
    pages.tree(readTree(tree), {
      fault: (each) => fault({ ...each, table: 'meta' }),
      entry: (key, value) => void values.set(key.toString('latin1'), Buffer.from(value())),
    })
  }
  const decode = <Value>(name: string): Value | undefined => {
    const value = values.get(name)
    if (value === undefined) return undefined
    try {
      return unpack<Value>(isSealed(value) ? unseal(keyBytes(name), value) : value)
    } catch {
      fault({ page: 0, table: 'meta', kind: 'page', reason: `its ${name} is not what it was` })
      return undefined
    }
  }
  const made = decode<Format>('format')
  return { state: decode<State>('state'), hasUnsealed: made?.format === 1 || made?.unsealed === true }
}

/** One sentence without its end. */
export function describe(directory: string, { faults }: Pick<FileCheck, 'faults'>): string {
  const [first] = faults
  const where = first === undefined ? '' : ` (page ${first.page}: ${first.reason})`
  return `${join(directory, 'data.lmdb')} is damaged${where}`
}
