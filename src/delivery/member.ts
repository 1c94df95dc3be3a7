import type { Chunk } from '../codec/codec.js'
import type { Offset } from '../protocol/cursor.js'
import type { Link } from './link.js'

/** The counts of a batch: its events, and the position before it. */
export interface BatchCount {
  readonly events: number
  readonly after: Offset
}

/** Takes batches for the end of the flush, and passes them to the link of its connection together. */
export interface BatchQueue {
  queue(membership: Membership, chunk: Chunk, batch: BatchCount): void
}

/** A subscription, for its feed and the flush. */
export interface Member {
  /** The client's own integer. */
  readonly number: number
  readonly link: Link
  /** The holder of its connection's token. */
  readonly subject: string | undefined
  /** The link to which a flush may write directly: if its connection has no other feed and no trailer. */
  readonly directLink: Link | undefined
  /** Of its connection. */
  readonly queue: BatchQueue
  /** Takes back a batch that could not be written; it is read from history later, after the position. */
  rewind(position: Offset): void
  /** The link took the last chunk but has no room for more: the connection's subscriptions leave their feeds. */
  markFull(): void
  /** It leaves the feed for now, and gets the events from history in a later turn. */
  postpone(): void
  /** An error in the work for its connection ends the connection. */
  fail(error: unknown): void
  /** Ends because its session was removed. */
  remove(reason: string): void
  /** Closes its connection, so that the client resumes with its cursor. */
  comeBack(reason: string): void
  /** Ends the link if it ends with its sessions, and they have ended. */
  endIfDone(): void
}

/** The membership of a subscription in step, among the members of its feed with the same codec. Only its feed changes it. */
export interface Membership {
  readonly kind: 'inStep'
  readonly member: Member
  /** The session's offset when it joined the feed; it had received everything up to here. */
  readonly position: Offset
  /** Of its link or queue, which comes before it. */
  index: number
  /** The feed's total when it joined, so that nothing is counted per delivery. */
  readonly eventsBefore: number
  readonly bytesBefore: number
}
