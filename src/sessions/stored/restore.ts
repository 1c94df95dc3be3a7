import type { Catalog } from '../../catalog/catalog.js'
import { Entry } from '../../history/entry.js'
import { type JsonObject, measure } from '../../lib/json.js'
import type { Session } from '../../session/session.js'
import type { StoredEvent, StoredSession } from '../../store/store.js'

/** Restores a session in memory. @param events the newest ones, in the order of their offsets */
export function restoreSession(
  session: Session,
  stored: StoredSession,
  { events, catalog }: { readonly events: readonly StoredEvent[]; readonly catalog: Catalog },
): void {
  const entries = events.map((event) => entryOf(event, catalog))
  if (
    stored.record.status === 'ended' &&
    !entries.some(({ everywhere, event }) => everywhere && event.type === 'complete')
  ) {
    entries.push(entryOf(completionOf(stored), catalog))
  }
  const pinned = stored.latest.map(({ event }) => entryOf(event, catalog))
  session.restore(stored, entries, pinned)
}

/** @returns the event as the history keeps it. */
export function entryOf({ passes, ...event }: StoredEvent, catalog: Catalog): Entry {
  // Its size is not kept.
  const bytes = measure(event.data, Number.POSITIVE_INFINITY) + event.type.length + 64
  const slice = event.type === 'state.update' ? (event.data as JsonObject)['slice'] : undefined
  return new Entry(event, catalog.traitsOf(event.type), bytes, {
    force: passes === 'modes',
    everywhere: passes === 'all',
    ...(typeof slice === 'string' ? { slice } : undefined),
  })
}

/** Retention may have removed the `complete` of a session that still exists. */
function completionOf({ record, last }: StoredSession): StoredEvent {
  const { endedAt = record.startedAt, outcome } = record
  const data = outcome === undefined ? {} : { outcome }
  return { offset: last, type: 'complete', time: endedAt, data, passes: 'all' }
}
