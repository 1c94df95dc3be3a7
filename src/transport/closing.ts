import type { Clock } from '../lib/clock.js'

/**
 * Closes a link by a timer. uWebSockets.js leaks the memory of a link that is closed in a `setImmediate`, some 500 bytes: Node
 * frees its half before uWebSockets.js frees the other.
 *
 * @param close must itself check whether the link is still open
 */
export function closeSoon(clock: Clock, close: () => void): void {
  clock.after(0, close)
}
