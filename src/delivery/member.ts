import type { Chunk } from '../codec/codec.js'
import type { Offset } from '../protocol/cursor.js'
import type { Link } from './link.js'

/** A batch as it is counted: its events, and the position before it. */
export interface BatchCount {
  readonly events: number
  readonly after: Offset
}

/** A subscription, as its feed and the flush see it. */
export interface Member {
  /** The client's own integer. */
  readonly number: number
  readonly link: Link
  /** Whom its connection's token was given to. */
  readonly subject: string | undefined
  /** The link that a flush may write to at once, where its connection has no other feed and nothing to say after it. */
  readonly directLink: Link | undefined
  /** Takes a batch for the end of the flush. */
  queue(chunk: Chunk, batch: BatchCount): void
  /** The link took the last chunk but has no room for more: the connection's subscriptions leave their feeds. */
  markFull(): void
  /** It leaves the feed for now: what it would get comes from history, in a later turn. */
  postpone(): void
  /** Something went wrong in what is done for its connection: it ends. */
  fail(error: unknown): void
  /** Ends because its session is gone. */
  remove(reason: string): void
  /** Has its connection closed, so that the client comes back with its cursor. */
  comeBack(reason: string): void
  /** Ends the link when it is to end with its sessions, and they have. */
  endIfDone(): void
}

/** The place of a member in step among those of its feed whose links speak the same codec. Its feed changes it. */
export interface Membership {
  readonly kind: 'inStep'
  readonly member: Member
  /** The session's offset when it joined the feed: everything up to here it had got. */
  readonly position: Offset
  index: number
  /** What the feed had given its members when it joined them: so that nothing is counted for each delivery. */
  readonly eventsBefore: number
  readonly bytesBefore: number
}
