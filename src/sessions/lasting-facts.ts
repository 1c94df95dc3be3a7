import type { Catalog } from '../catalog/catalog.js'
import type { NewEvent } from '../protocol/frames.js'
import { needBytesMax } from '../session/needs.js'
import { stepBytes } from '../session/progress.js'
import { idBytes } from '../session/publish-ids.js'
import type { Sessions } from './sessions.js'

/** The facts that an event may leave for as long as its session is in memory: an id, a need, an attempt. */
export const factsBytesMax = 2_048

/**
 * Facts stay when their events have left the history.
 *
 * @throws ProtocolError `unavailable` if state fills its part of the memory, and the session would exceed its share
 */
export function expectRoomForFacts(
  sessions: Sessions,
  sessionId: string,
  events: readonly NewEvent[],
  catalog: Catalog,
): void {
  const { capacity } = sessions
  if (capacity.hasStateRoom(events.length * factsBytesMax)) return
  let bytes = 0
  for (const { id, attempt, type } of events) {
    if (id !== undefined) bytes += id.length + idBytes
    if (attempt !== undefined) bytes += attempt.step.length + stepBytes
    if (catalog.traitsOf(type).asks !== undefined) bytes += needBytesMax
  }
  capacity.expectStateRoom(sessions.held(sessionId)?.room.bytes ?? 0, bytes)
}
