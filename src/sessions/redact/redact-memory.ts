import type { Catalog } from '../../catalog/catalog.js'
import type { Entry } from '../../history/entry.js'
import type { JsonValue } from '../../lib/json.js'
import type { Redaction } from '../../mask/redaction.js'
import { ProtocolError } from '../../protocol/codes.js'
import type { Offset } from '../../protocol/cursor.js'
import { storedEvent } from '../../session/journal.js'
import type { Session } from '../../session/session.js'
import type { TopicState } from '../../state/topic-state.js'
import { EventRedaction } from './event-redaction.js'

export type Change = <V extends JsonValue>(value: V) => V

/** A range of offsets without a gap, its ends included. */
export type OffsetRange = readonly [first: Offset, last: Offset]

/** Maximum of ranges in one event `redacted`. */
export const rangesMax = 1_000

/** @returns the events in memory, each once, in order of offsets */
export function entriesOf(session: Session): readonly Entry[] {
  const found = new Set<Entry>()
  for (const { critical, droppable, pinned } of session.histories().map((history) => ({
    critical: history.critical,
    droppable: history.droppable,
    pinned: history.pinned(),
  }))) {
    for (const lane of [critical, droppable])
      for (let index = 0; index < lane.length; index++) found.add(lane.at(index))
    for (const entry of pinned) found.add(entry)
  }
  return [...found].sort((one, other) => one.offset - other.offset)
}

/** Binary search: the entries are in order. */
export function entryAt(entries: readonly Entry[], offset: Offset): Entry | undefined {
  let [low, high] = [0, entries.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((entries[middle] as Entry).offset < offset) low = middle + 1
    else high = middle
  }
  return entries[low]
}

/** @returns the first and the last of each range of offsets without a gap */
export function rangesOf(offsets: ReadonlySet<Offset>): OffsetRange[] {
  const ranges: [Offset, Offset][] = []
  for (const offset of [...offsets].sort((one, other) => one - other)) {
    const newest = ranges.at(-1)
    if (newest !== undefined && newest[1] === offset - 1) newest[1] = offset
    else ranges.push([offset, offset])
  }
  return ranges
}

/**
 * Redacts the events of a session in memory.
 *
 * @returns the offsets of the changed events
 */
export function redactEntries(session: Session, redaction: Redaction, catalog: Catalog): Set<Offset> {
  const entries = entriesOf(session)
  const changed = new Set<Offset>()
  const events = new EventRedaction(redaction, catalog)
  for (const entry of entries) {
    for (const event of events.add(storedEvent(entry))) {
      changed.add(event.offset)
      const { passes: _, ...shown } = event
      entryAt(entries, event.offset)?.replace(shown)
    }
  }
  return changed
}

/** Sets a redacted slice. Marks may be longer than the secrets: a slice that exceeds its limit with them is removed. */
export function setOrRemove(
  state: TopicState,
  slice: string,
  value: JsonValue,
  moment: Parameters<TopicState['set']>[2],
): ReturnType<TopicState['set']> {
  try {
    return state.set(slice, value, moment)
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error
    return state.remove(slice, moment)
  }
}
