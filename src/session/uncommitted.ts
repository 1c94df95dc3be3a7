import type { Entry } from '../history/entry.js'
import type { JsonValue } from '../lib/json.js'
import type { StateUpdate } from '../protocol/frames.js'
import type {
  Latest,
  PublishId,
  SessionBatch,
  SessionRecord,
  SliceChange,
  StoredEvent,
} from '../store/store.js'
import type { Session, Worker } from './session.js'

/** What a session has that the store does not have yet. */
export class Uncommitted {
  entries: Entry[] = []
  ids: PublishId[] = []
  workers = new Set<Worker>()
  slices: SliceChange[] = []
  record = false
  bytes = 0

  add(entry: Entry): void {
    this.entries.push(entry)
    this.bytes += entry.bytes
  }

  /** @param value what the slice has become; absent when it was removed */
  change(entry: Entry, value: JsonValue | undefined): void {
    const { slice, ...update } = entry.event.data as StateUpdate
    const { worker, offset } = entry.event
    this.slices.push({
      ...(worker !== undefined && { worker }),
      slice,
      offset,
      ...(value !== undefined && { value }),
      ...('patch' in update && { patch: update.patch }),
    })
    this.bytes += entry.bytes
  }

  /** Puts what could not be kept before what came since. */
  prepend(earlier: Uncommitted): void {
    this.entries = earlier.entries.concat(this.entries)
    this.ids = earlier.ids.concat(this.ids)
    this.slices = earlier.slices.concat(this.slices)
    for (const worker of earlier.workers) this.workers.add(worker)
    this.record ||= earlier.record
    this.bytes += earlier.bytes
  }
}

/** @returns what a commit keeps of a session; it is of this moment, and what it is of must not change. */
export function batchOf(
  session: Session,
  { entries, ids, workers, slices, record }: Uncommitted,
): SessionBatch {
  const events: StoredEvent[] = []
  const latest = new Map<string, Latest>()
  for (const entry of entries) {
    const event = storedEvent(entry)
    events.push(event)
    if (entry.traits.replay === 'latest') pin(latest, event)
  }
  return {
    session: session.id,
    last: session.offset,
    ...(record ? { record: recordOf(session) } : undefined),
    events,
    ids,
    workers: [...workers].flatMap(({ id, startedAt, events, status, endedAt }) =>
      startedAt === undefined
        ? []
        : [{ worker: id, startedAt, events, status, ...(endedAt !== undefined && { endedAt }) }],
    ),
    slices,
    latest: [...latest.values()],
  }
}

function storedEvent({ event, force, everywhere }: Entry): StoredEvent {
  if (everywhere) return { ...event, passes: 'all' }
  return force ? { ...event, passes: 'modes' } : event
}

function pin(latest: Map<string, Latest>, event: StoredEvent): void {
  const { worker, type, key = '' } = event
  latest.set(`${worker ?? ''} ${type} ${key}`, { ...(worker !== undefined && { worker }), type, key, event })
}

function recordOf(session: Session): SessionRecord {
  const { id, epoch, mode, metadata, startedAt, endedAt, outcome, status } = session
  return {
    session: id,
    epoch,
    status: status === 'waiting' ? 'running' : status,
    mode,
    metadata,
    startedAt: startedAt ?? 0,
    ...(endedAt === undefined ? undefined : { endedAt }),
    ...(outcome === undefined ? undefined : { outcome }),
  }
}
