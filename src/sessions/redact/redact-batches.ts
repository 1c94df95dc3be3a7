import type { Catalog } from '../../catalog/catalog.js'
import type { JsonValue } from '../../lib/json.js'
import { type Lane, type LogEntry, type PlacedEntry, packEntries, unpackEntries } from '../../log/entries.js'
import type { Delivered } from '../../log/shared-log.js'
import type { Redaction } from '../../mask/redaction.js'
import type { Offset } from '../../protocol/cursor.js'
import type { Cause, NewEvent, PatchOperation, StateUpdate } from '../../protocol/frames.js'
import { hubEvent } from '../../session/hub-event.js'
import { EventRedaction } from './event-redaction.js'

/** One lane of a batch, whose entries are replaced where they are redacted. */
interface OpenLane {
  readonly entries: PlacedEntry[]
  isChanged: boolean
}

interface OpenBatch {
  readonly batch: Delivered
  readonly lanes: ReadonlyMap<Lane, OpenLane>
}

/** An event of a batch. */
interface Located {
  readonly lane: OpenLane
  readonly index: number
  /** Of a request to a durable stream. */
  readonly message?: number
}

export interface RedactedBatches {
  /** All of them; those without a secret are the same objects. */
  readonly batches: readonly Delivered[]
  readonly isChanged: boolean
  /** The offsets of the changed events. */
  readonly changed: ReadonlySet<Offset>
  readonly examined: number
}

/** Redacts the batches of a session, which must come in order. Their offsets, ids and lanes stay as they are. */
export function redactBatches(
  given: readonly Delivered[],
  redaction: Redaction,
  catalog: Catalog,
): RedactedBatches {
  const events = new EventRedaction(redaction, catalog)
  const located = new Map<Offset, Located>()
  const changed = new Set<Offset>()
  const add = (
    event: NewEvent,
    offset: Offset,
    worker: string | undefined,
    at: Located,
    now: number,
  ): void => {
    located.set(offset, at)
    const traits = catalog.traitsOf(event.type)
    for (const other of events.add(hubEvent(event, offset, worker, { traits, bytes: 0, now }))) {
      const where = located.get(other.offset)
      if (where === undefined) continue
      setData(where, other.data)
      changed.add(other.offset)
    }
  }
  const opened = given.map((batch): OpenBatch => {
    const lanes = lanesOf(batch)
    for (const { lane, index } of inOrder(lanes)) {
      const { place, entry } = lane.entries[index] as PlacedEntry
      const offset = (batch.from + place + 1) as Offset
      if (entry.kind === 'event' && !batch.known.includes(place)) {
        add(entry.event, offset, entry.worker, { lane, index }, batch.at)
      } else if (entry.kind === 'stream') {
        for (const [message, { event }] of entry.messages.entries())
          add(event, (offset + message) as Offset, undefined, { lane, index, message }, batch.at)
      } else setEntry(lane, index, redactedEntry(entry, redaction))
    }
    return { batch, lanes }
  })
  const batches = opened.map(closed)
  return {
    batches,
    isChanged: batches.some((batch, index) => batch !== given[index]),
    changed,
    examined: located.size,
  }
}

function lanesOf(batch: Delivered): ReadonlyMap<Lane, OpenLane> {
  const lanes = new Map<Lane, OpenLane>()
  for (const name of ['critical', 'droppable'] as const) {
    const bytes = batch[name]
    if (bytes !== undefined) lanes.set(name, { entries: unpackEntries({ [name]: bytes }), isChanged: false })
  }
  return lanes
}

function inOrder(lanes: ReadonlyMap<Lane, OpenLane>): { readonly lane: OpenLane; readonly index: number }[] {
  const placeOf = ({ lane, index }: { lane: OpenLane; index: number }): number =>
    (lane.entries[index] as PlacedEntry).place
  return [...lanes.values()]
    .flatMap((lane) => lane.entries.map((_, index) => ({ lane, index })))
    .sort((one, other) => placeOf(one) - placeOf(other))
}

/** @returns the batch with the changed lanes; the same one if nothing was changed */
function closed({ batch, lanes }: OpenBatch): Delivered {
  let made = batch
  for (const [name, { entries, isChanged }] of lanes)
    if (isChanged) made = { ...made, ...packEntries(entries, () => name) }
  return made
}

function setEntry(lane: OpenLane, index: number, entry: LogEntry): void {
  const { place, entry: before } = lane.entries[index] as PlacedEntry
  if (entry === before) return
  lane.entries[index] = { place, entry }
  lane.isChanged = true
}

function setData({ lane, index, message }: Located, data: JsonValue): void {
  const { entry } = lane.entries[index] as PlacedEntry
  if (entry.kind === 'event') setEntry(lane, index, { ...entry, event: { ...entry.event, data } })
  if (entry.kind !== 'stream') return
  const messages = entry.messages.map((one, at) =>
    at === message ? { ...one, event: { ...one.event, data } } : one,
  )
  setEntry(lane, index, { ...entry, messages })
}

/** @returns an entry that is no new event, redacted; the same one if it has no secret */
function redactedEntry(entry: LogEntry, redaction: Redaction): LogEntry {
  switch (entry.kind) {
    case 'event': {
      const { event } = entry
      const data = event.data === undefined ? undefined : redaction.value(event.data)
      return data === undefined || data === event.data ? entry : { ...entry, event: { ...event, data } }
    }
    case 'change': {
      const update = redactedUpdate(entry.update, redaction)
      return update === entry.update ? entry : { ...entry, update }
    }
    case 'configure': {
      const { metadata } = entry
      const redacted = metadata && redaction.value(metadata)
      return redacted === metadata ? entry : { ...entry, metadata: redacted }
    }
    case 'end': {
      const { outcome, reason } = entry
      const redacted = {
        ...(outcome !== undefined && { outcome: redaction.value(outcome) }),
        ...(reason !== undefined && { reason: redaction.text(reason) }),
      }
      return redacted.outcome === outcome && redacted.reason === reason ? entry : { ...entry, ...redacted }
    }
    case 'lost': {
      const reason = redaction.text(entry.reason)
      return reason === entry.reason ? entry : { ...entry, reason }
    }
    case 'attempt':
    case 'delivered':
    case 'lease':
    case 'redact':
    case 'stalled':
    case 'stream':
    case 'watchers':
      return entry
  }
}

/** Redacts each value and each name by itself, so that a redacted patch leads from one redacted value to the next. */
function redactedUpdate(update: StateUpdate, redaction: Redaction): StateUpdate {
  const cause = update.cause && redactedCause(update.cause, redaction)
  const withCause = cause === update.cause ? update : ({ ...update, cause } as StateUpdate)
  if ('value' in withCause) {
    const value = redaction.value(withCause.value)
    return value === withCause.value ? withCause : { ...withCause, value }
  }
  if (!('patch' in withCause)) return withCause
  const patch = withCause.patch.map((operation) => redactedOperation(operation, redaction))
  return patch.some((one, index) => one !== withCause.patch[index]) ? { ...withCause, patch } : withCause
}

function redactedCause(cause: Cause, redaction: Redaction): Cause {
  if (cause.payload === undefined) return cause
  const payload = redaction.value(cause.payload)
  return payload === cause.payload ? cause : { ...cause, payload }
}

function redactedOperation(operation: PatchOperation, redaction: Redaction): PatchOperation {
  const made: Record<string, unknown> = { ...operation, path: redactedPath(operation.path, redaction) }
  if ('from' in operation) made['from'] = redactedPath(operation.from, redaction)
  if ('value' in operation) made['value'] = redaction.value(operation.value)
  const isSame = Object.entries(operation).every(([name, value]) => made[name] === value)
  return isSame ? operation : (made as unknown as PatchOperation)
}

/** The tokens of a JSON Pointer (RFC 6901) are names of fields. */
function redactedPath(path: string, redaction: Redaction): string {
  return path
    .split('/')
    .map((token) => {
      const name = token.replaceAll('~1', '/').replaceAll('~0', '~')
      const redacted = redaction.text(name)
      return redacted === name ? token : redacted.replaceAll('~', '~0').replaceAll('/', '~1')
    })
    .join('/')
}
