import type { Placed } from './lane.js'

/** Brings a list into the order of a binary heap, in place: the one of the lowest place comes first. */
export function heapOf(items: Placed[]): void {
  for (let at = (items.length >>> 1) - 1; at >= 0; at--) down(items, at)
}

/** The place of one item has grown: it goes down to where it belongs. */
export function down(items: Placed[], from: number): void {
  const item = items[from] as Placed
  let at = from
  for (let child = 2 * at + 1; child < items.length; child = 2 * at + 1) {
    const right = items[child + 1]
    if (right !== undefined && right.place < (items[child] as Placed).place) child++
    const lower = items[child] as Placed
    if (lower.place >= item.place) break
    items[at] = lower
    at = child
  }
  items[at] = item
}
