import type { Clock } from '../lib/clock.js'

/**
 * Closes a link by a timer. uWebSockets.js loses the memory of a link that is closed in a `setImmediate`, some
 * 500 bytes: Node lets go of its half of it before uWebSockets.js comes to let go of the other.
 *
 * @param close must see for itself whether the link is still there
 */
export function closeSoon(clock: Clock, close: () => void): void {
  clock.after(0, close)
}
