import type { Catalog } from '../../catalog/catalog.js'
import { fieldsOf } from '../../lib/json.js'
import type { Offset } from '../../protocol/cursor.js'
import type { Session } from '../../session/session.js'
import type { StoredEvent } from '../../store/store.js'
import { entryOf } from '../stored/restore.js'

/** Types of events that the hub publishes itself. They do not show that a producer is alive. */
export const ownTypes: readonly string[] = [
  'attempt.superseded',
  'worker.lost',
  'session.lost',
  'worker.stalled',
]

/**
 * Replays a stored event in a session, so that progress, workers and pinned events are those as of this event. State, leases,
 * mode, metadata and secrets are not events, so they are not replayed. The times are those of the events.
 */
export function retell(session: Session, kept: StoredEvent, catalog: Catalog): void {
  const { type, worker: id, offset, time: now, data } = kept
  const { event, traits, bytes, force } = entryOf(kept, catalog)
  const worker = id === undefined ? undefined : session.worker(id)
  if (event.attempt !== undefined) session.supersede(event.attempt, worker)
  session.goTo((offset - 1) as Offset)
  const isHub = ownTypes.includes(type)
  const facts = { traits, bytes, now, withheld: false, ...(isHub && { isHub }) }
  session.append(force ? { ...event, force } : event, worker, facts)
  if (type !== 'worker.lost' && type !== 'session.lost') return
  const { reason } = fieldsOf(data)
  session.publishers.lose(worker, typeof reason === 'string' ? reason : '', { offset, now })
}
