import type { Catalog } from '../catalog/catalog.js'
import { measure } from '../lib/json.js'
import { type PlacedEntry, unpackEntries } from '../log/entries.js'
import type { Delivered } from '../log/shared-log.js'
import type { Offset } from '../protocol/cursor.js'
import { hubEvent } from '../session/hub-event.js'
import { storedEvent } from '../session/journal.js'
import type { Session } from '../session/session.js'
import type { OwnTopic } from '../session/topic.js'
import { pack, unpack } from '../store/block.js'
import type { StoredEvent, StoredSession, StoredSlice } from '../store/store.js'
import { restoreSession } from './restore.js'

export interface Applying {
  readonly catalog: Catalog
  /** The session begins. @param now milliseconds since 1970 */
  readonly begin: (session: Session, now: number) => void
}

/**
 * Applies a batch of the log to a session. The result depends only on the session and the batch, so it is the same in all hubs.
 *
 * @returns the indexes of entries without effect: changes of slices that had changed before them
 */
export function applyBatch(
  session: Session,
  { from, to, at, known }: Delivered,
  entries: readonly PlacedEntry[],
  { catalog, begin }: Applying,
): ReadonlySet<number> {
  const meaningless = new Set<number>()
  for (const { place, entry } of entries) {
    if (known.includes(place)) continue
    if (session.status === 'waiting') begin(session, at)
    session.goTo((from + place) as Offset)
    switch (entry.kind) {
      case 'event': {
        const { event, bytes, withheld = false } = entry
        const worker = entry.worker === undefined ? undefined : session.worker(entry.worker)
        session.append(event, worker, { traits: catalog.traitsOf(event.type), bytes, now: at, withheld })
        break
      }
      case 'change': {
        const worker = entry.worker === undefined ? undefined : session.worker(entry.worker)
        const isMade = session.followChange(worker?.topic ?? session.topic, entry.update, at)
        if (!isMade) meaningless.add(place)
        else if (worker !== undefined) session.startWorker(worker, at)
        break
      }
      case 'configure': {
        const { mode, metadata, secrets } = entry
        if (secrets !== undefined) session.knowSecrets(secrets)
        session.configure({ ...(mode && { mode }), ...(metadata && { metadata }) })
        break
      }
      case 'end': {
        const { kind: _, ...said } = entry
        const data = said.outcome === undefined ? {} : { outcome: said.outcome }
        const bytes = measure(data, Number.POSITIVE_INFINITY)
        // The two offsets before its own are reserved for the reserved slices.
        session.goTo((from + place + 2) as Offset)
        const facts = { traits: catalog.traitsOf('complete'), bytes, now: at }
        session.end({ type: 'complete', data }, facts, said)
        break
      }
    }
  }
  session.goTo(to)
  return meaningless
}

/** The state of a session that cannot be computed from its retained events. */
interface Image extends Pick<StoredSession, 'record' | 'workers' | 'slices' | 'latest'> {
  readonly completion?: StoredEvent
}

/** @returns the input of `restoreImage` */
export function imageOf(session: Session): Uint8Array {
  const pinned = new Map<Offset, StoredEvent>()
  for (const history of session.histories()) {
    for (const entry of history.pinned()) pinned.set(entry.offset, storedEvent(entry))
  }
  const image: Image = {
    record: session.record(),
    workers: [...session.workers.values()].flatMap((worker) => worker.record() ?? []),
    slices: session.topics().flatMap((topic) => (topic.hasState ? slicesOf(topic) : [])),
    latest: [...pinned.values()]
      .toSorted((a, b) => a.offset - b.offset)
      .map((event) => {
        const { worker, type, key = '' } = event
        return { ...(worker !== undefined && { worker }), type, key, event }
      }),
    ...(session.completion && { completion: storedEvent(session.completion) }),
  }
  return pack(image)
}

function slicesOf({ worker, state }: OwnTopic): StoredSlice[] {
  return [...state.kept()].map(([slice, value, offset]) => ({
    ...(worker !== undefined && { worker }),
    slice,
    value,
    offset,
  }))
}

/** Restores a session from an image. @param before batches before the image, for its history */
export function restoreImage(
  session: Session,
  { offset, bytes }: { readonly offset: Offset; readonly bytes: Uint8Array },
  before: readonly Delivered[],
  catalog: Catalog,
): void {
  const { completion, ...image } = unpack<Image>(Buffer.from(bytes))
  const events = before.flatMap((batch) => eventsOf(batch, catalog))
  if (completion !== undefined) events.push(completion)
  const stored: StoredSession = {
    ...image,
    last: offset,
    ids: [],
    trimmed: 0 as Offset,
    stored: 0 as Offset,
    events: events.length,
    bytes: 0,
    at: image.record.startedAt,
  }
  restoreSession(session, stored, { events, catalog })
}

/** @returns the events of a batch without those that the session's mode withheld */
function eventsOf(batch: Delivered, catalog: Catalog): StoredEvent[] {
  const { from, at, known } = batch
  const events: StoredEvent[] = []
  for (const { place, entry } of unpackEntries(batch)) {
    if (entry.kind !== 'event' || entry.withheld === true || known.includes(place)) continue
    const { event, worker, bytes } = entry
    const facts = { traits: catalog.traitsOf(event.type), bytes, now: at }
    const made = hubEvent(event, (from + place + 1) as Offset, worker, facts)
    events.push(event.force === true ? { ...made, passes: 'modes' } : made)
  }
  return events
}
