import type { Position } from '../protocol/cursor.js'
import type { Subscription } from './subscription.js'

type Resumable = Pick<Subscription, 'feed' | 'resumption'>

/**
 * @returns for each session the lowest position, by its id; while one of its several topics is being joined, for each
 *   topic its own, by its name. A topic without any position is left out: it is joined afresh.
 */
export function positionsOf(subscriptions: readonly Resumable[]): ReadonlyMap<string, Position> {
  const positions = lowestBy(subscriptions, ({ feed }) => feed.topic.timeline.id)
  const apart = subscriptions.filter(({ feed }) => positions.get(feed.topic.timeline.id) === undefined)
  for (const [topic, position] of lowestBy(apart, ({ feed }) => feed.topic.name))
    positions.set(topic, position)
  for (const [name, position] of positions) if (position === undefined) positions.delete(name)
  return positions as ReadonlyMap<string, Position>
}

function lowestBy(
  subscriptions: readonly Resumable[],
  nameOf: (subscription: Resumable) => string,
): Map<string, Position | undefined> {
  const positions = new Map<string, Position | undefined>()
  for (const subscription of subscriptions) {
    const { resumption } = subscription
    const name = nameOf(subscription)
    positions.set(name, positions.has(name) ? lowest(positions.get(name), resumption) : resumption)
  }
  return positions
}

/** @returns the position from which both continue; nothing if one cursor cannot express it */
function lowest(one: Position | undefined, other: Position | undefined): Position | undefined {
  if (one === undefined || other === undefined || one.join !== undefined || other.join !== undefined)
    return undefined
  if (one.epoch !== other.epoch) return undefined
  return one.offset < other.offset ? one : other
}
