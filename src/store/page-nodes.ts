import { bigData, headerBytes, subTable } from './page-file.js'

/** One entry of a page, with the places of its parts in bytes from the beginning of the page. */
export interface Node {
  readonly key: number
  readonly keyBytes: number
  readonly data: number
  readonly dataBytes: number
  /** Its size in the page. */
  readonly size: number
  readonly flags: number
  readonly child: number
}

const nodeBytes = 8
const overflowBytes = 24

/**
 * @returns the nodes that lie within the page, undefined in place of others, and the fault of the page as a whole. The nodes of
 *   a page are adjacent, at its end.
 */
export function nodesOf(
  bytes: Buffer,
  isLeaf: boolean,
): { nodes: (Node | undefined)[]; reason: string | undefined } {
  const room = bytes.length - headerBytes
  const lower = bytes.readUInt16LE(20)
  const upper = bytes.readUInt16LE(22)
  const isSane = lower % 2 === 0 && lower >= (isLeaf ? 2 : 4) && lower <= upper && upper <= room
  const nodes: (Node | undefined)[] = []
  const end = Math.min(headerBytes + lower, bytes.length)
  for (let at = headerBytes; at + 2 <= end; at += 2) {
    nodes.push(nodeAt(bytes, bytes.readUInt16LE(at) + headerBytes, isLeaf))
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
