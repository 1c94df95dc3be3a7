import type { Epoch, Offset, Position } from '../protocol/cursor.js'
import type { StoreError } from '../store/store.js'

/**
 * The record that several hubs share. It puts the batches of each session into one order and assigns the offsets. The bytes
 * of a batch are opaque to the log: each hub that follows a session computes the same result from the same batches.
 *
 * **Asynchronous.** Every answer comes later, and may come from another machine.
 *
 * **One order.** `append` accepts a batch completely or not at all, and assigns it the offsets `(from, to]`, where `from` is
 * the `to` of the previous batch, or the end of a lost range. No entry has the last `spareOffsets` of them: hubs use them for
 * their own events. Every call after the answer of an `append` sees its batch.
 *
 * **The feed** brings batches to a hub soon after they are appended, including its own. Batches of one session come in order.
 * The feed may lose, delay and repeat batches without notice. A batch has its first offset, so the next batch shows that
 * one is missing; and the log checks regularly that its feed works. If it does not, or if the log cannot know, the log calls
 * `broken`, and the hub calls `since`.
 *
 * **Failure.** A call that fails rejects with a `StoreError`. A failed read has no effect. A failed write may have had
 * its effect: a hub that appends again must be prepared for both, with the help of ids.
 *
 * **Eras.** If the log loses batches that it had acknowledged (its engine fails over to a replica that was behind, or restarts
 * from an older state), it begins an era: offsets continue far above all earlier ones, and the range in between is lost.
 * A position within a lost range belongs to batches that no longer exist. No offset is used twice.
 *
 * **Epochs.** An epoch is one lifetime of a session. It begins with the first `open` or `append` of the session,
 * is the same for all hubs, and ends when the session is removed.
 */
export interface SharedLog {
  /** The name that a hub reports in `GET /api/hub` and the like: `redis`, for example. */
  readonly kind: string
  /** Adds a batch to a session. */
  append(batch: Append): Promise<Appended>
  /**
   * @returns everything that a hub needs to follow a session, as of one moment. A session without an epoch begins one. Batches
   *   appended after `follow` has resolved that are not in the answer come by the feed.
   */
  open(session: string): Promise<Opened>
  /** @returns the batches after a position, in order; `behind` if the hub has to open the session again */
  since(session: string, after: Position): Promise<Since>
  /**
   * Keeps the state of a session at a position, so that a hub that opens it later need not compute it from the beginning.
   * A checkpoint that is older than the present one, or has another epoch or a lost position, is ignored.
   */
  checkpoint(session: string, checkpoint: Checkpoint): Promise<void>
  /**
   * Begins a session with a past, completely or not at all. Hubs that follow a session of that name have to open it again.
   *
   * @returns false if something was appended to a session of that name before; then nothing has changed
   */
  begin(session: string, past: LogPast): Promise<boolean>
  /**
   * Replaces all that is retained of a session up to a checkpoint, completely or not at all. What was appended after the
   * checkpoint stays.
   *
   * @returns false if the session was rewritten or packed, or got a newer checkpoint, since it was opened; then nothing has changed
   */
  rewrite(session: string, past: RewrittenPast): Promise<boolean>
  /** Subscribes a hub to a session. Resolves once the feed gets every batch that is appended from then on. */
  follow(session: string, feed: LogFeed): Promise<void>
  unfollow(session: string): void
  /**
   * Forgets a session. Its followers are told; a session of the same name has another epoch.
   *
   * @param only the only lifetime that is removed: another session of this name stays
   * @returns whether it was there, and is forgotten
   */
  remove(session: string, only?: RemovedOnly): Promise<boolean>
  /** @returns ids of sessions to which something was appended, in the order of their code units, after an id */
  sessions(after: string, limit: number): Promise<readonly string[]>
  /**
   * Keeps the description of a session, for lists of all sessions, in place of the previous one. A description of an earlier
   * position of the same epoch is ignored. It is removed with the session.
   */
  describe(session: string, description: Description): Promise<void>
  /**
   * @param after the mark of the page before; 0 for all
   * @returns sessions described or removed since, in the order of their last change; removals only after a mark
   */
  described(after: number, limit: number): Promise<DescribedPage>
  /**
   * Keeps bytes for a while for any hub to take. They belong to no session, and may be lost.
   *
   * @param name of at most 200 characters
   */
  put(name: string, bytes: Uint8Array, ms: number): Promise<void>
  /** @returns the bytes, to the first that asks for them; undefined if they are gone or were never there */
  take(name: string): Promise<Uint8Array | undefined>
  /**
   * Says that a hub lives.
   *
   * @param ms how long, if it says nothing more; 0: no longer
   * @returns the hubs that live
   */
  living(hub: string, ms: number): Promise<readonly string[]>
  /** Calls the listener when the log cannot be reached or followed, and again, with undefined, once it can. */
  onFault?(listener: (fault: StoreError | undefined) => void): void
  /** Counts since it was opened, if it keeps any. */
  readonly stats?: LogStats
  /** Waits for pending calls. Afterwards every call rejects with `closed`; closing again does nothing. */
  close(): Promise<void>
}

/** What a session has to be to be removed. */
export interface RemovedOnly {
  readonly epoch: Epoch
  /** Nothing was appended after this. */
  readonly offset?: Offset
}

/** The description of a session for lists. */
export interface Description {
  readonly epoch: Epoch
  /** As of this offset. */
  readonly offset: Offset
  /** Opaque to the log. */
  readonly about: string
}

export interface Described {
  readonly session: string
  /** Absent: it was removed. */
  readonly about: string | undefined
  /** When it was described last, or removed. Milliseconds since 1970, by the clock of the log. */
  readonly at: number
}

export interface DescribedPage {
  readonly sessions: readonly Described[]
  /** Where the next page begins. */
  readonly mark: number
  /** There is nothing more now. */
  readonly end: boolean
  /** Sessions that are described, of all pages. */
  readonly total: number
}

/** Counts of one hub's connection to a log. */
export interface LogStats {
  readonly appends: number
  /** Bytes of the batches that were appended. */
  readonly bytes: number
  /** Calls that failed. */
  readonly failures: number
  /** Connections that ended. */
  readonly reconnects: number
  /** Feeds that were found dead. */
  readonly deadFeeds: number
  /** How often batches of a session had to be read because its feed may have lost some. */
  readonly broken: number
  /** Idle sessions that were packed. */
  readonly packed: number
  /** Sessions that this hub follows. */
  readonly followed: number
  /** How long the newest batch that was looked for took to come by the feed. Milliseconds. */
  readonly feedMs: number
}

/** Of a hub without a log. */
export const noLog: LogStats = {
  appends: 0,
  bytes: 0,
  failures: 0,
  reconnects: 0,
  deadFeeds: 0,
  broken: 0,
  packed: 0,
  followed: 0,
  feedMs: 0,
}

/** A hub's listener for one session. It is never called within a call of the log. */
export interface LogFeed {
  batch(batch: Delivered): void
  /** Batches may have been lost: the hub calls `since`. */
  broken(): void
  removed(epoch: Epoch): void
}

/** Offsets at the end of each batch that no entry of it has. */
export const spareOffsets = 2

export interface Append {
  readonly session: string
  /** The hub that appends, so that it recognizes its own batches in the feed. */
  readonly hub: string
  /** Counts the batches of this hub. */
  readonly number: number
  /** The epoch that the batch was made for. */
  readonly epoch: Epoch
  /** The hub's clock, ms since 1970. */
  readonly at: number
  /** The number of offsets that its entries take. */
  readonly width: number
  /** Entries that are evicted only after the droppable ones; absent if there are none. */
  readonly critical?: Uint8Array
  /** Events that may be evicted first. */
  readonly droppable?: Uint8Array
  /** The producers' ids, each with the index of its entry: index 0 has the offset `from + 1`. */
  readonly ids?: readonly PlacedId[]
  /** The session ends with it: afterwards only duplicates are accepted. */
  readonly ends?: boolean
  /** What the hub knows of the texts that are held back, and what the batch makes of them. Absent if it has no texts. */
  readonly held?: HeldChange
}

/**
 * The ends of texts that the hubs hold back, because they may be the beginnings of secrets. The log keeps the newest bytes
 * beside the session, and not in its batches.
 */
export interface HeldChange {
  /** Nothing is appended if the session has others: the `to` of the batch that changed them last; 0 if none did. */
  readonly base: Offset
  /**
   * What is held back after this batch, opaque to the log; empty if nothing is. Absent: as before. The batch was made of what
   * is held back, so nothing is appended if one of its ids was published before.
   */
  readonly bytes?: Uint8Array
}

/** What is held back of a session. */
export interface HeldBack {
  /** As in `HeldChange`. */
  readonly base: Offset
  readonly bytes: Uint8Array
}

export const nothingHeld: HeldBack = { base: 0 as Offset, bytes: new Uint8Array() }

export interface PlacedId {
  readonly place: number
  /** The topic within which the id is unique, and the id. */
  readonly name: string
}

export type Appended =
  | {
      readonly kind: 'appended'
      readonly from: Offset
      readonly to: Offset
      /** Entries whose id was published before, with their former offsets: hubs ignore these entries. */
      readonly known: readonly KnownId[]
      /** The size of the batches after the newest checkpoint: if it is large, a hub makes another checkpoint. */
      readonly tailBytes: number
    }
  /** The session has ended. `known` are the entries that were published before. */
  | { readonly kind: 'ended'; readonly known: readonly KnownId[] }
  /** An id was published so long ago that the log no longer knows its offset: nothing is appended. */
  | { readonly kind: 'left'; readonly place: number }
  /** `held` does not apply any more: nothing is appended. `known` are the entries that were published before. */
  | { readonly kind: 'held'; readonly known: readonly KnownId[] }
  /** The session was removed, or has another epoch. */
  | { readonly kind: 'epoch' }

export interface KnownId {
  readonly place: number
  readonly offset: Offset
}

/** A batch as every hub gets it. */
export interface Delivered
  extends Pick<Append, 'hub' | 'number' | 'epoch' | 'at' | 'critical' | 'droppable'> {
  readonly from: Offset
  readonly to: Offset
  /** Indexes of entries that were published before. */
  readonly known: readonly number[]
  /** What is held back after it; absent: as before. Only the feed brings it. */
  readonly held?: Uint8Array
}

/** Offsets above `after` and below `until` that were lost, or never used. */
export interface LostRange {
  readonly after: Offset
  readonly until: Offset
}

export interface Opened {
  readonly epoch: Epoch
  readonly last: Offset
  /** The newest lost ranges, in order; a position below the oldest counts as evicted. */
  readonly lost: readonly LostRange[]
  /** Absent if there is none yet: the session has to be computed from its first batch. */
  readonly checkpoint: Checkpoint | undefined
  /** The retained batches up to the checkpoint, in order: they fill the history. */
  readonly before: readonly Delivered[]
  /** All batches after it, in order. */
  readonly batches: readonly Delivered[]
  /** All batches after this offset are retained unchanged. */
  readonly whole: Offset
  readonly held: HeldBack
  /** The number of times that its retained bytes were replaced: rewritten or packed. */
  readonly rewrites: number
}

export interface Checkpoint {
  readonly epoch: Epoch
  readonly offset: Offset
  readonly bytes: Uint8Array
}

/** The past that a session begins with. */
export interface LogPast {
  /** Of the session's new lifetime. Its next offset is above the checkpoint's. */
  readonly checkpoint: Checkpoint
  /** The batches up to the checkpoint, in order, of the same epoch. */
  readonly batches: readonly Delivered[]
  /** As in `Opened`. */
  readonly whole: Offset
}

/** What takes the place of what a session has. */
export interface RewrittenPast {
  readonly checkpoint: Checkpoint
  /** All up to it, in order. */
  readonly batches: readonly Delivered[]
  /** As in `Opened`, when it was made. */
  readonly rewrites: number
  /**
   * Whether an entry of the session lets the hubs do the same to what they have. Otherwise the session's end moves by one, what
   * follows any earlier position is `behind`, and the followers are told that something may have been lost.
   */
  readonly isTold: boolean
}

export type Since =
  | {
      readonly kind: 'batches'
      readonly batches: readonly Delivered[]
      /** There are no other batches up to this offset. */
      readonly last: Offset
      readonly lost: readonly LostRange[]
      /** What is held back at `last`. */
      readonly held: HeldBack
    }
  /** The position is within a lost range. */
  | { readonly kind: 'lost'; readonly range: LostRange }
  /** Another epoch, or the batches after the position are no longer retained, or are too many. */
  | { readonly kind: 'behind' }

/** @returns the lost range that an offset is in */
export function lostAt(lost: readonly LostRange[], offset: Offset): LostRange | undefined {
  // A client at the end of the range has received everything up to there after the loss.
  return lost.find(({ after, until }) => offset > after && offset < until)
}
