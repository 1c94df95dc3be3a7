import type { Entry } from '../history/entry.js'
import type { History } from '../history/history.js'
import type { HubEvent } from '../protocol/frames.js'
import type { OwnTopic } from './topic.js'

/** The part of a session that has histories. */
interface Restored {
  readonly topic: OwnTopic
  worker(id: string): { readonly topic: OwnTopic }
  histories(): readonly History[]
  supersedes(event: Pick<HubEvent, 'attempt' | 'worker'>): boolean
}

/**
 * Fills the histories of a session that was loaded from the store.
 *
 * @param entries the newest events, in order
 * @param pinned the latest event of each kind that has one, also those that are among `entries`
 * @returns the `complete` of the session, if it has ended
 */
export function restoreHistories(
  session: Restored,
  entries: readonly Entry[],
  pinned: readonly Entry[],
): Entry | undefined {
  const first = entries[0]
  for (const entry of pinned) {
    if (first === undefined || entry.offset < first.offset)
      eachHistory(session, entry, (history) => history.restore(entry))
  }
  for (const entry of entries) {
    entry.superseded = session.supersedes(entry.event)
    eachHistory(session, entry, (history) => history.append(entry))
  }
  return entries.findLast(({ everywhere, event }) => everywhere && event.type === 'complete')
}

function eachHistory(session: Restored, entry: Entry, visit: (history: History) => void): void {
  const { worker: id } = entry.event
  if (entry.everywhere) return session.histories().forEach(visit)
  if (id === undefined) return visit(session.topic.history)
  visit(session.worker(id).topic.history)
  if (entry.traits.rollup) visit(session.topic.history)
}
