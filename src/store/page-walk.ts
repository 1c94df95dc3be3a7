import {
  bigData,
  flags,
  headerBytes,
  type Meta,
  numberAt,
  type PageFault,
  type PageFile,
  readBytes,
  type Tree,
} from './page-file.js'
import { type Node, nodesOf } from './page-nodes.js'

/** The location of an entry. */
export interface Location {
  readonly page: number
  readonly flags: number
  /** The keys before and after it; its own key must be between them. */
  around(): Range
}

type Range = Pick<PageFault, 'from' | 'to'>

/** Receives the entries and faults of a walk. */
export interface Visitor {
  /** An entry whose key is intact as far as the page shows; `value` reads its value, or the beginning of it. */
  entry?(key: Buffer, value: (most?: number) => Buffer, location: Location): void
  fault(fault: PageFault): void
  /** Keys are integers in the machine's byte order. */
  readonly hasNumbers?: boolean
}

/** A walk through the trees of one meta page; a page that is used twice is a fault. */
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

  /** Walks through one tree, in the order of its keys; continues after damaged pages. */
  tree({ root, depth, entries }: Tree, visitor: Visitor): void {
    let count = 0
    let faults = 0
    let losses = 0
    const counting: Visitor = {
      ...(visitor.hasNumbers && { hasNumbers: true }),
      entry: (...entry) => {
        count += 1
        visitor.entry?.(...entry)
      },
      fault: (fault) => {
        faults += 1
        if (fault.kind !== 'head') losses += 1
        visitor.fault(fault)
      },
    }
    // An empty tree has neither, and LMDB looks at its root alone.
    if ((root === undefined) !== (depth === 0)) {
      counting.fault({ page: root ?? 0, kind: 'head', reason: 'it is empty, and it is not' })
    }
    if (root !== undefined && depth >= 1) this.#page(root, 1, depth, {}, counting)
    if (count !== entries && losses === 0) {
      // With another fault it is the root that is wrong: where it leads to one of its own pages, the others are missing.
      const kind = faults === 0 ? 'head' : 'page'
      visitor.fault({ page: root ?? 0, kind, reason: `it leads to ${count} entries, not ${entries}` })
    }
  }

  /** Marks the pages in the list of free pages as used. */
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
        for (let index = 1; index <= length; index++) {
          let pages = 1
          let first = Number(list.readBigInt64LE(index * 8))
          if (first < 0 && index < length) {
            pages = -first
            first = Number(list.readBigInt64LE(++index * 8))
          }
          if (first !== 0) found.push([first, pages])
        }
      },
    })
    for (const [first, pages] of found) this.#claim(first, pages, visitor, {}, true)
  }

  /** @returns whether the pages exist and have not been used before */
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
      // The first key of a branch page covers all keys below the second.
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
      const location = { page, flags: node.flags, around: () => around(index) }
      if (key !== undefined)
        visitor.entry?.(key, (most) => this.#value(bytes, node, most, { location, visitor }), location)
    }
  }

  #value(
    bytes: Buffer,
    node: Node,
    most = Number.POSITIVE_INFINITY,
    { location, visitor }: { readonly location: Location; readonly visitor: Visitor },
  ): Buffer {
    const length = Math.min(node.dataBytes, most)
    if (!(node.flags & bigData)) return bytes.subarray(node.data, node.data + length)
    const first = numberAt(bytes, node.data)
    const pages = numberAt(bytes, node.data + 16)
    const { pageBytes } = this.#file
    const fault = (reason: string, kind: PageFault['kind'] = 'page'): void =>
      visitor.fault({ page: location.page, kind, reason, ...location.around() })
    // A value that replaces a longer one of the same transaction keeps all of its pages.
    if (pages < Math.floor((headerBytes - 1 + node.dataBytes) / pageBytes) + 1) {
      fault('it says of a value that it has another length')
      return Buffer.alloc(0)
    }
    if (!this.#claim(first, pages, visitor, location.around())) return Buffer.alloc(0)
    const start = readBytes(this.#file, first * pageBytes, headerBytes + length)
    // LMDB takes a page of a later transaction for one that it has not written yet.
    const isHead =
      numberAt(start, 0) === first &&
      numberAt(start, 8) <= this.#meta.transaction &&
      start.readUInt16LE(18) === flags.overflow
    if (!isHead || start.readUInt32LE(20) !== pages) fault('the head of a value in it is not its own', 'head')
    return start.subarray(headerBytes)
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
