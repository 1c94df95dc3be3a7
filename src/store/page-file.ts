import { readFileSync, readSync } from 'node:fs'

/**
 * The pages of an LMDB environment's file (`mdb.c` of the binding's LMDB: MDB_page_header, MDB_meta, MDB_db; little endian, 64
 * bits). LMDB trusts the header of a page and crashes on a wrong one; here every page is checked before LMDB opens the file.
 */
export interface PageFile {
  readonly fd: number
  readonly bytes: number
  readonly pageBytes: number
}

export const headerBytes = 24
const metaBytes = headerBytes + 144
const noPage = 0xffff_ffff_ffff_ffffn
export const flags = { branch: 1, leaf: 2, overflow: 4, meta: 8 }
export const bigData = 1
export const subTable = 2
const magic = 0xbeefc0de
const version = 2
/** The flag of a tree whose keys are integers; only the list of free pages is one. */
const numberKeys = 8
/** The flags of a tree that say how its pages are read. The others, in the list of free pages, are those of the environment. */
const treeFlags = 0xfff

/** A tree of pages. */
export interface Tree {
  readonly depth: number
  readonly entries: number
  /** Absent when it is empty. */
  readonly root: number | undefined
}

/** A root page: there are two, and a commit rewrites the older one. */
export interface Meta {
  readonly free: Tree
  readonly main: Tree
  readonly lastPage: number
  readonly transaction: number
  /** The commit has reached the disk. */
  readonly isFlushed: boolean
  /** The boot of the system in which it was written. */
  readonly boot: bigint
}

/** A fault of a page, and the range of keys that are lost with it: from `from`, up to but excluding `to`. */
export interface PageFault {
  readonly page: number
  readonly reason: string
  /** `cut`: the file ends before it. `head`: only its header is damaged. */
  readonly kind: 'page' | 'cut' | 'head'
  readonly from?: Buffer | undefined
  readonly to?: Buffer | undefined
}

export function readTree(bytes: Buffer): Tree {
  const root = bytes.readBigUInt64LE(40)
  return {
    depth: bytes.readUInt16LE(6),
    entries: numberAt(bytes, 32),
    root: root === noPage ? undefined : Number(root),
  }
}

/** @returns how the pages of a tree are read; 0 for a table of the store */
export function flagsOf(tree: Buffer): number {
  return tree.readUInt16LE(4)
}

export function numberAt(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32
}

function readMeta(file: PageFile, at: number): Meta | undefined {
  const bytes = readBytes(file, at, metaBytes)
  if (bytes.length < metaBytes) return undefined
  const meta = bytes.subarray(headerBytes)
  const isMeta =
    bytes.readUInt16LE(18) === flags.meta &&
    meta.readUInt32LE(0) === magic &&
    meta.readUInt16LE(4) === version
  return isMeta && isSane(meta, file) ? metaOf(meta) : undefined
}

/** LMDB reads pages as these say, and does not check them: a wrong one is a division by zero, or reads beyond a page. */
function isSane(meta: Buffer, { pageBytes }: PageFile): boolean {
  return (
    meta.readUInt32LE(24) === pageBytes &&
    (meta.readUInt16LE(28) & treeFlags) === numberKeys &&
    flagsOf(meta.subarray(72)) === 0
  )
}

function metaOf(meta: Buffer): Meta {
  return {
    free: readTree(meta.subarray(24)),
    main: readTree(meta.subarray(72)),
    lastPage: numberAt(meta, 120),
    transaction: numberAt(meta, 128),
    isFlushed: (meta.readUInt16LE(28) & 0x1000) === 0,
    boot: meta.readBigInt64LE(136),
  }
}

/**
 * Reads the copy of the newest meta page that has reached the disk. It is in the middle of the first page, and has no header, no
 * magic number and no version.
 *
 * @returns nothing if there is none yet, `damaged` if it cannot be a copy of what the two pages said
 */
function readFlushed(file: PageFile, [first, second]: readonly [Meta, Meta]): Meta | 'damaged' | undefined {
  const bytes = readBytes(file, file.pageBytes / 2, metaBytes)
  if (bytes.length < metaBytes) return 'damaged'
  const meta = bytes.subarray(headerBytes)
  const flushed = metaOf(meta)
  if (flushed.transaction === 0) return undefined
  if (!isSane(meta, file) || !flushed.isFlushed) return 'damaged'
  if (flushed.transaction > Math.max(first.transaction, second.transaction)) return 'damaged'
  const original = [first, second].find(({ transaction }) => transaction === flushed.transaction)
  return original === undefined || hasSameTrees(original, flushed) ? flushed : 'damaged'
}

function hasSameTrees(one: Meta, other: Meta): boolean {
  const rootsOf = ({ free, main, lastPage }: Meta) => JSON.stringify([free, main, lastPage])
  return rootsOf(one) === rootsOf(other)
}

export function readBytes({ fd }: PageFile, at: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  return bytes.subarray(0, readSync(fd, bytes, 0, length, at))
}

/** @returns the size of the file's pages, or undefined if it is not a file of LMDB */
export function pageBytesOf(fd: number, bytes: number): number | undefined {
  const start = readBytes({ fd, bytes, pageBytes: 0 }, 0, headerBytes + 32)
  if (start.length < headerBytes + 32 || start.readUInt32LE(headerBytes) !== magic) return undefined
  const size = start.readUInt32LE(headerBytes + 24)
  return size >= 512 && size <= 65_536 && (size & (size - 1)) === 0 ? size : undefined
}

/**
 * The meta page that LMDB chooses if no other process has the file open: the newest, or after a restart of the system the
 * newest that has reached the disk.
 *
 * @returns undefined if they contradict each other; LMDB would choose one that is not the newest
 */
export function pickMeta(file: PageFile, overlaps: boolean): Meta | undefined {
  const first = readMeta(file, 0)
  const second = readMeta(file, file.pageBytes)
  if (first === undefined || second === undefined) return undefined
  const differ = Math.abs(first.transaction - second.transaction)
  // The two are consecutive commits, the even one in the first page; a new file has none.
  const isNew = first.transaction === 0 && second.transaction <= 1
  if (!isNew && (differ !== 1 || first.transaction % 2 !== 0)) return undefined
  if (!overlaps) return first.transaction >= second.transaction ? first : second
  const flushed = readFlushed(file, [first, second])
  if (flushed === 'damaged') return undefined
  const boot = bootOfSystem()
  const pick = (one: Meta, other: Meta): Meta => {
    const latest = one.transaction >= other.transaction ? one : other
    if (other.transaction === 0) return one
    if ((latest.boot !== 0n && latest.boot === boot) || latest.isFlushed) return latest
    return one.transaction > other.transaction ? other : one
  }
  return pick(flushed === undefined ? first : pick(first, flushed), second)
}

/** Read as LMDB does: the hexadecimal number at the beginning. */
function bootOfSystem(): bigint {
  try {
    const [number = ''] = /^[0-9a-f]+/.exec(readFileSync('/proc/sys/kernel/random/boot_id', 'latin1')) ?? []
    return BigInt(`0x${number}`)
  } catch {
    return 0n
  }
}
