// Longer than 350 lines: what the entries of a batch mean, and the image of what they have come to, which has to mean the same.

import type { Catalog } from '../../catalog/catalog.js'
import { type JsonObject, measure } from '../../lib/json.js'
import { type Lane, type LogEntry, type PlacedEntry, unpackEntries } from '../../log/entries.js'
import type { Delivered } from '../../log/shared-log.js'
import { Redaction } from '../../mask/redaction.js'
import type { Offset } from '../../protocol/cursor.js'
import { receiptIn } from '../../session/commands.js'
import { changeStream, isMessage, type StreamOutcome } from '../../session/durable-stream.js'
import { hubEvent } from '../../session/hub-event.js'
import { storedEvent } from '../../session/journal.js'
import type { Session } from '../../session/session.js'
import { mayBeStuck } from '../../session/stall.js'
import type { OwnTopic } from '../../session/topic.js'
import type { TopicWatchers } from '../../session/watching.js'
import type { Worker } from '../../session/worker.js'
import { pack, unpack } from '../../store/block.js'
import type {
  SessionBatch,
  SessionRecord,
  StoredEvent,
  StoredSession,
  StoredSlice,
} from '../../store/store.js'
import { type Change, redactEntries } from '../redact/redact-memory.js'
import { restoreSession } from '../stored/restore.js'
import { ownTypes } from './retell.js'

export interface Applying {
  readonly catalog: Catalog
  /** The session begins. @param now milliseconds since 1970 */
  readonly begin: (session: Session, now: number) => void
  /** A session or worker has a new lease, or no longer one: 0 milliseconds. */
  readonly leased: (session: Session, worker: string | undefined, ms: number) => void
  /** The session has ended. */
  readonly ended: (session: Session) => void
  /** The session is redacted. @param change what redacts a value */
  readonly redacted: (change: Change) => void
}

/** What became of a batch, by the places of its entries. */
export interface Applied {
  /** Entries without effect because of earlier ones. */
  readonly meaningless: ReadonlySet<number>
  readonly outcomes: ReadonlyMap<number, StreamOutcome>
}

/** Kinds of entries that a session may begin with, beside the creation of a durable stream. */
const beginning: readonly LogEntry['kind'][] = ['event', 'change', 'configure', 'attempt', 'lease']

/**
 * Applies a batch of the log to a session. The result depends only on the session and the batch, so it is the same in all hubs.
 *
 * @returns the entries without effect because of earlier ones, and the answers to requests to a durable stream
 */
export function applyBatch(
  session: Session,
  { from, to, at, known }: Delivered,
  entries: readonly PlacedEntry[],
  applying: Applying,
): Applied {
  const meaningless = new Set<number>()
  const outcomes = new Map<number, StreamOutcome>()
  for (const { place, entry } of entries) {
    if (entry.marks !== undefined) session.takeMarks(entry.marks)
    if (known.includes(place)) continue
    const isCreating = entry.kind === 'stream' && entry.change.kind === 'create'
    if (session.status === 'waiting' && !isCreating) {
      if (entry.kind === 'stream') outcomes.set(place, { kind: 'refused', stream: undefined, why: 'missing' })
      if (!beginning.includes(entry.kind)) continue
      applying.begin(session, at)
    }
    session.goTo((from + place) as Offset)
    if (entry.kind === 'stream') outcomes.set(place, applyToStream(session, entry, at, applying))
    else if (!applyEntry(session, entry, { from, at }, applying)) meaningless.add(place)
  }
  session.goTo(to)
  return { meaningless, outcomes }
}

function applyToStream(
  session: Session,
  { change, messages }: Extract<LogEntry, { kind: 'stream' }>,
  now: number,
  { begin, catalog }: Applying,
): StreamOutcome {
  const start = session.status === 'waiting' ? () => begin(session, now) : undefined
  return changeStream(session, change, messages, { catalog, now, ...(start && { start }) })
}

/** @returns whether it had an effect */
function applyEntry(
  session: Session,
  entry: Exclude<LogEntry, { kind: 'stream' }>,
  { from, at }: Pick<Delivered, 'from' | 'at'>,
  { catalog, leased, ended, redacted }: Applying,
): boolean {
  switch (entry.kind) {
    case 'event':
      return applyEvent(session, entry, at, catalog)
    case 'change': {
      const worker = entry.worker === undefined ? undefined : session.worker(entry.worker)
      const isMade = session.followChange(worker?.topic ?? session.topic, entry.update, at)
      if (isMade && worker !== undefined) session.startWorker(worker, at)
      return isMade
    }
    case 'configure': {
      const { mode, metadata, secrets } = entry
      if (secrets !== undefined) session.knowSecrets(secrets)
      session.configure({ ...(mode && { mode }), ...(metadata && { metadata }) })
      return true
    }
    case 'attempt': {
      const { attempt, base, offsets, places } = entry
      const worker = entry.worker === undefined ? undefined : session.worker(entry.worker)
      if ((worker ?? session).progress.attemptAt(attempt.step) !== base) return false
      // Each hub removes the events that its history has; all hubs publish the same event.
      if (session.supersede(attempt, worker) === undefined) return true
      const all = [...offsets, ...places.map((place) => (from + place + 1) as Offset)]
      tell(session, worker, { type: 'attempt.superseded', data: { ...attempt, offsets: all }, at }, catalog)
      return true
    }
    case 'delivered': {
      const worker = knownWorker(session, entry.worker)
      if (worker !== 'unknown') session.commands.deliverThese(entry.commands, worker, at)
      return true
    }
    case 'lease': {
      const worker = entry.worker === undefined ? undefined : session.worker(entry.worker)
      if (worker !== undefined) session.startWorker(worker, at)
      session.publishers.lease(worker, entry.ms)
      session.publishers.heardAgain(worker, (session.offset + 1) as Offset)
      session.publishers.mayStall(worker, at)
      leased(session, entry.worker, entry.ms)
      return true
    }
    case 'lost': {
      const { seen, reason } = entry
      const worker = knownWorker(session, entry.worker)
      if (worker === 'unknown' || session.publishers.leases.of(worker?.id) === 0) return false
      if (session.publishers.heardOffset(worker) > seen) return false
      leased(session, entry.worker, 0)
      if (worker !== undefined && worker.status === 'ended') {
        session.publishers.lease(worker, 0)
        return false
      }
      const type = worker === undefined ? 'session.lost' : 'worker.lost'
      const offset = tell(session, worker, { type, data: { reason }, at }, catalog)
      session.publishers.lose(worker, reason, { offset, now: at })
      return true
    }
    case 'redact': {
      redactFollowed(session, entry, { catalog, redacted })
      const { offsets } = entry
      if (offsets.length > 0) {
        const data = { offsets }
        const bytes = measure(data, Number.POSITIVE_INFINITY)
        session.appendToAll(
          { type: 'redacted', data },
          { traits: catalog.traitsOf('redacted'), bytes, now: at, isHub: true },
        )
      }
      return true
    }
    case 'watchers': {
      const worker = knownWorker(session, entry.worker)
      if (worker === 'unknown') return false
      return session.countWatchers(worker?.topic ?? session.topic, entry.watchers, at)
    }
    case 'stalled': {
      const { seen, stalled } = entry
      const worker = knownWorker(session, entry.worker)
      if (worker === 'unknown' || !mayBeStuck(worker ?? session)) return false
      const { progress } = worker ?? session
      if (progress.stalled !== undefined || progress.heardOffset > seen) return false
      session.publishers.stall(worker, stalled)
      tell(session, worker, { type: 'worker.stalled', data: stalled, at }, catalog)
      return true
    }
    case 'end': {
      const { kind: _, room, ...ending } = entry
      const place = session.offset
      // In the order of their offsets, because the order of the workers differs between hubs.
      const all = session.commands.open().toSorted((a, b) => a.command.offset - b.command.offset)
      const expired = all.slice(0, room)
      for (const { worker, command } of expired) {
        const data = { offset: command.offset, state: 'expired', reason: 'the session has ended' }
        tell(session, worker, { type: 'command.done', data, at }, catalog)
      }
      session.stopCounting(place + 2 * room - session.offset, at)
      const data = ending.outcome === undefined ? {} : { outcome: ending.outcome }
      const bytes = measure(data, Number.POSITIVE_INFINITY)
      // The two offsets before its own are reserved for the reserved slices.
      session.goTo((place + 2 * room + 2) as Offset)
      session.end(
        { type: 'complete', data },
        { traits: catalog.traitsOf('complete'), bytes, now: at },
        ending,
      )
      ended(session)
      return true
    }
  }
}

function applyEvent(
  session: Session,
  entry: Extract<LogEntry, { kind: 'event' }>,
  at: number,
  catalog: Catalog,
): boolean {
  const { event, bytes, withheld = false, steers = false, byHub = false, halves } = entry
  const traits = catalog.traitsOf(event.type)
  if (steers && traits.command === 'receipt') {
    const worker = knownWorker(session, entry.worker)
    if (worker === 'unknown') return false
    // The first receipt for a command counts, from any sender.
    const { sentCommands } = (worker ?? session).progress
    if (sentCommands?.isOpen(receiptIn(event.data).offset) !== true) return false
  }
  const worker = entry.worker === undefined ? undefined : session.worker(entry.worker)
  session.append(event, worker, {
    traits,
    bytes,
    now: at,
    withheld,
    isWhole: true,
    ...(byHub && { isHub: true }),
  })
  if (halves !== undefined) session.keepHalves(halves)
  return true
}

/** Redacts what this hub has of a session in memory. Slices are changed by entries of their own. */
function redactFollowed(
  session: Session,
  { secrets, patterns }: Extract<LogEntry, { kind: 'redact' }>,
  { catalog, redacted }: Pick<Applying, 'catalog' | 'redacted'>,
): void {
  if (secrets.length + patterns.length === 0) return
  const redaction = Redaction.ofHashes(secrets, patterns, session.masks?.key ?? session.epoch)
  if (secrets.length > 0) session.knowSecrets(secrets)
  const change: Change = (value) => redaction.value(value)
  for (const { state } of session.topics()) state.replaceCauses(change)
  session.replaceTexts(change)
  redactEntries(session, redaction, catalog)
  redacted(change)
}

/** @returns the worker of an entry; nothing for the session itself */
function knownWorker(session: Session, id: string | undefined): Worker | 'unknown' | undefined {
  if (id === undefined) return undefined
  const worker = session.workers.get(id)
  return worker?.startedAt === undefined ? 'unknown' : worker
}

/** Publishes an event of the hubs themselves. @returns its offset */
function tell(
  session: Session,
  worker: Worker | undefined,
  { type, data, at }: { readonly type: string; readonly data: JsonObject; readonly at: number },
  catalog: Catalog,
): Offset {
  const bytes = measure(data, Number.POSITIVE_INFINITY)
  return session.append({ type, data }, worker, {
    traits: catalog.traitsOf(type),
    bytes,
    now: at,
    isHub: true,
  })
}

/** @returns the lane of the log that an entry is in */
export function laneOf(entry: LogEntry, catalog: Catalog): Lane {
  if (entry.kind === 'watchers') return 'droppable'
  return entry.kind === 'event' && !catalog.traitsOf(entry.event.type).critical ? 'droppable' : 'critical'
}

/** The state of a session that cannot be computed from its retained events. */
interface Image extends Pick<StoredSession, 'record' | 'workers' | 'slices' | 'latest'> {
  readonly completion?: StoredEvent
  /** Retained events that the batches alone do not determine, because they depend on earlier ones. The name is stored. */
  readonly told: readonly StoredEvent[]
  /** The offsets of retained messages of a durable stream: the batches alone do not show which requests were refused. */
  readonly messages?: readonly Offset[]
  /** The offsets of the last sign of life by publisher; empty for the session's own events. */
  readonly heard: readonly (readonly [worker: string, offset: Offset])[]
  /** The offset of the last change to the session. */
  readonly active: Offset
  /** Who watches, where somebody asks. */
  readonly watching?: readonly TopicWatchers[]
}

/** What an image has of a session beside its events. */
type ImageParts = Pick<SessionBatch, 'workers' | 'slices' | 'latest'> & { readonly record: SessionRecord }

/** A fork as it begins. */
export interface ForkImage {
  readonly parts: ImageParts
  /** The fork has everything up to here. */
  readonly last: Offset
  /** The session that is forked, with all that is retained. */
  readonly from: Session
}

/**
 * @param session in a fork, as it was at the fork's end
 * @returns the input of `restoreImage`
 */
export function imageOf(session: Session, catalog: Catalog, fork?: ForkImage): Uint8Array {
  const undetermined = new Map<Offset, StoredEvent>()
  const taken = new Set<Offset>()
  const last = fork?.last ?? session.offset
  for (const history of [...session.histories(), ...(fork?.from.histories() ?? [])]) {
    for (const lane of [history.critical, history.droppable]) {
      for (let index = 0; index < lane.length; index++) {
        const entry = lane.at(index)
        if (entry.offset > last) break
        if (dependsOnPast(entry.event.type, catalog)) undetermined.set(entry.offset, storedEvent(entry))
        if (isMessage(entry.event.type)) taken.add(entry.offset)
      }
    }
  }
  const messages = [...taken]
  const parts = fork?.parts ?? partsOf(session)
  const { record, workers = [], slices = [], latest = [] } = parts
  const image: Image = {
    record,
    workers,
    slices: slices.flatMap(({ value, ...slice }) => (value === undefined ? [] : [{ ...slice, value }])),
    latest: latest
      .flatMap(({ event, ...name }) => (event === undefined ? [] : [{ ...name, event }]))
      .sort((a, b) => a.event.offset - b.event.offset),
    ...(session.completion && { completion: storedEvent(session.completion) }),
    told: [...undetermined.values()].sort((a, b) => a.offset - b.offset),
    ...(messages.length > 0 && { messages }),
    heard: [
      ['', session.progress.heardOffset],
      ...[...session.workers.values()].map(({ id, progress }) => [id, progress.heardOffset] as const),
    ],
    active: session.publishers.heardOffset(undefined),
    ...(fork === undefined && session.watching && { watching: session.watching.kept() }),
  }
  return pack(image)
}

function partsOf(session: Session): ImageParts {
  const pinned = new Map<Offset, StoredEvent>()
  for (const history of session.histories()) {
    for (const entry of history.pinned()) pinned.set(entry.offset, storedEvent(entry))
  }
  return {
    record: session.record(),
    workers: [...session.workers.values()].flatMap((worker) => worker.record() ?? []),
    slices: session.topics().flatMap((topic) => (topic.hasState ? slicesOf(topic) : [])),
    latest: [...pinned.values()].map((event) => {
      const { worker, type, key = '' } = event
      return { ...(worker !== undefined && { worker }), type, key, event }
    }),
  }
}

function slicesOf({ worker, state }: OwnTopic): StoredSlice[] {
  const kept = [...state.kept()].map(([slice, value, offset]) => ({ slice, value, offset }))
  // All hubs need the same base for their next changes.
  for (const slice of ['$commands', '$watchers']) {
    const value = state.get(slice)
    if (value !== undefined) kept.push({ slice, value, offset: state.offsetOf(slice) })
  }
  return kept.map((slice) => ({ ...(worker !== undefined && { worker }), ...slice }))
}

/** Whether the batches alone do not show if an event of this type was published. */
function dependsOnPast(type: string, catalog: Catalog): boolean {
  return ownTypes.includes(type) || catalog.traitsOf(type).command === 'receipt'
}

/** Restores a session from an image. @param before batches before the image, for its history */
export function restoreImage(
  session: Session,
  { offset, bytes }: { readonly offset: Offset; readonly bytes: Uint8Array },
  before: readonly Delivered[],
  catalog: Catalog,
): void {
  const {
    completion,
    told: undetermined,
    messages = [],
    heard,
    active,
    watching,
    ...image
  } = unpack<Image>(Buffer.from(bytes))
  const taken: ReadonlySet<Offset> = new Set(messages)
  const events = [...before.flatMap((batch) => eventsOf(batch, taken, catalog)), ...undetermined]
  events.sort((one, other) => one.offset - other.offset)
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
  for (const [id, at] of heard) (session.workers.get(id) ?? session).progress.heardAgain(at)
  session.publishers.heardAgain(undefined, active)
  if (watching !== undefined) session.restoreWatching(watching)
}

/**
 * @param taken the offsets of messages of a durable stream
 * @returns the events of a batch without those that the session's mode withheld
 */
function eventsOf(batch: Delivered, taken: ReadonlySet<Offset>, catalog: Catalog): StoredEvent[] {
  const { from, at, known } = batch
  const events: StoredEvent[] = []
  for (const { place, entry } of unpackEntries(batch)) {
    if (entry.kind === 'stream') {
      for (const [index, { event, bytes }] of entry.messages.entries()) {
        const offset = (from + place + index + 1) as Offset
        const facts = { traits: catalog.traitsOf(event.type), bytes, now: at }
        if (taken.has(offset)) events.push({ ...hubEvent(event, offset, undefined, facts), passes: 'modes' })
      }
    }
    if (entry.kind === 'redact' && entry.offsets.length > 0) {
      const data = { offsets: entry.offsets }
      events.push({
        offset: (from + place + 1) as Offset,
        type: 'redacted',
        time: at,
        data,
        passes: 'all',
      })
    }
    if (entry.kind !== 'event' || entry.withheld === true || known.includes(place)) continue
    if (dependsOnPast(entry.event.type, catalog)) continue
    const { event, worker, bytes } = entry
    const facts = { traits: catalog.traitsOf(event.type), bytes, now: at }
    const made = hubEvent(event, (from + place + 1) as Offset, worker, facts)
    events.push(event.force === true ? { ...made, passes: 'modes' } : made)
  }
  return events
}
