import type { Entry } from '../history/entry.js'
import { type Offset, start } from '../protocol/cursor.js'
import type { Connection } from './connection.js'
import type { Feed } from './feed.js'
import type { Replay, ReplayPage } from './replay.js'

/** A replay under way: what a fresh join still has to get before it goes on from its position. */
export interface Replaying {
  readonly replay: Replay
  /** While it is read from the store: everything up to here has come. */
  storedAfter: Offset | undefined
  /** What is being sent, and the index of its next event; absent until the store has answered. */
  page: ReplayPage | undefined
  next: number
}

/**
 * One connection's interest in one feed.
 *
 * In step: a member of the feed, which stores nothing but the membership. Behind: out of the feed, with its own
 * position; it continues from history and then joins the feed again.
 */
export class Subscription {
  /** The client's own integer. */
  readonly number: number
  readonly connection: Connection
  feed: Feed
  /** While behind: everything up to here has been sent. In step: where it joined the feed. */
  position: Offset
  /** Its place among the feed's members; −1 while behind. */
  place = -1
  /** What its feed had given its members when it joined them: so that nothing is counted for each delivery. */
  eventsBefore = 0
  bytesBefore = 0
  replaying: Replaying | undefined = undefined
  /** A page of the store is on its way. */
  fetching = false
  /** Whether `live` was sent: all that was due on join or resume. */
  announced = false
  /** Nothing may be conflated: the client may have some of what follows its cursor, and tells it by offset. */
  exact = false
  /** The newest loss that a gap has told of. */
  gapTold: Offset
  /** How many events the topic had dropped when the subscription fell behind. */
  droppedBefore = 0
  /** The newest snapshot of state that it got is of this moment. */
  snapshotAt: Offset = start

  constructor(number: number, connection: Connection, feed: Feed, position: Offset) {
    this.number = number
    this.connection = connection
    this.feed = feed
    this.position = position
    this.gapTold = position
  }

  /** Begins a replay, if there is anything to replay. */
  begin(replay: Replay, storedAfter = replay.stored?.after): void {
    if (replay.isEmpty) this.replaying = undefined
    else {
      const page = storedAfter === undefined ? replay.held : undefined
      this.replaying = { replay, storedAfter, page, next: 0 }
    }
  }

  /** Keeps of a replay under way only what a new filter accepts. */
  retainReplay(accepts: (entry: Entry) => boolean): void {
    if (this.replaying === undefined) return
    const { replay, page, next, storedAfter } = this.replaying
    this.begin(replay.filtered(accepts, page === replay.held ? next : 0), storedAfter)
  }

  get inStep(): boolean {
    return this.place >= 0
  }

  /** Everything up to here has been matched, and sent if it matched. */
  get reached(): Offset {
    return this.inStep ? this.feed.flushed : this.position
  }

  /** The position that the client knows of. */
  get told(): Offset {
    return this.inStep && this.feed.sent > this.position ? this.feed.sent : this.position
  }
}
