import { readFileSync, readSync } from 'node:fs'

/**
 * The file of an LMDB environment as its pages lie on disk (`mdb.c` of the binding's LMDB: MDB_page_header, MDB_meta,
 * MDB_db; little endian, 64 bits). LMDB believes what a page says of itself and dies of one that lies; here every
 * page is looked at before LMDB is.
 */
export interface PageFile {
  readonly fd: number
  readonly bytes: number
  readonly pageBytes: number
}

const headerBytes = 24
const noPage = 0xffff_ffff_ffff_ffffn
const flags = { branch: 1, leaf: 2, overflow: 4, meta: 8 }
const bigData = 1
export const subTable = 2
const magic = 0xbeefc0de
const version = 2

/** A tree of pages. */
export interface Tree {
  readonly depth: number
  readonly entries: number
  /** Absent when it is empty. */
  readonly root: number | undefined
}

/** One of the pages from which all others are found: a commit writes the older of the two anew. */
export interface Meta {
  readonly free: Tree
  readonly main: Tree
  readonly lastPage: number
  readonly transaction: number
  /** The commit had reached the disk. */
  readonly isFlushed: boolean
  /** Which life of the system wrote it. */
  readonly boot: bigint
}

/** What is wrong with a page, and the keys that are lost with it: from `from` on, up to below `to`. */
export interface PageFault {
  readonly page: number
  readonly reason: string
  /** `cut`: the file ends before it. `head`: what stands in it is whole. */
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

function numberAt(bytes: Buffer, place: number): number {
  return bytes.readUInt32LE(place) + bytes.readUInt32LE(place + 4) * 2 ** 32
}

function readMeta(file: PageFile, place: number): Meta | undefined {
  const bytes = readBytes(file, place, headerBytes + 144)
  if (bytes.length < headerBytes + 144) return undefined
  const meta = bytes.subarray(headerBytes)
  const isMeta =
    bytes.readUInt16LE(18) === flags.meta &&
    meta.readUInt32LE(0) === magic &&
    meta.readUInt16LE(4) === version &&
    meta.readUInt32LE(24) === file.pageBytes
  if (!isMeta) return undefined
  return {
    free: readTree(meta.subarray(24)),
    main: readTree(meta.subarray(72)),
    lastPage: numberAt(meta, 120),
    transaction: numberAt(meta, 128),
    isFlushed: (meta.readUInt16LE(28) & 0x1000) === 0,
    boot: meta.readBigInt64LE(136),
  }
}

export function readBytes({ fd }: PageFile, place: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  return bytes.subarray(0, readSync(fd, bytes, 0, length, place))
}

/** @returns the size of the file's pages, or nothing when no LMDB wrote its beginning */
export function pageBytesOf(fd: number, bytes: number): number | undefined {
  const start = readBytes({ fd, bytes, pageBytes: 0 }, 0, headerBytes + 32)
  if (start.length < headerBytes + 32 || start.readUInt32LE(headerBytes) !== magic) return undefined
  const size = start.readUInt32LE(headerBytes + 24)
  return size >= 512 && size <= 65_536 && (size & (size - 1)) === 0 ? size : undefined
}

/**
 * The meta page that LMDB takes when nobody else has the file open: the newest, or after another life of the system
 * the newest that had reached the disk.
 *
 * @returns nothing when they contradict each other; LMDB would take one that is not the newest
 */
export function pickMeta(file: PageFile, overlaps: boolean): Meta | undefined {
  const first = readMeta(file, 0)
  const second = readMeta(file, file.pageBytes)
  if (first === undefined || second === undefined) return undefined
  const differ = Math.abs(first.transaction - second.transaction)
  // Two commits one after the other, the even one in the first page; a new file has none.
  const isNew = first.transaction === 0 && second.transaction <= 1
  if (!isNew && (differ !== 1 || first.transaction % 2 !== 0)) return undefined
  if (!overlaps) return first.transaction >= second.transaction ? first : second
  const synced = readMeta(file, file.pageBytes / 2)
  const boot = bootOfSystem()
  const pick = (one: Meta, other: Meta): Meta => {
    const latest = one.transaction >= other.transaction ? one : other
    if (other.transaction === 0) return one
    if ((latest.boot !== 0n && latest.boot === boot) || latest.isFlushed) return latest
    return one.transaction > other.transaction ? other : one
  }
  return pick(synced === undefined ? first : pick(first, synced), second)
}

/** As LMDB reads it: the hexadecimal number at its beginning. */
function bootOfSystem(): bigint {
  try {
    const [number = ''] = /^[0-9a-f]+/.exec(readFileSync('/proc/sys/kernel/random/boot_id', 'latin1')) ?? []
    return BigInt(`0x${number}`)
  } catch {
    return 0n
  }
}

/** Where an entry stands. */
export interface Place {
  readonly page: number
  readonly flags: number
  /** The keys before and after it: between them lies what it should be. */
  around(): Range
}

type Range = Pick<PageFault, 'from' | 'to'>

/** Takes what a walk finds. */
export interface Visitor {
  /** An entry whose key is whole as far as the page can tell; `value` reads what is there, or its beginning. */
  entry?(key: Buffer, value: (most?: number) => Buffer, place: Place): void
  fault(fault: PageFault): void
  /** Integers in the machine's order rather than bytes. */
  readonly hasNumbers?: boolean
}

/** A walk through trees of one meta page; a page that was met before is a fault. */
export class PageWalk {
  readonly #file: PageFile
  readonly #meta: Meta
  readonly #met: Uint8Array

  constructor(file: PageFile, meta: Meta) {
    this.#file = file
    this.#meta = meta
    const most = Math.min(meta.lastPage, Math.ceil(file.bytes / file.pageBytes))
    this.#met = new Uint8Array(most + 1)
  }

  /** Walks through one tree, in the order of its keys; goes on behind what is damaged. */
  tree({ root, depth, entries }: Tree, visitor: Visitor): void {
    let count = 0
    let faults = 0
    const counting: Visitor = {
      ...(visitor.hasNumbers && { hasNumbers: true }),
      entry: (...entry) => {
        count += 1
        visitor.entry?.(...entry)
      },
      fault: (fault) => {
        faults += 1
        visitor.fault(fault)
      },
    }
    if (root !== undefined && depth >= 1) this.#page(root, 1, depth, {}, counting)
    if (count !== entries && faults === 0) {
      visitor.fault({ page: root ?? 0, kind: 'head', reason: `it leads to ${count} entries, not ${entries}` })
    }
  }

  /** The pages that the list of free ones names, as if they were met. */
  free(visitor: Visitor): void {
    const found: [number, number][] = []
    const { free } = this.#meta
    this.tree(free, {
      hasNumbers: true,
      fault: (fault) => visitor.fault(fault),
      entry: (_, value, { page }) => {
        const list = value()
        const length = list.length >= 8 ? Number(list.readBigInt64LE(0)) : -1
        if (length < 0 || length > list.length / 8 - 1) {
          return visitor.fault({ page, kind: 'page', reason: 'the list of free pages is no list' })
        }
        for (let place = 1; place <= length; place++) {
          let pages = 1
          let first = Number(list.readBigInt64LE(place * 8))
          if (first < 0 && place < length) {
            pages = -first
            first = Number(list.readBigInt64LE(++place * 8))
          }
          if (first !== 0) found.push([first, pages])
        }
      },
    })
    for (const [first, pages] of found) this.#claim(first, pages, visitor, {}, true)
  }

  /** @returns whether the pages are there, and are met for the first time */
  #claim(page: number, pages: number, visitor: Visitor, lost: Partial<PageFault>, isFree = false): boolean {
    const fault = (reason: string, kind: PageFault['kind'] = 'page'): false => {
      visitor.fault({ ...lost, page, kind, reason })
      return false
    }
    if (!(page >= 2 && pages >= 1 && page + pages - 1 <= this.#meta.lastPage))
      return fault('there is no such page')
    if (!isFree && (page + pages) * this.#file.pageBytes > this.#file.bytes)
      return fault('the file ends before it', 'cut')
    for (let each = page; each < page + pages; each++) {
      if (this.#met[each] === 1) return fault('it is used twice')
      this.#met[each] = 1
    }
    return true
  }

  #page(page: number, level: number, depth: number, range: Range, visitor: Visitor): void {
    if (!this.#claim(page, 1, visitor, range)) return
    const { pageBytes } = this.#file
    const bytes = readBytes(this.#file, page * pageBytes, pageBytes)
    const says = bytes.readUInt16LE(18)
    const isLeaf = says === flags.leaf || (says !== flags.branch && level >= depth)
    const isHead =
      numberAt(bytes, 0) === page &&
      numberAt(bytes, 8) <= this.#meta.transaction &&
      says === (level === depth ? flags.leaf : flags.branch)
    if (!isHead) visitor.fault({ page, kind: 'head', reason: 'its head is not its own', ...range })
    const { nodes, reason } = nodesOf(bytes, isLeaf)
    if (reason !== undefined) visitor.fault({ page, kind: 'page', reason, ...range })
    const keyAt = (index: number): Buffer | undefined => {
      const node = nodes[index]
      // The first key of a page above the leaves stands for all below the second.
      if (node === undefined || (!isLeaf && index === 0)) return undefined
      return bytes.subarray(node.key, node.key + node.keyBytes)
    }
    const around = (index: number): Range => {
      let before = index - 1
      let after = index + 1
      while (before >= 0 && keyAt(before) === undefined) before--
      while (after < nodes.length && keyAt(after) === undefined) after++
      return { from: keyAt(before) ?? range.from, to: keyAt(after) ?? range.to }
    }
    let from = range.from
    for (const [index, node] of nodes.entries()) {
      const fault = (why: string): void =>
        visitor.fault({ page, kind: 'page', reason: why, ...around(index) })
      if (node === undefined) {
        fault('an entry does not lie within it')
        continue
      }
      const key = keyAt(index)
      if (key !== undefined) {
        const rules = { orEqual: index === 0, hasNumbers: visitor.hasNumbers }
        if (isOrdered(from, key, range.to, rules)) from = key
        else fault('its keys are out of order')
      }
      if (!isLeaf) {
        const below = { from: key ?? range.from, to: keyAt(index + 1) ?? around(index).to }
        this.#page(node.child, level + 1, depth, below, visitor)
        continue
      }
      const place = { page, flags: node.flags, around: () => around(index) }
      if (key !== undefined)
        visitor.entry?.(key, (most) => this.#value(bytes, node, most, { place, visitor }), place)
    }
  }

  #value(
    bytes: Buffer,
    node: Node,
    most = Number.POSITIVE_INFINITY,
    { place, visitor }: { readonly place: Place; readonly visitor: Visitor },
  ): Buffer {
    const length = Math.min(node.dataBytes, most)
    if (!(node.flags & bigData)) return bytes.subarray(node.data, node.data + length)
    const first = numberAt(bytes, node.data)
    const pages = numberAt(bytes, node.data + 16)
    const { pageBytes } = this.#file
    const fault = (reason: string, kind: PageFault['kind'] = 'page'): void =>
      visitor.fault({ page: place.page, kind, reason, ...place.around() })
    if (pages !== Math.floor((headerBytes - 1 + node.dataBytes) / pageBytes) + 1) {
      fault('it says of a value that it has another length')
      return Buffer.alloc(0)
    }
    if (!this.#claim(first, pages, visitor, place.around())) return Buffer.alloc(0)
    const start = readBytes(this.#file, first * pageBytes, headerBytes + length)
    const isHead = numberAt(start, 0) === first && start.readUInt16LE(18) === flags.overflow
    if (!isHead || start.readUInt32LE(20) !== pages) fault('the head of a value in it is not its own', 'head')
    return start.subarray(headerBytes)
  }
}

/** One entry of a page: places in it. */
interface Node {
  readonly key: number
  readonly keyBytes: number
  readonly data: number
  readonly dataBytes: number
  /** What it takes of the page. */
  readonly size: number
  readonly flags: number
  readonly child: number
}

const nodeBytes = 8
const overflowBytes = 24

/**
 * @returns those that lie within the page, nothing in place of others; and what is wrong with the page as a whole.
 * The nodes of a page lie side by side at its end.
 */
function nodesOf(
  bytes: Buffer,
  isLeaf: boolean,
): { nodes: (Node | undefined)[]; reason: string | undefined } {
  const room = bytes.length - headerBytes
  const lower = bytes.readUInt16LE(20)
  const upper = bytes.readUInt16LE(22)
  const isSane = lower % 2 === 0 && lower >= (isLeaf ? 2 : 4) && lower <= upper && upper <= room
  const nodes: (Node | undefined)[] = []
  const end = Math.min(headerBytes + lower, bytes.length)
  for (let place = headerBytes; place + 2 <= end; place += 2) {
    nodes.push(nodeAt(bytes, bytes.readUInt16LE(place) + headerBytes, isLeaf))
  }
  if (!isSane) return { nodes, reason: 'its bounds are none' }
  const used = nodes.reduce((sum, node) => sum + (node === undefined ? 0 : node.size), 0)
  const isFull = used === room - upper || nodes.includes(undefined)
  return { nodes, reason: isFull ? undefined : 'its entries do not fill it' }
}

function nodeAt(bytes: Buffer, start: number, isLeaf: boolean): Node | undefined {
  if (start + nodeBytes > bytes.length) return undefined
  const low = bytes.readUInt32LE(start)
  const bits = bytes.readUInt16LE(start + 4)
  const keyBytes = bytes.readUInt16LE(start + 6)
  const isBig = isLeaf && (bits & bigData) !== 0
  const size = nodeBytes + keyBytes + (isLeaf ? (isBig ? overflowBytes : low) : 0)
  if (start + size > bytes.length || (isLeaf && (bits & ~(bigData | subTable)) !== 0)) return undefined
  const key = start + nodeBytes
  return {
    key,
    keyBytes,
    data: key + keyBytes,
    dataBytes: low,
    size: size + (size % 2),
    flags: isLeaf ? bits : 0,
    child: isLeaf ? 0 : low + bits * 2 ** 32,
  }
}

function isOrdered(
  before: Buffer | undefined,
  key: Buffer,
  to: Buffer | undefined,
  { orEqual, hasNumbers }: { readonly orEqual: boolean; readonly hasNumbers: boolean | undefined },
): boolean {
  if (hasNumbers) {
    if (key.length !== 8) return false
    const number = numberAt(key, 0)
    return (
      (before === undefined || number > numberAt(before, 0) || (orEqual && number === numberAt(before, 0))) &&
      (to === undefined || number < numberAt(to, 0))
    )
  }
  const order = before === undefined ? 1 : Buffer.compare(key, before)
  return (order > 0 || (orEqual && order === 0)) && (to === undefined || Buffer.compare(key, to) < 0)
}
