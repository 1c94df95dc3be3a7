// Longer than 350 lines: the contract of every store; most of it is comments.

import type { JsonObject, JsonValue } from '../lib/json.js'
import type { KeptMasks } from '../mask/masks.js'
import type { Cursor, Epoch, Offset } from '../protocol/cursor.js'
import type { HubEvent, Mode, PatchOperation } from '../protocol/frames.js'

/**
 * The database in which events survive a restart. The hub keeps current data in memory; the store keeps the rest, and returns
 * the last state of a session when it is loaded again.
 *
 * **Asynchronous.** Every answer comes later, possibly from another machine. A store does little work in any one turn of the
 * event loop: reading and trimming have bounded steps.
 *
 * **Atomic and in order.** `commit` stores all of a batch or nothing of it. Only one commit is in progress at a time: the next
 * is called when the previous one has settled. Every later call sees the result of a commit.
 *
 * **Failure.** A call that fails rejects with a `StoreError`, changes nothing, and leaves the store usable: the same batch may
 * be committed again. A store never returns less than it holds. Reading continues while writing fails.
 *
 * **Damage.** A store returns exactly what was stored. If it cannot be sure of that, the call fails with `damaged`. Only calls
 * that need the damaged data fail; other sessions are never affected. A damaged session can be removed.
 *
 * **Offsets.** Events are delivered before they are stored, so after an unclean end the store cannot know which offsets were
 * used. It knows a bound: a session's offset is never more than `offsetsAhead` above `last` of its newest settled commit. After
 * an unclean end `load` returns `last` above that bound; after a clean one it is exact. A session that was never committed
 * begins again with a new epoch.
 */
export interface Store {
  /** Its name in `/api/about`, such as `lmdb`. */
  readonly kind?: string
  /** The contents of the store when it was opened. */
  readonly found: Found
  /**
   * Stores a batch: everything that the hub's sessions have published since the previous one.
   *
   * @returns when everything is stored, with the configured durability
   */
  commit(batch: Batch): Promise<void>
  /** @returns the data to continue a session, or undefined if it does not exist */
  load(session: string): Promise<StoredSession | undefined>
  /** @returns a page of the events after an offset, in offset order. An unknown session has none. */
  read(session: string, after: Offset, options?: ReadOptions): Promise<Page>
  /** @returns a page of the events before an offset, the newest first. An unknown session has none. */
  readBefore(session: string, before: Offset, options?: ReadOptions): Promise<Page>
  /**
   * Finds the offset at which to start reading events stored since a time, without reading older ones.
   *
   * @param at ms since 1970, of the clock of the batches
   * @returns an offset: no event up to it was stored at that time or later
   */
  keptBefore(session: string, at: number): Promise<Offset>
  /** @returns the newest events of a session, in offset order, to fill a ring */
  newest(session: string, options?: ReadOptions): Promise<Page>
  /** @returns a page of the sessions in the order of their ids (by code unit), after an id. */
  sessions(after: string, limit: number): Promise<SessionPage>
  /**
   * Stores a new session that begins with the events of another one: all of it, or nothing, also when the process dies
   * meanwhile. What becomes of the other one later does not matter to it. Called as `commit` is, but not instead of it, and in
   * bounded steps. A hub whose store cannot do it refuses to fork.
   *
   * @throws StoreError `failed` when the fork exists already, when the other session does not exist in that epoch, or when its
   *   events are trimmed meanwhile
   */
  fork?(fork: Fork): Promise<void>
  /**
   * Puts other events in the place of those with the same offsets, as events and as the newest of their type and key. Offsets that
   * are not stored are ignored. Absent where the store cannot: then nothing can be redacted.
   */
  replace?(session: string, events: readonly StoredEvent[]): Promise<void>
  /**
   * Removes a session; an unknown one is removed already. The caller has discarded its uncommitted data, so if this fails, the
   * end of the store counts as unclean.
   */
  remove(session: string): Promise<void>
  /**
   * Does one small step of retention. The caller continues while there is `more`, at its own pace.
   *
   * @param held sessions in use: unless they have ended, they lose old events, but are not removed
   */
  trim(retention: Retention, now: number, held: (session: string) => boolean): Promise<Trimmed>
  /** Reports when the store itself detects that nothing can be stored, and again, with undefined, when it can. */
  onFault?(listener: (fault: StoreError | undefined) => void): void
  /** For a store in this process: `load` and `newest` without waiting. A hub requires it, see `Immediate`. */
  readonly now?: Immediate
  /** Messages for others outside; absent if the store has no outbox. Reading this property may create the outbox. */
  readonly outbox?: Outbox
  /** @returns the size of the store */
  size(): Size
  /** Waits for calls in progress. Afterwards every call rejects with `closed`; closing again does nothing. */
  close(): Promise<void>
}

/**
 * Synchronous reads. Publishing, joining and changing state are one synchronous step, in which a session that left memory is
 * loaded again. This is the only place where a hub cannot wait, so it refuses a store without it: it would have to begin such a
 * session again, with a new epoch. A networked store would have to cache the results of these two calls in this process (the
 * result of `load` for each written session), or the hub would have to load the session of a request before the step.
 */
export interface Immediate {
  load(session: string): StoredSession | undefined
  newest(session: string, options?: ReadOptions): Page
}

/** Small things that a hub has still to tell somebody outside, in the order of their keys. */
export interface Outbox {
  /** All that is kept; what is damaged is left out. */
  entries(): OutboxEntry[]
  /** Keeps a value with the next commit, in the same transaction: what the commit says is never there without it. */
  put(key: number, value: JsonObject): void
  remove(key: number): void
  /** @returns once what was put and removed is kept */
  flush(): Promise<void>
}

export interface OutboxEntry {
  readonly key: number
  readonly value: JsonObject
}

/** An event, and what lets it pass filters apart from its type, which clients do not see. */
export interface StoredEvent extends HubEvent {
  /** `modes`: it was forced; `all`: it is the hub's own and passes every filter. */
  readonly passes?: 'modes' | 'all'
}

/** How far a session's offset may be ahead of its newest settled commit. In offsets. */
export const offsetsAhead = 1 << 20

/** Default bounds of one page. */
export const pageDefaults = { limit: 1_000, bytes: 1 << 20 } as const

/** The maximum of events that a page examines, so that a selective filter still answers soon. */
export const pageScanMax = 2_000

/** The default number of the newest published ids that a session remembers. */
export const publishIdsMax = 10_000

/** The largest block, which retention drops as a whole: it may keep up to this many events more than configured. */
export const blockEventsMax = 256

export interface Size {
  readonly sessions: number
  readonly events: number
  /** Bytes of the stored events. */
  readonly bytes: number
}

export interface Found extends Size {
  /** The store had been closed cleanly, or was empty. */
  readonly clean: boolean
}

/** The changes of the hub's sessions since the previous batch. */
export interface Batch {
  /** The hub's clock, ms since 1970, from which the age of events is computed. */
  readonly at: number
  /** Each session once. */
  readonly sessions: readonly SessionBatch[]
}

export interface SessionBatch {
  readonly session: string
  /** Present if the session is new, or its record has changed. A new epoch replaces all stored data. */
  readonly record?: SessionRecord
  /** The newest offset of the session, whether stored or not. */
  readonly last: Offset
  /** In offset order, above all events stored before. */
  readonly events?: readonly StoredEvent[]
  /** New and changed workers. */
  readonly workers?: readonly WorkerRecord[]
  /** In the order in which they happened. */
  readonly slices?: readonly SliceChange[]
  /** The newest event of a type and key, for fresh joins, stored separately from the events. */
  readonly latest?: readonly Latest[]
  /** Ids that were published, oldest first. */
  readonly ids?: readonly PublishId[]
  /** How many ids are remembered; default `publishIdsMax`. */
  readonly idsMax?: number
  /** Hashes of former ids, which replace the stored ones. At most 2,101 integers, below 2⁵³. */
  readonly formerIds?: readonly number[]
}

/** A session that begins with events of another one. */
export interface Fork {
  /** The hub's clock, ms since 1970. */
  readonly at: number
  readonly from: string
  /** Of the session that it is forked from. */
  readonly epoch: Epoch
  /** The session as it begins. It has the other one's events up to `last`, and none of its own. */
  readonly batch: Pick<SessionBatch, 'session' | 'last' | 'workers' | 'slices' | 'latest'> & {
    readonly record: SessionRecord
  }
}

/** The progress of a worker or a session, according to its events. */
export interface ProgressRecord {
  readonly result?: 'succeeded' | 'failed' | 'cancelled' | 'lost'
  readonly reason?: string
  readonly parent?: string
  readonly lastAt?: number
  readonly needs?: readonly {
    readonly kind: 'input' | 'permission' | 'credentials'
    readonly key: string
    readonly offset: Offset
    readonly time: number
    readonly text: string
  }[]
  readonly usage?: Readonly<Record<string, number>>
  /** The range of its newest run. */
  readonly run?: { readonly from: Offset; readonly until?: Offset }
  /** That run is paused. */
  readonly paused?: true
  /** The commands to its topic: all without a final state, and the last ones with one. */
  readonly commands?: readonly CommandRecord[]
  /** The newest attempt at each step, the oldest step first. */
  readonly attempts?: readonly (readonly [step: string, number: number])[]
  /** Open tool calls. */
  readonly calls?: readonly { readonly id: string; readonly tool: string; readonly since: number }[]
  readonly stalled?: { readonly since: number; readonly why: 'call' | 'repeat' | 'silence' }
}

/** A command and its state. */
export interface CommandRecord {
  /** The offset of the command. */
  readonly offset: Offset
  readonly type: string
  readonly state: 'queued' | 'delivered' | 'applied' | 'refused' | 'expired'
  /** Milliseconds since 1970. */
  readonly time: number
  readonly expiresAt: number
  readonly id?: string
  /** Its content, as text for people. */
  readonly text?: string
  /** The reason and time of its final state, and the offset of the receipt. */
  readonly reason?: string
  readonly doneAt?: number
  readonly doneOffset?: Offset
}

export interface SessionRecord extends ProgressRecord {
  readonly session: string
  readonly epoch: Epoch
  readonly status: 'running' | 'paused' | 'ended'
  readonly mode?: Mode
  readonly metadata?: JsonValue
  readonly startedAt: number
  readonly endedAt?: number
  readonly outcome?: JsonValue
  /** Lone surrogates that wait for the next event of their stream: its name, and the UTF-16 code unit. */
  readonly halves?: readonly (readonly [stream: string, unit: number])[]
  /** Numbers of open needs and of failed workers of the whole session, for lists that do not read its workers. */
  readonly needsTotal?: number
  readonly failed?: number
  /** When the first command without a final state expires. Milliseconds since 1970. */
  readonly commandsDue?: number
  /** Leases by worker, empty for the session's own: how long after its last sign of life it is lost. Milliseconds. */
  readonly leases?: Readonly<Record<string, number>>
  /** What is known of its secrets, without any of them. */
  readonly masks?: KeptMasks
  /** Present if it is a durable stream. */
  readonly stream?: StreamRecord
  /** Present in a fork. */
  readonly forkedFrom?: ForkOrigin
  /** The offset of the newest removal of a slice. */
  readonly slicesRemovedAt?: Offset
}

/** A producer of a durable stream, and the newest of its requests that was taken. */
export interface StreamProducer {
  readonly id: string
  readonly epoch: number
  readonly seq: number
}

/** Where the past of a durable stream is from, as it was asked for. */
export interface StreamFork {
  /** The session of the stream that was forked. */
  readonly source: string
  /** Absent: its end at that time. */
  readonly offset?: Offset
  /** Messages, or bytes, after the offset. */
  readonly more: number
}

/** A session as a durable stream: all that its protocol promises to keep, beside the messages. */
export interface StreamRecord {
  /** As given when it was created. */
  readonly contentType: string
  /** The first part of its offsets, which tells it from an earlier stream at its path. Milliseconds since 1970. */
  readonly lifetime: number
  /** The offset of its newest message. */
  readonly tail: Offset
  /** How long it stays after it was last read or written. Seconds */
  readonly ttlSeconds?: number
  /** When it expires, as given. RFC 3339 */
  readonly expiresAt?: string
  /** When it was last read or written, if it has a `ttlSeconds`. Milliseconds since 1970 */
  readonly touchedAt?: number
  /** Nothing follows; `by` is the request that closed it, if a producer did. */
  readonly closed?: { readonly by?: StreamProducer }
  /** The newest `Stream-Seq`. */
  readonly seq?: string
  /** Present in a fork. */
  readonly fork?: StreamFork
  /** Sessions of streams that were forked from it. While there are any, nothing else may take its place. */
  readonly forks?: readonly string[]
  /** It was deleted or has expired, and is kept because it has forks. */
  readonly isDeleted?: true
  /** The least recently used first, with the time of its newest request. Milliseconds since 1970 */
  readonly producers?: readonly (StreamProducer & { readonly at: number })[]
}

/** Where a fork's past is from. */
export interface ForkOrigin {
  readonly session: string
  /** A cursor of that session: the fork has everything up to there. */
  readonly at: Cursor
  /**
   * What could not be known as of that cursor, so that the fork may lack some of it: `workers`: the progress of the workers and
   * of the session is what the retained events tell; `slices`: those that have changed since are left out.
   */
  readonly without?: readonly ('workers' | 'slices')[]
}

export interface WorkerRecord extends ProgressRecord {
  readonly worker: string
  readonly status?: 'running' | 'paused' | 'ended'
  readonly startedAt: number
  readonly endedAt?: number
  /** The number of its events. */
  readonly events: number
}

/** A slice's new value. */
export interface SliceChange {
  /** The worker whose topic has the slice; absent for the session's own. */
  readonly worker?: string
  readonly slice: string
  readonly offset: Offset
  /** Absent when the slice was removed. */
  readonly value?: JsonValue
  /** The patch from the previous value, if it is smaller: the store may keep it instead of the value. */
  readonly patch?: readonly PatchOperation[]
}

/** The newest event of a type and key, as pinned in its topic. */
export interface Latest {
  readonly worker?: string
  readonly type: string
  readonly key: string
  /** Absent if the event is to be removed. */
  readonly event?: StoredEvent
}

export interface PublishId {
  readonly id: string
  /**
   * The worker that published it; empty for the session itself. Absent: stored before ids counted per topic, so it counts for
   * all topics.
   */
  readonly worker?: string
  readonly offset: Offset
}

/** A slice as it was last set. */
export interface StoredSlice {
  readonly worker?: string
  readonly slice: string
  readonly offset: Offset
  readonly value: JsonValue
}

export interface StoredLatest {
  readonly worker?: string
  readonly type: string
  readonly key: string
  readonly event: StoredEvent
}

/** The data to continue a session. */
export interface StoredSession extends Extent {
  readonly record: SessionRecord
  /** The next offset is above this one. */
  readonly last: Offset
  readonly workers: readonly WorkerRecord[]
  readonly slices: readonly StoredSlice[]
  /** In offset order. */
  readonly latest: readonly StoredLatest[]
  /** The newest ids, as many as `idsMax` of the last batch, oldest first. */
  readonly ids: readonly PublishId[]
  /** Those of the newest batch that contained any. */
  readonly formerIds?: readonly number[]
}

/** The extent of a stored session. */
export interface Extent {
  /** Everything up to here was trimmed; 0 if nothing was. */
  readonly trimmed: Offset
  /** The newest event that is stored or was trimmed; 0 if there was none. */
  readonly stored: Offset
  readonly events: number
  readonly bytes: number
  /** When the session was last written to, ms since 1970. */
  readonly at: number
}

export interface ReadOptions {
  /** The maximum of events on the page. */
  readonly limit?: number
  /** The page ends soon after this many stored bytes; it has at least one event. */
  readonly bytes?: number
  /** Runs in this process. Events that it rejects are skipped; their number is bounded by `pageScanMax`. */
  readonly filter?: (event: StoredEvent) => boolean
}

export interface Page {
  readonly events: readonly StoredEvent[]
  /**
   * All events up to here were examined; the next page begins after it. For `readBefore`: all from here on, and the next page
   * is before it.
   */
  readonly last: Offset
  /** There was no event after `last` when the page was read. For `readBefore`: there is none before it. */
  readonly end: boolean
  /** As in `Extent`: a reader with a lower position has missed something. */
  readonly trimmed: Offset
}

export interface SessionPage {
  readonly sessions: readonly { readonly record: SessionRecord; readonly extent: Extent }[]
  /** Sessions of the page whose record cannot be read. */
  readonly damaged?: readonly string[]
  readonly end: boolean
}

/** @returns the last id that a page examined; the next page begins after it */
export function lastOf({ sessions, damaged }: SessionPage): string | undefined {
  const whole = sessions.at(-1)?.record.session
  const other = damaged?.at(-1)
  return whole === undefined || (other !== undefined && other > whole) ? other : whole
}

/** Bounds of the stored data; absent: unbounded. Ended sessions are removed first. */
export interface Retention {
  /** Sessions that ended, or were last written to, longer ago are removed, and so are older events. In ms. */
  readonly ageMs?: number
  /** Per session. */
  readonly sessionEvents?: number
  readonly sessionBytes?: number
  /** In total. */
  readonly events?: number
  readonly bytes?: number
}

export interface Trimmed {
  /** Removed sessions. */
  readonly removed: readonly string[]
  /** Sessions whose events up to an offset were removed. */
  readonly trimmed: readonly { readonly session: string; readonly trimmed: Offset }[]
  /** Sessions that keep what is due because it is damaged. */
  readonly damaged?: readonly string[]
  /** There is more to do. */
  readonly more: boolean
}

/**
 * A call of a store failed and changed nothing.
 *
 * `full`: no room; `failed`: any other error that may be temporary; `closed`: the store was closed; `refused`: it cannot be
 * opened (locked by another process, or written by a newer version); `damaged`: stored data is permanently damaged, that of one
 * session if `session` is set.
 */
export class StoreError extends Error {
  override readonly name = 'StoreError'

  readonly kind: StoreErrorKind
  /** For a store that could not be opened: when to try again. Milliseconds. */
  readonly retryMs: number | undefined
  /** The session with the damaged data. */
  readonly session: string | undefined

  constructor(
    kind: StoreErrorKind,
    message: string,
    options?: ErrorOptions & { readonly retryMs?: number; readonly session?: string },
  ) {
    super(message, options)
    this.kind = kind
    this.retryMs = options?.retryMs
    this.session = options?.session
  }
}

export type StoreErrorKind = 'full' | 'failed' | 'closed' | 'refused' | 'damaged'
