import type { Epoch, Offset, Position } from '../protocol/cursor.js'
import type { StoreError } from '../store/store.js'

/**
 * The record that several hubs share. It puts what they submit into one order for each session, and gives the offsets;
 * what a batch means is the hubs' business: its bytes are opaque to the log, and each hub that follows a session computes
 * the same from the same batches.
 *
 * **Asynchronous.** Every answer comes later, and may come from another machine.
 *
 * **One order.** `append` takes a batch whole or not at all, and gives it the offsets `(from, to]`, where `from` is the `to`
 * of the batch before, or the end of a lost range. The last `spareOffsets` of them are nobody's: hubs use them for what they
 * say of their own. What an `append` has answered, every later call sees.
 *
 * **The feed** tells a hub of batches soon after they are appended, its own included, those of one session in order. It may
 * lose, delay and repeat any of them, also without a word: a batch says where it begins, so the next one shows that
 * something is missing, and the log itself looks from time to time whether its feed lives. Then, or when it cannot know,
 * it calls `broken`, and the hub asks `since`.
 *
 * **Failure.** A call that fails rejects with a `StoreError`. One that reads has done nothing. One that writes may have had
 * its effect or not: who appends again must be ready for both, which ids are for.
 *
 * **Eras.** Where the log loses what it had answered (its engine fails over to a copy that was behind, or comes back from an
 * older state), it begins an era: offsets go on far above all that were ever given out, and the range in between is lost.
 * A position within a lost range is of a past that did not happen. No offset ever means two things.
 *
 * **Epochs.** An epoch is one lifetime of a session. It begins when the session is mentioned for the first time, by `open` or
 * `append`, is the same for all hubs, and ends when the session is removed.
 */
export interface SharedLog {
  /** What it is called where a hub tells what it is made of: `redis`, for example. */
  readonly kind: string
  /** Adds a batch to a session. */
  append(batch: Append): Promise<Appended>
  /**
   * @returns all that a hub needs to follow a session, of one moment; the session begins an epoch when it has none. What is
   *   published after `follow` resolved and is not in the answer comes by the feed.
   */
  open(session: string): Promise<Opened>
  /** @returns what follows a position, in order; `behind` when the hub has to open the session anew */
  since(session: string, after: Position): Promise<Since>
  /**
   * Keeps what a session has come to at a position, so that who opens it later need not compute it from the beginning.
   * An older one than there is, or one of another epoch or of a position that is lost, is passed over.
   */
  checkpoint(session: string, checkpoint: Checkpoint): Promise<void>
  /**
   * Begins a session with a past: all of it or nothing. Who follows a session of that name, which was only mentioned until then,
   * has to open it anew.
   *
   * @returns false when there is a session already, to which something was appended; then nothing has changed
   */
  begin(session: string, past: LogPast): Promise<boolean>
  /** Begins to tell of a session. Resolves once every batch that is appended from now on is told of. */
  follow(session: string, feed: LogFeed): Promise<void>
  unfollow(session: string): void
  /**
   * Forgets a session. Its followers are told; a session of the same name has another epoch.
   *
   * @param epoch the only one that is removed: another session of this name stays
   */
  remove(session: string, epoch?: Epoch): Promise<void>
  /** @returns ids of sessions to which something was appended, in the order of their code units, after an id */
  sessions(after: string, limit: number): Promise<readonly string[]>
  /**
   * Keeps what a hub says of a session, for lists of all sessions, in place of what was said before; of an earlier position
   * of the same epoch it is passed over. It goes with the session.
   */
  describe(session: string, description: Description): Promise<void>
  /**
   * @param after the mark of the page before; 0 for all
   * @returns what was described or removed since, in the order of its last change; removals only after a mark
   */
  described(after: number, limit: number): Promise<DescribedPage>
  /** Tells when the log cannot be reached or followed, and again, with nothing, once it can. */
  onFault?(told: (fault: StoreError | undefined) => void): void
  /** What it has done since it was opened, where it counts. */
  readonly stats?: LogStats
  /** Waits for what is under way. Afterwards every call rejects with `closed`; closing again does nothing. */
  close(): Promise<void>
}

/** What is said of a session in lists. */
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

/** How a log fares, as one hub sees it. */
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
  /** How often a session had to be asked for, because its feed may have lost something. */
  readonly broken: number
  /** Idle sessions that were made small. */
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

/** What a hub is told of one session. Nothing comes within a call of the log. */
export interface LogFeed {
  batch(batch: Delivered): void
  /** Something may have been lost: the hub asks `since`. */
  broken(): void
  removed(epoch: Epoch): void
}

/** Offsets at the end of each batch that no entry of it has. */
export const spareOffsets = 2

export interface Append {
  readonly session: string
  /** Which hub it is from, and which of its batches: told to all, so that a hub knows its own. */
  readonly hub: string
  readonly number: number
  /** The lifetime that it was made for. */
  readonly epoch: Epoch
  /** The hub's clock, ms since 1970. */
  readonly at: number
  /** Offsets that its entries take. */
  readonly width: number
  /** What must not be evicted before what is droppable is; absent when there is none. */
  readonly critical?: Uint8Array
  /** Events that may be evicted. */
  readonly droppable?: Uint8Array
  /** The producers' ids, with the place in the batch of what has them: from 0, the first offset being `from + 1`. */
  readonly ids?: readonly PlacedId[]
  /** Nothing may be appended after it but what was published before. */
  readonly ends?: boolean
}

export interface PlacedId {
  readonly place: number
  /** Of the topic that it counts for, and of the event. */
  readonly name: string
}

export type Appended =
  | {
      readonly kind: 'appended'
      readonly from: Offset
      readonly to: Offset
      /** Entries whose id was published before: they mean nothing, and stand elsewhere. */
      readonly known: readonly KnownId[]
      /** What follows the newest checkpoint: where it is much, a hub makes one. */
      readonly tailBytes: number
    }
  /** The session has ended. `known` are those that were published before. */
  | { readonly kind: 'ended'; readonly known: readonly KnownId[] }
  /** An id was published so long ago that the log does not know where: nothing is appended. */
  | { readonly kind: 'left'; readonly place: number }
  /** The session was removed, or begins another lifetime. */
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
  /** Places of entries that were published before. */
  readonly known: readonly number[]
}

/** Offsets above `after` and below `until` that were lost, or never were. */
export interface LostRange {
  readonly after: Offset
  readonly until: Offset
}

export interface Opened {
  readonly epoch: Epoch
  readonly last: Offset
  /** The newest ones, in order; a position below the oldest is as good as evicted. */
  readonly lost: readonly LostRange[]
  /** Absent where there is none yet: the session has to be computed from its first batch. */
  readonly checkpoint: Checkpoint | undefined
  /** Of the batches up to the checkpoint, those that are retained, in order: they fill the history. */
  readonly before: readonly Delivered[]
  /** Those after it, all of them. */
  readonly batches: readonly Delivered[]
  /** What follows this offset is there as it was appended. */
  readonly whole: Offset
}

export interface Checkpoint {
  readonly epoch: Epoch
  readonly offset: Offset
  readonly bytes: Uint8Array
}

/** What a session begins with. */
export interface LogPast {
  /** Of the session's new lifetime. Its next offset is above the checkpoint's. */
  readonly checkpoint: Checkpoint
  /** Those up to the checkpoint, in order, of the same epoch. */
  readonly batches: readonly Delivered[]
  /** As in `Opened`. */
  readonly whole: Offset
}

export type Since =
  | {
      readonly kind: 'batches'
      readonly batches: readonly Delivered[]
      /** Nothing else is up to here. */
      readonly last: Offset
      readonly lost: readonly LostRange[]
    }
  /** The position is of a past that did not happen. */
  | { readonly kind: 'lost'; readonly range: LostRange }
  /** Another lifetime, or what follows is not there any more, or too much. */
  | { readonly kind: 'behind' }

/** @returns the lost range that an offset is in */
export function lostAt(lost: readonly LostRange[], offset: Offset): LostRange | undefined {
  // Everything up to the end of the range has been received by who stands there: of the time after the loss.
  return lost.find(({ after, until }) => offset > after && offset < until)
}
