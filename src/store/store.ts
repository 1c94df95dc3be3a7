// Longer than 350 lines: what every store has to do, word by word; most of it is comments.

import type { JsonObject, JsonValue } from '../lib/json.js'
import type { Epoch, Offset } from '../protocol/cursor.js'
import type { HubEvent, Mode, PatchOperation } from '../protocol/frames.js'

/**
 * Where events survive a restart. The hub keeps what it needs for the present in memory; the store keeps
 * the rest, and says what had been reached when a session is asked for again.
 *
 * **Asynchronous.** Every answer comes later, and may come from another machine. A store does little work
 * in any one turn of the event loop: answers come in bounded pages, and so does trimming.
 *
 * **Atomic and in order.** `commit` keeps all of a batch or nothing of it. One commit is under way at a
 * time: the next is given when the one before has settled. What a commit has kept, every later call sees.
 *
 * **Failure.** A call that fails rejects with a `StoreError`, changes nothing, and leaves the store usable:
 * the same batch may be given again. A store never answers with less than it holds. Reading goes on while
 * writing fails.
 *
 * **Damage.** What a store gives back is what it was given. Where it cannot be sure, the call fails with `damaged`, and
 * only calls that need what is damaged do: another session is never concerned. A damaged session can be removed.
 *
 * **Offsets.** Events are delivered before they are kept, so after an unclean end the store cannot know
 * which offsets were given out. It knows a bound: a hub never lets a session's offset run more than
 * `offsetsAhead` past `last` of the session's newest settled commit. After an unclean end `load` answers
 * with `last` above that bound; after a clean one it is exact. A session that was never committed has
 * nothing to continue: it begins again with an epoch of its own.
 */
export interface Store {
  /** What it is called where a hub tells what it is made of: `lmdb`, for example. */
  readonly kind?: string
  /** What was there when the store was opened. */
  readonly found: Found
  /**
   * Keeps a batch: all that the hub's sessions published since the batch before.
   *
   * @returns once everything is kept, as durable as the store was asked to be
   */
  commit(batch: Batch): Promise<void>
  /** @returns what the hub needs to continue a session, or nothing when there is no such session. */
  load(session: string): Promise<StoredSession | undefined>
  /** @returns a page of the events after an offset, in offset order. An unknown session has none. */
  read(session: string, after: Offset, options?: ReadOptions): Promise<Page>
  /** @returns a page of the events before an offset, the newest first. An unknown session has none. */
  readBefore(session: string, before: Offset, options?: ReadOptions): Promise<Page>
  /**
   * Finds out where to read what was kept since some time, without reading what is older.
   *
   * @param at ms since 1970, of the clock of the batches
   * @returns an offset: no event up to it was kept at that time or later
   */
  keptBefore(session: string, at: number): Promise<Offset>
  /** @returns the newest events of a session, in offset order: what fills a ring. */
  newest(session: string, options?: ReadOptions): Promise<Page>
  /** @returns a page of the sessions in the order of their ids (by code unit), after an id. */
  sessions(after: string, limit: number): Promise<SessionPage>
  /**
   * Forgets a session. One that is unknown is forgotten already. The caller has let go of what it had not committed: where
   * this fails, the end of the store counts as unclean.
   */
  remove(session: string): Promise<void>
  /**
   * Does one small step of what retention asks for. The caller goes on while there is `more`, at its leisure.
   *
   * @param held sessions that are in use: unless they have ended, they lose old events, but are not removed
   */
  trim(retention: Retention, now: number, held: (session: string) => boolean): Promise<Trimmed>
  /** Tells when the store notices by itself that nothing can be kept, and again, with nothing, once it can. */
  onFault?(told: (fault: StoreError | undefined) => void): void
  /** Where the store is in this process: `load` and `newest` without waiting. A hub asks for it, see `Immediate`. */
  readonly now?: Immediate
  /**
   * What has to be told to others outside; absent where the store keeps nothing of the kind. Asking for it may change what
   * the store writes.
   */
  readonly outbox?: Outbox
  /** @returns how much is kept now. */
  size(): Size
  /** Waits for what is under way. Afterwards every call rejects with `closed`; closing again does nothing. */
  close(): Promise<void>
}

/**
 * What a hub asks for in the middle of a turn: publishing, joining and changing state are one synchronous step,
 * and a session that left memory comes back in it. This is the one place where a hub cannot wait, and it refuses
 * a store that has none of it: it would begin such a session anew, with another epoch. A networked store keeps
 * what these two answer at hand in this process (of each session that was written, what `load` says), or the hub
 * has to learn to load what a request names before its step.
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

/** An event with how it passes filters beyond its type, which no client sees. */
export interface StoredEvent extends HubEvent {
  /** `modes`: it was forced; `all`: it is the hub's own and passes everything. */
  readonly passes?: 'modes' | 'all'
}

/** How far a session's offset may run ahead of what its commits have settled. In offsets. */
export const offsetsAhead = 1 << 20

/** Bounds of one page where the caller names none. */
export const pageDefaults = { limit: 1_000, bytes: 1 << 20 } as const

/** The most events a page looks at: a filter that keeps little still answers soon. */
export const pageScanMax = 2_000

/** Ids of published events that a session remembers, the newest ones, where its batches do not say how many. */
export const publishIdsMax = 10_000

/** The largest block that retention drops as one: it keeps up to this many events more than it was told. */
export const blockEventsMax = 256

export interface Size {
  readonly sessions: number
  readonly events: number
  /** Bytes of the events as they are kept. */
  readonly bytes: number
}

export interface Found extends Size {
  /** What was there had been closed in good order, or nothing was there. */
  readonly clean: boolean
}

/** What the hub's sessions did since the batch before. */
export interface Batch {
  /** The hub's clock, ms since 1970: the age of what is kept. */
  readonly at: number
  /** Each session once. */
  readonly sessions: readonly SessionBatch[]
}

export interface SessionBatch {
  readonly session: string
  /** Present when the session is new, or its record changed. A new epoch replaces all that was kept. */
  readonly record?: SessionRecord
  /** The newest offset that the session has given out, kept or not. */
  readonly last: Offset
  /** In offset order, above all that were kept before. */
  readonly events?: readonly StoredEvent[]
  /** Those that are new or changed. */
  readonly workers?: readonly WorkerRecord[]
  /** In the order in which they happened. */
  readonly slices?: readonly SliceChange[]
  /** What a fresh join gets of the type and key of each: the newest one, kept apart from the events. */
  readonly latest?: readonly Latest[]
  /** Ids that were published, oldest first. */
  readonly ids?: readonly PublishId[]
  /** How many of them are remembered; `publishIdsMax` unless given. */
  readonly idsMax?: number
  /** Integers that stand for ids of earlier; they replace those that were kept. At most 2,101, below 2⁵³. */
  readonly formerIds?: readonly number[]
}

/** What became of a worker or a session, as far as its events said. */
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
  /** Where its newest run is. */
  readonly run?: { readonly from: Offset; readonly until?: Offset }
  /** That run is paused. */
  readonly paused?: true
  /** Those that were sent to its topic: all that have no final state, and the last ones that have. */
  readonly commands?: readonly CommandRecord[]
  /** The newest attempt at each step, the step begun longest ago first. */
  readonly attempts?: readonly (readonly [step: string, number: number])[]
  /** Calls of tools that have not come to an end. */
  readonly calls?: readonly { readonly id: string; readonly tool: string; readonly since: number }[]
  readonly stalled?: { readonly since: number; readonly why: 'call' | 'repeat' | 'silence' }
}

/** A command, and what became of it. */
export interface CommandRecord {
  /** Of the command. */
  readonly offset: Offset
  readonly type: string
  readonly state: 'queued' | 'delivered' | 'applied' | 'refused' | 'expired'
  /** Milliseconds since 1970. */
  readonly time: number
  readonly expiresAt: number
  readonly id?: string
  /** What it says, as a person reads it. */
  readonly text?: string
  /** Of its final state: why, when, and where the event stands that said so. */
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
  /** Halves of characters that wait for the next event of their stream: its name, and the UTF-16 code unit. */
  readonly halves?: readonly (readonly [stream: string, unit: number])[]
  /** Open needs, and workers that failed, of the whole session: for lists that do not read its workers. */
  readonly needsTotal?: number
  readonly failed?: number
  /** When the first command that is under way expires. Milliseconds since 1970. */
  readonly commandsDue?: number
  /** By worker, empty for the session's own: how long after it was last heard of it is lost. Milliseconds. */
  readonly leases?: Readonly<Record<string, number>>
}

export interface WorkerRecord extends ProgressRecord {
  readonly worker: string
  readonly status?: 'running' | 'paused' | 'ended'
  readonly startedAt: number
  readonly endedAt?: number
  /** Events it has published. */
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
  /** What leads to `value` from the one before, where that is smaller: the store may keep it instead. */
  readonly patch?: readonly PatchOperation[]
}

/** The newest event of a type and key, as pinned in its topic. */
export interface Latest {
  readonly worker?: string
  readonly type: string
  readonly key: string
  /** Absent when it is to be forgotten. */
  readonly event?: StoredEvent
}

export interface PublishId {
  readonly id: string
  /** Whose id it is; empty for the session itself. Absent: kept before ids counted for each topic, and so for all. */
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

/** What the hub needs to continue a session. */
export interface StoredSession extends Extent {
  readonly record: SessionRecord
  /** The next offset is above this one. */
  readonly last: Offset
  readonly workers: readonly WorkerRecord[]
  readonly slices: readonly StoredSlice[]
  /** In offset order. */
  readonly latest: readonly StoredLatest[]
  /** The newest ones, as many as `idsMax` of the last batch said, oldest first. */
  readonly ids: readonly PublishId[]
  /** As the newest batch that had some gave them. */
  readonly formerIds?: readonly number[]
}

/** How much of a session is kept. */
export interface Extent {
  /** Everything up to here was trimmed; 0 when nothing was. */
  readonly trimmed: Offset
  /** The newest event that is kept, or was trimmed; 0 when there was none. */
  readonly stored: Offset
  readonly events: number
  readonly bytes: number
  /** When the session was last written to, ms since 1970. */
  readonly at: number
}

export interface ReadOptions {
  /** The most events on the page. */
  readonly limit?: number
  /** The page ends soon after this many bytes of events as they are kept; it has at least one. */
  readonly bytes?: number
  /** Runs in this process: events it refuses are passed over, and bounded by `pageScanMax`. */
  readonly filter?: (event: StoredEvent) => boolean
}

export interface Page {
  readonly events: readonly StoredEvent[]
  /** Every event up to here was looked at: the next page is the one after it. Of `readBefore`: down to here, before it. */
  readonly last: Offset
  /** Nothing was kept after `last` when the page was read. Of `readBefore`: nothing is kept before it. */
  readonly end: boolean
  /** As in `Extent`: a reader whose position is below has missed something. */
  readonly trimmed: Offset
}

export interface SessionPage {
  readonly sessions: readonly { readonly record: SessionRecord; readonly extent: Extent }[]
  /** Sessions of the page of which not even that can be read. */
  readonly damaged?: readonly string[]
  readonly end: boolean
}

/** @returns the last id that a page looked at; the next page is the one after it */
export function lastOf({ sessions, damaged }: SessionPage): string | undefined {
  const whole = sessions.at(-1)?.record.session
  const other = damaged?.at(-1)
  return whole === undefined || (other !== undefined && other > whole) ? other : whole
}

/** What is kept. Absent bounds do not bound. Ended sessions go first. */
export interface Retention {
  /** Sessions that ended, or were last written to, longer ago than this; and older events. In ms. */
  readonly ageMs?: number
  /** Of one session. */
  readonly sessionEvents?: number
  readonly sessionBytes?: number
  /** Of all together. */
  readonly events?: number
  readonly bytes?: number
}

export interface Trimmed {
  /** Sessions that are gone. */
  readonly removed: readonly string[]
  /** Sessions whose events up to an offset are gone. */
  readonly trimmed: readonly { readonly session: string; readonly trimmed: Offset }[]
  /** There is more to do. */
  readonly more: boolean
}

/**
 * A store could not do what was asked, and changed nothing.
 *
 * `full`: no room; `failed`: anything else that may pass; `closed`: it was closed; `refused`: it cannot be
 * opened as it is (locked by another process, or written by a newer version); `damaged`: what is kept is not what was
 * given, and will not be again: of one session where `session` names it.
 */
export class StoreError extends Error {
  override readonly name = 'StoreError'

  readonly kind: StoreErrorKind
  /** When it may be otherwise, of a store that could not be opened. Milliseconds. */
  readonly retryMs: number | undefined
  /** Whose data is damaged. */
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
