import type { HasOffset } from './lane.js'

/** Brings a list into the order of a binary heap, in place: the item of the lowest offset comes first. */
export function heapOf(items: HasOffset[]): void {
  for (let at = (items.length >>> 1) - 1; at >= 0; at--) down(items, at)
}

/** Restores the order of the heap after the offset of one item has grown. */
export function down(items: HasOffset[], from: number): void {
  const item = items[from] as HasOffset
  let at = from
  for (let child = 2 * at + 1; child < items.length; child = 2 * at + 1) {
    const right = items[child + 1]
    if (right !== undefined && right.offset < (items[child] as HasOffset).offset) child++
    const lower = items[child] as HasOffset
    if (lower.offset >= item.offset) break
    items[at] = lower
    at = child
  }
  items[at] = item
}
